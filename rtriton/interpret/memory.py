"""The interpreter's memory: the arrays given as arguments, and nothing else.

A pointer is the address of an element, so arithmetic on it is plain integers. Every unmasked access is checked against
the array that the pointer comes from; where that is not known (pointers that were themselves loaded), against all.
Addresses in the form of an Affine are read through strided views, others by index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rtriton.interpret.affine import Affine, Data, expand
from rtriton.numerics import Array
from rtriton.types import DType, Pointer

SMALL_TILE = 64  # elements below which a gather beats one copy per program


class Fault(Exception):
    """An access that must not happen; the machine adds the place. `program` counts within the batch."""

    def __init__(self, message: str, program: int | None = None) -> None:
        super().__init__(message)
        self.program = program


class _Bytes:
    """Lets NumPy look at memory by address."""

    def __init__(self, address: int, nbytes: int, writable: bool) -> None:
        self.__array_interface__ = {"version": 3, "shape": (nbytes,), "typestr": "|u1", "data": (address, not writable)}


class Region:
    """The bytes of one array argument."""

    def __init__(self, name: str, array: Array, element: DType) -> None:
        if array.dtype.itemsize != element.itemsize:
            raise Fault(
                f"argument {name} points at {element.short} of {element.itemsize} bytes, the array holds {array.dtype}"
            )
        self.name, self.array, self.element = name, array, element
        spans = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)] if array.size else [0]
        self.low = array.ctypes.data + sum(s for s in spans if s < 0)
        self.high = array.ctypes.data + sum(s for s in spans if s > 0) + (array.itemsize if array.size else 0)
        self.start = array.ctypes.data
        self.writable = array.flags.writeable
        self.bytes = (
            np.asarray(_Bytes(self.low, self.high - self.low, self.writable))
            if self.high > self.low
            else np.empty(0, np.uint8)
        )
        self.flats: dict[str, Array] = {}

    def flat(self, storage: str) -> Array:
        """The whole region as a 1-d array."""
        if storage not in self.flats:
            size = np.dtype(storage).itemsize
            self.flats[storage] = self.bytes[: self.bytes.size // size * size].view(storage)
        return self.flats[storage]

    def holds(self, address: Array, size: int) -> Array:
        return (address >= self.low) & (address <= self.high - size)

    def index(self, address: int, size: int) -> str:
        """How an error names an address of this array."""
        return f"{self.name}[{(address - self.start) // size}]"

    def overlaps(self, other: Region) -> bool:
        return self.low < other.high and other.low < self.high


class Memory:
    """`copies`: give copies of what is read, for kernels that also write it."""

    def __init__(self, regions: Sequence[Region | None], copies: bool) -> None:
        self.regions = regions
        self.copies = copies
        self.writes = 0  # stores, and atomics that changed something: a loop without any waits for nothing

    # -- reading ---------------------------------------------------------------------------------------------------

    def load(self, address: Data, mask: Data | None, other: Array | None, pointer: Pointer, root: int | None) -> Array:
        """What is stored at the addresses, still encoded; `other` (encoded) or 0 where the mask is false."""
        storage = np.dtype(pointer.element.storage)
        if isinstance(mask, Affine) and mask.uniform and mask.value:
            mask = None
        region = self.regions[root] if root is not None else None
        if isinstance(address, Affine) and region is not None:
            box = box_of(mask, address.shape)
            if box is not None:
                return self.blocks(address, box, other, region, storage)
        return self.gather(expand(address), None if mask is None else expand(mask), other, storage, region)

    def blocks(
        self, address: Affine, box: tuple[slice, ...], other: Array | None, region: Region, storage: np.dtype[Any]
    ) -> Array:
        inner = cut(address, box)
        whole = inner.shape == address.shape
        view = self.view(inner, region, storage, "reads") if 0 not in inner.shape else None
        if view is None and whole:
            count = address.base.size
            if inner.strides and int(np.prod(inner.shape)) >= SMALL_TILE:
                out = np.empty((count, *address.shape), storage)
                for p, tile in self.each_program(inner, region, storage):
                    out[p] = tile
                return out
            return region.flat(storage.name)[(expand(inner) - region.low) // storage.itemsize]
        if whole:
            assert view is not None
            return view.copy() if self.copies else view
        shape = (address.base.size, *address.shape)
        out = (
            np.zeros(shape, storage)
            if other is None
            else np.array(np.broadcast_to(other, np.broadcast_shapes(shape, other.shape)))
        )
        if view is not None:
            out[(slice(None), *box)] = view
        elif 0 not in inner.shape:
            target = out[(slice(None), *box)]
            for p, tile in self.each_program(inner, region, storage):
                target[p] = tile
        return out

    def view(self, address: Affine, region: Region, storage: np.dtype[Any], verb: str) -> Array | None:
        """A strided view of all programs' tiles; None where the programs are not evenly spaced."""
        size = storage.itemsize
        first = self.check(address, region, size, verb)
        base = address.base
        step = int(base[1] - base[0]) if base.size > 1 else 0
        if base.size > 2 and not (np.diff(base) == step).all():
            return None
        if step < 0:
            return None
        return np.ndarray((base.size, *address.shape), storage, region.bytes, first, (step, *address.strides))

    def each_program(self, address: Affine, region: Region, storage: np.dtype[Any]) -> Iterator[tuple[int, Array]]:
        """A view of each program's tile."""
        for p, base in enumerate((address.base - region.low).tolist()):
            yield p, np.ndarray(address.shape, storage, region.bytes, base, address.strides)

    def check(self, address: Affine, region: Region, size: int, verb: str) -> int:
        """Every address lies in the region and is aligned; the offset of element 0 of program 0."""
        below = sum(s * (n - 1) for s, n in zip(address.strides, address.shape, strict=True) if s < 0)
        above = sum(s * (n - 1) for s, n in zip(address.strides, address.shape, strict=True) if s > 0)
        low, high = int(address.base.min()) + below, int(address.base.max()) + above
        if low < region.low or high > region.high - size:
            self.refuse(expand(address), None, region, size, verb)
        if size != region.element.itemsize and (
            np.any((address.base - region.low) % size) or any(s % size for s in address.strides)
        ):
            raise Fault(f"{verb} {size} bytes at an address of {region.name} that is not a multiple of {size}")
        return int(address.base[0]) - region.low

    def refuse(self, address: Array, mask: Array | None, region: Region, size: int, verb: str) -> None:
        """Raise for the first address outside the region."""
        bad = ~region.holds(address, size)
        if mask is not None:
            bad = bad & mask
        if not bad.any():
            return
        program, place = first_true(bad)
        wrong = int(np.broadcast_to(address, bad.shape)[(program, *place)])
        count = (region.high - region.low) // size
        element = f" for tile element {place}" if place else ""
        raise Fault(
            f"{verb} {region.index(wrong, size)}{element}, outside argument {region.name} of {count} elements", program
        )

    def gather(
        self, address: Array, mask: Array | None, other: Array | None, storage: np.dtype[Any], region: Region | None
    ) -> Array:
        if region is not None:
            return self.take(address, mask, other, storage, region)
        wanted = (
            np.ones(address.shape, np.bool_)
            if mask is None
            else np.broadcast_to(mask, np.broadcast_shapes(mask.shape, address.shape))
        )
        address = np.broadcast_to(address, wanted.shape)
        out = np.zeros(wanted.shape, storage) if other is None else np.array(np.broadcast_to(other, wanted.shape))
        for owner, here in self.owners(address, wanted, storage.itemsize, "reads"):
            out[here] = owner.flat(storage.name)[self.indices(address[here], storage.itemsize, owner, "reads")]
        return out

    def take(
        self, address: Array, mask: Array | None, other: Array | None, storage: np.dtype[Any], region: Region
    ) -> Array:
        size = storage.itemsize
        flat = region.flat(storage.name)
        if mask is not None:
            shape = np.broadcast_shapes(mask.shape, address.shape)
            if not flat.size:
                self.refuse(address, mask, region, size, "reads")
                return np.zeros(shape, storage) if other is None else np.array(np.broadcast_to(other, shape))
            address = np.where(mask, address, region.low)
        index = self.indices(address, size, region, "reads")
        found = flat[index]
        if mask is None:
            return found
        return np.where(mask, found, storage.type(0) if other is None else other)

    def indices(self, address: Array, size: int, region: Region, verb: str) -> Array:
        offset = address - region.low
        if offset.size and (int(offset.min()) < 0 or int(offset.max()) > region.high - region.low - size):
            self.refuse(address, None, region, size, verb)
        if size != region.element.itemsize and np.any(offset % size):
            raise Fault(f"{verb} {size} bytes at an address of {region.name} that is not a multiple of {size}")
        return offset >> (size.bit_length() - 1)

    def owners(self, address: Array, wanted: Array, size: int, verb: str) -> list[tuple[Region, Array]]:
        """Which arrays the addresses lie in; every wanted one must lie in some."""
        found: list[tuple[Region, Array]] = []
        left = wanted
        for region in self.regions:
            if region is None:
                continue
            here = left & region.holds(address, size)
            if here.any():
                found.append((region, here))
                left = left & ~here
        if left.any():
            program, place = first_true(left)
            raise Fault(f"{verb} address {int(address[(program, *place)]):#x}, which lies in no argument", program)
        return found

    # -- writing ---------------------------------------------------------------------------------------------------

    def store(self, address: Data, value: Array, mask: Data | None, pointer: Pointer, root: int | None) -> None:
        """Write encoded values; of several for one place the last stays."""
        self.writes += 1
        storage = np.dtype(pointer.element.storage)
        if isinstance(mask, Affine) and mask.uniform:
            if not mask.value:
                return
            mask = None
        region = self.regions[root] if root is not None else None
        if (
            isinstance(address, Affine)
            and region is not None
            and self.put_blocks(address, value, mask, region, storage)
        ):
            return
        self.put(expand(address), value, None if mask is None else expand(mask), storage, region)

    def put_blocks(
        self, address: Affine, value: Array, mask: Data | None, region: Region, storage: np.dtype[Any]
    ) -> bool:
        box = box_of(mask, address.shape)
        if box is None:
            return False
        inner = cut(address, box)
        if 0 in inner.shape:
            return True
        if not tile_disjoint(inner, storage.itemsize):
            return False
        self.writable(region)
        part = value[(slice(None), *box)]
        view = self.view(inner, region, storage, "writes") if apart(inner, storage.itemsize) else None
        if view is not None:
            view[...] = part[-1:] if view.shape[0] < part.shape[0] else part
        else:
            self.check(inner, region, storage.itemsize, "writes")
            part = np.broadcast_to(part, (address.base.size, *inner.shape))
            for p, tile in self.each_program(inner, region, storage):
                tile[...] = part[p]
        return True

    def writable(self, region: Region) -> None:
        if not region.writable:
            raise Fault(f"writes argument {region.name}, a read-only array")

    def put(
        self, address: Array, value: Array, mask: Array | None, storage: np.dtype[Any], region: Region | None
    ) -> None:
        for owner, index, values, _ in self.places(address, value, mask, storage, region, "writes"):
            owner.flat(storage.name)[index] = values

    def places(
        self, address: Array, value: Array, mask: Array | None, storage: np.dtype[Any], region: Region | None, verb: str
    ) -> list[tuple[Region, Array, Array, Array]]:
        """(array, indices, values, mask of the places) for all unmasked elements, in order of programs and elements."""
        shape = np.broadcast_shapes(address.shape, value.shape, () if mask is None else mask.shape)
        wanted = np.ones(shape, np.bool_) if mask is None else np.broadcast_to(mask, shape)
        address, value = np.broadcast_to(address, shape), np.broadcast_to(value, shape)
        if region is not None:
            self.refuse(address, wanted, region, storage.itemsize, verb)
            owned = [(region, wanted)]
        else:
            owned = self.owners(address, wanted, storage.itemsize, verb)
        for owner, _ in owned:
            self.writable(owner)
        return [
            (owner, self.indices(address[here], storage.itemsize, owner, verb), value[here], here)
            for owner, here in owned
        ]


