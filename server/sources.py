"""Where settings come from: flag before `RTRITON_` variable before file (`--config`) before default.

    effective = read({"port": "9000"}, os.environ, Path("server.toml"))
    effective.settings.port, effective.origins["port"]          # 9000, "--port"

Everything that is wrong is found before anything is said: `Mistakes` has one line for each, which names the place, what
was wanted and what was got. Nobody's misspelling is ignored: an unknown key of the file is a mistake, and so is a
variable that looks like one of the server's; any other `RTRITON_` variable that nothing reads is a warning.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.setting_kinds import Row
from server.settings import OTHERS, SECRETS, Settings, contradictions, rows

PREFIX = "RTRITON_"
ALIKE = 0.7
"""How much of a name must be right for the rest to be a misspelling (difflib's ratio)."""
CONFIG = f"{PREFIX}CONFIG"
DEFAULT = "default"
LONGEST = 80
"""Characters of a wrong value that are repeated."""


class Mistakes(Exception):
    """Settings that cannot be used; `lines` has one sentence for each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True)
class Effective:
    """What holds, and for each setting where it comes from: `--port`, `RTRITON_PORT`, `server.toml:3: port`, or
    `default`.
    """

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@dataclass
class _Reading:
    """Values so far, the first source of each winning, and what was wrong."""

    rows: dict[str, Row]
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    origins: dict[str, str] = field(default_factory=dict[str, str])
    wrong: set[str] = field(default_factory=set[str])
    mistakes: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])

    def take(self, name: str, where: str, value: Any, parse: Any) -> None:
        """A value from a source. One that a stronger source overrules is checked as well."""
        row = self.rows[name]
        try:
            parsed = parse(value)
        except ValueError:
            # somebody may have given a key where a file of keys is wanted
            got = "another value, which may be a secret" if name.startswith(SECRETS) else _shown(value)
            self.mistakes.append(f"{where}: wanted {row.kind.wanted}, got {got}")
            self.wrong.add(name)
            return
        if name not in self.origins:
            self.values[name], self.origins[name] = parsed, where


def read(flags: Mapping[str, Any], environment: Mapping[str, str], config: Path | None = None) -> Effective:
    """All settings. `flags` has the texts of the flags that were given, by name; truth values of switches, lists of
    flags that may be repeated. Without `config` the variable RTRITON_CONFIG may name the file.
    """
    it = _Reading({row.name: row for row in rows()})
    for name, value in flags.items():
        row = it.rows[name]
        it.take(name, row.flag, value, row.kind.from_text if row.kind.flags == "one" else row.kind.from_toml)
    _read_environment(it, environment)
    if config is not None:
        _read_file(it, config, "--config")
    elif CONFIG in environment:
        _read_file(it, Path(environment[CONFIG]), CONFIG)
    settings = Settings(**it.values)
    for names, said in contradictions(settings, it.origins.keys(), it.wrong):
        places = [it.origins.get(name, f"{it.rows[name].flag} (by default)") for name in names]
        it.mistakes.append(f"{' and '.join(places)}: {said}")
    if it.mistakes:
        raise Mistakes(it.mistakes)
    return Effective(settings, {name: it.origins.get(name, DEFAULT) for name in it.rows}, tuple(it.warnings))


def server_variables() -> frozenset[str]:
    """The names of all variables that `rtriton serve` reads."""
    return frozenset({*(row.variable for row in rows()), CONFIG, *(PREFIX + name.upper() for name in SECRETS)})


def _read_environment(it: _Reading, environment: Mapping[str, str]) -> None:
    variables = {row.variable: row for row in it.rows.values()}
    known = server_variables() | {PREFIX + name for name in OTHERS}
    for variable in sorted(name for name in environment if name.startswith(PREFIX)):
        value = environment[variable]
        if (row := variables.get(variable)) is not None:
            if value.startswith("tcp://") and row.name == "port":
                why = "which Kubernetes sets for a Service named rtriton; set enableServiceLinks: false in the pod"
                it.mistakes.append(f"{variable}: got {value!r}, {why}")
                it.wrong.add(row.name)
            else:
                it.take(row.name, variable, value, row.kind.from_text)
        elif variable not in known:
            meant = _closest(variable.removeprefix(PREFIX).lower(), it)
            if meant is not None:
                it.mistakes.append(f"{variable}: is no setting; did you mean {it.rows[meant].variable}?")
            else:
                it.warnings.append(f"the variable {variable} is set, and nothing reads it")


def _read_file(it: _Reading, path: Path, named_by: str) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        it.mistakes.append(f"{named_by}: {path} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}")
        return
    except (ValueError, RecursionError) as error:  # TOML has no limit to the digits of a number, Python has
        it.mistakes.append(f"{path}: is not TOML: {error}")
        return
    for key, value in found.items():
        where = f"{path}:{_line(text, key)}: {key if key.isprintable() else _shown(key)}"
        if key in it.rows:
            it.take(key, where, value, it.rows[key].kind.from_toml)
        elif key in SECRETS:
            it.mistakes.append(f"{where}: is a secret, which no file of settings has; name a file of keys: {key}_file")
        else:
            meant = _closest(key.lower().replace("-", "_"), it)
            hint = f"did you mean {meant}?" if meant else "`rtriton serve --help` lists them"
            it.mistakes.append(f"{where}: is no setting; {hint}")


def _line(text: str, key: str) -> int:
    """Where a key of the top level is: TOML lets it stand once, and tomllib does not say where."""
    name = re.escape(key)
    pattern = re.compile(rf"""\s*(?:\[+\s*)?["']?{name}["']?\s*[\].=]""")
    lines = (number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line))
    return next(lines, 1)


def _closest(name: str, it: _Reading) -> str | None:
    return next(iter(difflib.get_close_matches(name, it.rows, n=1, cutoff=ALIKE)), None)


def _shown(value: Any) -> str:
    """On one line, and not too long for one."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def shown(effective: Effective, environment: Mapping[str, str]) -> str:
    """All settings as a file for `--config`, with where each comes from. Secrets are only said to be there."""
    lines: list[str] = []
    for row in rows():
        value = getattr(effective.settings, row.name)
        origin = effective.origins[row.name]
        unset = value is None
        text = f"# {row.name}: {row.unset}" if unset else f"{row.name} = {_toml(value)}"
        lines.append(text if unset and origin == DEFAULT else f"{text:<40} # {origin}")
    lines += [f"# {name}: {PREFIX}{name.upper()} is set" for name in SECRETS if PREFIX + name.upper() in environment]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    """JSON's text, numbers, truth values and lists are TOML's."""
    plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    return json.dumps(plain, ensure_ascii=False)
