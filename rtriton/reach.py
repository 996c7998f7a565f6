"""What a kernel's code depends on beside its arguments: the functions that it can reach and the globals that they see.

    reach = Reach(kernel)
    reach.text()       texts that change whenever the meaning of the kernel may have changed: for cache keys
    reach.watched()    names that must still mean the same at each launch

Kernel functions are followed by their source, plain functions (constexpr_function) by their bytecode, classes by their
members. An object that no text can stand for makes a kernel `Uncacheable`.
"""
from __future__ import annotations

import hashlib
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from rtriton import knobs
from rtriton.guards import is_list
from rtriton.language.values import Compound, Leaf, Public, constexpr, constexpr_function, unwrap
from rtriton.source import KernelFunction, Written
from rtriton.types import DType, Pointer, show_type

ABSENT = object()


class Watch:
    """A name that compiled code has taken the meaning of. `changed()` says whether it means something else now."""

    __slots__ = ("name", "namespace", "value", "was")

    def __init__(self, namespace: Mapping[str, Any] | types.CellType, name: str, value: Any) -> None:
        self.namespace, self.name = namespace, name
        self.value, self.was = unwrap(value), repr(value)

    def now(self) -> Any:
        """What the name means now; ABSENT if nothing."""
        if not isinstance(self.namespace, types.CellType):
            return self.namespace.get(self.name, ABSENT)
        try:
            return self.namespace.cell_contents
        except ValueError:
            return ABSENT

    def of(self, value: Any) -> Watch:
        """The same name, whose meaning was `value`."""
        return Watch(self.namespace, self.name, value)

    def glance(self) -> tuple[Callable[[str], Any], str, Any]:
        """(get, name, object), asked for when nothing has changed: nothing has while `get(name)` is the object.
        (`changed` takes longer, and knows that an equal object is no change.)"""
        if isinstance(self.namespace, types.CellType):
            return lambda _: self.now(), "", self.now()
        return self.namespace.get, self.name, self.now()

    def changed(self) -> bool:
        value = unwrap(self.now())
        return value is not self.value and (type(value) is not type(self.value) or bool(value != self.value))


PURE = {"rtriton", "triton", "math", "operator", "functools", "itertools", "numpy"}  # whose functions never change


def _is_ours(x: types.FunctionType | types.ModuleType) -> bool:
    """Is it a part of a program that can change while it is being written, not one of an installed package?"""
    module = isinstance(x, types.ModuleType)
    file = getattr(x, "__file__", None) or "" if module else inspect.unwrap(x).__code__.co_filename
    return file != "" and not file.startswith(("<frozen", sys.prefix, sys.base_prefix)) and "site-packages" not in file


class Uncacheable(Exception):
    """Something the kernel depends on has no text that stands for it."""


