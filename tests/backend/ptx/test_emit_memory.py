"""Loads, stores and atomics: widths, masks, types, copies."""
import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.types import BY_NAME, DTYPES
from tests.backend.ptx.both import both, compiled, typed


@rtriton.jit
def copy(x, out, n, N: tl.constexpr):
    i = tl.program_id(0) * N + tl.arange(0, N)
    tl.store(out + i, tl.load(x + i, mask=i < n), mask=i < n)


@pytest.mark.parametrize("n", [4096, 4080, 4093, 5])
@pytest.mark.parametrize("type", [t.name for t in DTYPES])
def test_a_masked_copy(type: str, n: int) -> None:
    x = np.random.default_rng(0).integers(0, 2, n)
    both(copy, {"x": typed(x, BY_NAME[type]), "out": typed(np.zeros(n), BY_NAME[type]), "n": n}, {"N": 1024}, grid=(4,))


WIDE = [("fp32", "v4.b32"), ("fp16", "v4.b32"), ("fp64", "v2.b64"), ("int8", "v4.b32")]


@pytest.mark.parametrize("type,opcode", WIDE)
def test_accesses_are_16_bytes_wide_where_sizes_are_known(type: str, opcode: str) -> None:
    x = typed(np.zeros(4096), BY_NAME[type])
    text = str(compiled(copy, {"x": x, "out": x, "n": 4096}, {"N": 4096})[1])
    assert f"ld.global.{opcode}" in text and f"st.global.{opcode}" in text


def test_accesses_are_narrow_where_the_mask_may_cut_anywhere() -> None:
    x = np.zeros(4096, np.float32)
    text = str(compiled(copy, {"x": x, "out": x, "n": 4095}, {"N": 4096})[1])
    assert "v4" not in text and "v2" not in text


@rtriton.jit
def shifted(x, out, by, n, N: tl.constexpr, hint: tl.constexpr):
    i = tl.arange(0, N) + tl.load(by)
    if hint:
        tl.max_contiguous(tl.multiple_of(i, 1024), 1024)
    tl.store(out + i, tl.load(x + i, mask=i < n), mask=i < n)


@pytest.mark.parametrize("hint", [False, True])
def test_a_hint_as_a_statement_holds_for_the_value_from_there_on(hint: bool) -> None:
    x = np.arange(2048, dtype=np.float32)
    args = {"x": x, "out": np.zeros_like(x), "by": np.array([1024], np.int32), "n": 2048}
    both(shifted, args, {"N": 1024, "hint": hint})
    text = str(compiled(shifted, args, {"N": 1024, "hint": hint})[1])
    assert ("ld.global.v4.b32" in text, "st.global.v4.b32" in text) == (hint, hint)


@rtriton.jit
def hinted_in_a_branch(x, out, by, flag, N: tl.constexpr):
    i = tl.arange(0, N) + tl.load(by)
    if flag > 0:
        tl.multiple_of(i, 4)
        tl.store(out + i, tl.load(x + i) + 1)
    else:
        tl.store(out + i, tl.load(x + i) + 2)


@pytest.mark.parametrize(("flag", "by"), [(2, 4), (-2, 3)])
def test_a_hint_in_a_branch_says_nothing_elsewhere(flag: int, by: int) -> None:
    x = np.arange(1024, dtype=np.float32)
    args = {"x": x, "out": np.zeros_like(x), "by": np.array([by], np.int32), "flag": flag}
    both(hinted_in_a_branch, args, {"N": 512})


@rtriton.jit
def with_other(x, out, n, fill, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i, mask=i < n, other=fill))


@pytest.mark.parametrize("type", ["fp32", "fp16", "bf16", "int8", "int64"])
def test_other_fills_what_the_mask_leaves_out(type: str) -> None:
    args = {"x": typed(np.arange(128) % 50, BY_NAME[type]), "out": typed(np.zeros(256), BY_NAME[type]), "n": 112}
    both(with_other, args, {"N": 256, "fill": 7})


@rtriton.jit
def columns(x, out, M: tl.constexpr, N: tl.constexpr):
    i, j = tl.arange(0, M), tl.arange(0, N)
    at = i[:, None] + j[None, :] * M
    tl.store(out + at, tl.load(x + at) + 1)


def test_column_major_tiles_keep_their_wide_accesses() -> None:
    x = np.arange(64 * 32, dtype=np.float32)
    both(columns, {"x": x, "out": np.zeros_like(x)}, {"M": 64, "N": 32})
    assert "ld.global.v4.b32" in str(compiled(columns, {"x": x, "out": x}, {"M": 64, "N": 32})[1])


@rtriton.jit
def small(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i) * 2)
    tl.store(out + N, tl.load(x))


