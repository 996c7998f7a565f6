"""Sampling: one token id per row of logits, with temperature, top-k, top-p, min-p and a seed per row.

Which tokens may be drawn, and which one is, is decided in integers, so that every backend and the NumPy reference
pick the same token from the same logits, however rows were batched. With m the largest logit of a row:

    depth(x)  = int((m - x) * (log2(e) / temperature) * 2**24)      how far below the best, in 2**-24 halvings
    weight(x) = 2**30 * 2**(-depth / 2**24), in integer arithmetic  what it counts for

A token 30 halvings below the best (a billion times less likely) is never drawn. Of the others are kept

    min_p   the ones that weigh at least min_p * 2**30
    top_k   of these the k least deep ones; 0 keeps all              ties at the last place are all kept
    top_p   of these the least deep ones whose weights reach top_p of the sum; the one that reaches it is in, with its
            ties

and the drawn one is the first, by id, at which the running sum of kept weights exceeds `random * sum`. The 64 random
bits are Philox of key `seed` and counter (position, choice, 0, 0): a function of nothing else. A temperature of 0
takes the argmax.

Where nothing cuts but min_p, sums of weights per chunk of the row lead to the token. Where top_k or top_p cut, the
tokens that may be kept are listed first (`ops/candidates.py`), and thresholds are found by bisection on their depths,
down to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, INDEXES, Checker
from ops.candidates import (
    CHUNK,
    chunk_best_kernel,
    chunk_blocks,
    count_levels,
    depth_below,
    exponentials,
    gather_chunk,
    gathers,
    header,
    level_counts,
    level_of_count,
    list_blocks,
    places,
    row_best,
    row_exponentials,
    slots,
    workspace as shape_of_workspace,
)

LOG2_E = float(np.float32(1.4426950408889634))
DEEPEST = 30 << 24  # depth from which a token counts for nothing
# 2**-f for f in [0, 1) as c0 - f*(c1 - f*(c2 - ...)), in units of 2**-31; within 4e-6
POWER = tuple(round(c * 2**31) for c in (1.0, 0.69304893, 0.2394306, 0.05321312, 0.00683515))


@rtriton.jit
def levels_kernel(
    logits, temperature, top_k, top_p, min_p, work, stride, work_stride, columns, chunks,
    CHUNK: tl.constexpr, SLOTS: tl.constexpr, HEADER: tl.constexpr, PLACES: tl.constexpr, GATHER: tl.constexpr,
    BLOCK: tl.constexpr, LOGPROBS: tl.constexpr,
):  # fmt: skip
    """What a chunk weighs, its exponentials, and where something cuts, how many tokens it has on each level, or the
    depths and weights of all of them.
    """
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    first = chunk * CHUNK
    last = tl.minimum(first + CHUNK, columns)
    line = logits + row * stride
    head = work + row * work_stride
    heat = tl.load(temperature + row)
    if LOGPROBS or heat > 0.0:
        best, _ = row_best(head, chunks, SLOTS)
        if LOGPROBS:
            total = exponentials(line, first, last, best, BLOCK)
            tl.store(head + 2 * SLOTS + chunk, total.to(tl.int32, bitcast=True))
        if heat > 0.0:
            steepness = tl.div_rn(1.4426950216293335, heat)
            least = least_weight(tl.load(min_p + row))
            cut = cuts(tl.load(top_k + row), tl.load(top_p + row), columns)
            if GATHER and cut:
                count_levels(line, head, first, last, best, steepness, chunk, SLOTS, BLOCK)
            if cut and not GATHER:
                mass = list_chunk(line, head + HEADER, first, last, best, steepness, least, PLACES, BLOCK)
            else:
                mass = chunk_mass(line, first, last, best, steepness, least, BLOCK)
            tl.store(head + 3 * SLOTS + chunk, mass.to(tl.int32))
            tl.store(head + 4 * SLOTS + chunk, (mass >> 32).to(tl.int32))


@rtriton.jit
def gather_kernel(
    logits, temperature, top_k, top_p, work, stride, work_stride, columns, chunks,
    CHUNK: tl.constexpr, SLOTS: tl.constexpr, HEADER: tl.constexpr, PLACES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gather what top_k and top_p may keep, in the rows where they cut."""
    row = tl.program_id(0).to(tl.int64)
    heat, k, p = tl.load(temperature + row), tl.load(top_k + row), tl.load(top_p + row)
    if (heat > 0.0) & cuts(k, p, columns):
        chunk = tl.program_id(1)
        first = chunk * CHUNK
        last = tl.minimum(first + CHUNK, columns)
        head = work + row * work_stride
        best, _ = row_best(head, chunks, SLOTS)
        counts = level_counts(head, chunks, SLOTS)
        limit = bounding_level(tl.sum(counts, 0), k, p, row_mass(head, chunks, SLOTS), columns)
        steepness = tl.div_rn(1.4426950216293335, heat)
        ids = head + HEADER
        gather_chunk(logits + row * stride, head, counts, limit, best, steepness, chunk, first, last, ids, ids + PLACES,
                     BLOCK, SLOTS)  # fmt: skip


