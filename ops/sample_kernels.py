"""The kernels of `ops.sample`, and the parts that they are made of.

    chunk_best_kernel    each chunk's best logit (ops/candidates.py)
    levels_kernel        what each chunk weighs; what the lists need
    gather_kernel        lists, where something cuts (on a GPU)
    pick_kernel          thresholds, the draw, the log probability
"""

from __future__ import annotations

import rtriton
import rtriton.language as tl
from ops.candidates import (
    count_levels,
    depth_below,
    exponentials,
    gather_chunk,
    level_counts,
    level_of_count,
    row_best,
    row_exponentials,
    weight_of,
)


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
