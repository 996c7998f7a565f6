"""The names that types go by in kernel signatures and annotations, as in Triton: `*fp32`, `*ki8`, `i32`, `u1`.

    str_to_ty("*kfp16")                      -> a pointer to float16 that is only read
    canonicalize_dtype(torch.float8_e4m3fn)  -> "fp8e4nv"

Every spelling of a dtype (Triton's, NumPy's, torch's, C's) is in one table.
"""
from __future__ import annotations

from typing import Any

from rtriton.types import DTYPES, DType, Pointer

_OTHER_NAMES = {
    "int1": ("bool", "uint1", "i1"), "int32": ("int",), "fp16": ("half", "float16"), "bf16": ("bfloat16",),
    "fp32": ("float", "float32"), "fp64": ("double", "float64"), "fp8e5": ("float8e5", "float8_e5m2"),
    "fp8e4nv": ("float8e4nv", "float8_e4m3fn"), "fp8e4b8": ("float8e4b8", "float8_e4m3fnuz"),
    "fp8e5b16": ("float8e5b16", "float8_e5m2fnuz"), "fp8e4b15": ("float8e4b15",),
}


def canonical(dtype: DType) -> str:
    """The name of a dtype in signatures: i32, u8, fp16; masks are u1."""
    return "u1" if dtype.kind == "b" else dtype.name.replace("uint", "u").replace("int", "i")


def _spellings() -> dict[str, DType]:
    found: dict[str, DType] = {}
    for dtype in DTYPES:
        for name in (canonical(dtype), dtype.name, *_OTHER_NAMES.get(dtype.name, ())):
            found[name] = dtype
    return found


BY_SPELLING = _spellings()

# Triton's public name for the same table, from spelling to canonical name
type_canonicalisation_dict: dict[str, str] = {**{n: canonical(t) for n, t in BY_SPELLING.items()}, "void": "void"}


def canonicalize_dtype(dtype: Any) -> str:
    """The canonical name of a dtype given as a text or as an object of Triton, torch or NumPy. KeyError if unknown."""
    return type_canonicalisation_dict[str(dtype).split(".")[-1]]


def str_to_ty(name: str, c: Any = None) -> DType | Pointer:
    """The type that a signature names; ValueError for none. `c` is Triton's and must be None: it has meaning only for
    types that are known by value."""
    if c is not None:
        raise ValueError("str_to_ty reads scalars and pointers, which take no constants")
    if name.startswith("*"):
        const = name.startswith("*k")
        element = str_to_ty(name[2 if const else 1:])
        if not isinstance(element, DType):
            raise ValueError(f"{name!r} is a pointer to a pointer, which signatures do not have")
        return Pointer(element, const=const)
    if name not in BY_SPELLING:
        raise ValueError(f"no type is called {name!r}")
    return BY_SPELLING[name]
