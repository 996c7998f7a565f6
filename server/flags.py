"""Flags made of the settings: a command says that it takes them, and is given what holds.

    @app.command()
    @flags_of_settings
    def serve(found: Effective) -> None: ...

A flag's text goes to `server.sources` as it is, so that a wrong one is said together with what is wrong elsewhere.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from server.setting_kinds import Row
from server.settings import rows
from server.sources import Effective, read, shown

PANEL = "Where settings come from"


def flags_of_settings(command: Callable[[Effective], None]) -> Callable[..., None]:
    """The command with a flag for every setting, `--config` and `--print-config`. `Mistakes` where any is wrong."""

    @wraps(command)
    def with_flags(config: Path | None, print_config: bool, **given: Any) -> None:
        flags = {name: value for name, value in given.items() if value not in (None, [], ())}
        found = read(flags, os.environ, config)
        if print_config:
            print(shown(found, os.environ))
            return
        command(found)

    parameters = [*map(_parameter, rows()), *_OWN]
    # what Typer looks at instead of the parameters above
    with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_flags.__annotations__ = {it.name: it.annotation for it in parameters}
    del with_flags.__wrapped__  # type: ignore[attr-defined]
    return with_flags


def _parameter(row: Row) -> inspect.Parameter:
    names, kind = (row.flag,), str
    if row.kind.flags == "switch":
        names, kind = (f"{row.flag}/--no-{row.flag.removeprefix('--')}",), bool
    elif row.kind.flags == "many":
        kind = list[str]
    option = typer.Option(
        *names,
        metavar=row.kind.metavar or None,
        help=f"{row.help} Default: {row.by_default}.",
        show_default=False,
        rich_help_panel=row.group,
    )
    return _keyword(row.name, Annotated[kind | None, option], None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


_CONFIG = typer.Option("--config", metavar="FILE", help="A TOML file of settings.", rich_help_panel=PANEL)
_PRINT = typer.Option(
    "--print-config", help="Check all settings, print them with where each comes from, and stop.", rich_help_panel=PANEL
)
_OWN = (
    _keyword("config", Annotated[Path | None, _CONFIG], None),
    _keyword("print_config", Annotated[bool, _PRINT], False),
)