class Reach:
    """The functions that `fn` can call, and the globals that take part in its meaning."""

    def __init__(self, fn: Written) -> None:
        self.functions: dict[KernelFunction, None] = {}
        self.values: dict[str, Any] = {}
        self.plain: dict[types.FunctionType, str] = {}
        self.opaque: list[str] = []
        self.watches: list[Watch] = []
        self.include(fn)

    def include(self, value: Any) -> None:
        """What a compile-time argument reaches too: a function that is passed to the kernel."""
        value = unwrap(value)
        if is_list(value):
            for part in value:
                self.include(part)
        elif isinstance(value, KernelFunction):
            self._function(value)
        elif isinstance(value, constexpr_function):
            self._plain(value.fn)
        elif isinstance(value, types.FunctionType) and _is_ours(value):
            self._plain(inspect.unwrap(value))

    def _function(self, fn: KernelFunction) -> None:
        if fn in self.functions or (fn.__module__ or "").startswith("rtriton."):
            return                                   # rtriton's own functions are in its sources' digest
        self.functions[fn] = None
        self._names(fn.fn, fn.__qualname__, names_of(fn))
        for param in fn.params:
            if param.has_default:
                self._known(f"{fn.__qualname__}({param.name})", param.default)

    def _names(self, fn: Any, owner: str, names: list[str]) -> None:
        cells: dict[str, Any] = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
        for name in names:
            namespace = cells.get(name, fn.__globals__)
            watch = Watch(namespace, name, None)
            value = watch.now()
            if value is not ABSENT:
                self._value(Watch(namespace, name, value), owner, value, names)

    def _value(self, watch: Watch, owner: str, value: Any, names: list[str]) -> None:
        if isinstance(value, types.ModuleType):
            if not value.__name__.startswith(("rtriton", "triton")):
                for name in names:
                    if name in vars(value):
                        inner = vars(value)[name]
                        if not isinstance(inner, types.ModuleType):
                            self._value(Watch(vars(value), name, inner), value.__name__, inner, [])
            return
        if isinstance(value, types.FunctionType) and _is_ours(value):
            self._plain(inspect.unwrap(value))
            self.watches.append(watch)
            return
        plain = isinstance(value, (bool, int, float, str)) or is_list(value)
        if not (isinstance(value, (KernelFunction, constexpr, constexpr_function, DType, Pointer, type))
                or plain and knobs.compilation.allow_non_constexpr_globals):
            return
        self.watches.append(watch)
        self._known(f"{owner}.{watch.name}", value)

    def _known(self, name: str, value: Any) -> None:
        """An object that the meaning depends on, whatever it is."""
        if isinstance(value, KernelFunction):
            self._function(value)
        elif isinstance(value, constexpr_function):
            self._plain(value.fn)
        elif isinstance(value, type):
            self._class(name, value)
        else:
            self.values[name] = unwrap(value)

    def _class(self, name: str, cls: type[Any]) -> None:
        """An aggregate or a named tuple: its fields and its methods."""
        if cls.__module__.startswith("rtriton") or cls.__module__ == "builtins":
            return
        self.values[name] = (cls.__qualname__, repr(getattr(cls, "__annotations__", {})), getattr(cls, "_fields", ()))
        for member in vars(cls).values():
            if isinstance(member, (KernelFunction, constexpr_function)):
                self._known(name, member)
            elif isinstance(member, types.FunctionType) and not hasattr(cls, "_fields"):
                self._plain(member)

    def _plain(self, fn: Any) -> None:
        """A plain function by its bytecode, and what it sees by value."""
        if not isinstance(fn, types.FunctionType):
            self.opaque.append(repr(fn))
            return
        if fn in self.plain or fn.__module__.startswith("rtriton."):
            return
        self.plain[fn] = _code(fn.__code__)
        defaults: list[tuple[Any, Any]] = [*enumerate(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).items()]
        for name, default in defaults:
            self._known(f"{fn.__qualname__}({name})", default)
        names = _names_of(fn.__code__)
        for name in names:
            if name in fn.__globals__ and name not in fn.__code__.co_freevars:
                self._seen(fn.__qualname__, name, fn.__globals__, names)
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            self._seen(fn.__qualname__, name, cell, names)

    def _seen(self, owner: str, name: str, namespace: Any, names: list[str]) -> None:
        """What a name means to a plain function; of a module what the function's names may take out of it."""
        watch = Watch(namespace, name, None)
        value = watch.now()
        if isinstance(value, types.ModuleType):
            self._module(value, names)
        elif isinstance(value, types.FunctionType):
            self._plain(value)
            if _is_ours(value):
                self.watches.append(watch.of(value))
        elif value is not ABSENT and not isinstance(value, (types.BuiltinFunctionType, Public, type)):
            self.watches.append(watch.of(value))
            self._known(f"{owner}.{name}", value)

    def _module(self, module: types.ModuleType, names: list[str]) -> None:
        if module.__name__.partition(".")[0] in PURE:
            return
        for name in names:
            found = vars(module).get(name, ABSENT)
            inner = isinstance(found, types.ModuleType)
            if inner and not found.__name__.startswith(f"{module.__name__}.") or found is ABSENT:
                continue                              # a module that is only imported there is seen as itself
            if inner or _is_ours(module):
                self._seen(module.__name__, name, vars(module), names)
            elif callable(found) and not isinstance(found, type):
                self.opaque.append(f"{module.__name__}.{name}")

    def text(self) -> list[str]:
        """Texts that stand for all of it. Raises Uncacheable."""
        if self.opaque:
            raise Uncacheable(self.opaque[0])
        return [*(f"{f.__qualname__}:{f.source.digest}:{getattr(f, 'noinline', None)}" for f in self.functions),
                *(f"{name}={stable(value)}" for name, value in self.values.items()),
                *(f"{f.__qualname__}:{code}" for f, code in self.plain.items())]

    def files(self) -> list[str]:
        """The files that its functions stand in: compiled code names them. The cell of a notebook is in none, and what
        stands for its name there is another one in each session."""
        return sorted({f.source.file for f in self.functions if Path(f.source.file).is_file()})

    def watched(self) -> list[Watch]:
        return self.watches


