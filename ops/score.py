"""How likely a token was, and which were the most likely: log probabilities of the model's own distribution.

One program per row: in one pass the logarithm of the sum, with how many logits are larger than the token's; in one
more each of the most likely tokens. The order among tokens is a total one, of the logit and then of the id, packed
into one integer of 64 bits, so that each pass takes the largest below the last one and no list is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal
from ops.softmax import row_argmax, row_blocks


@rtriton.jit
def score_kernel(
    logits, picks, targets, wanted, logprobs, ranks, top_ids, top_logprobs,
    stride, top_stride, columns, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    line = logits + row * stride
    lanes = tl.arange(0, BLOCK)
    best, _ = row_argmax(line, columns, BLOCK)
    target = tl.load(targets + row)
    token = tl.where(target >= 0, target, tl.load(picks + row))
    mine = tl.load(line + token).to(tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    ahead = tl.zeros([BLOCK], tl.int32)
    for start in range(0, columns, BLOCK):
        value = tl.load(line + start + lanes, mask=start + lanes < columns, other=float("-inf")).to(tl.float32)
        total += tl.exp(value - best)
        ahead += (value > mine).to(tl.int32)
    norm = tl.log(tl.sum(total, 0))
    tl.store(logprobs + row, mine - best - norm)
    tl.store(ranks + row, tl.sum(ahead, 0) + 1)
    last = token.to(tl.int64) * 0 + 9223372036854775807
    for place in range(tl.load(wanted + row)):
        next = tl.zeros([BLOCK], tl.int64) - 9223372036854775807
        for start in range(0, columns, BLOCK):
            key = ordered(line, start + lanes, columns)
            next = tl.maximum(next, tl.where(key < last, key, -9223372036854775807))
        last = tl.max(next, 0)
        found = (2147483647 - (last & 2147483647)).to(tl.int32)
        found = tl.where(last == -9223372036854775807, -1, found)
        value = tl.load(line + found, mask=found >= 0, other=float("-inf")).to(tl.float32)
        tl.store(top_ids + row * top_stride + place, found)
        tl.store(top_logprobs + row * top_stride + place, value - best - norm)


@rtriton.jit
def ordered(line, column, columns):
    """The place of a token among all: its logit's bits as an integer that grows with it, then its id, falling."""
    value = tl.load(line + column, mask=column < columns, other=0.0).to(tl.float32)
    bits = (value + 0.0).to(tl.int32, bitcast=True)  # -0.0 becomes 0.0, its equal
    height = bits ^ ((bits >> 31) & 2147483647)
    key = (height.to(tl.int64) << 31) + (2147483647 - column).to(tl.int64)
    return tl.where((column < columns) & (value == value), key, -9223372036854775807)


def score(
    logits: Any, picks: Any, targets: Any, wanted: Any,
    *, logprobs: Any = None, ranks: Any = None, top_ids: Any = None, top_logprobs: Any = None,
) -> Any:  # fmt: skip
    """Log probability and rank of one token of each row, and the most likely tokens.

    logits: (R, V >= 1) of fp32, bf16 or fp16. picks, targets: (R,) of int32: the token is the row's target, or its pick
    where the target is negative. wanted: (R,) of int32, how many of the most likely tokens, at most K. logprobs: (R,)
    of fp32, natural logarithms, NaN where the row holds NaN or plus infinity. ranks: (R,) of int32, 1 and how many
    logits are larger. top_ids (R, K) of int32 and top_logprobs (R, K) of fp32: the most likely first, the lower id
    among equals, -1 where there are no more tokens; entries from `wanted` on are left as they were. What is absent is
    made, with K = 20. Returns (logprobs, ranks, top_ids, top_logprobs).
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
    ids = check.output("top_ids", top_ids, logits, (rows, _places(top_ids)), "int32")
    tops = check.output("top_logprobs", top_logprobs, logits, ids.shape, "fp32")
    if ids.strides[0] != tops.strides[0]:
        raise check.fail("top_logprobs", "have the strides of top_ids", tops.strides)
    if rows:
        score_kernel[(rows,)](
            logits.launch, pick, aim, want, chance.launch, rank.launch, ids.launch, tops.launch,
            logits.strides[0], ids.strides[0], columns, **row_blocks(logits, columns),
        )  # fmt: skip
    return chance.result(), rank.result(), ids.result(), tops.result()


MOST = 20
"""Alternatives per row where the caller brings no array."""


def _places(top_ids: Any) -> int:
    return MOST if top_ids is None else top_ids.shape[1]


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
            _case(8, 131072, "fp32", large=True)]  # fmt: skip


def _case(rows: int, columns: int, dtype: str, large: bool = False) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        logits = normal(rng, rows, columns, dtype=numpy_dtype(dtype), scale=3.0)
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
    return OpCase(
        "score", f"{rows}x{columns}-{dtype}", make, run, score_reference, 1e-5, 1e-5, bytes=moved, large=large
    )
