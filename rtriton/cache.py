"""Compiled kernels on disk, found again by everything that their code depends on.

The key holds: the text of the kernel and of every kernel function it can reach, the constexpr globals they see, the
argument specialisation, the options, the target, the knobs that change code, and a digest of rtriton's own sources. So
an edited helper, a changed global, another CPU or a new rtriton never meets a stale kernel. What the key cannot hold
(an object whose text shows an address) makes a kernel uncacheable.

Entries are written aside and renamed, carry a checksum and are verified when read; a damaged one is compiled again. The
folder belongs to its user alone (0700).
"""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import types
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rtriton import knobs
from rtriton.guards import is_list
from rtriton.language.values import Compound, Leaf, Public, constexpr, constexpr_function, unwrap
from rtriton.source import KernelFunction, is_constexpr_annotation
from rtriton.types import DType, Pointer, Type, show_type

Watched = list[tuple[KernelFunction, str, Any]]


class Uncacheable(Exception):
    """Something the kernel depends on has no text that stands for it."""


@cache
def sources_digest() -> str:
    """A digest of every file of rtriton that can change generated code."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.lark")]):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


class Reach:
    """The kernel functions that `fn` can call, and the globals that take part in its meaning."""

    def __init__(self, fn: KernelFunction) -> None:
        self.functions: dict[KernelFunction, None] = {}
        self.values: dict[tuple[KernelFunction, str], Any] = {}
        self.plain: list[str] = []
        self._function(fn)

    def _function(self, fn: KernelFunction) -> None:
        if fn in self.functions or (fn.__module__ or "").startswith("rtriton."):
            return                                   # rtriton's own functions are in its sources' digest
        self.functions[fn] = None
        outer = fn.nonlocals()
        names = [*fn.fn.__code__.co_names, *outer]
        for name in names:
            if name in outer or name in fn.globals:
                self._value(fn, name, outer[name] if name in outer else fn.globals[name], names)

    def _value(self, fn: KernelFunction, name: str, value: Any, names: list[str]) -> None:
        if isinstance(value, KernelFunction):
            self._function(value)
        elif isinstance(value, types.ModuleType):
            if not value.__name__.startswith("rtriton"):
                for attribute in names:
                    if attribute in vars(value):
                        self._value(fn, f"{name}.{attribute}", vars(value)[attribute], [])
        elif isinstance(value, constexpr) or is_constexpr_annotation(fn.globals.get("__annotations__", {}).get(name)):
            self.values[fn, name] = unwrap(value)
        elif isinstance(value, constexpr_function):
            self.plain.append(_code(value.fn))

    def text(self) -> list[str]:
        return [*(f"{f.__qualname__}:{f.source.digest}" for f in self.functions),
                *(f"{f.__qualname__}.{n}={stable(v)}" for (f, n), v in self.values.items()), *self.plain]

    def watched(self) -> Watched:
        return [(f, n, v) for (f, n), v in self.values.items() if "." not in n]


def _code(fn: Any) -> str:
    """A plain function by its bytecode and constants (its globals are not followed: constexpr functions are pure)."""
    if not hasattr(fn, "__code__"):
        raise Uncacheable(repr(fn))
    code = fn.__code__
    constants = tuple(c for c in code.co_consts if not isinstance(c, types.CodeType))
    return f"{fn.__qualname__}:{code.co_code.hex()}:{stable(constants)}"


def stable(value: Any) -> str:
    """A text that stands for a compile-time object; Uncacheable where there is none."""
    value = unwrap(value)
    if isinstance(value, KernelFunction):
        return "|".join(Reach(value).text()) or f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, (DType, Pointer)):
        return show_type(value)
    if isinstance(value, Public):
        return repr(value)
    if isinstance(value, Compound):
        return f"{type(value).__name__} {value.form()}{stable(value.parts())}"
    if isinstance(value, Leaf):
        return repr(value)
    if is_list(value):
        kind: type[Any] = type(value)
        named = f"{kind.__module__}.{kind.__qualname__}{kind._fields}" if hasattr(kind, "_fields") else ""
        return named + "(" + ",".join(map(stable, value)) + ")"
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value)
    if isinstance(value, types.FunctionType):
        return _code(value)
    raise Uncacheable(repr(value))


def key_of(reach: Reach, name: str, signature: Mapping[str, Type], constants: Mapping[str, Any],
           divisible: Mapping[str, int], options: Mapping[str, Any], target: str) -> str:
    """The name of an entry. Raises Uncacheable."""
    parts = [sources_digest(), name, target, *reach.text(), *(f"{k}:{show_type(t)}" for k, t in signature.items()),
             *(f"{k}={stable(v)}" for k, v in constants.items()), *(f"{k}%{d}" for k, d in divisible.items()),
             *(f"{k}:{stable(v)}" for k, v in options.items()), *sorted(knobs.skipped_passes()),
             knobs.f32_default_precision()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def folder() -> Path:
    return knobs.cache_dir() / "kernels"


def read(key: str) -> dict[str, Any] | None:
    """The entry of this key; None when there is none or it is damaged."""
    try:
        raw = (folder() / key[:2] / key).read_bytes()
    except OSError:
        return None
    checksum, _, body = raw.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        return None
    return json.loads(body)


def write(key: str, entry: Mapping[str, Any]) -> None:
    """Keep an entry; a folder that cannot be written only costs the next process a compilation."""
    body = json.dumps(entry).encode()
    path = folder() / key[:2] / key
    aside = path.with_suffix(f".{os.getpid()}")
    try:
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        aside.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        aside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
