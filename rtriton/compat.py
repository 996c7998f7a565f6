"""Unmodified programs that say `import triton` run on rtriton.

    rtriton-run train.py --steps 10         # like `python train.py --steps 10`
    rtriton-run -m pytest tests/            # like `python -m pytest tests/`

    from rtriton import compat
    compat.install()                        # from here on `import triton` in this process is rtriton

Nothing is written: `install` puts a finder in front of Python's own, for the name `triton` and what is below it. A
module `triton.x.y` is `rtriton.x.y` where there is one; Triton's modules that are arranged otherwise here are listed in
PLACES as the places where their names are found. What is in neither does not exist, and importing it says so.
"""
from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rtriton.errors import KernelError
from rtriton.types import DType

VERSION = "3.6.0"       # the release whose language and interface are matched; programs ask for it

PLACES: dict[str, tuple[str, ...]] = {
    "triton._utils": ("rtriton.signature",),
    "triton.backends": ("rtriton.backends",),
    "triton.backends.compiler": ("rtriton.devices",),
    "triton.compiler": ("rtriton.compiler", "rtriton.compile", "rtriton.errors"),
    "triton.compiler.compiler": ("rtriton.compiler", "rtriton.compile"),
    "triton.compiler.code_generator": ("rtriton.errors",),
    "triton.compiler.errors": ("rtriton.errors",),
    "triton.runtime": ("rtriton.runtime", "rtriton.jit", "rtriton.autotune", "rtriton.arrays", "rtriton.errors"),
    "triton.runtime._allocation": ("rtriton.allocator",),
    "triton.runtime.autotuner": ("rtriton.autotune", "rtriton.errors"),
    "triton.runtime.cache": ("rtriton.cache",),
    "triton.runtime.driver": ("rtriton.devices",),
    "triton.runtime.errors": ("rtriton.errors",),
    "triton.runtime.jit": ("rtriton.jit", "rtriton.arrays", "rtriton.source", "rtriton.signature"),
}


class View(ModuleType):
    """A module whose names are looked up in other modules, in order."""

    def __init__(self, name: str, places: Sequence[str]) -> None:
        super().__init__(name)
        self.__path__ = []       # so that modules may be below it
        self._places = [found for place in places if (found := _module(place)) is not None]

    def __getattr__(self, name: str) -> Any:
        for place in self._places:
            try:
                return getattr(place, name)
            except AttributeError:
                continue
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}' in rtriton")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(n for place in self._places for n in dir(place))})


def _module(name: str) -> ModuleType | None:
    """The rtriton module of this name, None if there is none."""
    try:
        if importlib.util.find_spec(name) is None:
            return None
    except ModuleNotFoundError:
        return None
    return importlib.import_module(name)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `triton` and what is below it. `files` are modules of that name to be read from a path instead."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = files

    def find_spec(self, fullname: str, path: Any = None,
                  target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        """Python's question where a module is; None leaves it to the other finders."""
        if fullname != "triton" and not fullname.startswith("triton."):
            return None
        if fullname in self.files:
            return importlib.util.spec_from_file_location(fullname, self.files[fullname])
        if self.make(fullname) is None:
            raise ModuleNotFoundError(f"rtriton has no counterpart of the module {fullname}", name=fullname)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def make(self, name: str) -> ModuleType | None:
        """The module that stands for Triton's `name`."""
        if name == "triton":
            view = View(name, ["rtriton"])
            vars(view)["__version__"] = VERSION
            return view
        own = _module("r" + name)
        if own is not None and name not in PLACES:
            return own
        return View(name, PLACES[name]) if name in PLACES else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module = self.make(spec.name)
        # Python writes the spec it was given into the module: a module of ours gets its own back below
        self.own_spec = module.__spec__ if module is not None else None
        return module

    def exec_module(self, module: ModuleType) -> None:
        if not isinstance(module, View):
            module.__spec__ = self.own_spec


def install(files: Mapping[str, Path] | None = None) -> None:
    """From here on, `import triton` imports rtriton in this process, whether Triton is installed or not.

    `files` maps further module names (`triton.something`) to source files that are to be read under that name.
    RuntimeError if Triton itself was imported already: its functions would be half of the program."""
    loaded = sys.modules.get("triton")
    if isinstance(loaded, View):
        return
    if loaded is not None:
        raise RuntimeError(f"triton was imported already, from {loaded.__file__}: install rtriton.compat before that")
    KernelError.as_triton = True
    DType.package = "triton"
    sys.meta_path.insert(0, Finder(files or {}))


def uninstall() -> None:
    """`import triton` means again what it meant before `install`. Programs that hold what they imported keep it."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, Finder)]
    for name in [n for n in sys.modules if n == "triton" or n.startswith("triton.")]:
        del sys.modules[name]
    KernelError.as_triton = False
    DType.package = "rtriton"


USAGE = "usage: rtriton-run SCRIPT.py [arguments]   or   rtriton-run -m MODULE [arguments]"


def main() -> None:
    """The command `rtriton-run`: a script or a module runs as under `python`, with `import triton` giving rtriton."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help") or arguments == ["-m"]:
        print(USAGE, file=sys.stdout if arguments[:1] in (["-h"], ["--help"]) else sys.stderr)
        sys.exit(0 if arguments[:1] in (["-h"], ["--help"]) else 2)
    install()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    script = Path(arguments[0])
    if not script.is_file():
        sys.exit(f"rtriton-run: there is no file {script}")
    sys.argv = arguments
    sys.path.insert(0, str(script.resolve().parent))
    runpy.run_path(str(script), run_name="__main__")
