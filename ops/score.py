"""How likely a token was, and which were the most likely: log probabilities of the model's own distribution.

A chunk of a row is a program (`ops/candidates.py`): its exponentials, how many logits are larger than the token's, and
where the most likely tokens are wanted, how many there are on each level. Those that can be among them are gathered,
and each pass over the list takes the largest below the last one. The order is a total one, of the logit and then of the
id, packed into one integer of 64 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, Checker, numpy_dtype
from ops.candidates import (
    CHUNK,
    chunk_best_kernel,
    chunk_blocks,
    count_levels,
    exponentials,
    gather_chunk,
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
from ops.cases import Inputs, OpCase, normal

MOST = 20
"""Alternatives per row where the caller brings no array."""


@rtriton.jit
def scores_kernel(
    logits, picks, targets, wanted, work, stride, work_stride, columns, chunks,
    CHUNK: tl.constexpr, SLOTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What a chunk adds to the sum of a row and to the rank of its token."""
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1)
    first = chunk * CHUNK
    last = tl.minimum(first + CHUNK, columns)
    line = logits + row * stride
    head = work + row * work_stride
    best, _ = row_best(head, chunks, SLOTS)
    total = exponentials(line, first, last, best, BLOCK)
    tl.store(head + 2 * SLOTS + chunk, total.to(tl.int32, bitcast=True))
    mine = tl.load(line + chosen(picks, targets, row)).to(tl.float32)
    ahead = tl.zeros([BLOCK], tl.int32)
    for start in range(first, last, BLOCK):
        column = start + tl.arange(0, BLOCK)
        value = tl.load(line + column, mask=column < last, other=float("-inf")).to(tl.float32)
        ahead += (value > mine).to(tl.int32)
    tl.store(head + 3 * SLOTS + chunk, tl.sum(ahead, 0))
    if tl.load(wanted + row) > 0:
        count_levels(line, head, first, last, best, 1.4426950216293335, chunk, SLOTS, BLOCK)


@rtriton.jit
def chosen(picks, targets, row):
    """The row's target, or its pick where the target is negative."""
    target = tl.load(targets + row)
    return tl.where(target >= 0, target, tl.load(picks + row))


