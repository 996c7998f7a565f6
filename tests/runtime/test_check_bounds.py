"""RTRITON_CHECK=bounds: what is out of bounds raises with argument, line, offset and program; the rest runs the same.

Interpreter, CPU backend and emulator here; the GPU in tests/gpu/test_check_bounds.py, with the same kernels.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ops
import rtriton
import rtriton.language as tl
from rtriton.checked import ANYTHING, extent_of
from rtriton.errors import BoundsError, LaunchError
from rtriton.ir import walk
from rtriton.passes import run_pipeline
from rtriton.passes.analysis.provenance import sources
from rtriton.passes.check_bounds import checked
from rtriton.text import parse, show
from tests.kernels.examples import EXAMPLES

HERE = Path(__file__).read_text().splitlines()
BACKENDS = ("interpret", "cpu", "emulate")


def line_of(mark: str) -> int:
    return next(i for i, line in enumerate(HERE, 1) if line.endswith(f"# {mark}"))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("RTRITON_INTERPRET", raising=False)
    monkeypatch.setenv("RTRITON_BACKEND", request.param)
    monkeypatch.setenv("RTRITON_CHECK", "bounds")
    return request.param


@rtriton.jit
def shifted(x, out, n, by, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + i + by, mask=i < n)  # the load
    tl.store(out + i, v, mask=i < n)  # the store


@rtriton.jit
def one_more(p, value):
    tl.atomic_add(p, value)  # the atomic


@rtriton.jit
def counted(keys, counts, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    one_more(counts + tl.load(keys + i, mask=i < n, other=0), 1)


@rtriton.jit
def swapped(lock, at):
    old = tl.atomic_cas(lock + at, 0, 1)  # the swap
    tl.store(lock, old + 5)


@rtriton.jit
def walked(x, y, out, rows, row, which, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    p = tl.where((i % 2 == 0) & (which == 1), x + i, y + i)
    total = tl.zeros((BLOCK,), tl.float32)
    for _ in range(rows):
        total += tl.load(p)  # in a loop
        p += row
    tl.store(out + i, total)


@rtriton.jit
def scalar_of(x, out, at):
    tl.store(out, tl.load(x + at))  # a scalar


@rtriton.jit
def behind_a_pointer(table, out, BLOCK: tl.constexpr):
    p = tl.load(table).to(tl.pointer_type(tl.float32))
    i = tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(p + i))


def floats(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float32)


def told(error: pytest.ExceptionInfo[BoundsError]) -> list[tuple[int, str]]:
    return [(span.line, text) for text, span in error.value.found]


def test_what_is_in_bounds_runs_the_same(backend: str) -> None:
    out = np.zeros(500, np.float32)
    shifted[4,](floats(600), out, 500, 100, BLOCK=128)
    np.testing.assert_array_equal(out, floats(600)[100:])


def test_a_load_past_the_end_names_argument_line_offset_and_program(backend: str) -> None:
    out = np.full(500, 7, np.float32)
    with pytest.raises(BoundsError) as error:
        shifted[4,](floats(500), out, 500, 10, BLOCK=128)
    assert told(error) == [(line_of("the load"), "out of bounds: load of 4 bytes at byte 2000 of x, which has 2000: "
                                                 "4 bytes past its end; first in program (3, 0, 0)")]
    assert "v = tl.load(x + i + by, mask=i < n)" in str(error.value)
    np.testing.assert_array_equal(out, [*floats(500)[10:], *[0] * 10])  # such a load gives zero
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


def test_before_the_start_counts_from_the_allocation(backend: str) -> None:
    whole, out = floats(700), np.zeros(500, np.float32)
    if backend != "cpu":  # the others have bounds of their own, those of the view
        whole = whole[100:].copy()
    at = whole[100:] if backend == "cpu" else whole
    if backend == "cpu":
        shifted[4,](at, out, 500, -100, BLOCK=128)
        np.testing.assert_array_equal(out, whole[:500])
    by = -101 if backend == "cpu" else -1
    with pytest.raises(BoundsError, match=f"at byte {4 * by} of x, which has 2400: 4 bytes before its memory"):
        shifted[4,](at, out, 500, by, BLOCK=128)


def test_several_lines_are_told_together(backend: str) -> None:
    with pytest.raises(BoundsError) as error:
        shifted[(2, 2)](floats(128), np.zeros(128, np.float32), 256, 0, BLOCK=128)
    assert [line for line, _ in told(error)] == [line_of("the load"), line_of("the store")]
    assert all(text.endswith("first in program (1, 0, 0)") for _, text in told(error))
    assert "kernel shifted is out of bounds in 2 places:" in str(error.value)


def test_atomics_are_checked_and_told_with_their_caller(backend: str) -> None:
    keys, counts = np.array([0, 1, 1, 9, 3, 0, 0, 0], np.int32), np.zeros(4, np.int32)
    with pytest.raises(BoundsError) as error:
        counted[1,](keys, counts, 5, BLOCK=8)
    wanted = ("out of bounds: atomic of 4 bytes at byte 36 of counts, which has 16: 24 bytes past its end; first in "
              "program (0, 0, 0)")
    assert told(error) == [(line_of("the atomic"), wanted)]
    assert f"called from {__file__}:" in str(error.value)
    assert counts.tolist() == [4, 2, 0, 1]


def test_a_compare_and_swap_out_of_bounds_touches_nothing(backend: str) -> None:
    lock = np.zeros(4, np.int32)
    swapped[1,](lock, 3)
    assert lock.tolist() == [5, 0, 0, 1]
    with pytest.raises(BoundsError, match="atomic of 4 bytes at byte 16 of lock") as error:
        swapped[1,](lock, 4)
    assert told(error)[0][0] == line_of("the swap")


def test_pointers_are_followed_through_choices_and_loops(backend: str) -> None:
    x, y, out = floats(4 * 64), floats(4 * 64), np.zeros(64, np.float32)
    walked[1,](x, y, out, 4, 64, 1, BLOCK=64)
    np.testing.assert_array_equal(out, x.reshape(4, 64).sum(0))
    with pytest.raises(BoundsError, match=r"1024 of y, which has 1024: 4 bytes past its end \(nor in x\)") as error:
        walked[1,](x, y, out, 5, 64, 0, BLOCK=64)
    assert told(error)[0][0] == line_of("in a loop")


def test_scalars_are_checked(backend: str) -> None:
    out = np.zeros(1, np.float32)
    scalar_of[1,](floats(8), out, 7)
    assert out[0] == 7
    with pytest.raises(BoundsError, match="at byte 4000000000 of x, which has 32: 3999999972 bytes past"):
        scalar_of[1,](floats(8), out, 1_000_000_000)


def test_pointers_out_of_memory_are_not_checked(backend: str) -> None:
    x, out = floats(16), np.zeros(16, np.float32)
    if backend == "cpu":  # the others know only the memory of their arguments
        behind_a_pointer[1,](np.array([x.ctypes.data], np.int64), out, BLOCK=16)
        np.testing.assert_array_equal(out, x)


def test_a_tensor_of_torch_reaches_as_far_as_its_storage(backend: str) -> None:
    torch = pytest.importorskip("torch")
    whole, out = torch.arange(600, dtype=torch.float32), torch.zeros(500)
    shifted[4,](whole[:100], out, 500, 100, BLOCK=128)
    assert torch.equal(out, whole[100:])
    with pytest.raises(BoundsError, match="at byte 2400 of x, which has 2400"):
        shifted[4,](whole[:100], out, 500, 101, BLOCK=128)


def test_turning_it_on_and_off_makes_other_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    x, out = floats(600), np.zeros(500, np.float32)
    plain = shifted[4,](x, out, 500, 0, BLOCK=128)
    monkeypatch.setenv("RTRITON_CHECK", "bounds")
    with_checks = shifted[4,](x, out, 500, 0, BLOCK=128)
    assert "x_bytes" in with_checks.asm["tir"] and "x_bytes" not in plain.asm["tir"]
    monkeypatch.setenv("RTRITON_CHECK", "bound")
    with pytest.raises(ValueError, match="RTRITON_CHECK is any of bounds, got 'bound'"):
        shifted[4,](x, out, 500, 0, BLOCK=128)


def test_kernels_with_their_arguments_are_checked(backend: str) -> None:
    out = np.zeros(500, np.float32)
    step = shifted.compile_for(floats(600), out, 500, 100, BLOCK=128)
    step[4,]()
    np.testing.assert_array_equal(out, floats(600)[100:])
    with pytest.raises(BoundsError, match="at byte 2400 of x, which has 2400"):
        step[4,](by=200)


def test_launches_cannot_be_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    monkeypatch.setenv("RTRITON_CHECK", "bounds")
    with pytest.raises(LaunchError, match="RTRITON_CHECK=bounds cannot be captured"), rtriton.capture("cpu"):
        shifted[4,](floats(600), np.zeros(500, np.float32), 500, 0, BLOCK=128)


@pytest.mark.parametrize("make", EXAMPLES, ids=lambda m: m.__name__)
def test_every_access_of_the_tutorial_kernels_is_checked(make: Any) -> None:
    kernel = make().kernel
    found = checked(kernel)
    accesses = [op for op in walk(kernel.body) if op.kind in ("load", "store", "atomic_rmw", "atomic_cas")]
    assert len(found.accesses) == len(accesses) > 0
    text = show(run_pipeline(found.kernel, None, "tile", verify_each=True))
    assert show(parse(text)) == text


def test_the_cases_of_the_ops_are_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    monkeypatch.setenv("RTRITON_CHECK", "bounds")
    seen: dict[str, ops.OpCase] = {}
    for case in ops.ALL:
        if not case.large:
            seen.setdefault(case.op, case)
    for case in seen.values():
        inputs = case.make(np.random.default_rng(7))
        for have, want in zip(case.run(**inputs), case.reference(**case.make(np.random.default_rng(7))), strict=True):
            np.testing.assert_allclose(have.astype(np.float64), want.astype(np.float64), case.rtol, case.atol)


def test_the_steps_of_the_engine_are_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.engine.test_model_runner import engine, run, submits

    plain = run(engine(capture=False), [(0, request) for request in submits()])
    monkeypatch.setenv("RTRITON_CHECK", "bounds")
    with_checks = run(engine(capture=False), [(0, request) for request in submits()])
    assert {name: it.tokens for name, it in plain.items()} == {name: it.tokens for name, it in with_checks.items()}


def test_provenance_ends_where_pointers_are_loaded_or_made_of_integers() -> None:
    kernel = parse("""kernel @k(%x: *f32, %t: *i64, %n: i64) {} {
  %i: i64 = load %t
  %p: *f32 = cast %i {to = type(*f32)}
  %q: *f32 = cast %n {to = type(*f32)}
  %r: *f32 = addptr %x, %n
  %c: i1 = lt %n, %n
  %s: *f32 = where %c, %r, %q
  %v: f32 = load %r
  store %s, %v
  store %p, %v
}
""")
    known = {value.name: names for value, names in sources(kernel).items()}
    assert known == {"x": {0}, "t": {1}, "r": {0}}
    assert [access.arguments for access in checked(kernel).accesses] == [(1,), (0,)]


def test_extents_are_those_of_the_allocation() -> None:
    whole = np.zeros((8, 16), np.float32)
    assert extent_of(whole) == (0, 512)
    assert extent_of(whole[2:, 4:]) == (144, 368)
    assert extent_of(whole[::-1]) == (448, 64)
    assert extent_of(np.zeros(0, np.float32)) == (0, 0)
    assert extent_of(5) == ANYTHING

    class Described:
        __array_interface__ = {"data": (4096, False), "typestr": "<f4", "shape": (3, 4), "strides": (-32, 4)}

    assert extent_of(Described()) == (64, 16)
