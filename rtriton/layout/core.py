"""The class `Layout`: where each element of a tile lives, as a linear map over bits.

A layout maps a hardware place, (register, lane, warp) or (offset,) in shared memory, to the coordinates of
a tile element.  It is fixed by its *bases*: the value at each power of two of each input.  Every other
place holds the element whose coordinates are the xor of the bases of its set bits.

    >>> rows = Layout.of((2, 4), register=[(0, 1)], lane=[(0, 2), (1, 0)])
    >>> rows.at(register=1, lane=3)
    (1, 3)

A coordinate is kept packed in one int, the last axis in the low bits, which is also its row-major index.
So reshape changes `shape` and no basis.

Limits.  Sizes are powers of two.  Padding is not linear: shared memory is swizzled instead.  Each basis of
a distributed layout (register, lane, warp) is one bit of one axis or zero; only shared ones mix bits.  A zero
basis of lane or warp says that those places hold copies: one of them, the owner, stores or does the atomic.
Registers never hold copies.  The stages of a multi-buffered tile are not a power of two: they stay outside.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

Coord = tuple[int, ...]
DISTRIBUTED = ("register", "lane", "warp")
LANE_BITS = 5


class LayoutError(ValueError):
    """A layout was asked for something it cannot be."""


def log2(n: int) -> int:
    if n <= 0 or n & (n - 1):
        raise LayoutError(f"a layout needs sizes that are powers of two, got {n}")
    return n.bit_length() - 1


def pack(coord: Sequence[int], shape: Sequence[int]) -> int:
    """The row-major index of `coord`."""
    packed = 0
    for c, n in zip(coord, shape, strict=True):
        packed = packed << log2(n) | c
    return packed


def unpack(packed: int, shape: Sequence[int]) -> Coord:
    out: list[int] = []
    for n in reversed(shape):
        out.append(packed & (n - 1))
        packed >>= log2(n)
    return tuple(reversed(out))


def bits(n: int) -> list[int]:
    """The positions of the set bits of `n`, lowest first."""
    return [k for k in range(n.bit_length()) if n >> k & 1]


def xor_of(columns: Sequence[int], index: int) -> int:
    """The matrix with these columns times the bit vector `index`."""
    out = 0
    for k in bits(index):
        out ^= columns[k]
    return out


@dataclass(frozen=True)
class Layout:
    shape: tuple[int, ...]
    bases: tuple[tuple[str, tuple[int, ...]], ...]

    def __post_init__(self) -> None:
        for n in self.shape:
            log2(n)
        limit = prod(self.shape)
        for dim, columns in self.bases:
            for b in columns:
                if not 0 <= b < limit:
                    raise LayoutError(f"basis {b} of {dim} lies outside the tile {show_shape(self.shape)}")
                if dim in DISTRIBUTED and b & (b - 1):
                    raise LayoutError(f"basis {unpack(b, self.shape)} of {dim} moves along more than one bit")

    @staticmethod
    def of(shape: Sequence[int], **dims: Iterable[Coord]) -> Layout:
        """Bases written as coordinates: Layout.of((16, 8), lane=[(0, 2), (0, 4), (1, 0)])."""
        shape = tuple(shape)
        return Layout(shape, tuple((d, tuple(pack(c, shape) for c in coords)) for d, coords in dims.items()))

    @staticmethod
    def parse(text: str) -> Layout:
        """The layout that `str` printed as `text`."""
        return _parse(text)

    def __getitem__(self, dim: str) -> tuple[int, ...]:
        """The packed bases of one hardware dimension; empty for one that the layout lacks."""
        return self._columns.get(dim, ())

    @cached_property
    def _columns(self) -> dict[str, tuple[int, ...]]:
        return dict(self.bases)

    @property
    def dims(self) -> tuple[str, ...]:
        return tuple(d for d, _ in self.bases)

    @property
    def columns(self) -> list[int]:
        return [b for _, columns in self.bases for b in columns]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def element_bits(self) -> int:
        return log2(prod(self.shape))

    def size(self, dim: str) -> int:
        return 1 << len(self[dim])

    @property
    def registers(self) -> int:
        """How many registers of one thread hold the tile."""
        return self.size("register")

    def flat(self, **at: int) -> int:
        """The packed element held at a place."""
        out = 0
        for dim, index in at.items():
            if index >> len(self[dim]):
                raise LayoutError(f"{dim} {index} is outside the layout, which has {self.size(dim)}")
            out ^= xor_of(self[dim], index)
        return out

    def at(self, **place: int) -> Coord:
        """The coordinates of the element held at a place."""
        return unpack(self.flat(**place), self.shape)

    @cached_property
    def is_surjective(self) -> bool:
        """Every element has a place."""
        return matrix_rank(self.columns) == self.element_bits

    @cached_property
    def is_injective(self) -> bool:
        """No element has two places."""
        return matrix_rank(self.columns) == len(self.columns)

    @cached_property
    def inverse(self) -> tuple[dict[str, int], ...]:
        """For each bit of the packed element, a place that holds it; registers first, then lanes, then warps."""
        return tuple(self.find(1 << k) for k in range(self.element_bits))

    def find(self, packed: int) -> dict[str, int]:
        """The place of an element with the smallest register, lane and warp."""
        index = solve(self.columns, packed)
        if index is None:
            raise LayoutError(f"no place of {self} holds element {unpack(packed, self.shape)}")
        place: dict[str, int] = {}
        for dim, columns in self.bases:
            place[dim] = index & ((1 << len(columns)) - 1)
            index >>= len(columns)
        return place

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """For each bit of the packed element, its offset in shared memory."""
        return tuple(place["offset"] for place in self.inverse)

    def copies(self, dim: str) -> int:
        """The bits of `dim` along which places hold copies, as a mask; the owner has all of them zero."""
        return sum(1 << k for k, b in enumerate(self[dim]) if b == 0)

    def __str__(self) -> str:
        text = ", ".join(f"{d} = [{', '.join(show_shape(unpack(b, self.shape)) for b in bs)}]" for d, bs in self.bases)
        return f"layout<{show_shape(self.shape)}: {text}>"


tile = Layout.of


def show_shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _parse(text: str) -> Layout:
    match = re.fullmatch(r"\s*layout<\s*(scalar|[\dx]+)\s*:(.*)>\s*", text, re.S)
    if match is None:
        raise LayoutError(f"wanted layout<SHAPE: dim = [coordinates], ...>, got {text!r}")
    shape = _numbers(match[1])
    dims: dict[str, list[Coord]] = {}
    for name, listed in re.findall(r"(\w+)\s*=\s*\[([^\]]*)\]", match[2]):
        dims[name] = [_numbers(c.strip()) for c in listed.split(",") if c.strip()]
    return Layout.of(shape, **dims)


def _numbers(text: str) -> Coord:
    return () if text == "scalar" else tuple(int(n) for n in text.split("x"))


def matrix_rank(columns: Iterable[int]) -> int:
    return len(_eliminate(columns))


def solve(columns: Sequence[int], target: int) -> int | None:
    """The index whose columns xor to `target`, made of the earliest columns that can; None when there is none."""
    basis = _eliminate(columns)
    index = 0
    while target:
        step = basis.get(target.bit_length())
        if step is None:
            return None
        target ^= step[0]
        index ^= step[1]
    return index


def _eliminate(columns: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Leading bit -> (vector with that leading bit, the columns that xor to it)."""
    basis: dict[int, tuple[int, int]] = {}
    for k, column in enumerate(columns):
        made = 1 << k
        while column and (step := basis.get(column.bit_length())) is not None:
            column ^= step[0]
            made ^= step[1]
        if column:
            basis[column.bit_length()] = (column, made)
    return basis
