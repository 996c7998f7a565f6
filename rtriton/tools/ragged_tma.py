"""Descriptors of arrays that are many subarrays behind each other, read and written within one of them at a time.

    desc = create_ragged_descriptor(x, [32, 128])                     # on the host
    tile = load_ragged(desc, start, rows, [0, 0])                     # in a kernel: of x[start : start + rows]

In a kernel a subarray is a descriptor of its own, with another base and another size along the ragged axis.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.blocks import integer
from rtriton.language.descriptors import TensorDescriptor as InKernel
from rtriton.language.values import Context, Method, Public
from rtriton.tools.tensor_descriptor import TensorDescriptor
from rtriton.types import int32, int64

MOST_AXES = 3


def create_ragged_descriptor(T: Any, block_shape: Sequence[int], ragged_dim: int = 0) -> TensorDescriptor:
    """The descriptor of an array of 2 or 3 axes, ragged along `ragged_dim`, which is not the last one.

    ValueError for other axes; what holds for every TensorDescriptor holds for this one."""
    rank = len(T.shape)
    axis = ragged_dim + rank if ragged_dim < 0 else ragged_dim
    if not 2 <= rank <= MOST_AXES:
        raise ValueError(f"a ragged descriptor has 2 or {MOST_AXES} axes, got {rank}")
    if not 0 <= axis < rank - 1:
        raise ValueError(f"the last axis cannot be the ragged one: of {rank} axes, got axis {ragged_dim}")
    return TensorDescriptor.from_tensor(T, list(block_shape))


def _part(b: Context, TMA: Any, batch_offset: Any, batch_size: Any, ragged_dim: Any) -> InKernel:
    """The subarray of `batch_size` rows from `batch_offset` on."""
    if not isinstance(TMA, InKernel):
        raise TypeError(f"a ragged load or store needs a tensor descriptor, got {s.describe(TMA)}")
    axis = s.constant_int(ragged_dim, "ragged_dim")
    if not 0 <= axis < len(TMA.shape) - 1:
        raise ValueError(f"ragged_dim is an axis before the last of {len(TMA.shape)}, got {axis}")
    start = integer(b, batch_offset, int64, "batch_offset")
    base = b.build.one("addptr", TMA.base, s.binary(b, "mul", start, TMA.strides[axis]))
    size = integer(b, batch_size, int32, "batch_size")
    return replace(TMA, base=base, shape=(*TMA.shape[:axis], size, *TMA.shape[axis + 1:]))


def _method(name: str) -> Any:
    entry: Method = InKernel.methods[name]
    assert isinstance(entry, Public)
    return entry.fn


def _load_ragged(b: Context, TMA: Any, batch_offset: Any, batch_size: Any, coords: Any, ragged_dim: Any = 0) -> Value:
    """The block at `coords` of a subarray; what lies outside of the subarray is padding."""
    return _method("load")(b, _part(b, TMA, batch_offset, batch_size, ragged_dim), coords)


def _store_ragged(b: Context, TMA: Any, batch_offset: Any, batch_size: Any, coords: Any, data: Any,
                  ragged_dim: Any = 0) -> None:
    """Write a block at `coords` of a subarray; what lies outside of the subarray is dropped."""
    _method("store")(b, _part(b, TMA, batch_offset, batch_size, ragged_dim), coords, data)


def _atomic_add_ragged(b: Context, TMA: Any, batch_offset: Any, batch_size: Any, coords: Any, data: Any,
                       ragged_dim: Any = 0) -> None:
    """Add a block at `coords` of a subarray, each element atomically; what lies outside is dropped."""
    _method("atomic_add")(b, _part(b, TMA, batch_offset, batch_size, ragged_dim), coords, data)


def _public(fn: Callable[..., Any]) -> Public:
    entry = Public(fn, False)
    entry.__name__ = fn.__name__.removeprefix("_")
    return entry


load_ragged, store_ragged, atomic_add_ragged = map(_public, (_load_ragged, _store_ragged, _atomic_add_ragged))
