"""Conversions inside warps: register bits change places with lane bits, each by a shuffle of half the registers.

    src: register = [1, 2], lane = [4, 8, ...]        dst: register = [4, 2], lane = [1, 8, ...]

Here one exchange, of register bit 0 with lane bit 0. Where bases are in the right registers and lanes but in the wrong
order, lanes are renumbered by one more shuffle of each register, registers by nothing.

Elements of 8 and 16 bits move as words, of what both sides hold in registers.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rtriton.layout.construct import make
from rtriton.layout.core import Layout, log2
from rtriton.layout.plan import Conversion

WORD = 4  # bytes that a shuffle moves
SHUFFLE = 2  # cycles, of which one is of the unit that serves shared memory too


@dataclass(frozen=True)
class Exchanges:
    """Pairs of (register bit, lane bit) to exchange one after the other; then, for each lane bit of the destination,
    the lane bit that it was (None: the same), and for each of its register bits the register bit that it was."""

    pairs: tuple[tuple[int, int], ...]
    lanes: tuple[int, ...] | None
    registers: tuple[int, ...]

    def cost(self, registers: int) -> int:
        """Cycles of a warp's scheduler and shuffles: of each pair of registers one is moved and three picked."""
        exchanged = len(self.pairs) * (registers // 2) * (SHUFFLE + 3)
        return exchanged + (registers * SHUFFLE if self.lanes is not None else 0)


def exchanges(src: Layout, dst: Layout) -> Exchanges | None:
    """How to bring a tile from `src` to `dst` inside each warp; None where copies or warps are in the way."""
    if src["warp"] != dst["warp"] or 0 in (*src["lane"], *dst["lane"]) or len(src["register"]) != len(dst["register"]):
        return None
    register, lane = list(src["register"]), list(src["lane"])
    if set(register + lane) != {*dst["register"], *dst["lane"]}:
        return None
    pairs: list[tuple[int, int]] = []
    for k, basis in enumerate(dst["lane"]):
        if basis not in register:
            continue
        leaving = [p for p, b in enumerate(lane) if b not in dst["lane"]]
        there, here = k if k in leaving else leaving[0], register.index(basis)
        register[here], lane[there] = lane[there], register[here]
        pairs.append((here, there))
    moved = None if lane == list(dst["lane"]) else tuple(lane.index(b) for b in dst["lane"])
    return Exchanges(tuple(pairs), moved, tuple(register.index(b) for b in dst["register"]))


def word_bases(src: Layout, dst: Layout, itemsize: int) -> list[int]:
    """The register bases of both sides that make words of elements, in the order of the source's registers."""
    common = [b for b in src["register"] if b in dst["register"]]
    return common[: max(0, log2(WORD) - log2(itemsize))]


def of_words(layout: Layout, bases: Sequence[int]) -> Layout:
    """The places of words: the layout without the bases inside of one."""
    return make(layout.shape, [b for b in layout["register"] if b not in bases], layout["lane"], layout["warp"])


def lane_cost(src: Layout, dst: Layout, itemsize: int, plan: Conversion) -> int:
    """Cycles of a conversion by shuffles: by exchanges, or by fetching from one lane all that may be wanted of it."""
    inside = word_bases(src, dst, itemsize)
    found = exchanges(of_words(src, inside), of_words(dst, inside))
    words = dst.registers >> len(inside)
    packing = dst.registers if inside else 0
    if found is not None:
        return found.cost(words) + packing
    candidates = 1 << len(plan.lane_picks)
    return words * (candidates * SHUFFLE + candidates - 1) + packing
