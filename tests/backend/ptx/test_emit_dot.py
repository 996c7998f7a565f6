"""dot on tensor cores and by multiply-adds: every type, size and arrangement equals the interpreter's."""
import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.types import BY_NAME
from tests.backend.ptx.both import both, compiled, typed


@rtriton.jit
def product(a, b, out, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, type: tl.constexpr, precision: tl.constexpr,
            turned: tl.constexpr):
    i, j, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    x = tl.load(a + i[:, None] * K + k[None, :])
    if turned:
        y = tl.trans(tl.load(b + j[:, None] * K + k[None, :]))
    else:
        y = tl.load(b + k[:, None] * N + j[None, :])
    acc = tl.full((M, N), 1, type)
    acc = tl.dot(x, y, acc, input_precision=precision, out_dtype=type)
    tl.store(out + i[:, None] * N + j[None, :], acc)


def run(m: int, n: int, k: int, source: str, to: str, target: str = "sm_90", precision: str = "tf32", warps: int = 4,
        turned: bool = False, rtol: float = 2e-3) -> None:
    rng = np.random.default_rng(0)
    low = 0 if "uint" in source else -4
    a, b = (rng.integers(low, 5, shape) for shape in ((m, k), (k, n)))
    args = {"a": typed(a, BY_NAME[source]), "b": typed(b.T if turned else b, BY_NAME[source])}
    args["out"] = typed(np.zeros((m, n)), BY_NAME[to])
    constants = {"M": m, "N": n, "K": k, "type": BY_NAME[to], "precision": precision, "turned": turned}
    both(product, args, constants, rtol=rtol, target=target, num_warps=warps)


SIZES = [(16, 8, 32), (64, 64, 32), (32, 128, 64), (128, 16, 32), (16, 16, 128), (8, 64, 32), (64, 4, 32), (1, 16, 64)]


@pytest.mark.parametrize("warps", [1, 4, 8])
@pytest.mark.parametrize("size", SIZES)
def test_every_size_and_number_of_warps(size: tuple[int, int, int], warps: int) -> None:
    run(*size, "fp16", "fp32", warps=warps)


TYPES = [("fp16", "fp32"), ("fp16", "fp16"), ("bf16", "fp32"), ("fp32", "fp32"), ("int8", "int32"), ("fp8e4nv", "fp32"),
         ("fp8e5", "fp32"), ("uint8", "int32"), ("fp64", "fp64")]  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90a"])
@pytest.mark.parametrize("types", TYPES)
def test_every_element_type(types: tuple[str, str], target: str, turned: bool) -> None:
    run(32, 32, 64, *types, target=target, turned=turned)


@pytest.mark.parametrize("precision", ["tf32", "ieee", "tf32x3"])
def test_f32_at_every_precision(precision: str) -> None:
    run(32, 64, 16, "fp32", "fp32", precision=precision, rtol=1e-6)


@pytest.mark.parametrize(("precision", "at_least", "at_most"), [
    ("tf32", 1e-5, 1e-3), ("tf32x3", 0, 2e-6), ("bf16x3", 1e-6, 2e-5), ("bf16x6", 0, 2e-6), ("ieee", 0, 2e-6)])
def test_real_f32_numbers_are_multiplied_as_precisely_as_asked(
    precision: str, at_least: float, at_most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "emulate")
    rng = np.random.default_rng(5)
    a, b, out = (rng.standard_normal((32, 32), np.float32) for _ in range(3))
    square[1,](a, b, out, precision)
    exact = a.astype(np.float64) @ b
    assert at_least <= np.linalg.norm(out - exact) / np.linalg.norm(exact) <= at_most


@rtriton.jit
def square(a, b, out, precision: tl.constexpr):
    at = tl.arange(0, 32)[:, None] * 32 + tl.arange(0, 32)[None, :]
    tl.store(out + at, tl.dot(tl.load(a + at), tl.load(b + at), input_precision=precision))


def instructions(source: str, to: str, target: str = "sm_90", precision: str = "tf32") -> set[str]:
    """The mma instructions of a 32x32x64 product."""
    args = {name: typed(np.zeros((32, 64)), BY_NAME[t]) for name, t in (("a", source), ("b", source), ("out", to))}
    constants = {"M": 32, "N": 32, "K": 64, "type": BY_NAME[to], "precision": precision, "turned": False}
    _, module = compiled(product, args, constants, target)
    return {word for line in str(module).splitlines() for word in line.split()[:1] if word.startswith("mma.sync")}