@rtriton.jit
def list_chunk(line, weights, first, last, best, steepness, least, PLACES: tl.constexpr, BLOCK: tl.constexpr):
    """`chunk_mass`, and leave the weights and depths of all of its tokens."""
    lanes = tl.arange(0, BLOCK)
    mass = tl.zeros([BLOCK], tl.int64)
    for start in range(first, last, BLOCK):
        column = start + lanes
        value = tl.load(line + column, mask=column < last, other=0.0).to(tl.float32)
        depth = depth_below(best, value, steepness)
        weight = weight_of(depth)
        tl.store(weights + column, weight, mask=column < last)
        tl.store(weights + PLACES + column, depth, mask=column < last)
        mass += tl.where((column < last) & (weight >= least), weight, 0).to(tl.int64)
    return tl.sum(mass, 0)


@rtriton.jit
def cuts(k, p, columns):
    """Whether top_k or top_p may leave tokens out."""
    return ((k > 0) & (k < columns)) | (p < 1.0)


@rtriton.jit
def bounding_level(totals, k, p, mass, columns):
    """A level down to which all tokens lie that top_k and top_p keep; totals: how many there are on each."""
    level = tl.arange(0, 32)
    if (k > 0) & (k < columns):
        limit = tl.minimum(level_of_count(totals, k), 29)
    else:
        # a token of level l weighs at most 2**(30 - l), so what lies deeper is bounded by its number
        most = tl.where(level < 30, totals.to(tl.int64) << tl.where(level < 30, 30 - level, 0).to(tl.int64), 0)
        deeper = tl.sum(most, 0) - tl.cumsum(most, 0)
        enough = deeper <= mass - share_of(mass, p)
        limit = tl.min(tl.where(enough & (level < 30), level, 29), 0)
    return limit


@rtriton.jit
def share_of(mass, p):
    """mass * p rounded down to a multiple of 2**-24, without a product beyond 64 bits."""
    share = (tl.maximum(p, 0.0) * 16777216.0).to(tl.int64)
    return (mass >> 24) * share + (((mass & 16777215) * share) >> 24)


@rtriton.jit
def least_weight(p):
    """What min_p asks of a token's weight."""
    return (tl.minimum(tl.maximum(p, 0.0), 1.0) * 1073741824.0).to(tl.int32)


@rtriton.jit
def chunk_mass(line, first, last, best, steepness, least, BLOCK: tl.constexpr):
    """The weights of a chunk's tokens, without those below `least`."""
    lanes = tl.arange(0, BLOCK)
    mass = tl.zeros([BLOCK], tl.int64)
    for start in range(first, last, BLOCK):
        mass += chunk_weights(line, start + lanes, last, best, steepness, least)
    return tl.sum(mass, 0)


@rtriton.jit
def chunk_weights(line, column, last, best, steepness, least):
    value = tl.load(line + column, mask=column < last, other=float("-inf")).to(tl.float32)
    weight = weight_of(depth_below(best, value, steepness))
    return tl.where((column < last) & (weight >= least), weight, 0).to(tl.int64)


@rtriton.jit
def slot_masses(head, chunks, SLOTS: tl.constexpr):
    """The mass of each chunk."""
    slot = tl.arange(0, SLOTS)
    low = tl.load(head + 3 * SLOTS + slot, mask=slot < chunks, other=0).to(tl.int64) & 0xFFFFFFFF
    return (tl.load(head + 4 * SLOTS + slot, mask=slot < chunks, other=0).to(tl.int64) << 32) | low


