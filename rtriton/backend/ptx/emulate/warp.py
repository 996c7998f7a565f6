"""Exchanges between the lanes of a warp: shuffles, votes, matches, reductions; and which lanes must meet for them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.decode import DTYPES, Decoder, Getter, family
from rtriton.backend.ptx.emulate.program import Instruction
from rtriton.backend.ptx.emulate.schedule import lane_bits
from rtriton.backend.ptx.emulate.state import ALL, LANES, Array, Index, Machine, Step

WHOLE_WARP = ("ldmatrix", "stmatrix", "mma")


def members(d: Decoder, inst: Instruction) -> Getter | None:
    """The mask of lanes that an instruction waits for, or None if each thread runs it alone."""
    if inst.parts[0] in WHOLE_WARP:
        return lambda index: np.uint32(0xFFFFFFFF)
    if inst.parts[0] in ("shfl", "vote", "match", "redux", "elect") and "sync" in inst.parts:
        return d.get(inst.operands[-1], "b32")
    if inst.parts[:2] == ("bar", "warp"):
        return d.get(inst.operands[0], "b32")
    return None


def active(machine: Machine, index: Index) -> Array:
    """Which threads execute, one bool for each."""
    mask = np.zeros(machine.threads, np.bool_)
    mask[index] = True
    return mask


def by_warp(machine: Machine, index: Index, value: Any, fill: Any) -> Array:
    """One row of lanes per warp; lanes that do not execute hold `fill`."""
    if index is ALL and value.shape:
        return value.reshape(-1, LANES)
    rows = np.full(machine.threads, fill, value.dtype)
    rows[index] = value
    return rows.reshape(-1, LANES)


def to_lanes(machine: Machine, index: Index, per_warp: Array) -> Array:
    """One value per warp, to each thread of the index."""
    return per_warp[machine.numbers(index) // LANES]


@family("bar")
def bar_warp_sync(d: Decoder, inst: Instruction) -> Step:
    """bar.warp.sync: nothing but the meeting of lanes."""
    return lambda index: None


SOURCES: dict[str, Callable[[Any, Any, Any, Any, Any], tuple[Any, Any]]] = {
    # lane, b, segment mask, first and last lane of the segment to (the lane to read, whether it is inside).
    # PTX ISA, shfl.sync. For "up" the last one is the first that may be read.
    "up": lambda lane, b, mask, low, high: (lane - b, lane - b >= high),
    "down": lambda lane, b, mask, low, high: (lane + b, lane + b <= high),
    "bfly": lambda lane, b, mask, low, high: (lane ^ b, (lane ^ b) <= high),
    "idx": lambda lane, b, mask, low, high: (low | (b & ~mask), (low | (b & ~mask)) <= high),
}


@family("shfl")
def shfl(d: Decoder, inst: Instruction) -> Step:
    """shfl.sync: each lane reads another's value; outside its segment it keeps its own."""
    machine, mode = d.machine, SOURCES[inst.parts[2]]
    first, second = d.results(inst.operands[0])
    put, put_inside = d.put(first, "b32"), d.put(second, "pred")
    value, b, c = (d.get(operand, "b32") for operand in inst.operands[1:4])

    def run(index: Index) -> None:
        threads = machine.numbers(index)
        lane = threads % LANES
        segment, clamp = (c(index) >> np.uint32(8)) & np.uint32(31), c(index) & np.uint32(31)
        mask = segment.astype(np.int64)
        low = lane & mask
        source, inside = mode(lane, (b(index) & np.uint32(31)).astype(np.int64), mask, low,
                              low | (clamp.astype(np.int64) & ~mask & 31))
        source = np.where(inside, source, lane)
        rows = np.zeros(machine.threads, np.uint32)
        rows[index] = value(index)
        partner = threads - lane + source
        if index is not ALL:
            _partners_run(machine, index, partner)
        put(index, rows[partner])
        put_inside(index, inside)

    return run


def _partners_run(machine: Machine, index: Index, partner: Array) -> None:
    lost = np.flatnonzero(~active(machine, index)[partner])
    if len(lost):
        lane = int(partner[lost[0]]) % LANES
        raise machine.fault(f"shuffle from lane {lane}, which does not execute it", index, lost)