def first_true(mask: Array) -> tuple[int, tuple[int, ...]]:
    """The program and the tile element where a mask is true first."""
    program, *place = (int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape))
    return program, tuple(place)


def cut(x: Affine, box: tuple[slice, ...]) -> Affine:
    """The part of a tile that a box of slices leaves."""
    if not box or all(b.start == 0 and b.stop == n for b, n in zip(box, x.shape, strict=True)):
        return x
    start = sum(b.start * s for b, s in zip(box, x.strides, strict=True))
    return x._replace(base=x.base + start, shape=tuple(b.stop - b.start for b in box))


def box_of(mask: Data | None, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """The box that a mask is true in, equal for all programs and false outside; None if it has another form."""
    if mask is None:
        return tuple(slice(0, n) for n in shape)
    if isinstance(mask, Affine):
        return tuple(slice(0, n if mask.value else 0) for n in shape) if mask.uniform and shape else None
    if mask.shape[0] != 1 or not shape:
        return None
    tile = mask[0]
    box: list[slice] = []
    for axis in range(tile.ndim):
        along = np.flatnonzero(tile.any(axis=tuple(k for k in range(tile.ndim) if k != axis)))
        box.append(slice(int(along[0]), int(along[-1]) + 1) if along.size else slice(0, 0))
    if any(b.stop == 0 for b in box):
        return tuple(slice(0, 0) for _ in box)
    return tuple(box) if tile[tuple(box)].all() else None


def reach_of(x: Affine, size: int) -> int:
    """Bytes from the first to past the last element of one tile; 0 where two elements may share a place."""
    reach = size
    for stride, count in sorted((abs(s), n) for s, n in zip(x.strides, x.shape, strict=True) if n > 1):
        if stride < reach:
            return 0
        reach += stride * (count - 1)
    return reach


def tile_disjoint(x: Affine, size: int) -> bool:
    return reach_of(x, size) > 0


def apart(x: Affine, size: int) -> bool:
    """Each program's tile lies past the one before it, so that the order of writing them does not matter."""
    return x.base.size == 1 or bool((np.diff(x.base) >= reach_of(x, size)).all())
