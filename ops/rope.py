"""Rotary embedding of queries and keys, and the write of keys and values into the paged cache, in one kernel.

The cache of one layer is two arrays; a block holds 16 consecutive positions of one sequence:

    k_cache [blocks, kv_heads, head_dim, 16]     the 16 slots are the last axis: scores of 16 keys fill one vector
    v_cache [blocks, kv_heads, 16, head_dim]     head_dim is the last axis: a weighted sum of values runs along it

so that attention reads both straight through memory, one block of one head at a time. `slot_mapping` says where a
token's key goes: slot s is place s % 16 of block s // 16, and a negative slot writes nothing. Block 0 belongs to
nobody: padding rows of a step are given its slots. `kv_cache_shapes` gives the two shapes.

Pairs to rotate are (i, i + head_dim/2), or (2i, 2i + 1) with `interleaved`, which is how GGUF files of Llama models
order them. `cos_sin` [positions, head_dim] holds the cosines, then the sines, of one position (`rope_table` makes
it).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

import rtriton
import rtriton.language as tl
from ops.arrays import FLOATS, INDEXES, Arg, Checker, numpy_dtype
from ops.cases import Inputs, OpCase, normal, tolerance
from ops.device import power_of_two, target

BLOCK_SIZE = 16  # positions of one cache block


@rtriton.jit
def rope_kv_write_kernel(
    q, k, v, positions, slot_mapping, k_cache, v_cache, cos_sin, out,
    q_stride, k_stride, v_stride, out_stride, k_column, v_column, q_heads, kv_heads,
    DIM: tl.constexpr, INTERLEAVED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One token; the heads are shared out over the second grid axis. BLOCK holds DIM / 2."""
    token = tl.program_id(0).to(tl.int64)
    start = tl.program_id(1)
    step = tl.num_programs(1)
    pair = tl.arange(0, BLOCK)
    inside = pair < DIM // 2
    if INTERLEAVED:
        first = pair * 2
        second = pair * 2 + 1
    else:
        first = pair
        second = pair + DIM // 2
    angle = cos_sin + tl.load(positions + token).to(tl.int64) * DIM + pair
    cosine = tl.load(angle, mask=inside, other=0.0)
    sine = tl.load(angle + DIM // 2, mask=inside, other=0.0)
    for head in range(start, q_heads, step):
        heads = q + token * q_stride + head * DIM
        x = tl.load(heads + first, mask=inside, other=0.0).to(tl.float32)
        y = tl.load(heads + second, mask=inside, other=0.0).to(tl.float32)
        outs = out + token * out_stride + head * DIM
        tl.store(outs + first, (x * cosine - y * sine).to(out.dtype.element_ty), mask=inside)
        tl.store(outs + second, (x * sine + y * cosine).to(out.dtype.element_ty), mask=inside)
    slot = tl.load(slot_mapping + token).to(tl.int64)
    written = inside & (slot >= 0)
    place = slot % 16
    for head in range(start, kv_heads, step):
        heads = k + token * k_stride + k_column + head * DIM
        x = tl.load(heads + first, mask=inside, other=0.0).to(tl.float32)
        y = tl.load(heads + second, mask=inside, other=0.0).to(tl.float32)
        cells = k_cache + (slot // 16 * kv_heads + head) * (DIM * 16) + place
        tl.store(cells + first * 16, (x * cosine - y * sine).to(k_cache.dtype.element_ty), mask=written)
        tl.store(cells + second * 16, (x * sine + y * cosine).to(k_cache.dtype.element_ty), mask=written)
        values = v + token * v_stride + v_column + head * DIM + pair
        cells = v_cache + (slot // 16 * kv_heads + head) * (DIM * 16) + place * DIM + pair
        low = tl.load(values, mask=inside, other=0.0)
        high = tl.load(values + DIM // 2, mask=inside, other=0.0)
        tl.store(cells, low.to(v_cache.dtype.element_ty), mask=written)
        tl.store(cells + DIM // 2, high.to(v_cache.dtype.element_ty), mask=written)


def rope_kv_write(
    q: Any, k: Any, v: Any, positions: Any, slot_mapping: Any, k_cache: Any, v_cache: Any, cos_sin: Any,
    *, interleaved: bool = False, out: Any = None,
) -> Any:  # fmt: skip
    """Rotate q and k by their positions; give the rotated q, and write k and v into the cache.

    q: (T, Hq*D) or (T, Hq, D); k, v: (T, Hkv*D) or (T, Hkv, D), all of one dtype of fp32, bf16, fp16; rows may be
    strided. Or q: (T, (Hq + 2*Hkv)*D), the fused projection of q, k and v in this order, with None for k and v.
    positions: (T,) within cos_sin; slot_mapping: (T,), both of int32 or int64. k_cache: (B, Hkv, D, 16); v_cache: (B,
    Hkv, 16, D), of one dtype of fp32, bf16, fp16. cos_sin: (P, D) of fp32. out: the shape and dtype of the queries;
    made where absent; may be q itself, or the first columns of a fused projection. Returns out.
    """
    check = Checker("rope_kv_write")
    q = check.array("q", q, FLOATS, rows=True)
    k_cache, v_cache = check_cache(check, k_cache, v_cache, written=True)
    _, kv_heads, dim, _ = k_cache.shape
    q_heads, k, v, columns = _projections(check, q, k, v, kv_heads, dim)
    tokens = q.shape[0]
    positions = check.array("positions", positions, INDEXES, (tokens,))
    slot_mapping = check.array("slot_mapping", slot_mapping, INDEXES, (tokens,))
    cos_sin = check.array("cos_sin", cos_sin, ("fp32",), (None, dim))
    out = check.output("out", out, q, q.shape if columns == (0, 0) else (tokens, q_heads * dim))
    if tokens:
        grid = (tokens, max(q_heads, kv_heads) if target(q) == "cuda" else 1)
        rope_kv_write_kernel[grid](
            q.launch, k.launch, v.launch, positions.launch, slot_mapping.launch, k_cache.launch, v_cache.launch,
            cos_sin.launch, out.launch, q.strides[0], k.strides[0], v.strides[0], out.strides[0], *columns, q_heads,
            kv_heads, DIM=dim, INTERLEAVED=interleaved, BLOCK=power_of_two(dim // 2, 1 << 16), num_warps=1,
        )  # fmt: skip
    return out.result()


def _projections(
    check: Checker, q: Arg, k: Any, v: Any, kv_heads: int, dim: int
) -> tuple[int, Arg, Arg, tuple[int, int]]:
    """The number of query heads, k and v, and the columns at which k and v begin in their arrays."""
    heads = check_heads(check, q, dim)
    if k is None and v is None:
        q_heads = heads - 2 * kv_heads
        if q_heads < 1 or len(q.shape) != 2:
            raise check.fail("q", f"hold queries and twice {kv_heads} heads of {dim} in a row, as k is None", q.shape)
        return q_heads, q, q, (q_heads * dim, (q_heads + kv_heads) * dim)
    shape = (q.shape[0], kv_heads, dim) if len(q.shape) == 3 else (q.shape[0], kv_heads * dim)
    k = check.array("k", k, (q.dtype,), shape, rows=True)
    return heads, k, check.array("v", v, (q.dtype,), shape, rows=True), (0, 0)


def check_heads(check: Checker, q: Arg, dim: int) -> int:
    """How many heads of `dim` a row of q has: side by side, or one in each row of its own."""
    whole = len(q.shape) == 2 and q.shape[1] % dim == 0 or len(q.shape) == 3 and q.shape[2] == dim
    if not whole:
        raise check.fail("q", f"have shape (T, H * {dim}) or (T, H, {dim}), whole heads of {dim}", q.shape)
    return prod(q.shape[1:]) // dim


def check_cache(check: Checker, k_cache: Any, v_cache: Any, *, written: bool = False) -> tuple[Arg, Arg]:
    """The two caches of one layer, in the layout at the top of this file."""
    k_cache = check.array("k_cache", k_cache, FLOATS, (None, None, None, BLOCK_SIZE), written=written)
    blocks, kv_heads, dim, _ = k_cache.shape
    if not kv_heads or not dim or dim % 2:
        raise check.fail("k_cache", "have key heads (axis 1) of an even head_dim (axis 2)", k_cache.shape)
    shape = (blocks, kv_heads, BLOCK_SIZE, dim)
    return k_cache, check.array("v_cache", v_cache, (k_cache.dtype,), shape, written=written)


def kv_cache_shapes(blocks: int, kv_heads: int, head_dim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of one layer's (k_cache, v_cache)."""
    return (blocks, kv_heads, head_dim, BLOCK_SIZE), (blocks, kv_heads, BLOCK_SIZE, head_dim)


def rope_table(positions: int, head_dim: int, base: float, divisors: Sequence[float] = ()) -> np.ndarray:
    """cos_sin (positions, head_dim) of fp32: angles are position * base**(-2i/head_dim), computed in float64. Where
    there are `divisors`, head_dim / 2 numbers above 0, the angles of pair i are divided by the one at i.
    """
    if positions < 0 or head_dim < 2 or head_dim % 2 or not 0 < base < float("inf"):
        raise ValueError(
            "rope_table: positions must be at least 0, head_dim even and at least 2, base above 0 and finite, "
            f"got {positions}, {head_dim} and {base}"
        )
    table = np.empty((positions, head_dim), np.float32)
    speed = base ** (-np.arange(0, head_dim, 2) / head_dim)
    if len(divisors):
        if len(divisors) != len(speed) or not all(0 < divisor < float("inf") for divisor in divisors):
            raise ValueError(f"rope_table: divisors must be {len(speed)} numbers above 0, got {list(divisors)}")
        speed /= np.asarray(divisors, np.float64)
    for first in range(0, positions, 4096):  # float64 takes six times as much, and is needed for none of it at once
        angle = np.arange(first, min(first + 4096, positions))[:, None] * speed
        table[first : first + 4096] = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return table


# ---- meaning and cases --------------------------------------------------------------------------------


def rope_kv_write_reference(
    q: np.ndarray, k: Any, v: Any, positions: np.ndarray, slot_mapping: np.ndarray,
    k_cache: np.ndarray, v_cache: np.ndarray, cos_sin: np.ndarray, interleaved: bool = False,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """(rotated q, k_cache, v_cache) with the caches written in place."""
    dim = cos_sin.shape[1]
    if k is None:
        width = k_cache.shape[1] * dim
        q, k, v = q[:, : -2 * width], q[:, -2 * width : -width], q[:, -width:]
    table = cos_sin[positions].astype(np.float64)[:, None, :]
    cosine, sine = table[..., : dim // 2], table[..., dim // 2 :]

    def rotated(x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64).reshape(len(x), -1, dim)
        first, second = (wide[..., ::2], wide[..., 1::2]) if interleaved else np.split(wide, 2, axis=2)
        pair = first * cosine - second * sine, first * sine + second * cosine
        return np.stack(pair, axis=3).reshape(wide.shape) if interleaved else np.concatenate(pair, axis=2)

    kept = slot_mapping >= 0
    block, place = slot_mapping[kept] // BLOCK_SIZE, slot_mapping[kept] % BLOCK_SIZE
    k_cache[block, :, :, place] = rotated(k)[kept].astype(k_cache.dtype)
    v_cache[block, :, place, :] = v.reshape(len(v), -1, dim)[kept].astype(v_cache.dtype)
    return rotated(q).astype(q.dtype).reshape(q.shape), k_cache, v_cache


def cases() -> list[OpCase]:
    return [_case(3, 9, 3, 64, "fp32", True), _case(2, 4, 2, 16, "fp32", False), _case(2, 2, 1, 24, "fp32", True),
            _case(2, 4, 2, 32, "bf16", False), _case(2, 2, 2, 32, "fp16", True),
            _case(3, 9, 3, 64, "fp32", True, fused=True)]  # fmt: skip


def _case(
    tokens: int, q_heads: int, kv_heads: int, dim: int, dtype: str, interleaved: bool, fused: bool = False
) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        kind = numpy_dtype(dtype)
        whole = normal(rng, tokens, (q_heads + 2 * kv_heads) * dim, dtype=kind)
        q, k, v = np.split(whole, [q_heads * dim, (q_heads + kv_heads) * dim], axis=1)
        k_shape, v_shape = kv_cache_shapes(4, kv_heads, dim)
        slots = np.array([37, -1, 16][:tokens], np.int32)
        return {
            "q": whole if fused else q, "k": None if fused else k, "v": None if fused else v,
            "positions": np.array([5, 0, 39][:tokens], np.int32), "slot_mapping": slots,
            "k_cache": np.zeros(k_shape, kind), "v_cache": np.zeros(v_shape, kind),
            "cos_sin": rope_table(40, dim, 10000.0), "interleaved": interleaved,
        }  # fmt: skip

    def run(**inputs: Any) -> tuple[Any, ...]:
        return rope_kv_write(**inputs), inputs["k_cache"], inputs["v_cache"]

    name = (
        f"{tokens}x{q_heads}+{kv_heads}x{dim}-{dtype}"
        + ("-interleaved" if interleaved else "")
        + ("-fused" if fused else "")
    )
    return OpCase("rope_kv_write", name, make, run, rope_kv_write_reference, *tolerance(dtype))