@rtriton.jit
def row_mass(head, chunks, SLOTS: tl.constexpr):
    """The sum of all weights of at least `least`; below 2**50 for a million of them."""
    return tl.sum(slot_masses(head, chunks, SLOTS), 0)


@rtriton.jit
def weight_of(depth):
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
def pick_kernel(
    logits, temperature, top_k, top_p, min_p, seeds, choices, positions, work, out, logprobs,
    stride, work_stride, columns, chunks, CHUNK: tl.constexpr, SLOTS: tl.constexpr, HEADER: tl.constexpr,
    PLACES: tl.constexpr, GATHER: tl.constexpr, BLOCK: tl.constexpr, LOGPROBS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    line = logits + row * stride
    head = work + row * work_stride
    best, token = row_best(head, chunks, SLOTS)
    heat = tl.load(temperature + row)
    if heat > 0.0:
        k, p, least = tl.load(top_k + row), tl.load(top_p + row), least_weight(tl.load(min_p + row))
        seed, choice, position = tl.load(seeds + row), tl.load(choices + row), tl.load(positions + row)
        mass = row_mass(head, chunks, SLOTS)
        if mass > 0:  # zero for a row without a finite logit: its argmax stands
            if cuts(k, p, columns):
                places = head + HEADER
                length = columns
                limit = token * 0 + 503316479  # the deepest that is kept
                if GATHER:
                    counts = tl.sum(level_counts(head, chunks, SLOTS), 0)
                    level = bounding_level(counts, k, p, mass, columns)
                    length = tl.sum(tl.where(tl.arange(0, 32) <= level, counts, 0), 0)
                    limit = (level + 1) * 16777216 - 1
                if (k > 0) & (k < columns):
                    limit = depth_of_count(places + PLACES, length, k, limit, BLOCK)
                    mass = kept_mass(places, length, limit, least, PLACES, GATHER, BLOCK)
                if p < 1.0:
                    limit = depth_of_mass(places, length, share_of(mass, p), limit, least, PLACES, GATHER, BLOCK)
                    mass = kept_mass(places, length, limit, least, PLACES, GATHER, BLOCK)
                random = draw_below(mass, seed, choice, position)
                token = place_at(places, length, limit, least, random, PLACES, GATHER, BLOCK)
                if GATHER:
                    token = tl.load(places + token)
            else:
                random = draw_below(mass, seed, choice, position)
                steepness = tl.div_rn(1.4426950216293335, heat)
                token = token_at(line, head, best, steepness, least, random, columns, chunks, CHUNK, SLOTS, BLOCK)
    tl.store(out + row, token.to(out.dtype.element_ty))
    if LOGPROBS:
        # of the model's distribution, before temperature and cuts
        chance = tl.load(line + token).to(tl.float32) - best - tl.log(row_exponentials(head, chunks, SLOTS))
        tl.store(logprobs + row, chance)


@rtriton.jit
def depth_of_count(depths, length, k, limit, BLOCK: tl.constexpr):
    """A depth down to which there are k tokens, or more where the last are tied; at most `limit`."""
    lanes = tl.arange(0, BLOCK)
    below = limit * 0 - 1
    at_limit = k + 1
    while (limit - below > 1) & (at_limit != k):
        middle = (limit + below) >> 1
        counts = tl.zeros([BLOCK], tl.int32)
        for start in range(0, length, BLOCK):
            depth = tl.load(depths + start + lanes, mask=start + lanes < length, other=503316480)
            counts += (depth <= middle).to(tl.int32)
        count = tl.sum(counts, 0)
        enough = count >= k
        limit = tl.where(enough, middle, limit)
        at_limit = tl.where(enough, count, at_limit)
        below = tl.where(enough, below, middle)
    return limit


@rtriton.jit
def depth_of_mass(
    places, length, wanted, limit, least, PLACES: tl.constexpr, GATHER: tl.constexpr, BLOCK: tl.constexpr
):
    """A depth down to which the weights of at least `least` sum to `wanted` and which no token but the last needs; at
    most `limit`.
    """
    lanes = tl.arange(0, BLOCK)
    below = limit * 0 - 1
    at_limit = length
    at_below = length * 0
    while (limit - below > 1) & (at_limit - at_below > 1):
        middle = (limit + below) >> 1
        masses = tl.zeros([BLOCK], tl.int64)
        counts = tl.zeros([BLOCK], tl.int32)
        for start in range(0, length, BLOCK):
            depth, weight = listed(places, start + lanes, length, PLACES, GATHER)
            kept = (depth <= middle) & (weight >= least)
            masses += tl.where(kept, weight, 0).to(tl.int64)
            counts += kept.to(tl.int32)
        count = tl.sum(counts, 0)
        enough = tl.sum(masses, 0) >= wanted
        limit = tl.where(enough, middle, limit)
        at_limit = tl.where(enough, count, at_limit)
        below = tl.where(enough, below, middle)
        at_below = tl.where(enough, at_below, count)
    return limit


@rtriton.jit
def kept_mass(places, length, limit, least, PLACES: tl.constexpr, GATHER: tl.constexpr, BLOCK: tl.constexpr):
    """The sum of the weights of the kept tokens."""
    lanes = tl.arange(0, BLOCK)
    mass = tl.zeros([BLOCK], tl.int64)
    for start in range(0, length, BLOCK):
        mass += kept_weights(places, start + lanes, length, limit, least, PLACES, GATHER)
    return tl.sum(mass, 0)


@rtriton.jit
def kept_weights(places, place, length, limit, least, PLACES: tl.constexpr, GATHER: tl.constexpr):
    depth, weight = listed(places, place, length, PLACES, GATHER)
    return tl.where((depth <= limit) & (weight >= least), weight, 0).to(tl.int64)


@rtriton.jit
def listed(places, place, length, PLACES: tl.constexpr, GATHER: tl.constexpr):
    """Depth and weight of a token in the list."""
    depth = tl.load(places + PLACES + place, mask=place < length, other=503316480)
    if GATHER:
        weight = weight_of(depth)
    else:
        weight = tl.load(places + place, mask=place < length, other=0)
    return depth, weight


@rtriton.jit
def draw_below(mass, seed, choice, position):
    """An integer from 0 to mass - 1: the high half of 64 random bits times mass."""
    c0 = position.to(tl.int32)
    zero = c0 * 0
    first, second, _, _ = tl.philox(seed, c0, choice.to(tl.int32), zero, zero)
    high, low = first.to(tl.uint64), second.to(tl.uint64)
    mass_high, mass_low = mass.to(tl.uint64) >> 32, mass.to(tl.uint64) & 0xFFFFFFFF
    cross = high * mass_low + ((low * mass_low) >> 32)
    other = low * mass_high + (cross & 0xFFFFFFFF)
    return (high * mass_high + (cross >> 32) + (other >> 32)).to(tl.int64)


@rtriton.jit
def place_at(places, length, limit, least, random, PLACES: tl.constexpr, GATHER: tl.constexpr, BLOCK: tl.constexpr):
    """The first place of a list at which the running sum of kept weights exceeds `random`."""
    lanes = tl.arange(0, BLOCK)
    before = random * 0
    block = limit * 0
    rest = random
    for start in range(0, length, BLOCK):
        mass = tl.sum(kept_weights(places, start + lanes, length, limit, least, PLACES, GATHER), 0)
        here = (before <= random) & (random < before + mass)
        block = tl.where(here, start, block)
        rest = tl.where(here, random - before, rest)
        before += mass
    return block + lane_beyond(kept_weights(places, block + lanes, length, limit, least, PLACES, GATHER), rest, BLOCK)


@rtriton.jit
def token_at(line, head, best, steepness, least, random, columns, chunks, CHUNK: tl.constexpr, SLOTS: tl.constexpr,
             BLOCK: tl.constexpr):  # fmt: skip
    """The first id of a row at which the running sum of weights exceeds `random`."""
    lanes = tl.arange(0, BLOCK)
    masses = slot_masses(head, chunks, SLOTS)
    down = tl.cumsum(masses, 0)
    slot = tl.arange(0, SLOTS)
    chunk = tl.min(tl.where(down > random, slot, SLOTS - 1), 0)
    before = tl.sum(tl.where(slot < chunk, masses, 0), 0)
    first = chunk * CHUNK
    last = tl.minimum(first + CHUNK, columns)
    block = first
    rest = random - before
    for start in range(first, last, BLOCK):
        mass = tl.sum(chunk_weights(line, start + lanes, last, best, steepness, least), 0)
        here = (before <= random) & (random < before + mass)
        block = tl.where(here, start, block)
        rest = tl.where(here, random - before, rest)
        before += mass
    return block + lane_beyond(chunk_weights(line, block + lanes, last, best, steepness, least), rest, BLOCK)


@rtriton.jit
def lane_beyond(weight, rest, BLOCK: tl.constexpr):
    """The first lane at which the running sum exceeds `rest`."""
    return tl.min(tl.where(tl.cumsum(weight, 0) > rest, tl.arange(0, BLOCK), BLOCK - 1), 0)


def sample(
    logits: Any, temperature: Any, top_k: Any, top_p: Any, min_p: Any, seeds: Any, choices: Any, positions: Any,
    *, out: Any = None, logprobs: Any = None, workspace: Any = None,
) -> Any:  # fmt: skip
    """One token id per row of logits; the file ops/sample.py says exactly which.

    logits: (R, V >= 1) of fp32, bf16 or fp16; minus infinity masks a token. temperature, top_p, min_p: (R,) of fp32;
    a temperature of 0 (or below) is greedy, ties to the lowest id. top_k, choices, positions: (R,) of int32 or int64;
    seeds: (R,) of uint64. out: (R,) of int32 or int64; int32 where absent. logprobs: None, True, or an array (R,) of
    fp32 for the natural logarithm of each token's probability in the model's own distribution. workspace: an int32
    array of the shape `sample_workspace(R, V)`, made where absent. Returns out, or (out, logprobs) where logprobs are
    asked for.
    """
    check = Checker("sample")
    logits = check.array("logits", logits, FLOATS, (None, None), rows=True)
    rows, columns = logits.shape
    if columns == 0:
        raise check.fail("logits", "have at least one column", 0)
    settings = [check.array(n, a, ("fp32",), (rows,)) for n, a in
                (("temperature", temperature), ("top_p", top_p), ("min_p", min_p))]  # fmt: skip
    heat, p, least = (s.launch for s in settings)
    k, choice, position = (
        check.array(n, a, INDEXES, (rows,)).launch
        for n, a in (("top_k", top_k), ("choices", choices), ("positions", positions))
    )
    seed = check.array("seeds", seeds, ("uint64",), (rows,)).launch
    out = (
        check.output("out", None, logits, (rows,), "int32")
        if out is None
        else check.array("out", out, INDEXES, (rows,), written=True)
    )
    chances = None if logprobs is None or logprobs is False else check.output(
        "logprobs", None if logprobs is True else logprobs, logits, (rows,), "fp32")  # fmt: skip
    work = check.output("workspace", workspace, logits, sample_workspace(rows, columns), "int32")
    if rows:
        chunks = -(-columns // CHUNK)
        strides, sizes = (logits.strides[0], work.strides[0]), {"CHUNK": CHUNK, "SLOTS": slots(columns)}
        parts = {"HEADER": header(columns), "PLACES": places(columns)}
        blocks, grid, scores = chunk_blocks(logits, columns), (rows, chunks), chances is not None
        lists = {**parts, "GATHER": gathers(logits)}
        chunk_best_kernel[grid](logits.launch, work.launch, *strides, columns, **sizes, **blocks)
        levels_kernel[grid](
            logits.launch, heat, k, p, least, work.launch, *strides, columns, chunks, **sizes, **lists, **blocks,
            LOGPROBS=scores,
        )  # fmt: skip
        if lists["GATHER"]:
            gather_kernel[grid](
                logits.launch, heat, k, p, work.launch, *strides, columns, chunks, **sizes, **parts, **blocks
            )
        pick_kernel[(rows,)](
            logits.launch, heat, k, p, least, seed, choice, position, work.launch, out.launch,
            (out if chances is None else chances).launch, *strides, columns, chunks, **sizes, **lists,
            **list_blocks(logits, columns), LOGPROBS=scores,
        )  # fmt: skip
    return out.result() if chances is None else (out.result(), chances.result())


def sample_workspace(rows: int, columns: int) -> tuple[int, int]:
    """The shape of the int32 workspace of `sample` for `rows` rows of `columns` logits."""
    return shape_of_workspace(rows, columns)
