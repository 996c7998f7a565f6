"""The worker pool: every program once, records in order, errors, forks, exits."""

from __future__ import annotations

import ctypes
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.backend.cpu import jit, pool, pool_ir
from rtriton.backend.cpu.launch import LaunchList, compile_cpu
from rtriton.backend.cpu.pool import Pool
from rtriton.backend.cpu.target import ARM64, host
from tests.kernels.launch import lowered

COUNT = """
define void @count(ptr %arguments, ptr %grid, i64 %begin, i64 %end, ptr %arena) {
entry:
  %counts = load ptr, ptr %arguments
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %at = getelementptr i64, ptr %counts, i64 %i
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %end
  br i1 %more, label %loop, label %exit
exit:
  ret void
}
"""


@pytest.fixture(scope="module")
def counting() -> jit.Code:
    return jit.load(COUNT, host(), ("count",))


@pytest.fixture(params=[1, 2, 3])
def workers(request: pytest.FixtureRequest) -> Iterator[Pool]:
    made = Pool(request.param)
    yield made
    made.stop()


def records(code: jit.Code, counts: np.ndarray, chunks: list[int]) -> tuple[np.ndarray, ctypes.Array]:
    arguments = (ctypes.c_uint64 * 1)(counts.ctypes.data)
    rows = [
        (code.address["count"], ctypes.addressof(arguments), counts.size, 1, 1, counts.size, chunk, 0)
        for chunk in chunks
    ]
    return np.array(rows, np.uint64), arguments


def test_every_program_of_every_record_runs_once(workers: Pool, counting: jit.Code) -> None:
    counts = np.zeros(101, np.int64)
    rows, arguments = records(counting, counts, [1, 7, 101, 1000] * 25)
    for _ in range(20):
        assert workers.launch(rows.ctypes.data, len(rows)) == 0
    assert (counts == 20 * 100).all()
    assert arguments[0]


def test_an_empty_grid_runs_nothing(workers: Pool, counting: jit.Code) -> None:
    counts = np.zeros(0, np.int64)
    rows, _ = records(counting, counts, [1])
    assert workers.launch(rows.ctypes.data, 1) == 0


def test_threads_may_launch_at_the_same_time(counting: jit.Code) -> None:
    made = Pool(2)
    all_counts = [np.zeros(64, np.int64) for _ in range(4)]

    def run(counts: np.ndarray) -> None:
        rows, _kept = records(counting, counts, [3] * 50)
        for _ in range(20):
            made.launch(rows.ctypes.data, len(rows))

    threads = [threading.Thread(target=run, args=(c,)) for c in all_counts]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    made.stop()
    assert all((c == 1000).all() for c in all_counts)


def test_stopped_workers_end() -> None:
    made = Pool(3)
    made.stop()
    assert not any(t.is_alive() for t in made.workers)


@rtriton.jit
def accumulate(x, out, n, SIZE: tl.constexpr):
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    tl.store(out + at, tl.load(out + at, mask=at < n) + tl.load(x + at, mask=at < n), mask=at < n)


def test_a_recorded_list_replays_in_order_on_any_number_of_threads() -> None:
    x, out = np.arange(1000, dtype=np.float32), np.zeros(1000, np.float32)
    kernel = compile_cpu(lowered(accumulate, x=x, out=out, n=1000, SIZE=64)[0])
    graph = LaunchList()
    for _ in range(5):
        graph.record(kernel, (16, 1, 1), [x.ctypes.data, out.ctypes.data, 1000], [x, out])
    assert not out.any()
    try:
        for threads in (1, 2, 3):
            pool.set_num_threads(threads)
            out[:] = 0
            graph.replay()
            graph.replay()
            np.testing.assert_array_equal(out, 10 * x)
    finally:
        pool.set_num_threads(2)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    x, results = rng.standard_normal((64, 1000)).astype(np.float32), []
    kernel = compile_cpu(lowered(row_sums, x=x, out=x, n=1000, SIZE=1024)[0])
    try:
        for threads in (1, 2, 4):
            pool.set_num_threads(threads)
            out = np.zeros(64, np.float32)
            kernel.launch((64, 1, 1), [x.ctypes.data, out.ctypes.data, 1000])
            results.append(out)
    finally:
        pool.set_num_threads(2)
    assert all((r == results[0]).all() for r in results)
    np.testing.assert_allclose(results[0], x.sum(1, dtype=np.float64), rtol=1e-4, atol=1e-4)


@rtriton.jit
def row_sums(x, out, n, SIZE: tl.constexpr):
    row, at = tl.program_id(0), tl.arange(0, SIZE)
    tl.store(out + row, tl.sum(tl.load(x + row * n + at, mask=at < n, other=0.0), 0))


def _in_child(queue: multiprocessing.Queue, x: np.ndarray) -> None:
    out = np.zeros_like(x)
    accumulate[(16,)](x, out, x.size, SIZE=64)
    queue.put(bool((out == x).all()))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_forked_child_makes_a_pool_of_its_own() -> None:
    x, out = np.arange(1000, dtype=np.float32), np.zeros(1000, np.float32)
    accumulate[(16,)](x, out, 1000, SIZE=64)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue, x))
    child.start()
    assert queue.get(timeout=60)
    child.join(timeout=60)


def test_the_interpreter_exits_with_idle_workers() -> None:
    program = "from rtriton.backend.cpu import pool; pool.set_num_threads(4); print('made')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "made\n" and done.stderr == ""


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "arm64-apple-darwin", "x86_64-unknown-linux-gnu"])
def test_the_pool_is_good_llvm_for_every_system(triple: str) -> None:
    """Linux waits on a futex, the others by the C library's usleep."""
    module = str(jit.optimise(pool_ir.pool_text(triple), ARM64 if "64-" in triple and "x86" not in triple else host()))
    assert ("svc #0" in module or "syscall" in module) == ("linux" in triple)


def test_a_damaged_cache_entry_is_made_again(tmp_path) -> None:
    jit.load(COUNT, host(), ("count",), tmp_path)
    (entry,) = tmp_path.glob("*.o")
    good = entry.read_bytes()
    entry.write_bytes(good[:-20] + bytes(20))
    jit.load(COUNT, host(), ("count",), tmp_path)
    assert entry.read_bytes() == good
