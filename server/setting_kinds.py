"""What a setting can hold, and how its text (a flag, a variable) or its TOML value becomes that.

    port = whole(0, 65535)
    port.from_text("8000")      # 8000
    port.from_toml("8000")      # ValueError: in TOML a number is written as one

A `ValueError` only says that the value is not what `wanted` says; who reads it says where it came from.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST = (1 << 31) - 1
"""Of whole numbers for which there is no reason to be smaller."""
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class Kind:
    """A set of values and their two spellings."""

    wanted: str
    """For error messages: "a whole number from 0 to 65535"."""
    metavar: str
    """For `--help`."""
    from_text: Callable[[str], Any]
    from_toml: Callable[[Any], Any]
    flags: str = "one"
    """How it is a flag: "one" takes a value, "many" may be repeated, "switch" is --name and --no-name."""


@dataclass(frozen=True)
class Row:
    """One setting: its name is that of its field in `Settings`."""

    name: str
    kind: Kind
    default: Any
    group: str
    help: str
    unset: str
    """What holds where there is no default and nothing is given."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def by_default(self) -> str:
        """The default, in words."""
        if self.default is None or self.default == ():
            return self.unset
        return {True: "on", False: "off"}[self.default] if isinstance(self.default, bool) else str(self.default)

    @property
    def variable(self) -> str:
        return "RTRITON_" + self.name.upper()


def row(kind: Kind, default: Any, group: str, help: str, unset: str = "none") -> Any:
    """A field of a dataclass of settings."""
    return field(default=default, metadata={"row": (kind, default, group, help, unset)})


def whole(lowest: int, highest: int = MOST) -> Kind:
    """Whole numbers in a range."""

    def check(value: Any) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError
        return value

    span = f"from {lowest} to {highest}" if highest != MOST else f"of at least {lowest}, below 2^31"
    return Kind(f"a whole number {span}", "INTEGER", lambda text: check(_whole(text)), check)


def number(above: float, highest: float = math.inf, *, at_least: bool = False) -> Kind:
    """Numbers above a limit (or `at_least` the limit), up to another."""

    def check(value: Any) -> float:
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
            raise ValueError
        if value > highest or (value < above if at_least else value <= above):
            raise ValueError
        return float(value)

    low = f"of at least {above:g}" if at_least else f"above {above:g}"
    most = "" if highest == math.inf else f", at most {highest:g}"
    return Kind(f"a number {low}{most}", "NUMBER", lambda text: check(float(text)), check)


def choice(*names: str) -> Kind:
    """One of some words."""

    def check(value: Any) -> str:
        if value not in names:
            raise ValueError
        return value

    return Kind(f"one of {', '.join(names)}", "|".join(names), check, check)


def _whole(text: str) -> int:
    # int() takes 1_000 and digits of other scripts too
    if not re.fullmatch(r"-?[0-9]{1,20}", text):
        raise ValueError
    return int(text)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError
    return value


def _file(value: Any) -> Path:
    path = Path(_text(value))
    # a pipe is one too: --api-key-file <(show key)
    try:
        found = path.exists() and not path.is_dir()
    except OSError:  # a name that is too long for any file
        found = False
    if not found:
        raise ValueError
    return path


def _new_file(value: Any) -> Path:
    path = Path(_text(value))
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError
    return path


def _switch(text: str) -> bool:
    if text.lower() not in TRUE + FALSE:
        raise ValueError
    return text.lower() in TRUE


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError
    return tuple(_text(value).strip() for value in values)


TEXT = Kind("text", "TEXT", _text, _text)
FILE = Kind("the path of a file that is there", "FILE", _file, _file)
NEW_FILE = Kind("the path of a file in a folder that is there", "FILE", _new_file, _new_file)
SWITCH = Kind(f"one of {', '.join(TRUE + FALSE)}", "", _switch, _boolean, "switch")
TEXTS = Kind("texts, with commas between them", "TEXT", lambda text: _texts(text.split(",")), _texts, "many")
