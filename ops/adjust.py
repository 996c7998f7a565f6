"""Logits as a request wants them: tokens that are not allowed are masked, biases and penalties are applied.

    allowed   a bitmask per row that has one; the others are minus infinity
    bias      added to the logit
    then, for a token seen in prompt or answer, repetition: a positive logit is divided by it, another is multiplied
    then, for a token that the answer holds n times, frequency * n and presence are subtracted

The last three are lists of tokens per row, a token at most once in a list. A row's result is a function of its
arguments alone, so a step may be run again. An allowed token's logit stays finite, so a row with an allowed token
keeps a choice whatever is added, divided or subtracted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, Arg, Checker
from ops.cases import Inputs, OpCase, normal
from ops.device import power_of_two, target

LOWEST = -3.0e38
"""What an allowed token's logit is never below."""


@rtriton.jit
def allow_kernel(logits, allowed, mask_rows, out, stride, out_stride, words, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    value = tl.load(logits + row * stride + column, mask=inside, other=0.0).to(tl.float32)
    value = tl.where(value < -3.0e38, -3.0e38, value)  # not tl.maximum: a NaN stays one
    mask = tl.load(mask_rows + row).to(tl.int64)
    word = tl.load(allowed + mask * words + (column >> 5), mask=inside & (mask >= 0), other=-1)
    value = tl.where((word >> (column & 31)) & 1 != 0, value, float("-inf"))
    tl.store(out + row * out_stride + column, value, mask=inside)


@rtriton.jit
def edit_kernel(
    out, starts, tokens, biases, counts, repetition, frequency, presence, out_stride, columns, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    line = out + row * out_stride
    end = tl.load(starts + row + 1)
    factor, often, once = tl.load(repetition + row), tl.load(frequency + row), tl.load(presence + row)
    for start in range(tl.load(starts + row), end, BLOCK):
        at = start + tl.arange(0, BLOCK)
        token = tl.load(tokens + at, mask=at < end, other=-1)
        known = (token >= 0) & (token < columns)
        value = tl.load(line + token, mask=known, other=0.0)
        count = tl.load(counts + at, mask=at < end, other=-1)
        result = value + tl.load(biases + at, mask=at < end, other=0.0)
        repeated = tl.where(result > 0.0, tl.div_rn(result, tl.zeros_like(result) + factor), result * factor)
        result = tl.where(count >= 0, repeated, result)
        result = tl.where(count > 0, result - often * count.to(tl.float32), result)
        result = tl.where(count > 0, result - once, result)
        result = tl.where(result < -3.0e38, -3.0e38, tl.where(result > 3.0e38, 3.0e38, result))
        tl.store(line + token, result, mask=known & (value > float("-inf")))


def adjust_logits(
    logits: Any, allowed: Any, mask_rows: Any, starts: Any, tokens: Any, biases: Any, counts: Any,
    repetition: Any, frequency: Any, presence: Any, *, out: Any = None,
) -> Any:  # fmt: skip
    """Logits with the tokens that are not allowed at minus infinity, biases and penalties applied; the file
    ops/adjust.py says in which order.

    logits: (R, V) of fp32, bf16 or fp16. allowed: (M, ceil(V / 32)) of int32, bit t % 32 of word t // 32 says that
    token t is allowed; mask_rows: (R,) of int32, each row's line of `allowed`, or -1 for no mask. starts: (R + 1,) of
    int32: row r has the entries starts[r] to starts[r + 1] of tokens (E,) of int32, biases (E,) of fp32 and counts
    (E,) of int32: how often the answer holds the token, 0 where only the prompt does, -1 where neither. repetition,
    frequency, presence: (R,) of fp32; 1, 0 and 0 change nothing. out: (R, V) of fp32; made where absent. Returns out.
    """
    check = Checker("adjust_logits")
    logits = check.array("logits", logits, FLOATS, (None, None), rows=True)
    rows, columns = logits.shape
    words = -(-columns // 32)
    allowed = check.array("allowed", allowed, ("int32",), (None, words))
    lines = check.array("mask_rows", mask_rows, ("int32",), (rows,)).launch
    begins = check.array("starts", starts, ("int32",), (rows + 1,)).launch
    entries = check.array("tokens", tokens, ("int32",), (None,))
    added = check.array("biases", biases, ("fp32",), entries.shape).launch
    often = check.array("counts", counts, ("int32",), entries.shape).launch
    factors = [check.array(name, array, ("fp32",), (rows,)).launch for name, array in
               (("repetition", repetition), ("frequency", frequency), ("presence", presence))]  # fmt: skip
    out = check.output("out", out, logits, (rows, columns), "fp32")
    if rows and columns:
        block = _block(logits, columns)
        allow_kernel[(rows, -(-columns // block))](
            logits.launch, allowed.launch, lines, out.launch, logits.strides[0], out.strides[0], words, columns,
            BLOCK=block,
        )  # fmt: skip
        edit_kernel[(rows,)](
            out.launch, begins, entries.launch, added, often, *factors, out.strides[0], columns,
            BLOCK=256 if target(logits) == "cuda" else 64,
        )  # fmt: skip
    return out.result()


def _block(arg: Arg, columns: int) -> int:
    return power_of_two(columns, 1024 if target(arg) == "cuda" else 4096)


# ---- meaning and cases --------------------------------------------------------------------------------


def adjust_reference(
    logits: np.ndarray, allowed: np.ndarray, mask_rows: np.ndarray, starts: np.ndarray, tokens: np.ndarray,
    biases: np.ndarray, counts: np.ndarray, repetition: np.ndarray, frequency: np.ndarray, presence: np.ndarray,
) -> tuple[np.ndarray]:  # fmt: skip
    out = np.maximum(logits.astype(np.float32), np.float32(LOWEST))
    for r, row in enumerate(out):
        for at in range(starts[r], starts[r + 1]):
            value = np.float64(row[tokens[at]]) + biases[at]
            if counts[at] >= 0:
                value = value / repetition[r] if value > 0 else value * repetition[r]
            if counts[at] > 0:
                value -= np.float64(frequency[r]) * counts[at] + presence[r]
            row[tokens[at]] = min(max(value, LOWEST), -LOWEST)
        if mask_rows[r] >= 0:
            row[~allowed_tokens(allowed[mask_rows[r]], len(row))] = -np.inf
    return (out,)


def allowed_tokens(words: np.ndarray, columns: int) -> np.ndarray:
    """One line of `allowed` as a truth value per token."""
    return np.unpackbits(words.view(np.uint8), bitorder="little")[:columns].astype(bool)


def cases() -> list[OpCase]:
    return [_case(1, 40, "fp32"), _case(5, 200, "fp32"), _case(4, 1000, "bf16"), _case(3, 5000, "fp16")]


def _case(rows: int, columns: int, dtype: str) -> OpCase:
    from ops.arrays import numpy_dtype

    def make(rng: np.random.Generator) -> Inputs:
        lengths = rng.integers(0, min(columns, 300), rows)
        lengths[0] = columns // 2
        each = [rng.permutation(columns)[:length] for length in lengths]
        total = int(lengths.sum())
        lines = min(rows, 3)
        return {
            "logits": normal(rng, rows, columns, dtype=numpy_dtype(dtype), scale=4.0),
            "allowed": rng.integers(-(2**31), 2**31, (lines, -(-columns // 32)), np.int32),
            "mask_rows": np.array([[lines - 1, -1, 0][r % 3] for r in range(rows)], np.int32),
            "starts": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
            "tokens": np.concatenate(each).astype(np.int32),
            "biases": rng.choice([0.0, -100.0, 100.0, 1.5], total).astype(np.float32),
            "counts": rng.integers(-1, 5, total, np.int32),
            "repetition": rng.choice([1.0, 1.3, 0.01, 100.0], rows).astype(np.float32),
            "frequency": rng.choice([0.0, 2.0, -2.0, 0.3], rows).astype(np.float32),
            "presence": rng.choice([0.0, 2.0, -2.0], rows).astype(np.float32),
        }

    run = lambda **inputs: (adjust_logits(**inputs),)  # noqa: E731
    # a product and a sum may be fused, and cancel
    return OpCase("adjust_logits", f"{rows}x{columns}-{dtype}", make, run, adjust_reference, 1e-6, 2e-5)
