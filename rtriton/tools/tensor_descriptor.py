"""Tensor descriptors made on the host, to be passed to kernels.

    desc = TensorDescriptor.from_tensor(x, [64, 32])
    kernel[grid](desc, ...)                      # in the kernel: desc.load([row, column])
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rtriton.arguments import Argument, constant, specialise
from rtriton.arrays import need_array
from rtriton.language.descriptors import MOST_AXES, TensorDescriptor as InKernel, check_blocks
from rtriton.types import int32, int64

ALIGNED = 16              # bytes


class DescriptorError(ValueError, AssertionError):
    """An array that no descriptor can describe. (Triton raises AssertionError.)"""


@dataclass
class TensorDescriptor:
    """An array of any library with the block that kernels read and write.

    base: the array, at a multiple of 16 bytes; shape: 1 to 5 positive sizes; strides: in elements, multiples of 16
    bytes but the last, which is 1; block_shape: powers of two; padding: what is read outside of the array, "zero" or
    "nan" (floats only). DescriptorError, a ValueError, for anything else."""

    base: Any
    shape: Sequence[int]
    strides: Sequence[int]
    block_shape: Sequence[int]
    padding: str = "zero"

    def __post_init__(self) -> None:
        rank = len(self.shape)
        for name, given in (("strides", self.strides), ("block_shape", self.block_shape)):
            _need(len(given) == rank, f"rank mismatch: shape has {rank} axes, {name} {len(given)}")
        _need(1 <= rank <= MOST_AXES, f"a descriptor has 1 to {MOST_AXES} axes, got {rank}")
        found = need_array(self.base)
        _need(found.address % ALIGNED == 0, f"base must be 16-byte aligned, got address {found.address:#x}")
        for i, n in enumerate(self.block_shape):
            _need(n > 0 and n & (n - 1) == 0, f"Shape element {i} must be a power of 2, got {n} in block_shape")
        check_blocks(self.block_shape, found.dtype)
        for stride in self.strides[:-1]:
            _need(stride * found.dtype.itemsize % ALIGNED == 0, "strides must be 16-byte aligned, got a stride of "
                  f"{stride} elements of {found.dtype.itemsize} bytes")
        _need(all(n > 0 for n in self.shape), f"shape must be positive, got {tuple(self.shape)}")
        _need(self.strides[-1] == 1, f"Last dimension must be contiguous, got a stride of {self.strides[-1]}")
        _need(self.padding in ("zero", "nan"), f"Illegal value for padding: 'zero' or 'nan', got {self.padding!r}")
        _need(self.padding == "zero" or found.dtype.is_floating(),
              f"Padding option `nan` is only supported for floating point tensors, got {found.dtype}")

    @staticmethod
    def from_tensor(tensor: Any, block_shape: Sequence[int], padding: str = "zero") -> TensorDescriptor:
        """The descriptor of a whole array (NumPy or torch)."""
        if callable(getattr(tensor, "stride", None)):
            return TensorDescriptor(tensor, tensor.shape, tensor.stride(), block_shape, padding)
        strides = [n // need_array(tensor).dtype.itemsize for n in tensor.strides]
        return TensorDescriptor(tensor, tensor.shape, strides, block_shape, padding)

    def kernel_parts(self) -> tuple[Any, ...]:
        """The objects that the parts of `kernel_argument` stand for."""
        return self.base, self.shape, self.strides, self.block_shape, self.padding

    def kernel_argument(self) -> Argument:
        """How a kernel specialises: on dtype, block_shape, padding, and sizes and strides being multiples of 16."""
        shape = tuple(Argument(int32, n % 16 == 0, int(n), "") for n in self.shape)
        strides = (*(Argument(int64, n % 16 == 0, int(n), "") for n in self.strides[:-1]), constant(1))
        parts = (specialise(self.base), _list(shape), _list(strides), constant(tuple(map(int, self.block_shape))),
                 constant(self.padding))
        return Argument((InKernel, tuple((p.key, p.divisible) for p in parts)), False, 0, "", parts=parts)


def _list(parts: tuple[Argument, ...]) -> Argument:
    return Argument((tuple, tuple((p.key, p.divisible) for p in parts)), False, 0, "", parts=parts)


def _need(holds: bool, message: str) -> None:
    if not holds:
        raise DescriptorError(message)
