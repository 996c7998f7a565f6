"""The kernel language, imported as `tl`: types, functions, and the op table behind them.

    import rtriton.language as tl
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
"""
from __future__ import annotations

from typing import Any

from rtriton.ir import Value as tensor
from rtriton.language import assembly as _assembly
from rtriton.language import control as _control
from rtriton.language import derived as _derived
from rtriton.language import descriptors as _descriptors
from rtriton.language import gpu as _gpu
from rtriton.language import library as _library
from rtriton.language import linear as _linear
from rtriton.language import memory as _memory
from rtriton.language import primitives as _primitives
from rtriton.language import random as _random
from rtriton.language import scaled as _scaled
from rtriton.language import shape as _shape
from rtriton.language import sort as _sort
from rtriton.language.descriptors import (
    TensorDescriptor as tensor_descriptor,
    TensorDescriptorType as tensor_descriptor_type,
)
from rtriton.language.math import PropagateNan
from rtriton.language.members import install as _install_members
from rtriton.language.typenames import block_type, pointer_type
from rtriton.language.table import OPS, OpDef, infer
from rtriton.language.known import constexpr_type, tuple_, tuple_type
from rtriton.language.values import (
    METHODS, PUBLIC, Public, const, constexpr, constexpr_function, range_, static_range,
)
from rtriton.signature import str_to_ty
from rtriton.types import (
    MAX_TILE_ELEMENTS as TRITON_MAX_TENSOR_NUMEL,
    DType as dtype,
    bfloat16, float8e4b8, float8e4b15, float8e4nv, float8e5, float8e5b16, float16, float32, float64, int1,
    int8, int16, int32, int64, uint8, uint16, uint32, uint64, void,
)

# Imported for what they register: each fills OPS, PUBLIC and METHODS.
_REGISTERED = (
    _assembly, _control, _derived, _descriptors, _gpu, _library, _linear, _memory, _primitives, _random, _scaled,
    _shape, _sort,
)

range = range_
tuple = tuple_
slice = slice

globals().update({name: entry for name, entry in PUBLIC.items() if not name.startswith("_")})

_install_members()
pi32_t = pointer_type(int32)

from rtriton.language import core, extra, math, random, standard, target_info  # noqa: E402  (they read this module)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"the kernel language has no tl.{name}")


__all__ = ["OPS", "OpDef", "infer", "METHODS", "PUBLIC", "Public", "block_type", "core", "constexpr_type", "extra",
           "math", "pi32_t", "random", "slice", "standard", "target_info", "tuple", "void",
           "tuple_type", "PropagateNan", "const", "constexpr", "constexpr_function",
           "range", "static_range", "dtype", "pointer_type", "str_to_ty", "tensor", "tensor_descriptor",
           "tensor_descriptor_type", "TRITON_MAX_TENSOR_NUMEL",
           "bfloat16", "float8e4b8", "float8e4b15", "float8e4nv", "float8e5", "float8e5b16", "float16", "float32",
           "float64", "int1", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
