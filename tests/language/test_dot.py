"""tl.dot and tl.dot_scaled on every execution against NumPy, and what they refuse."""
from __future__ import annotations

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton import numerics
from rtriton.backend.ptx.ptxas import assemble
from rtriton.errors import CompilationError
from tests.backend.ptx.both import compiled
from tests.language.executions import on_each


@rtriton.jit
def batched(a, b, out, B: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, type: tl.constexpr,
            to: tl.constexpr):
    x = tl.load(a + tl.arange(0, B * M * K)).reshape((B, M, K)).to(type)
    y = tl.load(b + tl.arange(0, B * K * N)).reshape((B, K, N)).to(type)
    tl.store(out + tl.arange(0, B * M * N), tl.dot(x, y, out_dtype=to).reshape((B * M * N,)).to(tl.float32))


@pytest.mark.parametrize("warps", [1, 4, 16])
@pytest.mark.parametrize(("type", "to"), [(tl.float16, tl.float16), (tl.bfloat16, tl.float32), (tl.float64, tl.float64),
                                          (tl.float8e5, tl.float32), (tl.int8, tl.int32)])
def test_batches_are_multiplied_one_by_one(type: tl.dtype, to: tl.dtype, warps: int,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(-3, 4, (2, 16, 32)), rng.integers(-3, 4, (2, 32, 8))
    x, y, out = a.astype(np.float32), b.astype(np.float32), np.zeros((2, 16, 8), np.float32)
    for name, (_, _, got) in on_each(monkeypatch, batched, x, y, out, 2, 16, 8, 32, type, to, num_warps=warps).items():
        np.testing.assert_array_equal(got, a @ b, err_msg=name)


@rtriton.jit
def many_axes(a, b, out, RANK: tl.constexpr):
    shape: tl.constexpr = (2,) * (RANK - 2) + (16, 16)
    at = tl.arange(0, 64 << RANK)
    x, y = tl.load(a + at).reshape(shape).to(tl.bfloat16), tl.load(b + at).reshape(shape).to(tl.bfloat16)
    tl.store(out + at, tl.dot(x, tl.trans(y), acc=tl.full(shape, 1, tl.float32)).reshape((64 << RANK,)))


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_every_rank_is_multiplied_along_its_last_two_axes(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    shape = (2,) * (rank - 2) + (16, 16)
    a, b = (rng.integers(-4, 5, shape).astype(np.float32) for _ in range(2))
    for name, (_, _, got) in on_each(monkeypatch, many_axes, a, b, np.zeros_like(a), rank).items():
        np.testing.assert_array_equal(got, 1 + a @ b.swapaxes(-1, -2), err_msg=name)


@rtriton.jit
def mixed(a, b, out, left: tl.constexpr, right: tl.constexpr):
    at = tl.arange(0, 32)[:, None] * 32 + tl.arange(0, 32)[None, :]
    x, y = tl.load(a + at).to(left), tl.load(b + at).to(right)
    tl.store(out + at, tl.dot(x, y, max_num_imprecise_acc=32))


@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90a"])
def test_two_fp8_types_are_multiplied(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_TARGET", target)
    rng = np.random.default_rng(3)
    a, b = (rng.integers(-4, 5, (32, 32)).astype(np.float32) for _ in range(2))
    for name, (_, _, got) in on_each(monkeypatch, mixed, a, b, a, tl.float8e5, tl.float8e4nv).items():
        np.testing.assert_array_equal(got, a @ b, err_msg=name)


@rtriton.jit
def limited(a, b, out, K: tl.constexpr, type: tl.constexpr, most: tl.constexpr):
    i, k = tl.arange(0, 32), tl.arange(0, K)
    x, y = tl.load(a + i[:, None] * K + k[None, :]).to(type), tl.load(b + k[:, None] * 32 + i[None, :]).to(type)
    start = tl.full((32, 32), 2, tl.float32)
    tl.store(out + i[:, None] * 32 + i[None, :], tl.dot(x, y, start, max_num_imprecise_acc=most))


@pytest.mark.parametrize(("most", "runs"), [(None, 0), (0, 8), (32, 4), (48, 3), (64, 2), (128, 1)])
def test_fp8_sums_of_at_most_the_limit_are_added_in_f32(most: int | None, runs: int,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_TARGET", "sm_90a")
    rng = np.random.default_rng(8)
    a, b = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((32, 128), (128, 32)))
    out = np.zeros((32, 32), np.float32)
    for name, (_, _, got) in on_each(monkeypatch, limited, a, b, out, 128, tl.float8e5, most, num_warps=2).items():
        np.testing.assert_array_equal(got, 2 + a @ b, err_msg=name)
    constants = {"K": 128, "type": tl.float8e5, "most": most}
    text = str(compiled(limited, {"a": a, "b": b, "out": out}, constants, "sm_90a", 2)[1])
    assert text.count("add.f32") == 32 * 32 // (32 * 2) * runs
    assemble(text, "sm_90a")


@rtriton.jit
def staged(a, b, out, turns, stages: tl.constexpr):
    i = tl.arange(0, 32)
    at = i[:, None] * 32 + i[None, :]
    total = tl.zeros((32, 32), tl.float32)
    for k in tl.range(0, turns, num_stages=stages):
        total = tl.dot(tl.load(a + k * 1024 + at), tl.load(b + k * 1024 + at), total)
    tl.store(out + at, total)


@pytest.mark.parametrize(("loop", "kernel", "stages"), [(None, 5, 5), (None, 2, 2), (4, 5, 4), (5, 1, 5), (1, 4, 1)])
def test_copies_of_a_loop_run_ahead_by_its_own_stages_or_the_kernels(loop: int | None, kernel: int, stages: int,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_TARGET", "sm_90a")
    rng = np.random.default_rng(9)
    a, b = (rng.integers(-4, 5, (7, 32, 32)).astype(np.float16) for _ in range(2))
    out, wanted = np.zeros((32, 32), np.float32), (a.astype(np.float32) @ b.astype(np.float32)).sum(0)
    for name, (*_, got) in on_each(monkeypatch, staged, a, b, out, 7, loop, num_stages=kernel).items():
        np.testing.assert_array_equal(got, wanted, err_msg=name)
    monkeypatch.setenv("RTRITON_BACKEND", "emulate")
    text = staged[(1,)](a, b, out, 7, loop, num_stages=kernel).asm["ptx"]
    waits = [int(line.split()[1].rstrip(";")) for line in text.splitlines() if "cp.async.wait_group" in line]
    assert waits == ([] if stages == 1 else [2 * (stages - 2), 0])  # two loads in a turn
    assemble(text, "sm_90a")


@rtriton.jit
def rounded(a, b, out, M: tl.constexpr, N: tl.constexpr, down: tl.constexpr, type: tl.constexpr):
    i, j, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, 32)
    x, y = tl.load(a + i[:, None] * 32 + k[None, :]), tl.load(b + k[:, None] * N + j[None, :])
    at = i[:, None] + j[None, :] * M if down else i[:, None] * N + j[None, :]
    tl.store(out + at, tl.dot(x, y).to(type))


@pytest.mark.parametrize("warps", [1, 4, 8])
@pytest.mark.parametrize(("m", "n", "down", "to"), [(64, 64, False, tl.float16), (128, 64, True, tl.float16),
                                                    (16, 128, False, tl.float16), (64, 64, False, tl.float8e5)])
def test_products_go_to_rows_of_memory_by_stmatrix_where_there_is_one(m: int, n: int, down: bool, to: tl.dtype,
                                                                      warps: int,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(10)
    a, b = rng.integers(-2, 3, (m, 32)).astype(np.float16), rng.integers(-2, 3, (32, n)).astype(np.float16)
    wanted = np.float32(a) @ np.float32(b)
    bits = wanted.astype(np.float16) if to == tl.float16 else numerics.encode(numerics.round_to(wanted, to), to)
    for target in ("sm_80", "sm_90a"):
        monkeypatch.setenv("RTRITON_TARGET", target)
        monkeypatch.setenv("RTRITON_BACKEND", "emulate")
        out = np.zeros((n, m) if down else (m, n), bits.dtype)
        held = out if to == tl.float16 else rtriton.reinterpret(out, to)
        text = rounded[(1,)](a, b, held, m, n, down, to, num_warps=warps).asm["ptx"]
        np.testing.assert_array_equal(out.T if down else out, bits)
        several = "stmatrix.sync.aligned.m8n8.x4" + (".trans" if down else "") + ".shared.b16"
        assert (several in text) == (target == "sm_90a" and to == tl.float16)
        assemble(text, target)


@rtriton.jit
def chained(a, b, c, out, turns):
    i = tl.arange(0, 32)
    at = i[:, None] * 32 + i[None, :]
    total = tl.zeros((32, 32), tl.float32)
    for k in tl.range(0, turns, num_stages=3):
        x, y = tl.load(a + k * 1024 + at), tl.load(b + k * 1024 + at)
        p = tl.dot(x, tl.trans(y))
        p = p - tl.max(p, 1)[:, None]
        total = tl.dot((p * 0.125).to(tl.float16), tl.load(c + k * 1024 + at), total)
    tl.store(out + at, tl.trans(total))


def test_a_pipelined_chain_of_products_from_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    a, b, c = (rng.integers(-1, 2, (5, 32, 32)).astype(np.float16) for _ in range(3))
    product = a.astype(np.float64) @ b.astype(np.float64).swapaxes(1, 2)
    expected = ((product - product.max(2, keepdims=True)) * 0.125 @ c).sum(0).T
    out = np.zeros((32, 32), np.float32)
    for name, (*_, got) in on_each(monkeypatch, chained, a, b, c, out, 5).items():
        np.testing.assert_array_equal(got, expected, err_msg=name)


# -- what is refused ---------------------------------------------------------------------------------------------------


@rtriton.jit
def refused(M: tl.constexpr, K: tl.constexpr, N: tl.constexpr, left: tl.constexpr, right: tl.constexpr,
            options: tl.constexpr):
    x, y = tl.full((M, K), 0, left), tl.full((K, N), 0, right)
    if options == "acc":
        tl.dot(x, y, tl.full((M, N), 0, tl.float16))
    elif options == "bf16":
        tl.dot(x, y, out_dtype=tl.bfloat16)
    elif options == "both":
        tl.dot(x, y, input_precision="ieee", allow_tf32=True)
    elif options == "inner":
        tl.dot(x, tl.trans(y))
    elif options == "imprecise":
        tl.dot(x, y, max_num_imprecise_acc=2 * K)
    else:
        tl.dot(x, y, input_precision=options)


@pytest.mark.parametrize(("sizes", "types", "options", "sentence"), [
    ((16, 8, 16), (tl.float16, tl.float16), None, "M >= 1, N >= 1 and K >= 16 for f16, got 16x8 and 8x16"),
    ((16, 16, 16), (tl.int8, tl.int8), None, "M >= 1, N >= 1 and K >= 32 for i8"),
    ((16, 32, 16), (tl.float16, tl.float32), None, "operands of one type, got 16x32xf16 and 32x16xf32"),
    ((16, 32, 16), (tl.int32, tl.int32), None, "dot does not multiply i32"),
    ((16, 32, 16), (tl.float32, tl.float32), "acc", "acc must be 16x16xf32, got 16x16xf16"),
    ((16, 32, 16), (tl.float16, tl.float16), "bf16", "out_dtype=bfloat16 is unsupported"),
    ((16, 32, 16), (tl.float32, tl.float32), "both", "Only one of input_precision and allow_tf32"),
    ((16, 32, 16), (tl.float32, tl.float32), "inner", "equal inner sizes"),
    ((16, 32, 16), (tl.float8e5, tl.float8e5), "imprecise", "max_num_imprecise_acc (64) must be <= K (32)"),
    ((16, 32, 16), (tl.float32, tl.float32), "fp4", "one of ieee, tf32, tf32x3, bf16x3, bf16x6, got 'fp4'")])
def test_a_product_that_cannot_be_is_refused_in_one_sentence(
    sizes: tuple[int, int, int], types: tuple[tl.dtype, tl.dtype], options: str | None, sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    with pytest.raises(CompilationError) as failure:
        refused[1,](*sizes, *types, options)
    assert sentence in str(failure.value)


def test_legacy_fp8_is_multiplied_as_fp16_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    a, b = (rng.integers(-1, 2, (32, 32)).astype(np.float32) for _ in range(2))
    with pytest.warns(UserWarning, match="fp8e4b15 is deprecated"):
        after = on_each(monkeypatch, mixed, a, b, a, tl.float8e4b15, tl.float8e4b15)
    for name, (_, _, got) in after.items():
        np.testing.assert_array_equal(got, a @ b, err_msg=name)


# -- dot_scaled --------------------------------------------------------------------------------------------------------

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


@rtriton.jit
def scaled(a, a_scale, b, b_scale, out, M: tl.constexpr, N: tl.constexpr, KA: tl.constexpr, KB: tl.constexpr,
           K: tl.constexpr, left: tl.constexpr, right: tl.constexpr):
    m, n = tl.arange(0, M), tl.arange(0, N)
    x = tl.load(a + m[:, None] * KA + tl.arange(0, KA)[None, :])
    y = tl.load(b + tl.arange(0, KB)[:, None] * N + n[None, :])
    groups = tl.arange(0, K // 32)
    xs, ys = None, None
    if a_scale is not None:
        xs = tl.load(a_scale + m[:, None] * (K // 32) + groups[None, :])
    if b_scale is not None:
        ys = tl.load(b_scale + n[:, None] * (K // 32) + groups[None, :])
    tl.store(out + m[:, None] * N + n[None, :], tl.dot_scaled(x, xs, left, y, ys, right))


def numbers(bits: np.ndarray, format: str, axis: int) -> np.ndarray:
    """What the bits of a format stand for."""
    from rtriton import numerics
    from rtriton.types import BY_NAME

    if format == "e2m1":
        return np.stack((E2M1[bits & 15], E2M1[bits >> 4]), axis if axis == -1 else axis + bits.ndim + 1).reshape(
            *((bits.shape[0], -1) if axis == -1 else (-1, bits.shape[1])))
    name = {"e4m3": "fp8e4nv", "e5m2": "fp8e5", "bf16": "bf16", "fp16": "fp16"}[format]
    return numerics.decode(bits.view(np.float16) if format == "fp16" else bits, BY_NAME[name]).astype(np.float64)


def operand(rng: np.random.Generator, rows: int, columns: int, format: str, axis: int) -> np.ndarray:
    """Random bits that stand for finite, not too large numbers."""
    if format == "e2m1":
        return rng.integers(0, 256, (rows, columns // 2) if axis == -1 else (rows // 2, columns)).astype(np.uint8)
    if format in ("e4m3", "e5m2"):
        return (rng.integers(0, 80, (rows, columns)) | rng.integers(0, 2, (rows, columns)) << 7).astype(np.uint8)
    values = rng.integers(-8, 9, (rows, columns)).astype(np.float32) / 4
    return (values.view(np.uint32) >> 16).astype(np.uint16) if format == "bf16" else values.astype(np.float16).view(
        np.uint16)


@pytest.mark.parametrize("scaled_side", ["both", "left", "right"])
@pytest.mark.parametrize(("left", "right"), [("e2m1", "e2m1"), ("e2m1", "bf16"), ("e4m3", "e5m2"), ("fp16", "e2m1"),
                                             ("e5m2", "fp16"), ("bf16", "e4m3")])
def test_microscaled_products_are_products_of_scaled_numbers(left: str, right: str, scaled_side: str,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    m, n, k = 16, 32, 64
    a, b = operand(rng, m, k, left, -1), operand(rng, k, n, right, -2)
    a_scale = rng.integers(124, 131, (m, k // 32)).astype(np.uint8) if scaled_side != "right" else None
    b_scale = rng.integers(124, 131, (n, k // 32)).astype(np.uint8) if scaled_side != "left" else None
    x, y = numbers(a, left, -1), numbers(b, right, -2)
    if a_scale is not None:
        x = x * np.repeat(2.0 ** (a_scale.astype(int) - 127), 32, 1)
    if b_scale is not None:
        y = y * np.repeat(2.0 ** (b_scale.astype(int) - 127), 32, 1).T
    out = np.zeros((m, n), np.float32)
    after = on_each(monkeypatch, scaled, a, a_scale, b, b_scale, out, m, n, a.shape[1], b.shape[0], k, left, right)
    for name, arrays in after.items():
        np.testing.assert_allclose(arrays[-1], x @ y, rtol=1e-5, atol=1e-4 * np.abs(x @ y).max(), err_msg=name)


@rtriton.jit
def packed_outside(a, b, out):
    i, j = tl.arange(0, 32), tl.arange(0, 16)
    x = tl.load(a + j[:, None] * 32 + i[None, :])
    y = tl.load(b + i[:, None] * 16 + j[None, :])
    product = tl.dot_scaled(x, None, "e2m1", y, None, "e2m1", lhs_k_pack=False, rhs_k_pack=False)
    tl.store(out + i[:, None] * 32 + i[None, :], product)


def test_e2m1_may_be_packed_along_rows_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    a, b = rng.integers(0, 256, (16, 32)).astype(np.uint8), rng.integers(0, 256, (32, 16)).astype(np.uint8)
    x = np.stack((E2M1[a & 15], E2M1[a >> 4]), 1).reshape(32, 32)
    y = np.stack((E2M1[b & 15], E2M1[b >> 4]), 2).reshape(32, 32)
    for name, (_, _, got) in on_each(monkeypatch, packed_outside, a, b, np.zeros((32, 32), np.float32)).items():
        np.testing.assert_array_equal(got, x @ y, err_msg=name)


@rtriton.jit
def broken_scale(out, fast: tl.constexpr):
    i = tl.arange(0, 32)
    ones = tl.full((32, 32), 1, tl.float8e5)
    scale = tl.where(i == 3, 255, 127).to(tl.uint8)[:, None]
    tl.store(out + i[:, None] * 32 + i[None, :], tl.dot_scaled(ones, scale, "e5m2", ones, None, "e5m2", fast_math=fast))


def test_a_scale_of_255_makes_its_numbers_nan_but_in_fast_math(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = np.full((32, 32), 32, np.float32)
    for fast, special in ((False, np.nan), (True, np.inf)):
        expected[3] = special
        for name, (got,) in on_each(monkeypatch, broken_scale, np.zeros((32, 32), np.float32), fast).items():
            np.testing.assert_array_equal(got, expected, err_msg=name)


@rtriton.jit
def wrong_scale():
    x, y = tl.full((32, 64), 0, tl.uint8), tl.full((64, 32), 0, tl.uint8)
    tl.dot_scaled(x, tl.full((32, 4), 0, tl.uint8), "e5m2", y, None, "e5m2")


def test_a_scale_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    with pytest.raises(CompilationError, match=r"lhs_scale must be a tensor of shape \[32, 2\]"):
        wrong_scale[1,]()


@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90a"])
@pytest.mark.parametrize(("type", "to"), [(tl.float64, tl.float64), (tl.float16, tl.float16), (tl.int8, tl.int32)])
def test_products_assemble(type: tl.dtype, to: tl.dtype, target: str) -> None:
    x = np.zeros((2, 16, 32), np.float32)
    constants = {"B": 2, "M": 16, "N": 8, "K": 32, "type": type, "to": to}
    assemble(str(compiled(batched, {"a": x, "b": x, "out": x}, constants, target)[1]), target)