@pytest.mark.parametrize("n", [1, 2, 16])
def test_tiles_smaller_than_a_warp_are_stored_once(n: int) -> None:
    both(small, {"x": np.arange(16, dtype=np.float32), "out": np.zeros(17, np.float32)}, {"N": n})


@rtriton.jit
def hints(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x + i, cache_modifier=".cg")
    b = tl.load(x + i, eviction_policy="evict_last")
    c = tl.load(x + i, volatile=True)
    tl.store(out + i, a + b + c, cache_modifier=".cs")
    tl.store(out + i, a + b, eviction_policy="evict_first")


def test_cache_hints_reach_the_instructions() -> None:
    x = np.arange(512, dtype=np.float32)
    both(hints, {"x": x, "out": np.zeros_like(x)}, {"N": 512})
    text = str(compiled(hints, {"x": x, "out": x}, {"N": 512})[1])
    for word in ("ld.global.cg", "ld.global.L1::evict_last", "ld.volatile.global", "st.global.cs"):
        assert word in text
    assert "st.global.L1::evict_first" in text


@rtriton.jit
def atomic(x, index, out, how: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    at = out + tl.load(index + i)
    v = tl.load(x + i)
    mask = i % 3 != 0
    if how == "add":
        tl.atomic_add(at, v, mask=mask)
    elif how == "max":
        tl.atomic_max(at, v, mask=mask)
    elif how == "min":
        tl.atomic_min(at, v, mask=mask)
    elif how == "and":
        tl.atomic_and(at, v, mask=mask)
    elif how == "or":
        tl.atomic_or(at, v, mask=mask)
    elif how == "xor":
        tl.atomic_xor(at, v, mask=mask)


@pytest.mark.parametrize("type", ["int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("how", ["add", "max", "min", "and", "or", "xor"])
def test_integer_atomics(how: str, type: str) -> None:
    rng = np.random.default_rng(0)
    args = {"x": typed(rng.integers(0, 99, 64), BY_NAME[type]), "index": rng.integers(0, 8, 64).astype(np.int32)}
    both(atomic, {**args, "out": typed(np.full(8, 37), BY_NAME[type])}, {"how": how, "N": 64})


@pytest.mark.parametrize("type", ["fp32", "fp64", "fp16", "bf16"])
@pytest.mark.parametrize("how", ["add", "max", "min"])
def test_float_atomics(how: str, type: str) -> None:
    if how != "add" and BY_NAME[type].bits == 16:
        pytest.skip("16-bit floats are only added")
    rng = np.random.default_rng(0)
    args = {"x": typed(rng.integers(-50, 50, 64), BY_NAME[type]), "index": rng.integers(0, 8, 64).astype(np.int32)}
    both(atomic, {**args, "out": typed(np.zeros(8), BY_NAME[type])}, {"how": how, "N": 64})


@rtriton.jit
def returned(x, out, old, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(old + i, tl.atomic_add(out + i, tl.load(x + i)))
    tl.store(old + N, tl.atomic_xchg(out + N, 5))
    tl.store(old + N + 1, tl.atomic_cas(out + N, 5, 9))
    tl.store(old + N + 2, tl.atomic_cas(out + N, 5, 11))


@pytest.mark.parametrize("n", [8, 256])
def test_atomics_give_the_old_value_to_every_copy(n: int) -> None:
    x = np.arange(n, dtype=np.int32)
    both(returned, {"x": x, "out": np.full(n + 1, 3, np.int32), "old": np.zeros(n + 3, np.int32)}, {"N": n})


@rtriton.jit
def locked(lock, total, N: tl.constexpr):
    while tl.atomic_cas(lock, 0, 1) == 1:
        pass
    i = tl.arange(0, N)
    tl.store(total + i, tl.load(total + i) + 1)
    tl.debug_barrier()
    tl.atomic_xchg(lock, 0)


def test_a_lock_lets_one_program_in_at_a_time() -> None:
    both(locked, {"lock": np.zeros(1, np.int32), "total": np.zeros(64, np.int32)}, {"N": 64}, grid=(4,))


@rtriton.jit
def add_rows(x, out, old, n, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.atomic_add(out + i, tl.load(x + i))
    tl.store(old + i, tl.atomic_add(out + i, tl.load(x + N + i), mask=i < n))


@pytest.mark.parametrize(("target", "n", "vectors"), [("sm_80", 96, 0), ("sm_90", 96, 2), ("sm_90", 97, 1)])
def test_sums_side_by_side_are_added_at_once_where_the_gpu_does_so(target: str, n: int, vectors: int) -> None:
    x = np.arange(256, dtype=np.float32)
    args = {"x": x, "out": np.ones(128, np.float32), "old": np.zeros(128, np.float32), "n": n}
    both(add_rows, args, {"N": 128}, target=target, num_warps=1)
    text = str(compiled(add_rows, args, {"N": 128}, target=target, num_warps=1)[1])
    assert text.count("add.v4.f32") == vectors