def names_of(fn: KernelFunction) -> list[str]:
    """The names that kernel code may look up outside itself, attributes of modules among them."""
    if fn.rewritten:                       # what Python compiled is another text
        words = dict.fromkeys(re.findall(r"[^\W\d]\w*", fn.source.text))
        return [word for word in words if word not in fn.arg_names]
    code = fn.fn.__code__
    # a name that is assigned further down is a local of Python's, but the language reads the global above that
    locals_ = [name for name in code.co_varnames if name not in fn.arg_names]
    return list(dict.fromkeys([*_names_of(code), *code.co_freevars, *locals_]))


def _names_of(code: types.CodeType) -> list[str]:
    """The global and attribute names of a code object and of those inside it (comprehensions)."""
    inner = [name for c in code.co_consts if isinstance(c, types.CodeType) for name in _names_of(c)]
    return [*code.co_names, *inner]


def _code(code: types.CodeType) -> str:
    constants = [_code(c) if isinstance(c, types.CodeType) else stable_constant(c) for c in code.co_consts]
    return f"{code.co_code.hex()}{constants}{code.co_names}"


def stable_constant(value: Any) -> str:
    """A constant of Python's own bytecode: its text stands for it."""
    return repr(sorted(map(repr, cast("frozenset[Any]", value)))) if isinstance(value, frozenset) else repr(value)


def stable(value: Any) -> str:
    """A text that stands for a compile-time object; Uncacheable where there is none."""
    value = unwrap(value)
    if isinstance(value, KernelFunction):
        return "|".join(Reach(value).text()) or f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, (DType, Pointer)):
        return show_type(value)
    if isinstance(value, (Public, Leaf)):
        return repr(value)
    if isinstance(value, Compound):
        return f"{type(value).__module__}.{type(value).__qualname__} {value.form()}{stable(value.parts())}"
    if is_list(value):
        kind: type[Any] = type(value)
        named = f"{kind.__module__}.{kind.__qualname__}{kind._fields}" if hasattr(kind, "_fields") else ""
        return named + "(" + ",".join(map(stable, value)) + ")"
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value)
    if isinstance(value, constexpr_function):
        return stable(value.fn)
    if isinstance(value, types.FunctionType):
        return f"{value.__qualname__}:{_code(value.__code__)}"
    if isinstance(value, type) and value.__module__.startswith(("rtriton", "builtins")):
        return f"{value.__module__}.{value.__qualname__}"
    raise Uncacheable(repr(value))


def code_key(fn: Written) -> str:
    """A digest of all that the code of `fn` depends on but its arguments: Triton's `cache_key`."""
    try:
        return digest(Reach(fn).text())
    except Uncacheable:
        return digest([fn.__module__, fn.__qualname__, str(id(fn)), str(id(fn.fn)), fn.source.digest])


def digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