@family("vote")
def vote(d: Decoder, inst: Instruction) -> Step:
    """vote: a predicate of all lanes as one answer, or as one bit each."""
    machine, mode = d.machine, next(part for part in inst.parts if part in ("all", "any", "uni", "ballot"))
    put, holds = d.put(inst.operands[0], "b32" if mode == "ballot" else "pred"), d.get(inst.operands[1], "pred")

    def run(index: Index) -> None:
        mine = machine.each(index, holds(index))
        yes = lane_bits(by_warp(machine, index, mine, False))
        if mode == "ballot":
            put(index, to_lanes(machine, index, yes))
            return
        no = lane_bits(by_warp(machine, index, ~mine, False))
        answers = {"all": no == 0, "any": yes != 0, "uni": (no == 0) | (yes == 0)}
        put(index, to_lanes(machine, index, answers[mode]))

    return run


@family("activemask")
def activemask(d: Decoder, inst: Instruction) -> Step:
    """The lanes that execute this together."""
    machine, put = d.machine, d.put(inst.operands[0], "b32")
    return lambda index: put(index, to_lanes(machine, index, lane_bits(active(machine, index))))


@family("elect")
def elect(d: Decoder, inst: Instruction) -> Step:
    """elect.sync: one lane of those named, here the lowest."""
    machine = d.machine
    first, second = d.results(inst.operands[0])
    put, put_elected = d.put(first, "b32"), d.put(second, "pred")

    def run(index: Index) -> None:
        leader = active(machine, index).reshape(-1, LANES).argmax(1).astype(np.uint32)
        mine = to_lanes(machine, index, leader)
        put(index, mine)
        put_elected(index, machine.numbers(index) % LANES == mine)

    return run


@family("match")
def match(d: Decoder, inst: Instruction) -> Step:
    """match: the lanes that hold the same value (any), or all of them if they agree (all)."""
    machine, type = d.machine, inst.parts[-1]
    first, second = d.results(inst.operands[0])
    put, put_agree, value = d.put(first, "b32"), d.put(second, "pred"), d.get(inst.operands[1], type)
    everyone = "all" in inst.parts

    def run(index: Index) -> None:
        rows = by_warp(machine, index, machine.each(index, value(index)), 0)
        here = active(machine, index).reshape(-1, LANES)
        same = (rows[:, :, None] == rows[:, None, :]) & here[:, None, :]
        masks = lane_bits(same.reshape(-1)).reshape(-1)
        threads = machine.numbers(index)
        if not everyone:
            put(index, masks[threads])
            return
        all_here = lane_bits(here.reshape(-1))
        agree = masks[threads] == all_here[threads // LANES]
        put(index, np.where(agree, masks[threads], np.uint32(0)))
        put_agree(index, agree)

    return run


REDUCTIONS: dict[str, tuple[Any, Callable[[Any], int]]] = {  # what joins, and what changes nothing
    "add": (np.add, lambda limits: 0), "min": (np.minimum, lambda limits: limits.max),
    "max": (np.maximum, lambda limits: limits.min), "and": (np.bitwise_and, lambda limits: limits.max),
    "or": (np.bitwise_or, lambda limits: 0), "xor": (np.bitwise_xor, lambda limits: 0),
}


@family("redux")
def redux(d: Decoder, inst: Instruction) -> Step:
    """redux.sync: a reduction over the lanes, given to all of them."""
    machine, type = d.machine, inst.parts[-1]
    join, neutral = REDUCTIONS[inst.parts[2]]
    put, value, dtype = d.put(inst.operands[0], type), d.get(inst.operands[1], type), DTYPES[type]
    fill = neutral(np.iinfo(dtype))

    def run(index: Index) -> None:
        rows = by_warp(machine, index, machine.each(index, value(index)), fill)
        put(index, to_lanes(machine, index, join.reduce(rows, axis=1, dtype=dtype)))

    return run


@family("membar", "fence", "nanosleep", "griddepcontrol")
def order(d: Decoder, inst: Instruction) -> Step:
    """Fences and pauses: memory here is never out of order."""
    return lambda index: None