@rtriton.jit
def likely_kernel(
    logits, wanted, work, stride, work_stride, columns, chunks,
    CHUNK: tl.constexpr, SLOTS: tl.constexpr, HEADER: tl.constexpr, PLACES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gather the tokens that can be among the most likely."""
    row = tl.program_id(0).to(tl.int64)
    many = tl.load(wanted + row)
    if many > 0:
        chunk = tl.program_id(1)
        first = chunk * CHUNK
        last = tl.minimum(first + CHUNK, columns)
        head = work + row * work_stride
        best, _ = row_best(head, chunks, SLOTS)
        counts = level_counts(head, chunks, SLOTS)
        limit = level_of_count(tl.sum(counts, 0), many)
        ids = head + HEADER
        gather_chunk(logits + row * stride, head, counts, limit, best, 1.4426950216293335, chunk, first, last, ids,
                     ids + PLACES, BLOCK, SLOTS)  # fmt: skip


@rtriton.jit
def score_kernel(
    logits, picks, targets, wanted, work, logprobs, ranks, top_ids, top_logprobs,
    stride, work_stride, top_stride, chunks,
    SLOTS: tl.constexpr, HEADER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    line = logits + row * stride
    head = work + row * work_stride
    best, _ = row_best(head, chunks, SLOTS)
    norm = tl.log(row_exponentials(head, chunks, SLOTS))
    mine = tl.load(line + chosen(picks, targets, row)).to(tl.float32)
    tl.store(logprobs + row, mine - best - norm)
    slot = tl.arange(0, SLOTS)
    tl.store(ranks + row, tl.sum(tl.load(head + 3 * SLOTS + slot, mask=slot < chunks, other=0), 0) + 1)
    many = tl.load(wanted + row)
    if many > 0:
        counts = tl.sum(level_counts(head, chunks, SLOTS), 0)
        length = tl.sum(tl.where(tl.arange(0, 32) <= level_of_count(counts, many), counts, 0), 0)
        lanes = tl.arange(0, BLOCK)
        last = row * 0 + 9223372036854775807
        for place in range(many):
            next = tl.zeros([BLOCK], tl.int64) - 9223372036854775807
            for start in range(0, length, BLOCK):
                inside = start + lanes < length
                token = tl.load(head + HEADER + start + lanes, mask=inside, other=0)
                key = ordered(tl.load(line + token, mask=inside, other=0.0).to(tl.float32), token, inside)
                next = tl.maximum(next, tl.where(key < last, key, -9223372036854775807))
            last = tl.max(next, 0)
            found = (2147483647 - (last & 2147483647)).to(tl.int32)
            found = tl.where(last == -9223372036854775807, -1, found)
            value = tl.load(line + found, mask=found >= 0, other=float("-inf")).to(tl.float32)
            tl.store(top_ids + row * top_stride + place, found)
            tl.store(top_logprobs + row * top_stride + place, value - best - norm)


@rtriton.jit
def ordered(value, token, inside):
    """The place of a token among all: its logit's bits as an integer that grows with it, then its id, falling."""
    bits = (value + 0.0).to(tl.int32, bitcast=True)  # -0.0 becomes 0.0, its equal
    height = bits ^ ((bits >> 31) & 2147483647)
    key = (height.to(tl.int64) << 31) + (2147483647 - token).to(tl.int64)
    return tl.where(inside & (value == value), key, -9223372036854775807)


def score(
    logits: Any, picks: Any, targets: Any, wanted: Any,
    *, logprobs: Any = None, ranks: Any = None, top_ids: Any = None, top_logprobs: Any = None, workspace: Any = None,
) -> Any:  # fmt: skip
    """Log probability and rank of one token of each row, and the most likely tokens.

    logits: (R, V >= 1) of fp32, bf16 or fp16. picks, targets: (R,) of int32: the token is the row's target, or its pick
    where the target is negative. wanted: (R,) of int32, how many of the most likely tokens, at most K. logprobs: (R,)
    of fp32, natural logarithms, NaN where the row holds NaN or plus infinity. ranks: (R,) of int32, 1 and how many
    logits are larger. top_ids (R, K) of int32 and top_logprobs (R, K) of fp32: the most likely first, the lower id
    among equals, -1 where there are no more tokens; entries from `wanted` on are left as they were. workspace: an int32
    array of the shape `sample_workspace(R, V)`. What is absent is made, with K = 20. Returns (logprobs, ranks, top_ids,
    top_logprobs).
    """
    check = Checker("score")
    logits = check.array("logits", logits, FLOATS, (None, None), rows=True)
    rows, columns = logits.shape
    if columns == 0:
        raise check.fail("logits", "have at least one column", 0)
    pick, aim, want = (
        check.array(name, array, ("int32",), (rows,)).launch
        for name, array in (("picks", picks), ("targets", targets), ("wanted", wanted))
    )
    chance = check.output("logprobs", logprobs, logits, (rows,), "fp32")
    rank = check.output("ranks", ranks, logits, (rows,), "int32")
    if top_ids is None:
        ids = check.output("top_ids", None, logits, (rows, MOST), "int32")
    else:
        ids = check.array("top_ids", top_ids, ("int32",), (rows, None), rows=True, written=True)
    tops = check.output("top_logprobs", top_logprobs, logits, ids.shape, "fp32")
    if ids.strides[0] != tops.strides[0]:
        raise check.fail("top_logprobs", "have the strides of top_ids", tops.strides)
    work = check.output("workspace", workspace, logits, shape_of_workspace(rows, columns), "int32")
    if rows:
        chunks = -(-columns // CHUNK)
        strides, sizes = (logits.strides[0], work.strides[0]), {"CHUNK": CHUNK, "SLOTS": slots(columns)}
        blocks, grid = chunk_blocks(logits, columns), (rows, chunks)
        chunk_best_kernel[grid](logits.launch, work.launch, *strides, columns, **sizes, **blocks)
        scores_kernel[grid](
            logits.launch, pick, aim, want, work.launch, *strides, columns, chunks, **sizes, **blocks
        )
        likely_kernel[grid](
            logits.launch, want, work.launch, *strides, columns, chunks, **sizes, HEADER=header(columns),
            PLACES=places(columns), **blocks,
        )  # fmt: skip
        score_kernel[(rows,)](
            logits.launch, pick, aim, want, work.launch, chance.launch, rank.launch, ids.launch, tops.launch,
            *strides, ids.strides[0], chunks, SLOTS=sizes["SLOTS"], HEADER=header(columns),
            **list_blocks(logits, columns),
        )  # fmt: skip
    return chance.result(), rank.result(), ids.result(), tops.result()


# ---- meaning and cases --------------------------------------------------------------------------------


def score_reference(
    logits: np.ndarray, picks: np.ndarray, targets: np.ndarray, wanted: np.ndarray, top_ids: np.ndarray,
    top_logprobs: np.ndarray,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    wide = logits.astype(np.float64)
    chances = wide - wide.max(1, keepdims=True)
    chances -= np.log(np.exp(chances).sum(1, keepdims=True))
    tokens = np.where(targets >= 0, targets, picks)
    rows = np.arange(len(logits))
    mine = wide[rows, tokens]
    for r, order in enumerate(np.argsort(-wide, axis=1, kind="stable")):
        order = order[: wanted[r]]
        top_ids[r, : wanted[r]] = -1
        top_logprobs[r, : wanted[r]] = -np.inf
        top_ids[r, : len(order)] = order
        top_logprobs[r, : len(order)] = chances[r, order]
    ranks = (wide > mine[:, None]).sum(1) + 1
    return chances[rows, tokens].astype(np.float32), ranks.astype(np.int32), top_ids, top_logprobs


def cases() -> list[OpCase]:
    return [_case(1, 1, "fp32"), _case(5, 130, "fp32"), _case(4, 1000, "bf16"), _case(3, 300, "fp16"),
            _case(3, 9000, "fp32"), _case(3, 200, "fp32", scale=40.0),
            _case(8, 131072, "fp32", large=True)]  # fmt: skip


def _case(rows: int, columns: int, dtype: str, large: bool = False, scale: float = 3.0) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        logits = normal(rng, rows, columns, dtype=numpy_dtype(dtype), scale=scale)
        if columns > 9:
            logits[:, 7] = logits[:, 3] = logits.max()  # a tie at the top
            logits[:, 8], logits[:, 9] = -np.inf, -0.0
        return {
            "logits": logits,
            "picks": rng.integers(0, columns, rows, np.int32),
            "targets": np.array([[-1, columns - 1, 0][r % 3] for r in range(rows)], np.int32),
            "wanted": np.array([[5, 0, 1][r % 3] for r in range(rows)], np.int32),
            "top_ids": np.full((rows, 6), -7, np.int32),
            "top_logprobs": np.full((rows, 6), 7, np.float32),
        }

    moved = rows * columns * numpy_dtype(dtype).itemsize
    run = lambda **inputs: score(**inputs)  # noqa: E731
    name = f"{rows}x{columns}-{dtype}" + ("" if scale == 3.0 else "-peaked")
    return OpCase(
        "score", name, make, run, score_reference, 1e-5, 1e-5, bytes=moved, large=large
    )
