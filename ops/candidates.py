"""How a few tokens are found among many: rows in chunks, tokens in levels, candidates in lists. `ops.sample` and
`ops.score` are made of it.

    depth(x) = int((m - x) * steepness * 2**24)     how far below the row's best m, in 2**-24 halvings
    level    = depth >> 24                          0 to 29; 30 is everything deeper

A chunk of a row is a program, so that one row keeps many of them busy. Each leaves in the row's workspace its best
logit, sums, and on a GPU how many tokens it has on each level. From these counts follows a level that bounds what is
looked for; the tokens down to it, often a few hundred of a hundred thousand, are gathered into a list, in the order of
their ids, and what has to be exact is done on the list. On a CPU, where a row's data stay in a core's cache and
counting costs more than walking, the list is the whole row.

A row's workspace, in words of 32 bits, for S slots (chunks, rounded up to a power of two) and P places (columns,
rounded up to 16): S best logits, S indices of them, S sums of exponentials, S low and S high halves of sums of weights,
S * 32 counts, padding, P ids (or weights, where the list is the whole row), P depths.
"""

from __future__ import annotations

import rtriton
import rtriton.language as tl
from ops.arrays import Arg
from ops.device import power_of_two, target
from ops.softmax import row_argmax

CHUNK = 4096
"""Logits of a chunk, on every device: sums of exponentials have one order."""


