"""A knob is a field of a family: what was set in Python, else what the environment says, else its default.

    class language_knobs(base_knobs):
        default_fp_fusion = env_bool("TRITON_DEFAULT_FP_FUSION", True)

    language = language_knobs()
    language.default_fp_fusion = False       # written to the environment too, unless knobs.propagate_env is off
    del language.default_fp_fusion           # the environment speaks again; so does `= knobs.env`
    with language.scope(): ...               # what is set inside, environment included, is undone after

The names are Triton's. A variable may go by further names (`also`); those win, being rtriton's own.
"""
from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from rtriton.knobs import environment


class Env:
    """Setting a knob to `knobs.env` hands it back to the environment."""


env = Env()
_UNSET = object()


def toenv(value: Any) -> tuple[str | None] | None:
    """How a value is written into the environment, in a tuple; None for one that has no text."""
    if value is None:
        return (None,)
    if isinstance(value, bool):
        return ("1" if value else "0",)
    return (str(value),) if isinstance(value, (str, int)) else None


def setenv(key: str, value: str | None) -> None:
    """Write a variable, unless `knobs.propagate_env` is off."""
    from rtriton import knobs

    if knobs.propagate_env:
        environment.write(key, value)


class env_base:
    """A knob: a data descriptor over one environment variable. Subclasses say how its text is read."""

    def __init__(self, key: str, default: Any = None, also: tuple[str, ...] = ()) -> None:
        self.key, self.default, self.also = key, default, also
        self.name = ""

    def __set_name__(self, owner: type[object], name: str) -> None:
        self.name = name

    def __get__(self, family: object | None, owner: type[object] | None = None) -> Any:
        if family is None:
            return self
        value = vars(family).get(self.name, _UNSET)
        if value is not _UNSET:
            return self.transform(value)
        text = environment.read(*self.also, self.key)
        return self.missing(family) if text is None else self.parse(text)

    def __set__(self, family: object, value: Any) -> None:
        if isinstance(value, Env):
            vars(family).pop(self.name, None)
            return
        vars(family)[self.name] = value
        text = toenv(value)
        if text is not None:
            for key in (self.key, *(k for k in self.also if environment.read(k) is not None)):
                setenv(key, text[0])

    def __delete__(self, family: object) -> None:
        vars(family).pop(self.name, None)

    def parse(self, text: str) -> Any:
        """The value that a text of the environment means."""
        return text

    def transform(self, value: Any) -> Any:
        """What reading gives for a value that was set."""
        return value

    def missing(self, family: object) -> Any:
        """The value where nothing was set."""
        return self.default


class env_str(env_base):
    """A text."""


class env_opt_str(env_base):
    """A text or None."""


class env_str_callable_default(env_base):
    """A text whose default is computed from the family when it is read."""

    def __init__(self, key: str, default_factory: Callable[[Any], str], also: tuple[str, ...] = ()) -> None:
        super().__init__(key, None, also)
        self.default_factory = default_factory

    def missing(self, family: object) -> Any:
        return self.default_factory(family)


class env_bool(env_base):
    """A switch: 1, true, on, yes, y in any case mean on."""

    def __init__(self, key: str, default: bool | None = False, also: tuple[str, ...] = ()) -> None:
        super().__init__(key, default, also)

    def parse(self, text: str) -> Any:
        return text.lower() in environment.TRUE if text else self.default


class env_opt_bool(env_bool):
    """A switch that may be left open (None)."""

    def __init__(self, key: str, also: tuple[str, ...] = ()) -> None:
        super().__init__(key, None, also)


class env_int(env_base):
    """A whole number; RuntimeError for another text."""

    def __init__(self, key: str, default: int = 0, also: tuple[str, ...] = ()) -> None:
        super().__init__(key, default, also)

    def parse(self, text: str) -> Any:
        try:
            return int(text)
        except ValueError as error:
            raise RuntimeError(f"{self.key} is a whole number, got {text!r}") from error


class env_class(env_base):
    """A class by its place, `module:Class`, that derives from one of the name `kind`."""

    def __init__(self, key: str, kind: str) -> None:
        super().__init__(key)
        self.kind = kind

    def parse(self, text: str) -> Any:
        module, colon, name = text.partition(":")
        if not colon:
            raise RuntimeError(f"{self.key} is written MODULE:CLASS, got {text!r}")
        found = getattr(importlib.import_module(module), name)
        if self.kind not in (base.__name__ for base in found.mro()):
            raise RuntimeError(f"{self.key} names a class derived from {self.kind}, got {text!r}")
        return found


@dataclass(frozen=True)
class NvidiaTool:
    """A program of the CUDA toolkit and its release (`12.8`)."""

    path: str
    version: str

    @staticmethod
    @cache
    def from_path(path: str) -> NvidiaTool | None:
        """The tool at `path`; None if there is none that runs and says its release."""
        try:
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        except (subprocess.CalledProcessError, OSError):
            return None
        _, found, rest = said.partition("release ")
        return NvidiaTool(path, rest.split(",")[0].strip()) if found else None


class env_nvidia_tool(env_base):
    """A tool of the CUDA toolkit: the one that was named, else the one that is found."""

    def __init__(self, binary: str, also: tuple[str, ...] = ()) -> None:
        super().__init__(f"TRITON_{binary.upper().replace('-', '_')}_PATH", None, also)
        self.binary = binary

    def parse(self, text: str) -> Any:
        return self.transform(text)

    def transform(self, value: Any) -> NvidiaTool:
        return (NvidiaTool.from_path(value) if value else None) or self.missing(None)

    def missing(self, family: object) -> NvidiaTool:
        from rtriton.backend.ptx.ptxas import packaged_tool

        found = packaged_tool(self.binary)
        tool = NvidiaTool.from_path(found) if found else None
        if tool is None:
            raise RuntimeError(f"{self.binary} was not found: set {self.key} to its path, or install the CUDA toolkit")
        return tool


touched: list[bool] = []        # was a knob of any family ever set in Python? While none was, none need be asked


class base_knobs:
    """A family of knobs."""

    def __setattr__(self, name: str, value: Any) -> None:
        touched[:] = [True]
        super().__setattr__(name, value)

    @property
    def knob_descriptors(self) -> dict[str, env_base]:
        """The fields that the environment can set, by name."""
        return {name: field for name, field in vars(type(self)).items() if isinstance(field, env_base)}

    @property
    def knobs(self) -> dict[str, Any]:
        """Their values."""
        return {name: getattr(self, name) for name in self.knob_descriptors}

    def copy(self) -> Self:
        """A family with the same settings, changed apart from this one."""
        made = type(self)()
        vars(made).update(vars(self))
        return made

    def reset(self) -> Self:
        """Forget what was set in Python: the environment speaks."""
        for name in self.knob_descriptors:
            delattr(self, name)
        return self

    @contextmanager
    def scope(self) -> Generator[None]:
        """What is set inside is undone after, in the environment too."""
        names = [key for field in self.knob_descriptors.values() for key in (field.key, *field.also)]
        before, here = {name: environment.read(name) for name in names}, dict(vars(self))
        try:
            yield
        finally:
            vars(self).clear()
            vars(self).update(here)
            for name, text in before.items():
                environment.write(name, text)
