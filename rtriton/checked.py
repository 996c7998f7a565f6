"""RTRITON_CHECK=bounds at launches: a kernel with checks is passed the extents of its arrays and a report, and what the
report says afterwards becomes a BoundsError.

    RTRITON_CHECK=bounds python script.py

The kernel is the one of `passes/check_bounds.py`. Every launch waits for its end. An extent is that of the memory an
array is part of, as far as its library tells: see `extent_of`.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from rtriton.arrays import TensorWrapper, array_of, need_array, occupied
from rtriton.errors import BoundsError, LaunchError, outside
from rtriton.guards import is_numpy
from rtriton.passes.check_bounds import FARTHEST, LAST_PROGRAM, NOTHING, OFFSET_BITS, SPARE_WORDS, Access, Checked
from rtriton.types import uint64

ANYTHING = (1 << 62, 1 << 62)  # the extent of memory of which nothing is known: every access is inside

OF_THE_CODE = ("load", "module", "function", "n_regs", "n_spills", "n_max_threads", "shared_bytes")


def extent_of(x: Any) -> tuple[int, int]:
    """Bytes of the memory that `x` is part of: before its first element, and from there on. That memory is a torch
    tensor's storage, the array that owns a NumPy array's memory, a DeviceArray's allocation, or what an array interface
    describes; of anything else nothing is known."""
    if isinstance(x, TensorWrapper):
        return extent_of(x.base)
    found = array_of(x)
    if found is None:
        return ANYTHING
    if is_numpy(x):
        owner = x
        while is_numpy(owner.base):
            owner = owner.base
        low, high = occupied(owner.ctypes.data, owner.shape, owner.strides, owner.itemsize)
        return found.address - low, high - found.address
    if hasattr(x, "untyped_storage"):
        storage = x.untyped_storage()
        before = found.address - storage.data_ptr()
        return before, storage.nbytes() - before
    if type(x).__module__ == "rtriton.array":
        return x.extent()
    described = getattr(x, "__cuda_array_interface__", None) or x.__array_interface__
    item, shape = found.dtype.itemsize, described["shape"]
    strides = described.get("strides") or [item * prod(shape[i + 1:]) for i in range(len(shape))]
    low, high = occupied(0, shape, strides, item)
    return -low, high


class CheckedExecutable:
    """An executable of a kernel with checks, launched with the arguments of the kernel as it was written."""

    direct = False          # launches need the arrays themselves

    def __init__(self, name: str, inner: Any, checked: Checked, on_gpu: bool) -> None:
        self.name, self.inner, self.checked, self.on_gpu = name, inner, checked, on_gpu
        self.asm: dict[str, Any] = inner.asm

    def __getattr__(self, name: str) -> Any:
        if name not in OF_THE_CODE:
            raise AttributeError(name)
        return getattr(self.inner, name)

    def launch(self, grid: tuple[int, int, int], values: Sequence[int | float], objects: Sequence[Any]) -> None:
        """Run, and wait; BoundsError if an access was out of bounds."""
        from rtriton.recording import recording

        if recording() is not None:
            raise self._not_captured()
        extents = [n for i in self.checked.arguments for n in extent_of(objects[i])]
        words = np.full(SPARE_WORDS + len(self.checked.accesses), NOTHING, np.uint64)
        report = self._on_device(words)
        self.inner.launch(grid, [*values, *extents, need_array(report).address], [*objects, *extents, report])
        said = report if is_numpy(report) else report.numpy()
        self._raise(said[SPARE_WORDS:], grid, extents)

    def _on_device(self, words: np.ndarray[Any, Any]) -> Any:
        if not self.on_gpu:
            return words
        from rtriton.array import DeviceArray

        return DeviceArray.from_numpy(words, uint64)

    def packed(self, values: Sequence[int | float]) -> bytes:
        """What a list of launches asks for: there is no answer."""
        raise self._not_captured()

    def _not_captured(self) -> LaunchError:
        return LaunchError(f"{self.name}: launches under RTRITON_CHECK=bounds cannot be captured, as each is waited "
                           "for")

    def _raise(self, words: np.ndarray[Any, Any], grid: tuple[int, int, int], extents: Sequence[int]) -> None:
        """An error for what the report says, if it says anything."""
        reach = {i: (extents[2 * k], extents[2 * k + 1]) for k, i in enumerate(self.checked.arguments)}
        names = [v.name for v in self.checked.kernel.params]
        told: dict[Any, str] = {}
        for access, word in zip(self.checked.accesses, words.tolist(), strict=True):
            if word != NOTHING:
                told.setdefault(outside(access.span), _told(access, word, grid, names, reach))
        if told:
            raise BoundsError(self.name, [(text, span) for span, text in told.items()])


def _told(access: Access, word: int, grid: tuple[int, int, int], names: Sequence[str],
          reach: dict[int, tuple[int, int]]) -> str:
    number, offset = word >> OFFSET_BITS, (word & (1 << OFFSET_BITS) - 1) - FARTHEST
    program = (number % grid[0], number // grid[0] % grid[1], number // (grid[0] * grid[1]))
    who = f"program {program}" if number < LAST_PROGRAM else f"a program from number {LAST_PROGRAM} on"
    which = access.arguments[-1]
    before, bytes = reach[which]
    where = f"{-before - offset} bytes before its memory" if offset < -before else \
        f"{offset + access.bytes - bytes} bytes past its end"
    others = f" (nor in {' or '.join(names[i] for i in access.arguments[:-1])})" if len(access.arguments) > 1 else ""
    far = " or further" if offset in (-FARTHEST, FARTHEST - 1) else ""
    return (f"out of bounds: {access.kind} of {access.bytes} bytes at byte {offset}{far} of {names[which]}, which has "
            f"{bytes}: {where}{others}; first in {who}")
