"""Flags made of the settings: a command says which it takes, and is given what holds.

    @app.command(cls=OfTexts)
    @flags_of_settings
    def serve(found: Effective) -> None: ...

    @app.command()
    @takes_settings("model", "device")
    def generate(prompt: Annotated[str, typer.Argument()], settings: Settings) -> None: ...

A flag's text goes to `server.sources` as it is, so that a wrong one is said together with what is wrong elsewhere.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from server.setting_kinds import Row
from server.settings import rows
from server.sources import Effective, read, shown

PANEL = "Where settings come from"


class OfTexts(TyperCommand):
    """A command that gets the texts of its options as they are. Typer would import pydantic and have it make a
    validator for each, given or not: a third of the time that a server takes before it starts the engine's process.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options, and `--help`."""
        return [_as_it_is(option) for option in super().get_params(ctx)]


class OfCommands(TyperGroup):
    """The same for `--help` before a command's name."""

    def get_params(self, ctx: Any) -> list[Any]:
        """`--help`."""
        return [_as_it_is(option) for option in super().get_params(ctx)]


def _as_it_is(option: Any) -> Any:
    def process_value(ctx: Any, value: Any) -> Any:
        # only --help has one, which prints it
        return value if option.callback is None else option.callback(ctx, option, value)

    option.process_value = process_value
    return option


def flags_of_settings(command: Callable[[Effective], None]) -> Callable[..., None]:
    """The command with a flag for every setting, `--config` and `--print-config`. `Mistakes` where any is wrong."""

    def with_flags(config: str | None, print_config: bool, **given: Any) -> None:
        found = read(_those_given(given), os.environ, None if config is None else Path(config))
        if print_config:
            print(shown(found, os.environ))
            return
        command(found)

    return _seen_as(with_flags, command, [*map(_parameter, rows()), *_OWN])


def takes_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command with flags of its own and those of some settings, which may come from their variables too. It is given
    `settings`; those that it does not take have their defaults.
    """
    taken = [row for row in rows() if row.name in names]
    variables = {row.variable for row in taken}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [it for it in inspect.signature(command, eval_str=True).parameters.values() if it.name != "settings"]

        def with_flags(**given: Any) -> None:
            mine = {it.name: given.pop(it.name) for it in own}
            environment = {name: text for name, text in os.environ.items() if name in variables}
            command(**mine, settings=read(_those_given(given), environment).settings)

        return _seen_as(with_flags, command, [*own, *map(_parameter, taken)])

    return decorate


def _those_given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, [], ())}


def _seen_as(
    function: Callable[..., None], command: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """The function under the command's name, with the parameters that Typer shall see."""
    function.__name__, function.__doc__ = command.__name__, command.__doc__
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {it.name: it.annotation for it in parameters}
    return function


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
    _keyword("config", Annotated[str | None, _CONFIG], None),
    _keyword("print_config", Annotated[bool, _PRINT], False),
)
