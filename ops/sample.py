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

from ops.arrays import FLOATS, INDEXES, Checker
from ops.candidates import (
    CHUNK,
    chunk_best_kernel,
    chunk_blocks,
    gathers,
    header,
    list_blocks,
    places,
    slots,
    workspace as shape_of_workspace,
)
from ops.sample_kernels import gather_kernel, levels_kernel, pick_kernel

LOG2_E = float(np.float32(1.4426950408889634))
DEEPEST = 30 << 24  # depth from which a token counts for nothing
# 2**-f for f in [0, 1) as c0 - f*(c1 - f*(c2 - ...)), in units of 2**-31; within 4e-6
POWER = tuple(round(c * 2**31) for c in (1.0, 0.69304893, 0.2394306, 0.05321312, 0.00683515))


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