@pytest.mark.parametrize(("source", "to", "target", "precision", "shape"), [
    ("fp64", "fp64", "sm_80", "tf32", "m8n8k4.row.col.f64.f64.f64.f64"),
    ("fp64", "fp64", "sm_90", "tf32", "m16n8k8.row.col.f64.f64.f64.f64"),
    ("fp8e4nv", "fp32", "sm_89", "tf32", "m16n8k32.row.col.f32.e4m3.e4m3.f32"),
    ("fp8e4nv", "fp32", "sm_90", "tf32", "m16n8k16.row.col.f32.f16.f16.f32"),
    ("int8", "int32", "sm_80", "tf32", "m16n8k32.row.col.satfinite.s32.s8.s8.s32"),
    ("fp32", "fp32", "sm_90", "bf16x3", "m16n8k16.row.col.f32.bf16.bf16.f32"),
    ("fp32", "fp32", "sm_90", "bf16x6", "m16n8k16.row.col.f32.bf16.bf16.f32"),
    ("fp32", "fp32", "sm_90", "tf32x3", "m16n8k8.row.col.f32.tf32.tf32.f32")])
def test_each_type_takes_its_tensor_core_instruction(
    source: str, to: str, target: str, precision: str, shape: str
) -> None:
    assert instructions(source, to, target, precision) == {f"mma.sync.aligned.{shape}"}


@pytest.mark.parametrize("precision", ["tf32x3", "bf16x3", "bf16x6"])
def test_infinities_and_nans_pass_through_products_in_parts(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "emulate")
    a, b, out = np.ones((32, 32), np.float32), np.ones((32, 32), np.float32), np.zeros((32, 32), np.float32)
    a[0, 0], a[1, 1], a[2, 2] = np.inf, -np.inf, np.nan
    square[1,](a, b, out, precision)
    np.testing.assert_array_equal(out, a.astype(np.float64) @ b)


@pytest.mark.parametrize(("to", "store"), [("fp32", "st.global.v4.b32"), ("int32", "st.global.v4.b32"),
                                           ("fp64", "st.global.v2.b64")])
def test_results_are_stored_sixteen_bytes_at_a_time(to: str, store: str) -> None:
    source = {"int32": "int8"}.get(to, to)
    args = {name: typed(np.zeros((64, 64)), BY_NAME[t]) for name, t in (("a", source), ("b", source), ("out", to))}
    constants = {"M": 64, "N": 64, "K": 64, "type": BY_NAME[to], "precision": "tf32", "turned": False}
    text = str(compiled(product, args, constants)[1])
    assert {w for w in text.split() if w.startswith("st.global")} == {store}


def test_f16_products_use_ldmatrix_and_tensor_cores() -> None:
    a = np.zeros((64, 64), np.float16)
    constants = {"M": 64, "N": 64, "K": 64, "type": tl.float32, "precision": "tf32", "turned": False}
    text = str(compiled(product, {"a": a, "b": a, "out": np.zeros((64, 64), np.float32)}, constants)[1])
    assert "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32" in text
    for how in ("x4", "x4.trans"):
        assert f"ldmatrix.sync.aligned.m8n8.{how}.shared.b16" in text


@rtriton.jit
def batched(a, b, out, B: tl.constexpr, N: tl.constexpr):
    g, i, j = tl.arange(0, B), tl.arange(0, N), tl.arange(0, N)
    at = g[:, None, None] * N * N + i[None, :, None] * N + j[None, None, :]
    tl.store(out + at, tl.dot(tl.load(a + at), tl.load(b + at)))


def test_batches_of_products() -> None:
    x = np.random.default_rng(0).integers(-3, 4, (4, 32, 32)).astype(np.float16)
    both(batched, {"a": x, "b": x, "out": np.zeros((4, 32, 32), np.float32)}, {"B": 4, "N": 32})


@rtriton.jit
def attention(q, k, v, out, n, S: tl.constexpr, D: tl.constexpr):
    i, d = tl.arange(0, S), tl.arange(0, D)
    at = i[:, None] * D + d[None, :]
    query = tl.load(q + at)
    acc = tl.zeros((S, D), tl.float32)
    top = tl.full((S,), -1e30, tl.float32)
    total = tl.zeros((S,), tl.float32)
    for block in range(n):
        keys = tl.load(k + block * S * D + at)
        scores = tl.dot(query, tl.trans(keys))
        now = tl.maximum(top, tl.max(scores, 1))
        weights = tl.exp(scores - now[:, None])
        fade = tl.exp(top - now)
        total = total * fade + tl.sum(weights, 1)
        acc = tl.dot(weights.to(tl.float16), tl.load(v + block * S * D + at), acc * fade[:, None])
        top = now
    tl.store(out + at, acc / total[:, None])


@pytest.mark.parametrize("warps", [1, 4])
def test_flash_attention(warps: int) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((rows, 32)).astype(np.float16) for rows in (64, 192, 192))
    args = {"q": q, "k": k, "v": v, "out": np.zeros((64, 32), np.float32), "n": 3}
    out = both(attention, args, {"S": 64, "D": 32}, rtol=1e-2, atol=1e-3, num_warps=warps)[3]
    scores = q.astype(np.float64) @ k.T.astype(np.float64)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(out, weights @ v / weights.sum(1, keepdims=True), rtol=2e-2, atol=2e-3)