@rtriton.jit
def chunk_best_kernel(logits, work, stride, work_stride, columns, CHUNK: tl.constexpr, SLOTS: tl.constexpr,
                      BLOCK: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    first = chunk * CHUNK
    best, index = row_argmax(logits + row * stride + first, tl.minimum(columns - first, CHUNK), BLOCK)
    head = work + row * work_stride + chunk
    tl.store(head, best.to(tl.int32, bitcast=True))
    tl.store(head + SLOTS, first + index)


@rtriton.jit
def row_best(head, chunks, SLOTS: tl.constexpr):
    """The largest logit of a row and the lowest id that has it."""
    slot = tl.arange(0, SLOTS)
    value = tl.load(head + slot, mask=slot < chunks, other=-8388608).to(tl.float32, bitcast=True)  # minus infinity
    index = tl.load(head + SLOTS + slot, mask=slot < chunks, other=2147483647)
    best = tl.max(value, 0)
    return best, tl.min(tl.where(value == best, index, 2147483647), 0)


@rtriton.jit
def depth_below(best, value, steepness):
    """The depth of a logit; 30 << 24 for what is deeper, and for NaN."""
    halvings = (best - value) * steepness
    near = halvings < 30.0  # false for NaN too
    return tl.where(near, tl.where(near, halvings, 0.0) * 16777216.0, 503316480.0).to(tl.int32)


@rtriton.jit
def weight_of(depth):
    """What a token of that depth counts for in a draw."""
    return tl.where(depth < 503316480, half_power(depth), 0)


@rtriton.jit
def half_power(depth):
    """2**30 * 2**(-depth / 2**24) for 0 <= depth < 30 * 2**24, in integers."""
    part = (depth.to(tl.uint32) & 16777215) << 8
    power = tl.zeros_like(part) + 14678373
    power = 114274305 - tl.umulhi(power, part)
    power = 514173298 - tl.umulhi(power, part)
    power = 1488311244 - tl.umulhi(power, part)
    power = 2147483648 - tl.umulhi(power, part)
    return (power >> (1 + (depth >> 24)).to(tl.uint32)).to(tl.int32)


@rtriton.jit
def exponentials(line, first, last, best, BLOCK: tl.constexpr):
    """The sum of exp(logit - best) over a chunk."""
    lanes = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(first, last, BLOCK):
        column = start + lanes
        value = tl.load(line + column, mask=column < last, other=float("-inf")).to(tl.float32)
        total += tl.exp(value - best)
    return tl.sum(total, 0)


@rtriton.jit
def row_exponentials(head, chunks, SLOTS: tl.constexpr):
    """The sum over a row."""
    slot = tl.arange(0, SLOTS)
    return tl.sum(tl.load(head + 2 * SLOTS + slot, mask=slot < chunks, other=0).to(tl.float32, bitcast=True), 0)


@rtriton.jit
def count_levels(line, head, first, last, best, steepness, chunk, SLOTS: tl.constexpr, BLOCK: tl.constexpr):
    """Leave how many tokens of a chunk are on each level."""
    lanes = tl.arange(0, BLOCK)
    counts = tl.zeros([32], tl.int32)
    for start in range(first, last, BLOCK):
        column = start + lanes
        value = tl.load(line + column, mask=column < last, other=0.0).to(tl.float32)
        counts += tl.histogram(tl.where(column < last, depth_below(best, value, steepness) >> 24, 31), 32)
    level = tl.arange(0, 32)
    tl.store(head + 5 * SLOTS + chunk * 32 + level, tl.where(level < 31, counts, 0))


@rtriton.jit
def level_counts(head, chunks, SLOTS: tl.constexpr):
    """(chunks, levels): what `count_levels` has left."""
    slot = tl.arange(0, SLOTS)[:, None]
    return tl.load(head + 5 * SLOTS + slot * 32 + tl.arange(0, 32)[None, :], mask=slot < chunks, other=0)


@rtriton.jit
def level_of_count(totals, k):
    """The first level down to which there are k tokens; 31 if there are fewer down to level 29."""
    level = tl.arange(0, 32)
    down = tl.cumsum(totals, 0)
    return tl.min(tl.where((down >= k) & (level < 30), level, 31), 0)


@rtriton.jit
def gather_chunk(line, head, counts, limit, best, steepness, chunk, first, last, ids, depths, BLOCK: tl.constexpr,
                 SLOTS: tl.constexpr):  # fmt: skip
    """Put the tokens of a chunk down to level `limit` where they belong in the row's list."""
    lanes = tl.arange(0, BLOCK)
    slot = tl.arange(0, SLOTS)
    chosen = tl.sum(tl.where(tl.arange(0, 32)[None, :] <= limit, counts, 0), 1)
    at = tl.sum(tl.where(slot < chunk, chosen, 0), 0)
    if tl.sum(tl.where(slot == chunk, chosen, 0), 0) > 0:
        for start in range(first, last, BLOCK):
            column = start + lanes
            value = tl.load(line + column, mask=column < last, other=0.0).to(tl.float32)
            depth = depth_below(best, value, steepness)
            inside = (column < last) & ((depth >> 24) <= limit)
            found = tl.sum(inside.to(tl.int32), 0)
            if found > 0:
                place = at + tl.cumsum(inside.to(tl.int32), 0) - 1
                tl.store(ids + place, column, mask=inside)
                tl.store(depths + place, depth, mask=inside)
            at += found


def gathers(logits: Arg) -> bool:
    """Whether lists hold what was gathered, or whole rows."""
    return target(logits) == "cuda"


def slots(columns: int) -> int:
    """S for rows of so many columns."""
    return power_of_two(-(-columns // CHUNK), 1 << 30)


def header(columns: int) -> int:
    """Words of a row's workspace before its list."""
    return -(-37 * slots(columns) // 16) * 16


def places(columns: int) -> int:
    """P for rows of so many columns."""
    return -(-columns // 16) * 16


def workspace(rows: int, columns: int) -> tuple[int, int]:
    """The shape of the workspace."""
    return rows, header(columns) + 2 * places(columns)


def chunk_blocks(logits: Arg, columns: int) -> dict[str, int]:
    """Block sizes for kernels that walk a chunk."""
    if target(logits) == "cuda":
        return {"BLOCK": power_of_two(columns, CHUNK), "num_warps": 8 if columns > 1024 else 4}
    return {"BLOCK": power_of_two(columns, 128)}


def list_blocks(logits: Arg, columns: int) -> dict[str, int]:
    """Block sizes for kernels that walk a row's list."""
    if target(logits) == "cuda":
        return {"BLOCK": power_of_two(columns, 4096), "num_warps": 8 if columns >= 2048 else 4}
    return {"BLOCK": power_of_two(columns, 128)}
