"""Ops take every kind of array, give the caller's kind back, and name the argument that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ops

ONES = np.ones(8, np.float32)


@pytest.fixture(autouse=True)
def _interpreted(use_backend: Callable[[str], None]) -> None:
    use_backend("cpu")


def rows(n: int = 2, dtype: Any = np.float32) -> np.ndarray:
    return np.arange(n * 8).reshape(n, 8).astype(dtype)


def test_out_is_written_and_returned() -> None:
    out = np.empty((2, 8), np.float32)
    assert ops.rms_norm(rows(), ONES, 1e-5, out=out) is out
    np.testing.assert_array_equal(out, ops.rms_norm(rows(), ONES, 1e-5))


def test_rows_of_a_wider_array_are_used_in_place() -> None:
    wide, out = np.random.default_rng(0).standard_normal((3, 20)).astype(np.float32), np.zeros((3, 20), np.float32)
    ops.softmax(wide[:, 4:12], out=out[:, 8:16])
    np.testing.assert_allclose(out[:, 8:16].sum(1), 1, rtol=1e-6)
    assert not out[:, :8].any() and not out[:, 16:].any()


def test_an_empty_batch_gives_an_empty_result() -> None:
    assert ops.rms_norm(rows(0), ONES, 1e-5).shape == (0, 8)
    assert ops.linear(rows(0), np.ones((5, 8), np.float32)).shape == (0, 5)


def test_bfloat16_bits_are_read_with_typed() -> None:
    bits = rows(dtype=ml_dtypes.bfloat16).view(np.uint16)
    result = ops.rms_norm(ops.typed(bits, "bf16"), ONES, 1e-5)
    assert result.dtype == ml_dtypes.bfloat16
    with pytest.raises(ValueError, match="bf16 has 2 bytes an element"):
        ops.typed(rows(), "bf16")


def test_torch_tensors_give_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = torch.arange(16, dtype=torch.float32).reshape(2, 8).to(dtype)
        result = ops.silu_mul(x)
        assert isinstance(result, torch.Tensor) and result.dtype == dtype
        want = torch.nn.functional.silu(x[:, :4].float()) * x[:, 4:].float()
        torch.testing.assert_close(result.float(), want, rtol=1e-2, atol=1e-2)


def test_an_array_of_the_array_api_comes_back_as_one() -> None:
    class Namespace:
        @staticmethod
        def from_dlpack(array: np.ndarray) -> Foreign:
            return Foreign(array)

    class Foreign:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

        def __array_namespace__(self) -> type[Namespace]:
            return Namespace

    result = ops.softmax(Foreign(rows()))
    assert isinstance(result, Foreign)
    np.testing.assert_array_equal(result.array, ops.softmax(rows()))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ops.rms_norm([1.0], ONES, 1e-5), TypeError, "rms_norm: x must be an array .*, got list"),
        (lambda: ops.rms_norm(rows(dtype=np.float64), ONES, 1e-5), TypeError, "x must have dtype fp32 or .*, got fp64"),
        (lambda: ops.rms_norm(rows(), ONES[:7], 1e-5), ValueError, r"weight must have shape \(8,\), got \(7,\)"),
        (lambda: ops.rms_norm(rows()[:, ::2], ONES[:4], 1e-5), ValueError, "x must be contiguous along its last axis"),
        (lambda: ops.rms_norm(rows(), ONES, 1e-5, out=rows(3)), ValueError, r"out must have shape \(2, 8\), got"),
        (lambda: ops.rms_norm(rows(), ONES, 1e-5, residual=rows(dtype=np.float16)), TypeError, "residual must"),
        (lambda: ops.softmax(ONES), ValueError, r"x must have shape \(any, any\), got \(8,\)"),
        (lambda: ops.softmax(np.broadcast_to(ONES, (3, 8))), ValueError, "x must be contiguous along its last axis"),
        (lambda: ops.argmax(np.ones((2, 0), np.float32)), ValueError, "x must have at least one column"),
        (lambda: ops.silu_mul(np.ones((2, 7), np.float32)), ValueError, "gate_up must have an even number of columns"),
        (lambda: ops.linear(rows(), ops.quantize(np.ones((4, 32)), "int4")), ValueError,
            "the weight's 32 columns, got 8"),
        (lambda: ops.linear(rows(), np.ones((4, 9), np.float32)), ValueError, r"weight must have shape \(any, 8\)"),
        (lambda: ops.embedding(np.zeros(2, np.float32), rows()), TypeError, "ids must have dtype int32 or int64"),
        (lambda: ops.matmul(rows(), rows()), ValueError, r"b must have shape \(8, any\), got \(2, 8\)"),
        (lambda: ops.matmul(rows(), rows().T, precision="fast"), ValueError, "precision must be one of ieee, tf32"),
        (lambda: ops.rms_norm(rows(), ONES, "1e-5"), TypeError, "rms_norm: eps must be a number, got str"),
        (lambda: ops.layer_norm(rows(), ONES, ONES, ONES), TypeError, "layer_norm: eps must be a number, got ndarray"),
        (lambda: ops.softmax(np.ma.masked_array(rows(), rows())), ValueError, "x must be an array that .*its mask"),
        (lambda: ops.rope_table(4, 5, 1e4), ValueError, "head_dim even and at least 2, .* got 4, 5 and"),
        (lambda: ops.typed(np.zeros(2, np.uint16), "bfloat16"), ValueError, "dtype must be one of .* got 'bfloat16'"),
        (lambda: ops.score(rows(), *[np.zeros(2, np.int32)] * 3, top_ids=np.zeros(2, np.int32)), ValueError,
            r"top_ids must have shape \(2, any\), got \(2,\)"),
    ],
)  # fmt: skip
def test_an_error_names_the_argument(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_attention_says_which_shape_the_cache_needs() -> None:
    q, tables, index = np.ones((1, 32), np.float32), np.zeros((1, 1), np.int32), np.zeros(1, np.int32)
    with pytest.raises(ValueError, match=r"k_cache must have shape \(any, any, any, 16\)"):
        ops.paged_attention(q, np.ones((1, 2, 16, 8), np.float32), None, tables, index, index, 1.0)
    with pytest.raises(ValueError, match=r"v_cache must have shape \(1, 2, 16, 8\)"):
        ops.paged_attention(q, *[np.ones((1, 2, 8, 16), np.float32)] * 2, tables, index, index, 1.0)
    shapes = ops.kv_cache_shapes(1, 3, 8)
    caches = [np.ones(s, np.float32) for s in shapes]
    with pytest.raises(ValueError, match=r"q must have a multiple of 3 heads of 8, got \(1, 32\)"):
        ops.paged_attention(q, *caches, tables, index, index, 1.0)
    for wrong in (q.reshape(1, 8, 4)[:, :6], q[0, :24], np.ones((), np.float32)):
        with pytest.raises(ValueError, match=r"q must have shape \(T, H \* 8\) or \(T, H, 8\)"):
            ops.paged_attention(wrong, *caches, tables, index, index, 1.0)
    with pytest.raises(TypeError, match="scale must be a number, got str"):
        ops.paged_attention(q[:, :24], *caches, tables, index, index, "1")  # type: ignore[arg-type]


def test_numbers_that_lie_between_others_are_refused() -> None:
    table = np.zeros((4, 8), [("x", np.float32), ("id", np.int16)])
    with pytest.raises(ValueError, match=r"softmax: x must be an array that .* strides of \(48, 6\) bytes"):
        ops.softmax(table["x"])
    with pytest.raises(ValueError, match=r"gather_rows: rows must be an array that .* \(6,\) bytes"):
        ops.gather_rows(rows(), np.zeros(3, [("row", np.int32), ("other", np.int16)])["row"])


def test_importing_ops_imports_no_array_library_but_numpy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, ops; print([m for m in ('torch', 'cupy', 'jax', 'lark', 'llvmlite', 'cuda') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_an_output_that_is_read_only_is_refused() -> None:
    out = rows()
    out.flags.writeable = False
    with pytest.raises(ValueError, match="softmax: out must be writable, got a read-only array"):
        ops.softmax(rows(), out=out)
    with pytest.raises(ValueError, match="matmul: out must be writable"):
        ops.matmul(rows(), rows(8), out=out)
    with pytest.raises(ValueError, match="rms_norm: residual must be writable"):
        ops.rms_norm(rows(), ONES, 1e-5, residual=out)


@pytest.mark.parametrize("name", ["k_cache", "v_cache"])
def test_a_cache_that_is_read_only_is_not_written(name: str) -> None:
    arrays = [np.zeros(shape, np.float32) for shape in ops.kv_cache_shapes(2, 1, 8)]
    caches = dict(zip(("k_cache", "v_cache"), arrays, strict=True))
    caches[name].flags.writeable = False
    at, slot = np.zeros(2, np.int32), np.array([16, 17], np.int32)
    with pytest.raises(ValueError, match=f"rope_kv_write: {name} must be writable, got a read-only array"):
        ops.rope_kv_write(rows(), rows(), rows(), at, slot, **caches, cos_sin=ops.rope_table(4, 8, 1e4))
    assert not any(cache.any() for cache in caches.values())


def test_a_foreign_byte_order_is_refused() -> None:
    with pytest.raises(TypeError, match="softmax: x must have dtype fp32 or bf16 or fp16, got >f4"):
        ops.softmax(rows().astype(">f4"))
