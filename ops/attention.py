"""Paged attention: each token of a step attends to the keys of its own sequence up to its own position.

Prefill and decode are one kernel: a decode is a chunk of one token. A program owns `TOKENS` neighbouring tokens and
the query heads of one key head, and walks the sequence's positions from the first, a cache block of 16 at a time on a
CPU and eight blocks on a GPU, keeping a running maximum, running sums and the weighted values (online softmax). A tile
of tokens that belong to different sequences is taken token by token.

**A token's result is the same to the last bit however its sequence was chunked and whatever else is in the step:**
positions are walked from 0 in order, each row of a tile is its own chain of operations, and a position that a token may
not see enters its sums as an exact zero (weight exp2(-inf) = 0, rescaling exp2(0) = 1). On a GPU that holds between
launches of equal TOKENS.

The layout of the cache is described in ops/rope.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, INDEXES, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal
from ops.device import power_of_two, target
from ops.rope import BLOCK_SIZE, check_cache, check_heads, kv_cache_shapes

LOG2_E = 1.4426950408889634


@rtriton.jit
def paged_attention_kernel(
    q, k_cache, v_cache, block_tables, token_rows, positions, out,
    tokens, q_stride, out_stride, tables_stride, kv_heads, scale,
    HEADS: tl.constexpr, DIM: tl.constexpr, TOKENS: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr,
    SPAN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """HEADS query heads share a key head; BLOCK_H and BLOCK_D are the powers of two that hold HEADS and DIM; SPAN
    positions are looked at together."""
    first = tl.program_id(0) * TOKENS
    head = tl.program_id(1)
    if TOKENS == 1:
        attend(
            first, q, k_cache, v_cache, block_tables, token_rows, positions, out, tokens, q_stride, out_stride,
            tables_stride, kv_heads, head, scale, HEADS, DIM, 1, BLOCK_H, BLOCK_D, SPAN, PRECISION,
        )  # fmt: skip
    else:
        last = tl.minimum(first + TOKENS, tokens) - 1
        if tl.load(token_rows + first) == tl.load(token_rows + last):
            attend(
                first, q, k_cache, v_cache, block_tables, token_rows, positions, out, tokens, q_stride, out_stride,
                tables_stride, kv_heads, head, scale, HEADS, DIM, TOKENS, BLOCK_H, BLOCK_D, SPAN, PRECISION,
            )  # fmt: skip
        else:
            for token in range(first, last + 1):
                attend(
                    token, q, k_cache, v_cache, block_tables, token_rows, positions, out, tokens, q_stride, out_stride,
                    tables_stride, kv_heads, head, scale, HEADS, DIM, 1, BLOCK_H, BLOCK_D, SPAN, PRECISION,
                )  # fmt: skip


@rtriton.jit
def attend(
    first, q, k_cache, v_cache, block_tables, token_rows, positions, out, tokens, q_stride, out_stride, tables_stride,
    kv_heads, kv_head, scale,
    HEADS: tl.constexpr, DIM: tl.constexpr, TOKENS: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr,
    SPAN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """TOKENS tokens of one sequence, the first of them `first`: their rows are (token, head) pairs."""
    row = tl.arange(0, TOKENS * BLOCK_H)
    # rows past the last token or head repeat it and are not stored
    token = tl.minimum(first + row // BLOCK_H, tokens - 1)
    head = tl.minimum(row % BLOCK_H, HEADS - 1)
    position = tl.load(positions + token)
    dim = tl.arange(0, BLOCK_D)
    slot = tl.arange(0, SPAN)
    column = token.to(tl.int64) * q_stride + (kv_head * HEADS + head) * DIM
    query = load_even(q + column[:, None] + dim[None, :], (dim < DIM)[None, :], DIM == BLOCK_D).to(tl.float32)
    scale *= 1.4426950408889634  # powers of two below, not of e
    table = block_tables + tl.load(token_rows + first).to(tl.int64) * tables_stride
    seen = tl.max(position, 0) + 1
    best = tl.full([TOKENS * BLOCK_H], float("-inf"), tl.float32)
    total = tl.zeros([TOKENS * BLOCK_H, SPAN], tl.float32)  # by slot of a span, added up at the end
    acc = tl.zeros([TOKENS * BLOCK_H, BLOCK_D], tl.float32)
    for start in range(0, seen, SPAN):
        if SPAN == 16:
            cell = (tl.load(table + start // 16).to(tl.int64) * kv_heads + kv_head) * (DIM * 16)
            k_places = k_cache + cell + dim[:, None] * 16 + slot[None, :]
            v_places = v_cache + cell + slot[:, None] * DIM + dim[None, :]
        else:
            block = tl.minimum((start + slot) // 16, (seen - 1) // 16)
            cells = (tl.load(table + block).to(tl.int64) * kv_heads + kv_head) * (DIM * 16)
            k_places = k_cache + (cells + slot % 16)[None, :] + dim[:, None] * 16
            v_places = v_cache + (cells + slot % 16 * DIM)[:, None] + dim[None, :]
        keys = load_even(k_places, (dim < DIM)[:, None], DIM == BLOCK_D)
        score = tl.dot(query, keys.to(tl.float32), input_precision=PRECISION)
        score = tl.where((start + slot)[None, :] <= position[:, None], score * scale, float("-inf"))
        higher = tl.maximum(best, tl.max(score, 1))
        shift = tl.where(higher == float("-inf"), 0.0, higher)  # a row that has seen nothing yet
        fade = tl.exp2(best - shift)
        weight = tl.exp2(score - shift[:, None])
        # slots past every position hold whatever an earlier sequence left there: never let it meet a zero weight
        values = load_even(v_places, (dim < DIM)[None, :], DIM == BLOCK_D).to(tl.float32)
        values = tl.where((start + slot < seen)[:, None], values, 0.0)
        total = total * fade[:, None] + weight
        acc = tl.dot(weight, values, acc * fade[:, None], input_precision=PRECISION)
        best = higher
    whole = tl.sum(total, 1)
    result = acc / tl.where(whole > 0.0, whole, 1.0)[:, None]
    column = token.to(tl.int64) * out_stride + (kv_head * HEADS + head) * DIM
    live = (first + row // BLOCK_H < tokens) & (row % BLOCK_H < HEADS)
    stored = live[:, None] & (dim < DIM)[None, :]
    tl.store(out + column[:, None] + dim[None, :], result.to(out.dtype.element_ty), mask=stored)


@rtriton.jit
def load_even(pointers, mask, EVEN: tl.constexpr):
    if EVEN:
        return tl.load(pointers)
    else:
        return tl.load(pointers, mask=mask, other=0.0)


def paged_attention(
    q: Any, k_cache: Any, v_cache: Any, block_tables: Any, token_rows: Any, positions: Any, scale: float,
    out: Any = None, *, tokens_per_program: int | None = None,
) -> Any:  # fmt: skip
    """Causal attention over a paged cache that already holds the keys and values of these tokens.

    q: (T, Hq*D) or (T, Hq, D) of fp32, bf16 or fp16, Hq a multiple of Hkv. k_cache: (B, Hkv, D, 16); v_cache: (B,
    Hkv, 16, D), of one dtype of fp32, bf16, fp16. block_tables: (S, max_blocks), token_rows: (T,), the row of
    block_tables of each token, positions: (T,), all of int32 or int64; tokens of one sequence are neighbours, and a
    token of position p reads the sequence's slots 0 to p; a negative position gives zeros. out: shape and dtype of q;
    made where absent. tokens_per_program: how many neighbouring tokens share the reads of one program (a power of
    two; 1 suits steps that are all decode); None chooses by T. Returns out.
    """
    check = Checker("paged_attention")
    q = check.array("q", q, FLOATS, rows=True)
    k_cache, v_cache = check_cache(check, k_cache, v_cache)
    _, kv_heads, dim, _ = k_cache.shape
    heads, rest = divmod(check_heads(check, q, dim), kv_heads)
    if rest:
        raise check.fail("q", f"have a multiple of {kv_heads} heads of {dim}", q.shape)
    tokens = q.shape[0]
    block_tables = check.array("block_tables", block_tables, INDEXES, (None, None), rows=True)
    token_rows = check.array("token_rows", token_rows, INDEXES, (tokens,))
    positions = check.array("positions", positions, INDEXES, (tokens,))
    out = check.output("out", out, q, q.shape)
    scale = check.number("scale", scale)
    if tokens:
        blocks = attention_blocks(target(q), tokens, heads, dim, tokens_per_program)
        paged_attention_kernel[(-(-tokens // blocks["TOKENS"]), kv_heads)](
            q.launch, k_cache.launch, v_cache.launch, block_tables.launch, token_rows.launch, positions.launch,
            out.launch, tokens, q.strides[0], out.strides[0], block_tables.strides[0], kv_heads, scale,
            HEADS=heads, DIM=dim, **blocks,
        )  # fmt: skip
    return out.result()


def attention_blocks(target: str, tokens: int, heads: int, dim: int, wanted: int | None) -> dict[str, Any]:
    """A GPU's mma tiles have 16 rows, so heads are padded to fill one; a CPU takes what there is."""
    block_h, block_d = power_of_two(heads, 1 << 10), max(16, power_of_two(dim, 1 << 10))
    # on a CPU a token's rows fill the registers already, and keys shared by neighbours come from the cache
    chosen = wanted if wanted is not None else 1 if target == "cpu" else power_of_two(tokens, 16)
    if chosen < 1 or chosen & (chosen - 1):
        raise ValueError(f"paged_attention: tokens_per_program must be a power of two, got {chosen}")
    if target == "cuda":
        # one tile whatever the step holds, so that its shape does not change a result
        block_h = max(block_h, 16 // chosen)
        return {
            "TOKENS": chosen,
            "BLOCK_H": block_h,
            "BLOCK_D": block_d,
            "SPAN": 128 if block_d <= 64 else 64,  # by head_dim alone: it is part of the order of sums
            "PRECISION": "tf32",
            "num_warps": 4,
        }
    return {"TOKENS": chosen, "BLOCK_H": block_h, "BLOCK_D": block_d, "SPAN": 16, "PRECISION": "ieee"}


# ---- meaning and cases --------------------------------------------------------------------------------


def paged_attention_reference(
    q: np.ndarray, k_cache: np.ndarray, v_cache: np.ndarray, block_tables: np.ndarray, token_rows: np.ndarray,
    positions: np.ndarray, scale: float,
) -> tuple[np.ndarray]:  # fmt: skip
    _, kv_heads, dim, _ = k_cache.shape
    query = q.astype(np.float64).reshape(len(q), kv_heads, -1, dim)
    out = np.zeros_like(query)
    for t in np.flatnonzero(positions >= 0):
        slots = np.arange(positions[t] + 1)
        block, place = block_tables[token_rows[t], slots // BLOCK_SIZE], slots % BLOCK_SIZE
        keys = k_cache[block, :, :, place].astype(np.float64)  # slots, kv_heads, dim
        values = v_cache[block, :, place, :].astype(np.float64)
        score = np.einsum("hgd,shd->hgs", query[t], keys) * scale
        weight = np.exp(score - score.max(2, keepdims=True))
        out[t] = np.einsum("hgs,shd->hgd", weight / weight.sum(2, keepdims=True), values)
    return (out.astype(q.dtype).reshape(q.shape),)


def cases() -> list[OpCase]:
    """Chunks (first position, tokens) of the sequences of one step."""
    step = ((0, 5), (20, 1), (15, 3), (-1, 1))
    return [_case(((37, 1),), 9, 3, 64, "fp32"), _case(step, 4, 2, 16, "fp32"), _case(((0, 18),), 2, 1, 32, "fp32"),
            _case(step, 4, 1, 24, "fp32"), _case(((3, 2),), 1, 1, 24, "fp32"),
            _case(step, 2, 2, 32, "bf16"), _case(step, 2, 1, 16, "fp16")]  # fmt: skip


def _case(chunks: tuple[tuple[int, int], ...], q_heads: int, kv_heads: int, dim: int, dtype: str) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        return attention_inputs(rng, chunks, q_heads, kv_heads, dim, numpy_dtype(dtype))

    rtol, atol = {"fp32": (1e-5, 1e-5), "fp16": (2e-3, 2e-3), "bf16": (1.6e-2, 1.6e-2)}[dtype]
    name = f"{'+'.join(f'{n}@{start}' for start, n in chunks)}x{q_heads}/{kv_heads}x{dim}-{dtype}"
    return OpCase(
        "paged_attention", name, make, lambda **inputs: (paged_attention(**inputs),), paged_attention_reference,
        rtol, atol, gpu_rtol=1e-2, gpu_atol=1e-2,
    )  # fmt: skip


def attention_inputs(
    rng: np.random.Generator, chunks: tuple[tuple[int, int], ...], q_heads: int, kv_heads: int, dim: int, dtype: Any
) -> Inputs:
    """A step of chunks over shuffled cache blocks; slots that no sequence owns hold NaN."""
    needed = [max(1, -(-(start + n) // BLOCK_SIZE)) for start, n in chunks]
    order = rng.permutation(np.arange(1, sum(needed) + 1)).astype(np.int32)
    tables = np.zeros((len(chunks), max(needed)), np.int32)
    k_shape, v_shape = kv_cache_shapes(sum(needed) + 1, kv_heads, dim)
    k_cache, v_cache = normal(rng, *k_shape, dtype=dtype), normal(rng, *v_shape, dtype=dtype)
    for row, (start, n) in enumerate(chunks):
        tables[row, : needed[row]], order = order[: needed[row]], order[needed[row] :]
        for slot in range(start + n, needed[row] * BLOCK_SIZE):
            k_cache[tables[row, slot // BLOCK_SIZE], :, :, slot % BLOCK_SIZE] = np.nan
            v_cache[tables[row, slot // BLOCK_SIZE], :, slot % BLOCK_SIZE, :] = np.nan
    positions = np.concatenate([np.arange(start, start + n) for start, n in chunks]).astype(np.int32)
    token_rows = np.repeat(np.arange(len(chunks)), [n for _, n in chunks]).astype(np.int32)
    return {
        "q": normal(rng, len(positions), q_heads * dim, dtype=dtype), "k_cache": k_cache, "v_cache": v_cache,
        "block_tables": tables, "token_rows": token_rows, "positions": positions, "scale": dim**-0.5,
    }  # fmt: skip
