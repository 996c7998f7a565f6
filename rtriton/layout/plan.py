"""Questions about layouts, answered by linear algebra: vector widths, reductions, conversions, bank conflicts.

`conversion(src, dst)` says from which place of `src` each place of `dst` takes its element, and what has to move:
nothing, registers of the same thread, lanes of a warp (shuffle), or shared memory.  Where several places hold copies it
stays at the reader's own, then prefers another register over another lane over another warp.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from rtriton.layout.core import DISTRIBUTED, Layout, LayoutError, bits, log2, show_shape, solve, xor_of

BANKS = 32
BANK_BYTES = 4
ROW_BYTES = BANKS * BANK_BYTES


def axis_of(layout: Layout, basis: int) -> int | None:
    """The axis a basis of a distributed layout moves along; None for a zero basis."""
    if not basis:
        return None
    for axis in range(layout.rank):
        if basis >= prod(layout.shape[axis + 1 :]):
            return axis
    raise LayoutError(f"basis {basis} lies outside {layout}")


def contiguous_bits(layout: Layout, axis: int, dim: str = "register") -> list[int]:
    """The bits of `dim` that walk over 2, 4, 8 ... consecutive elements along `axis`, in that order."""
    stride = prod(layout.shape[axis + 1 :])
    columns = layout[dim]
    out: list[int] = []
    while (1 << len(out)) < layout.shape[axis] and stride << len(out) in columns:
        out.append(columns.index(stride << len(out)))
    return out


def contiguous(layout: Layout, axis: int, dim: str = "register") -> int:
    """How many consecutive elements along `axis` one thread holds: the most a vector access may move."""
    return 1 << len(contiguous_bits(layout, axis, dim))


@dataclass(frozen=True)
class Reduction:
    """The bits of each hardware dimension that walk along the reduced axis, nearest elements first."""

    register: tuple[int, ...]
    lane: tuple[int, ...]
    warp: tuple[int, ...]


def reduction_plan(layout: Layout, axis: int) -> Reduction:
    """Registers fold, lanes shuffle, warps meet in shared memory."""

    def along(dim: str) -> tuple[int, ...]:
        columns = layout[dim]
        return tuple(sorted((k for k, b in enumerate(columns) if axis_of(layout, b) == axis), key=lambda k: columns[k]))

    return Reduction(along("register"), along("lane"), along("warp"))


@dataclass(frozen=True)
class Place:
    register: int = 0
    lane: int = 0
    warp: int = 0

    def __xor__(self, other: Place) -> Place:
        return Place(self.register ^ other.register, self.lane ^ other.lane, self.warp ^ other.warp)


@dataclass(frozen=True)
class Conversion:
    """`kind` is the nearest that will do: "nothing", "registers", "lanes" or "shared"; `moves[dim][k]` is the place in
    the source for bit k of the destination's `dim`."""

    kind: str
    moves: dict[str, tuple[Place, ...]]

    def source(self, register: int = 0, lane: int = 0, warp: int = 0) -> Place:
        """The place in the source of what the destination holds at a place."""
        out = Place()
        for dim, index in (("register", register), ("lane", lane), ("warp", warp)):
            for k in bits(index):
                out ^= self.moves[dim][k]
        return out

    @property
    def lane_picks(self) -> list[int]:
        """Lane bits that change which source register is wanted: each combination costs a select (or a shuffle)."""
        return [k for k, place in enumerate(self.moves["lane"]) if place.register]


def conversion(src: Layout, dst: Layout) -> Conversion:
    """How to bring a tile from one distributed layout to another, cheapest first."""
    if src.shape != dst.shape:
        raise LayoutError(f"no conversion from {show_shape(src.shape)} to {show_shape(dst.shape)}: shapes differ")
    if len(src["warp"]) != len(dst["warp"]):
        raise LayoutError(f"no conversion between {src.size('warp')} and {dst.size('warp')} warps")
    moves = {d: tuple(_source_of(src, d, k, b) for k, b in enumerate(dst[d])) for d in DISTRIBUTED}
    return Conversion(_kind(src, dst, moves), moves)


def _source_of(src: Layout, dim: str, k: int, basis: int) -> Place:
    own = src[dim][k] if k < len(src[dim]) else None
    if own is not None and own == basis:
        return Place(**{dim: 1 << k})
    columns = [c for d in DISTRIBUTED for c in src[d]]
    index = solve(columns, basis)
    if index is None:
        raise LayoutError(f"no place of {src} holds basis {basis}")
    register = index & (src.registers - 1)
    lane = index >> len(src["register"]) & (src.size("lane") - 1)
    warp = index >> len(src["register"]) + len(src["lane"])
    if own == 0 and dim != "register":  # copies: stay in the own lane or warp
        return Place(register, lane | (1 << k if dim == "lane" else 0), warp | (1 << k if dim == "warp" else 0))
    return Place(register, lane, warp)


