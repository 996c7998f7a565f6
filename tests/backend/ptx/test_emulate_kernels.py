"""Hand-written kernels: the emulator's results against NumPy, and the same text through ptxas for every target."""

import ml_dtypes
import numpy as np
import pytest

from rtriton.backend.ptx.emulate import emulate
from rtriton.backend.ptx.ptxas import AssembleError, assemble, find_ptxas
from tests.backend.ptx import ptx_kernels as kernels

TARGETS = ("sm_80", "sm_89", "sm_90", "sm_90a")


def run(kernel: kernels.Kernel, grid, *args, **options):
    return emulate(kernel.text(kernel.needs), kernel.name, grid, args, **options)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", kernels.ALL, ids=lambda kernel: kernel.name)
def test_every_kernel_assembles(kernel: kernels.Kernel, target: str) -> None:
    try:
        find_ptxas()
    except AssembleError as problem:
        pytest.skip(str(problem))
    if int(target[3:5]) < int(kernel.needs[3:5]):
        pytest.skip(f"needs {kernel.needs}")
    assert assemble(kernel.text(target), target).cubin


@pytest.mark.parametrize("n", [4, 508, 512, 516, 40_000])
def test_vector_add_masks_the_tail(n: int) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, n), np.float32)
    out = np.full(n + 8, 7, np.float32)
    run(kernels.VECTOR_ADD, -(-n // 512), x, y, out, n)
    assert np.array_equal(out[:n], x + y) and (out[n:] == 7).all()


def test_a_warp_sums_by_shuffles() -> None:
    x, out = np.arange(64, dtype=np.int32) ** 2 - 1000, np.zeros(2, np.int32)
    run(kernels.WARP_SUM, 1, x, out)
    assert out.tolist() == [x[:32].sum(), x[32:].sum()]


def test_softmax_through_shared_memory() -> None:
    x = np.random.default_rng(1).standard_normal((300, 128)).astype(np.float32) * 5
    out = np.zeros_like(x)
    run(kernels.SOFTMAX, 300, x, out)
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(out, e / e.sum(1, keepdims=True), rtol=1e-5)  # x * log2(e) is rounded


def operands(kind: str, m: int, n: int, k: int):
    """A, B as stored, and both as float64."""
    rng = np.random.default_rng(2)
    if kind in ("s8", "u8"):
        a = rng.integers(-128, 128, (m, k)).astype(np.int8)
        a = a if kind == "s8" else a.view(np.uint8)
        b = rng.integers(-128, 128, (n, k)).astype(np.int8)
        return a, b, a.astype(np.float64), b.astype(np.float64)
    a, b = rng.standard_normal((m, k)), rng.standard_normal((n, k))
    types = {"f16": (np.float16,) * 2, "bf16": (ml_dtypes.bfloat16,) * 2, "tf32": (np.float32,) * 2,
             "e4m3": (ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)}[kind]
    a, b = a.astype(types[0]), b.astype(types[1])
    if kind == "tf32":  # the hardware does not look at the last 13 bits
        cut = [(x.view(np.uint32) & 0xFFFFE000).view(np.float32).astype(np.float64) for x in (a, b)]
        return a, b, *cut
    return a.view(f"u{a.itemsize}"), b.view(f"u{b.itemsize}"), a.astype(np.float64), b.astype(np.float64)


@pytest.mark.parametrize("kind", list(kernels.MATMULS))
def test_matmul_with_cp_async_ldmatrix_and_mma(kind: str) -> None:
    m, n, k = 96, 24, 128
    a, b, a64, b64 = operands(kind, m, n, k)
    out = np.zeros((m, n), np.int32 if kind in ("s8", "u8") else np.float32)
    run(kernels.MATMULS[kind], (m // 32, n // 8), a, b, out, n, k * a.itemsize)
    want = a64 @ b64.T
    if out.dtype == np.int32:
        assert np.array_equal(out, want)
    else:
        np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)


def test_ldmatrix_transposes_and_stmatrix_stores() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((16, 16)).astype(np.float16), rng.standard_normal((16, 8)).astype(np.float16)
    out = np.zeros((16, 8), np.float16)
    run(kernels.TRANSPOSED, 1, a, b, out)
    np.testing.assert_array_equal(out, (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float16))


def test_mma_of_doubles() -> None:
    a, b = np.random.default_rng(4).standard_normal((2, 8, 4))
    out = np.zeros((8, 8))
    run(kernels.DOUBLES, 1, a, b, out)
    np.testing.assert_allclose(out, a @ b.T + np.arange(8) % 2, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("batch_threads", [64, 1 << 14])
def test_a_spin_lock_lets_every_cta_in(batch_threads: int) -> None:
    lock, total = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
    run(kernels.SPIN_LOCK, 50, lock, total, batch_threads=batch_threads, max_steps=1_000_000)
    assert total[0] == sum(range(50)) and lock[0] == 0


def test_threads_leave_a_divergent_loop_at_their_own_times_and_meet_again() -> None:
    def steps(n: int) -> int:
        count = 0
        while n != 1:
            n, count = (n // 2 if n % 2 == 0 else 3 * n + 1), count + 1
        return count

    x = np.arange(1, 257, dtype=np.uint32)
    want = [steps(int(n)) for n in x]
    run(kernels.COLLATZ, 2, x)
    assert x.tolist() == want


def test_histogram_with_shared_and_global_atomics() -> None:
    x = np.random.default_rng(5).integers(0, 16, 640).astype(np.uint8)
    bins = np.zeros(16, np.uint32)
    run(kernels.HISTOGRAM, 10, x, bins)
    assert np.array_equal(bins, np.bincount(x, minlength=16))


def test_a_producer_and_a_consumer_take_turns_at_named_barriers() -> None:
    out = np.zeros(32, np.uint32)
    run(kernels.PRODUCER, 3, out)
    assert np.array_equal(out, 4 * np.arange(32) + 600)


def test_a_barrier_counts_votes() -> None:
    x = np.random.default_rng(6).integers(0, 1000, 96).astype(np.uint32)
    odd = int((x % 2).sum())
    run(kernels.COUNT_ODD, 1, x)
    assert (x == odd).all()


def test_ctas_of_one_launch_run_together_or_in_batches_with_the_same_result() -> None:
    x = np.random.default_rng(7).standard_normal((40, 128)).astype(np.float32)
    outs = [np.zeros_like(x) for _ in range(2)]
    together = run(kernels.SOFTMAX, 40, x, outs[0])
    alone = run(kernels.SOFTMAX, 40, x, outs[1], batch_threads=128)
    assert np.array_equal(*outs)
    assert (together.batches, alone.batches, alone.steps) == (1, 40, 40 * together.steps)
