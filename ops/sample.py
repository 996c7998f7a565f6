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

Thresholds are found by bisection on the depth, one pass over the row a step: no sort, no scratch beyond depth and
weight.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, INDEXES, Arg, Checker
from ops.device import power_of_two, target
from ops.softmax import row_argmax, row_blocks

LOG2_E = float(np.float32(1.4426950408889634))
DEEPEST = 30 << 24  # depth from which a token counts for nothing
# 2**-f for f in [0, 1) as c0 - f*(c1 - f*(c2 - ...)), in units of 2**-31; within 4e-6
POWER = tuple(round(c * 2**31) for c in (1.0, 0.69304893, 0.2394306, 0.05321312, 0.00683515))


@rtriton.jit
def row_best_kernel(logits, work, stride, work_stride, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    best, index = row_argmax(logits + row * stride, columns, BLOCK)
    head = work + row * work_stride
    tl.store(head, index)
    tl.store(head + 1, best.to(tl.int32, bitcast=True))


@rtriton.jit
def weigh_kernel(
    logits, temperature, work, stride, work_stride, columns, padded, SPAN: tl.constexpr, BLOCK: tl.constexpr
):
    """Depth and weight of SPAN tokens of a row, BLOCK at a time; skipped for greedy rows."""
    row = tl.program_id(0).to(tl.int64)
    heat = tl.load(temperature + row)
    if heat > 0.0:
        head = work + row * work_stride
        best = tl.load(head + 1).to(tl.float32, bitcast=True)
        steepness = tl.div_rn(1.4426950216293335, heat)
        first = tl.program_id(1) * SPAN
        for start in range(first, tl.minimum(first + SPAN, padded), BLOCK):
            column = start + tl.arange(0, BLOCK)
            value = tl.load(logits + row * stride + column, mask=column < columns, other=float("-inf"))
            halvings = (best - value.to(tl.float32)) * steepness
            near = halvings < 30.0  # false for NaN too
            depth = tl.where(near, tl.where(near, halvings, 0.0) * 16777216.0, 503316480.0).to(tl.int32)
            weight = tl.where(near, half_power(depth), 0)
            tl.store(head + 16 + column, depth, mask=column < padded)
            tl.store(head + 16 + padded + column, weight, mask=column < padded)


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
    stride, work_stride, columns, padded, BLOCK: tl.constexpr, LOGPROBS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    head = work + row * work_stride
    depths = head + 16
    weights = depths + padded
    token = tl.load(head)
    if tl.load(temperature + row) > 0.0:
        limit = tl.load(head) * 0 + 503316479  # the deepest that is kept
        least = (tl.minimum(tl.maximum(tl.load(min_p + row), 0.0), 1.0) * 1073741824.0).to(tl.int32)
        k = tl.load(top_k + row)
        if (k > 0) & (k < columns):
            limit = depth_of_count(depths, padded, k, limit, BLOCK)
        p = tl.load(top_p + row)
        if p < 1.0:
            share = (tl.maximum(p, 0.0) * 16777216.0).to(tl.int64)
            mass = kept_mass(depths, weights, padded, limit, least, BLOCK)
            # mass * share / 2**24 without a product beyond 64 bits
            wanted = (mass >> 24) * share + (((mass & 16777215) * share) >> 24)
            limit = depth_of_mass(depths, weights, padded, wanted, limit, least, BLOCK)
        mass = kept_mass(depths, weights, padded, limit, least, BLOCK)
        random = draw_below(mass, tl.load(seeds + row), tl.load(choices + row), tl.load(positions + row))
        if mass > 0:  # zero for a row without a finite logit: its argmax stands
            token = token_at(depths, weights, padded, limit, least, random, BLOCK)
    tl.store(out + row, token.to(out.dtype.element_ty))
    if LOGPROBS:
        tl.store(logprobs + row, log_probability(logits + row * stride, head, token, columns, BLOCK))


@rtriton.jit
def depth_of_count(depths, padded, k, limit, BLOCK: tl.constexpr):
    """A depth down to which there are k tokens, or more where the last are tied; at most `limit`."""
    lanes = tl.arange(0, BLOCK)
    below = limit * 0 - 1
    at_limit = k + 1
    while (limit - below > 1) & (at_limit != k):
        middle = (limit + below) >> 1
        counts = tl.zeros([BLOCK], tl.int32)
        for start in range(0, padded, BLOCK):
            depth = tl.load(depths + start + lanes, mask=start + lanes < padded, other=503316480)
            counts += (depth <= middle).to(tl.int32)
        count = tl.sum(counts, 0)
        enough = count >= k
        limit = tl.where(enough, middle, limit)
        at_limit = tl.where(enough, count, at_limit)
        below = tl.where(enough, below, middle)
    return limit


@rtriton.jit
def depth_of_mass(depths, weights, padded, wanted, limit, least, BLOCK: tl.constexpr):
    """A depth down to which the weights of at least `least` sum to `wanted` and which no token but the last needs; at
    most `limit`.
    """
    lanes = tl.arange(0, BLOCK)
    below = limit * 0 - 1
    at_limit = padded
    at_below = padded * 0
    while (limit - below > 1) & (at_limit - at_below > 1):
        middle = (limit + below) >> 1
        masses = tl.zeros([BLOCK], tl.int64)
        counts = tl.zeros([BLOCK], tl.int32)
        for start in range(0, padded, BLOCK):
            depth = tl.load(depths + start + lanes, mask=start + lanes < padded, other=503316480)
            weight = tl.load(weights + start + lanes, mask=start + lanes < padded, other=0)
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
def kept_mass(depths, weights, padded, limit, least, BLOCK: tl.constexpr):
    """The sum of the weights of the kept tokens; below 2**50 for a million of them."""
    lanes = tl.arange(0, BLOCK)
    mass = tl.zeros([BLOCK], tl.int64)
    for start in range(0, padded, BLOCK):
        mass += kept_weights(depths, weights, start + lanes, padded, limit, least)
    return tl.sum(mass, 0)


@rtriton.jit
def kept_weights(depths, weights, column, padded, limit, least):
    depth = tl.load(depths + column, mask=column < padded, other=503316480)
    weight = tl.load(weights + column, mask=column < padded, other=0)
    return tl.where((depth <= limit) & (weight >= least), weight, 0).to(tl.int64)


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
def token_at(depths, weights, padded, limit, least, random, BLOCK: tl.constexpr):
    """The first id at which the running sum of kept weights exceeds `random`."""
    lanes = tl.arange(0, BLOCK)
    before = random * 0
    block = limit * 0
    rest = random
    for start in range(0, padded, BLOCK):
        mass = tl.sum(kept_weights(depths, weights, start + lanes, padded, limit, least), 0)
        here = (before <= random) & (random < before + mass)
        block = tl.where(here, start, block)
        rest = tl.where(here, random - before, rest)
        before += mass
    weight = kept_weights(depths, weights, block + lanes, padded, limit, least)
    last = limit * 0 + (BLOCK - 1)
    first = limit * 0 - 1
    while last - first > 1:
        middle = (last + first) >> 1
        beyond = tl.sum(tl.where(lanes <= middle, weight, 0), 0) > rest
        last = tl.where(beyond, middle, last)
        first = tl.where(beyond, first, middle)
    return block + last


@rtriton.jit
def log_probability(logits, head, token, columns, BLOCK: tl.constexpr):
    """Natural logarithm of softmax(logits)[token]: of the model's distribution, before temperature and cuts."""
    lanes = tl.arange(0, BLOCK)
    best = tl.load(head + 1).to(tl.float32, bitcast=True)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        value = tl.load(logits + start + lanes, mask=start + lanes < columns, other=float("-inf")).to(tl.float32)
        total += tl.exp(value - best)
    return tl.load(logits + token).to(tl.float32) - best - tl.log(tl.sum(total, 0))


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
        padded = work.shape[1] // 2 - 8
        strides = (logits.strides[0], work.strides[0])
        row_best_kernel[(rows,)](logits.launch, work.launch, *strides, columns, **row_blocks(logits, columns))
        blocks = _weigh_blocks(logits, padded)
        weigh_kernel[(rows, -(-padded // blocks["SPAN"]))](
            logits.launch, heat, work.launch, *strides, columns, padded, **blocks
        )
        pick_kernel[(rows,)](
            logits.launch, heat, k, p, least, seed, choice, position, work.launch, out.launch,
            (out if chances is None else chances).launch, *strides, columns, padded,
            LOGPROBS=chances is not None, **_pick_blocks(logits, padded),
        )  # fmt: skip
    return out.result() if chances is None else (out.result(), chances.result())


def sample_workspace(rows: int, columns: int) -> tuple[int, int]:
    """The shape of the int32 workspace of `sample` for `rows` rows of `columns` logits."""
    return rows, 16 + 2 * (-(-columns // 16) * 16)


def _weigh_blocks(logits: Arg, padded: int) -> dict[str, int]:
    if target(logits) == "cuda":
        return {"SPAN": power_of_two(padded, 1024), "BLOCK": power_of_two(padded, 1024), "num_warps": 4}
    return {"SPAN": power_of_two(padded, 4096), "BLOCK": power_of_two(padded, 128)}


def _pick_blocks(logits: Arg, padded: int) -> dict[str, int]:
    if target(logits) == "cuda":
        return {"BLOCK": power_of_two(padded, 4096), "num_warps": 8 if padded >= 2048 else 4}
    return {"BLOCK": power_of_two(padded, 128)}