def _kind(src: Layout, dst: Layout, moves: dict[str, tuple[Place, ...]]) -> str:
    lanes_stay = _stays(moves, "lane")
    warps_stay = _stays(moves, "warp")
    if not warps_stay or any(place.register for place in moves["warp"]):
        return "shared"
    if lanes_stay and not any(place.register for place in moves["lane"]):
        same = src.registers == dst.registers and _stays(moves, "register")
        return "nothing" if same else "registers"
    return "lanes"


def _stays(moves: dict[str, tuple[Place, ...]], dim: str) -> bool:
    """Whether `dim` of the source is that of the destination, whatever the rest is."""
    for d, places in moves.items():
        for k, place in enumerate(places):
            if getattr(place, dim) != (1 << k if d == dim else 0):
                return False
    return True


def scratch(src: Layout, dst: Layout, itemsize: int) -> Layout:
    """A shared layout through which `src` is stored and `dst` loaded with wide accesses and without bank conflicts.

    The lowest offset bits are element bits that both sides hold in registers (one vector of at most 16 bytes).
    The bits that choose the bank must be independent over the lanes of the writer and over those of the reader:
    bits that are lanes of both are taken as they are, and a lane bit of one is xored with a lane bit of the other.
    """
    limit = log2(max(1, 16 // itemsize))
    reader = [b for b in dst["register"] if b]
    both = [b for b in sorted(reader) if b in src["register"]]
    vector = (both or sorted(reader))[:limit]
    free = [1 << k for k in range(src.element_bits) if 1 << k not in vector]
    wide = max(BANK_BYTES, itemsize << len(vector))
    banks = log2(max(1, ROW_BYTES // (itemsize << len(vector))))
    active = log2(ROW_BYTES // wide)  # lane bits that move in one row of banks
    write = [b for b in src["lane"] if b in free][: active if both else banks]
    read = [b for b in dst["lane"] if b in free][:active]
    return banked(src.shape, vector, write, read, banks)


def banked(
    shape: Sequence[int], vector: Sequence[int], write: Sequence[int], read: Sequence[int], banks: int
) -> Layout:
    """A shared tile of vectors in whose `banks` next bits neither the writer's lanes nor the reader's meet."""
    free = [1 << k for k in range(log2(prod(shape))) if 1 << k not in vector]
    write, read = ([b for b in side if b in free] for side in (write, read))
    common = [b for b in write if b in read]
    mine = [b for b in write if b not in common]
    theirs = [b for b in read if b not in common]
    pairs = list(zip(mine, theirs, strict=False))
    single = mine[len(pairs) :] + theirs[len(pairs) :]
    low = (common + [p[0] for p in pairs] + single)[:banks]
    rest = [b for b in free if b not in low]
    partner = {theirs_: mine_ for mine_, theirs_ in pairs if mine_ in low}
    columns = [*vector, *low, *(b ^ partner.get(b, 0) for b in rest)]
    return Layout(tuple(shape), (("offset", tuple(columns)),))


def shared_vector(tile: Layout, shared: Layout, itemsize: int) -> list[int]:
    """The register bits of `tile` that are the lowest offset bits of `shared`: one vector access, at most 16 bytes.
    No other element bit may move inside the vector, or it would not be aligned."""
    low: list[int] = []
    for b in shared["offset"][: log2(max(1, 16 // itemsize))]:
        if b not in tile["register"]:
            break
        low.append(b)
    while low and any(o & ((1 << len(low)) - 1) for k, o in enumerate(shared.offsets) if 1 << k not in low):
        low.pop()
    return [tile["register"].index(b) for b in low]


def bank_conflicts(tile: Layout, shared: Layout, itemsize: int) -> int:
    """Into how many accesses the worst row of lanes is cut when a warp moves one vector each: 1 is free of conflicts.

    Lanes are served in rows of 128 bytes: 32 lanes of 4 bytes, 16 of 8, 8 of 16.
    """
    wide = itemsize << len(shared_vector(tile, shared, itemsize))
    lanes = min(32, ROW_BYTES // max(wide, BANK_BYTES))
    offsets = [xor_of(shared.offsets, b) * itemsize for b in tile["lane"]]
    worst = 1
    for first in range(0, 32, lanes):
        words: list[set[int]] = [set() for _ in range(BANKS)]
        for lane in range(first, first + lanes):
            word = xor_of(offsets, lane) // BANK_BYTES
            for w in range(word, word + max(1, wide // BANK_BYTES)):
                words[w % BANKS].add(w)
        worst = max(worst, max(len(found) for found in words))
    return worst
