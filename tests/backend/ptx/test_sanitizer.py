"""RTRITON_BACKEND=emulate on kernels with planted faults: each is told with the line of the Python kernel.

What the language cannot say (a race in shared memory) is planted into the PTX that a kernel was compiled to, by
RTRITON_OVERRIDE; its `.loc` lines still name the kernel's. That the kernels of the ops are clean is shown here for one
case of each, warnings included, and for all cases by
python -m pytest tests/ops/test_cases.py -k emulate -W error::rtriton.errors.EmulatorWarning
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ops
import rtriton
import rtriton.language as tl
from ops.device import tuned_for
from rtriton.errors import EmulatorError, EmulatorWarning

HERE = Path(__file__).read_text().splitlines()


def line_of(mark: str) -> int:
    """The line of this file that ends with a comment."""
    return next(i for i, line in enumerate(HERE, 1) if line.endswith(f"# {mark}"))


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "emulate")


@rtriton.jit
def put(where, value):
    tl.store(where, value)  # a store in a function


@rtriton.jit
def twice_out(x, out, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + i)  # a load past the end
    put(out + i, v)


def test_accesses_past_the_end_are_told_together_with_argument_program_and_line() -> None:
    x, out = np.ones(500, np.float32), np.zeros(500, np.float32)
    with pytest.raises(EmulatorError) as error:
        twice_out[4,](x, out, 500, BLOCK=128)
    load, store = error.value.findings
    assert (load.span.line, load.span.column) == (line_of("a load past the end"), 9)
    assert store.span.line == line_of("a store in a function")
    message = str(error.value)
    assert message.startswith("kernel twice_out is wrong in 2 places:")
    assert "4 bytes at byte 2000, 4 bytes past the end of x (float32[500]) of 2000 bytes" in message
    assert "past the end of out (float32[500])" in message
    assert "in program (3, 0, 0), warp 3, lane 20 (thread 116), and 11 more threads" in message
    assert re.search(r"v = tl.load\(x \+ i\)  # a load past the end\n +\| +\^{14}\n", message), message
    np.testing.assert_array_equal(out, np.ones(500))  # what was right was done


def test_a_tensor_of_torch_is_watched_as_well() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(EmulatorError, match=r"4 bytes past the end of out \(float32\[100\]\)"):
        twice_out[1,](torch.ones(128), torch.zeros(100), 100, BLOCK=128)


@rtriton.jit
def less_sum(x, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    v = tl.load(x + i)
    total = tl.sum(v, axis=0)  # through shared memory
    tl.store(out + i, v - total)


@rtriton.jit
def product(a, b, out, K, N: tl.constexpr, BLOCK: tl.constexpr):
    i, k = tl.arange(0, N), tl.arange(0, BLOCK)
    acc = tl.zeros((N, N), tl.float32)
    for start in tl.range(0, K, BLOCK, num_stages=3):
        left = tl.load(a + i[:, None] * K + start + k[None, :])  # copied ahead
        right = tl.load(b + (start + k[:, None]) * N + i[None, :])
        acc = tl.dot(left, right, acc)
    tl.store(out + i[:, None] * N + i[None, :], acc)


def with_ptx(monkeypatch: pytest.MonkeyPatch, folder: Path, kernel: Any, arguments: dict[str, Any], old: str, new: str,
             count: int = 1) -> None:
    """Run a kernel with its PTX changed."""
    kernel.cache.clear()
    with monkeypatch.context() as patch:
        patch.setenv("RTRITON_DUMP", str(folder))
        kernel[1,](**arguments)
    file = next((folder / kernel.__name__).glob("*.ptx"))
    text, found = re.subn(old, new, file.read_text(), count=count)
    assert found, text
    file.write_text(text)
    kernel.cache.clear()
    try:
        with monkeypatch.context() as patch:
            patch.setenv("RTRITON_OVERRIDE", str(folder))
            kernel[1,](**arguments)
    finally:
        kernel.cache.clear()


@pytest.mark.parametrize(("old", "new", "wanted"), [
    (r"bar\.sync\s+0;", "", r"race: shared byte \d+ is read here and was written by warp 1, with no barrier between"),
    (r"@%p\d+ st\.shared[^;]*;", "", r"uninitialised read: shared byte 0 is read but was never written"),
    (r"(?=bar\.sync\s+0;)", "mbarrier.arrive.shared.b64 _, [shared_memory];\n",
     r"mbarrier misuse: mbarrier.arrive.shared.b64 on shared byte 0, where no mbarrier.init was"),
    (r"(@%p\d+ st\.shared\.b32\s+)\[%r(\d+)\]", r"\1[%r\2+1024]", r"out of bounds: 4 bytes at byte 1024 of"),
    (r"(shfl.sync.bfly.b32\s+%r\d+, )%r\d+", r".reg .b32 %never;\n\1%never",
     r"uninitialised read: register %never is read before anything is written to it"),
])  # fmt: skip
def test_a_fault_planted_into_the_ptx_of_a_reduction_is_told_at_the_call_of_sum(
    old: str, new: str, wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = {"x": np.ones(128, np.float32), "out": np.zeros(128, np.float32), "BLOCK": 128}
    with pytest.raises(EmulatorError, match=wanted) as error:
        with_ptx(monkeypatch, tmp_path, less_sum, arguments, old, new)
    found = error.value.findings[0]
    assert (found.span.file, found.span.line) == (__file__, line_of("through shared memory"))
    assert "total = tl.sum(v, axis=0)" in str(found)


@pytest.mark.parametrize(("old", "new", "wanted"), [
    (r"cp\.async\.wait_group\s+\d+;", "cp.async.wait_group 9;",
     r"race: shared byte \d+ is read while a cp.async that fills it has not been waited for"),
    (r"(cp\.async\.wait_group\s+\d+;.*\n(?:.*\n)*?)\s*bar\.sync\s+0;", r"\1",
     r"race: shared byte \d+ is read here and was written by warp"),
])  # fmt: skip
def test_a_pipeline_that_waits_too_little_is_told(
    old: str, new: str, wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(np.float16) for shape in ((32, 160), (160, 32)))
    arguments = {"a": a, "b": b, "out": np.zeros((32, 32), np.float32), "K": 160, "N": 32, "BLOCK": 32}
    product[1,](**arguments)
    np.testing.assert_allclose(arguments["out"], a.astype(np.float64) @ b.astype(np.float64), 1e-3, 1e-3)
    with pytest.raises(EmulatorError, match=wanted) as error:
        with_ptx(monkeypatch, tmp_path, product, arguments, old, new, count=0)
    assert line_of("copied ahead") in {found.span.line for found in error.value.findings}


@rtriton.jit
def all_into_one(out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(out + i, tl.program_id(0) + i)  # every program


@rtriton.jit
def neighbours(work, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(work + i, i)
    tl.store(out + i, tl.load(work + (BLOCK - 1 - i)))  # hand-off


@rtriton.jit
def neighbours_in_step(work, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(work + i, i)
    tl.debug_barrier()
    tl.store(out + i, tl.load(work + (BLOCK - 1 - i)))


@rtriton.jit
def agreeing(out, flag, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(flag, 7)
    tl.store(out + tl.program_id(0) * BLOCK + i, i)


@rtriton.jit
def last_one_adds(parts, counter, out, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(parts + tl.program_id(0) * BLOCK + i, i)
    tl.debug_barrier()
    if tl.atomic_add(counter, 1) == tl.num_programs(0) - 1:
        total = tl.zeros((BLOCK,), tl.int32)
        for p in range(tl.num_programs(0)):
            total += tl.load(parts + p * BLOCK + i)
        tl.store(out + i, total)


def test_programs_that_write_different_values_to_one_place_are_warned_of() -> None:
    with pytest.warns(EmulatorWarning, match=r"race between programs: byte 0 of out .* is written here and was written "
                                             r"by program \(") as told:
        all_into_one[3,](np.zeros(64, np.int32), BLOCK=64)
    assert f":{line_of('every program')}:5: " in str(told[0].message)


def test_a_hand_off_between_warps_through_global_memory_is_warned_of() -> None:
    work, out = np.zeros(128, np.int32), np.zeros(128, np.int32)
    with pytest.warns(EmulatorWarning, match=r"(?s)race in a program: byte \d+ of work .* is read here and was written "
                                             r"by warp \d; a tl.debug_barrier.*written by warp \d at .*tl.store\(work"):
        neighbours[1,](work, out, BLOCK=128)


def test_what_barriers_atomics_and_equal_values_make_right_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", EmulatorWarning)
        out = np.zeros(128, np.int32)
        neighbours_in_step[1,](np.zeros(128, np.int32), out, BLOCK=128)
        np.testing.assert_array_equal(out, np.arange(128)[::-1])
        agreeing[4,](np.zeros(256, np.int32), np.zeros(1, np.int32), BLOCK=64)
        last_one_adds[4,](np.zeros(256, np.int32), np.zeros(1, np.int32), out, BLOCK=64)
        np.testing.assert_array_equal(out[:64], 4 * np.arange(64))


def test_the_kernels_of_the_ops_are_not_warned_of() -> None:
    seen: dict[str, ops.OpCase] = {}
    for case in ops.ALL:
        if not case.large:
            seen.setdefault(case.op, case)
    with warnings.catch_warnings(), tuned_for("cuda"):
        warnings.simplefilter("error", EmulatorWarning)
        for case in seen.values():
            case.run(**case.make(np.random.default_rng(7)))
