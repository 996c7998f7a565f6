"""What the hooks around compiling are told: knobs.runtime.jit_cache_hook before, jit_post_compile_hook after.

A hook gets key, repr, fn, compile, is_manual_warmup, already_compiled, as Triton's do. `compile["specialization_data"]`
is a text from which `kernel.preload` compiles the same kernel again, in another process too.
"""
from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from rtriton import knobs
from rtriton.arguments import Argument, constant
from rtriton.guards import is_list, is_mapping, is_tuple
from rtriton.options import DEFAULTS
from rtriton.signature import BY_SPELLING, canonical
from rtriton.types import DType

if TYPE_CHECKING:
    from rtriton.compile import Unit
    from rtriton.jit import JITFunction


class JitFunctionInfo(NamedTuple):
    """The kernel that a hook is told of."""

    module: str
    name: str
    jit_function: JITFunction


class KernelCache(dict[Any, Any]):
    """Compiled kernels by specialisation. `on_drop` is told when some are dropped: launches must not use them then."""

    def __init__(self, on_drop: Callable[[], None]) -> None:
        super().__init__()
        self._on_drop = on_drop

    def clear(self) -> None:
        super().clear()
        self._on_drop()

    def pop(self, *args: Any) -> Any:
        found = super().pop(*args)
        self._on_drop()
        return found

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        self._on_drop()


class DeviceCaches(Mapping[Any, tuple[dict[Any, Any], ...]]):
    """`kernel.device_caches`: for any device a tuple whose first item is the dict of compiled kernels."""

    def __init__(self, kernels: dict[Any, Any]) -> None:
        self._kernels = kernels

    def __getitem__(self, device: Any) -> tuple[dict[Any, Any], ...]:
        return (self._kernels,)

    def __iter__(self) -> Iterator[Any]:
        return iter((0,))

    def __len__(self) -> int:
        return 1

    def clear(self) -> None:
        """Forget all kernels of this process; those on disk stay."""
        self._kernels.clear()


def describe(fn: JITFunction, key: Any, unit: Unit, warmup: bool) -> dict[str, Any] | None:
    """The arguments of a hook call; None where there is no hook."""
    if knobs.runtime.jit_cache_hook is None and knobs.runtime.jit_post_compile_hook is None:
        return None
    source, options = unit.source, unit.options
    types = ", ".join(f"{name}: {type}" for name, type in source.signature.items())
    named = ", ".join(f"{n}={options[n]}" for n in ("num_warps", "num_ctas", "num_stages", "enable_fp_fusion",
                                                    "launch_cooperative_grid"))
    info = {"key": key, "signature": source.signature, "device": 0, "constants": getattr(source, "constants", {}),
            "configs": [getattr(source, "attrs", {})], "is_warmup": warmup, "extern_libs": options["extern_libs"] or (),
            "specialization_data": write(fn, unit, dict(zip(DEFAULTS, key[1], strict=True))),
            **{k: v for k, v in options.items() if k != "extern_libs"}}
    return {"key": key, "repr": f"{fn.__qualname__}[{named}]({types})", "compile": info, "is_manual_warmup": warmup,
            "fn": JitFunctionInfo(fn.__module__, fn.__qualname__, fn), "already_compiled": False}


def write(fn: JITFunction, unit: Unit, options: Mapping[str, Any]) -> str:
    """A specialisation as text, with the options as the launch gave them."""
    return json.dumps({"name": f"{fn.__module__}.{fn.__qualname__}", "backend": unit.backend,
                       "signature": unit.source.signature, "options": options,
                       "arguments": [_argument(a) for a in unit.arguments or ()]})


def read(text: str, fn: JITFunction) -> tuple[list[Argument], dict[str, Any], str]:
    """The arguments, options and backend of a specialisation; RuntimeError if it is another kernel's."""
    data = json.loads(text)
    name = f"{fn.__module__}.{fn.__qualname__}"
    if data["name"] != name:
        raise RuntimeError(f"Specialization data is for {data['name']} but trying to preload for {name}")
    options = {**DEFAULTS, **{k: _tuples(v) for k, v in data["options"].items()}}
    return [_read_argument(a) for a in data["arguments"]], options, data["backend"]


def _tuples(x: Any) -> Any:
    return tuple([_tuples(part) for part in x]) if is_list(x) else x


def _argument(a: Argument) -> dict[str, Any]:
    if a.parts:
        kind: type[Any] = a.key[0]
        named = None if kind is tuple else [kind.__module__, kind.__qualname__]
        return {"parts": [_argument(p) for p in a.parts], "kind": named}
    if a.constant:
        return {"constant": _constant(a.value)}
    element, pointer = (a.key[1], a.key[0]) if is_tuple(a.key) else (a.key, "")
    return {"type": canonical(element), "pointer": pointer, "divisible": a.divisible}


def _constant(x: Any) -> Any:
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    if isinstance(x, DType):
        return {"dtype": canonical(x)}
    if is_list(x):
        kind = type(x)
        return {"tuple": [_constant(p) for p in x],
                "kind": None if kind in (tuple, list) else [kind.__module__, kind.__qualname__]}
    if hasattr(x, "__qualname__"):
        return {"name": [x.__module__, x.__qualname__]}
    return {"text": repr(x)}


def _read_argument(data: Mapping[str, Any]) -> Argument:
    if "parts" in data:
        parts = tuple(_read_argument(p) for p in data["parts"])
        kind = _named(data["kind"]) if data["kind"] else tuple
        return Argument((kind, tuple([(p.key, p.divisible) for p in parts])), False, 0, "", parts=parts)
    if "constant" in data:
        return constant(_read_constant(data["constant"]))
    element = BY_SPELLING[data["type"]]
    return Argument((data["pointer"], element) if data["pointer"] else element, data["divisible"], 0, "")


def _read_constant(x: Any) -> Any:
    if not is_mapping(x):
        return x
    if "dtype" in x:
        return BY_SPELLING[x["dtype"]]
    if "tuple" in x:
        parts: Sequence[Any] = [_read_constant(p) for p in x["tuple"]]
        return _named(x["kind"])(*parts) if x["kind"] else tuple(parts)
    if "name" in x:
        return _named(x["name"])
    raise RuntimeError(f"the specialization data holds {x['text']}, which cannot be read back: compile by a launch")


def _named(place: Sequence[str]) -> Any:
    """The object of a module and a name in it; RuntimeError for what is no longer there."""
    found: ModuleType | Any = sys.modules.get(place[0])
    for part in place[1].split("."):
        found = getattr(found, part, None)
    if found is None:
        raise RuntimeError(f"the specialization data names {place[1]} of {place[0]}, which is not there")
    return found
