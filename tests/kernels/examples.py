"""Each tutorial kernel lowered at a small size, with arguments and what NumPy says it gives.

    for example in examples(): interpret(example.kernel, example.grid, example.args); example.check()

Each maker takes another kernel with the same arguments in its kernel's place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from rtriton.frontend.lower import lower
from rtriton.ir import Kernel
from rtriton.types import Pointer, Type, float16, float32, int32
from tests.kernels import tutorials

F32, F16, I32 = Pointer(float32), Pointer(float16), Pointer(int32)


@dataclass
class Example:
    name: str
    kernel: Kernel
    grid: tuple[int, ...]
    args: list[Any]
    check: Callable[[], None]


def _lowered(fn: Any, types: tuple[Type, ...], *constants: Any) -> Kernel:
    """`types` of the leading parameters, in order, then the constants of the others."""
    return _cached(fn, types, constants)


@cache
def _cached(fn: Any, types: tuple[Type, ...], constants: tuple[Any, ...]) -> Kernel:
    names = fn.arg_names
    return lower(
        fn, dict(zip(names, types, strict=False)), dict(zip(names[len(types) :], constants, strict=True)), num_warps=4
    ).kernel


def add(fn: Any = tutorials.add_kernel) -> Example:
    rng = np.random.default_rng(0)
    n = 1000
    x, y, out = rng.standard_normal(n, np.float32), rng.standard_normal(n, np.float32), np.zeros(n, np.float32)
    kernel = _lowered(fn, (F32, F32, F32, int32), 128)
    return Example("add", kernel, (8,), [x, y, out, n], lambda: np.testing.assert_array_equal(out, x + y))


def softmax(fn: Any = tutorials.softmax_kernel) -> Example:
    x = np.random.default_rng(1).standard_normal((10, 50)).astype(np.float32)
    out = np.zeros_like(x)
    kernel = _lowered(fn, (F32, F32, int32, int32, int32, int32), 64, 2)

    def check() -> None:
        e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
        np.testing.assert_allclose(out, e / e.sum(axis=1, keepdims=True), rtol=1e-5)

    return Example("softmax", kernel, (4,), [out, x, 50, 50, 10, 50], check)


def matmul(fn: Any = tutorials.matmul_kernel) -> Example:
    rng = np.random.default_rng(2)
    m, n, k = 70, 50, 40
    a, b = rng.standard_normal((m, k)).astype(np.float16), rng.standard_normal((k, n)).astype(np.float16)
    c = np.zeros((m, n), np.float16)
    kernel = _lowered(fn, (F16, F16, F16, *(int32,) * 9), 32, 32, 16, 2, "leaky_relu")

    def check() -> None:
        exact = a.astype(np.float64) @ b.astype(np.float64)
        np.testing.assert_allclose(c, np.where(exact >= 0, exact, 0.01 * exact), rtol=2e-3, atol=1e-3)

    return Example("matmul", kernel, (6,), [a, b, c, m, n, k, k, 1, n, 1, n, 1], check)


def dropout(fn: Any = tutorials.dropout_kernel) -> Example:
    rng = np.random.default_rng(3)
    n, p = 1000, 0.25
    x, out = rng.standard_normal(n, np.float32) + 10, np.full(n, np.nan, np.float32)
    kernel = _lowered(fn, (F32, F32, int32, float32, int32), 256)

    def check() -> None:
        kept = out != 0
        np.testing.assert_allclose(out[kept], x[kept] / (1 - p), rtol=1e-6)
        assert 0.7 < kept.mean() < 0.8

    return Example("dropout", kernel, (4,), [x, out, n, p, 123], check)


def layer_norm_forward(fn: Any = tutorials.layer_norm_forward_kernel) -> Example:
    rng = np.random.default_rng(4)
    m, n = 6, 90
    x, w, b = (
        rng.standard_normal((m, n), np.float32),
        rng.standard_normal(n, np.float32),
        rng.standard_normal(n, np.float32),
    )
    y, mean, rstd = np.zeros_like(x), np.zeros(m, np.float32), np.zeros(m, np.float32)
    kernel = _lowered(fn, (*(F32,) * 6, int32, int32, float32), 32)

    def check() -> None:
        wide = x.astype(np.float64)
        r = 1 / np.sqrt(wide.var(axis=1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(y, (wide - wide.mean(axis=1, keepdims=True)) * r * w + b, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(rstd, r[:, 0], rtol=1e-5)

    return Example("layer norm forward", kernel, (m,), [x, y, w, b, mean, rstd, n, n, 1e-5], check)


def layer_norm_backward(fn: Any = tutorials.layer_norm_backward_kernel) -> Example:
    rng = np.random.default_rng(5)
    m, n, groups = 8, 50, 2
    x, dy, w = (
        rng.standard_normal((m, n), np.float32),
        rng.standard_normal((m, n), np.float32),
        rng.standard_normal(n, np.float32),
    )
    mean = x.mean(axis=1).astype(np.float32)
    rstd = (1 / np.sqrt(x.var(axis=1) + 1e-5)).astype(np.float32)
    dx, dw, db = np.zeros_like(x), np.zeros((groups, n), np.float32), np.zeros((groups, n), np.float32)
    locks = np.zeros(2 * groups, np.int32)
    kernel = _lowered(fn, (*(F32,) * 8, I32, int32, int32), groups, 64)

    def check() -> None:
        hat = (x - mean[:, None]) * rstd[:, None]
        wdy = (w * dy).astype(np.float64)
        want = (wdy - (hat * (hat * wdy).mean(axis=1, keepdims=True) + wdy.mean(axis=1, keepdims=True))) * rstd[:, None]
        np.testing.assert_allclose(dx, want, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(dw.sum(axis=0), (dy * hat).sum(axis=0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(db.sum(axis=0), dy.sum(axis=0), rtol=1e-4, atol=1e-4)
        assert not locks[:groups].any()

    return Example("layer norm backward dx", kernel, (m,), [dx, dy, dw, db, x, w, mean, rstd, locks, n, n], check)


def layer_norm_backward_weights(fn: Any = tutorials.layer_norm_weights_kernel) -> Example:
    rng = np.random.default_rng(6)
    m, n = 10, 50
    dw, db = rng.standard_normal((m, n), np.float32), rng.standard_normal((m, n), np.float32)
    sum_w, sum_b = np.zeros(n, np.float32), np.zeros(n, np.float32)
    kernel = _lowered(fn, (*(F32,) * 4, int32, int32), 4, 32)

    def check() -> None:
        np.testing.assert_allclose(sum_w, dw.sum(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(sum_b, db.sum(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-6)

    return Example("layer norm backward dw db", kernel, (2,), [dw, db, sum_w, sum_b, m, n], check)


def attention(fn: Any = tutorials.attention_kernel) -> Example:
    rng = np.random.default_rng(7)
    heads, n, d = 2, 50, 16
    q, k, v = (rng.standard_normal((heads, n, d)).astype(np.float16) for _ in range(3))
    out = np.zeros_like(q)
    kernel = _lowered(fn, (F16, F16, F16, F16, float32, int32, int32, int32), True, 32, 16, 16)

    def check() -> None:
        scores = np.einsum("hid,hjd->hij", q.astype(np.float64), k) * 0.25
        e = np.exp(np.where(np.tri(n, dtype=bool), scores, -np.inf))
        np.testing.assert_allclose(out, e / e.sum(axis=2, keepdims=True) @ v, rtol=5e-3, atol=2e-3)

    return Example("attention", kernel, (2, heads), [q, k, v, out, 0.25, n, n * d, d], check)


EXAMPLES = (
    add, softmax, matmul, dropout, layer_norm_forward, layer_norm_backward, layer_norm_backward_weights, attention,
)  # fmt: skip


def examples() -> list[Example]:
    """Fresh arguments each time."""
    return [make() for make in EXAMPLES]
