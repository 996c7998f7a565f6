"""Atomics of every type, order and scope against sums in NumPy, and the PTX that ptxas takes for every target."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.backend.ptx.ptxas import assemble
from rtriton.errors import CompilationError
from rtriton.tools.tensor_descriptor import TensorDescriptor
from tests.memory.everywhere import BACKENDS, backend, copied, everywhere

HOWS = ("add", "max", "min", "and", "or", "xor", "xchg")


@rtriton.jit
def update(x, out, old, n, HOW: tl.constexpr, SEM: tl.constexpr, SCOPE: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    value, places, mask = tl.load(x + offsets), out + offsets, offsets < n
    if HOW == "add":
        before = tl.atomic_add(places, value, mask, SEM, SCOPE)
    elif HOW == "max":
        before = tl.atomic_max(places, value, mask, SEM, SCOPE)
    elif HOW == "min":
        before = tl.atomic_min(places, value, mask, SEM, SCOPE)
    elif HOW == "and":
        before = tl.atomic_and(places, value, mask, SEM, SCOPE)
    elif HOW == "or":
        before = tl.atomic_or(places, value, mask, SEM, SCOPE)
    elif HOW == "xor":
        before = tl.atomic_xor(places, value, mask, SEM, SCOPE)
    else:
        before = tl.atomic_xchg(places, value, mask, SEM, SCOPE)
    tl.store(old + offsets, before, mask)


NUMPY = {"add": np.add, "max": np.maximum, "min": np.minimum, "and": np.bitwise_and, "or": np.bitwise_or,
         "xor": np.bitwise_xor, "xchg": lambda old, new: new}  # fmt: skip


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "float32", "float64", "float16"])
def test_a_tile_is_updated_where_the_mask_holds_and_the_old_values_come_back(how: str, dtype: str) -> None:
    if dtype.startswith("float") and how in ("and", "or", "xor") or dtype == "float16" and how != "add":
        pytest.skip("no such atomic")
    rng = np.random.default_rng(4)
    x, out = ((rng.normal(size=64) * 100).astype(np.int64).astype(dtype) for _ in range(2))
    wanted = np.where(np.arange(64) < 50, NUMPY[how](out, x), out)
    for name, got in everywhere(update, (1,), x, out, np.zeros_like(x), 50, how, "relaxed", "gpu", 64):
        np.testing.assert_array_equal(got[1], wanted, name)
        np.testing.assert_array_equal(got[2], np.where(np.arange(64) < 50, out, 0), name)


@rtriton.jit
def everyone_adds(out, count, seen, SEM: tl.constexpr):
    number = tl.program_id(0)
    before = tl.atomic_add(count, 1, sem=SEM)
    tl.store(seen + before, number)
    for i in range(3):
        tl.atomic_add(out + (number + i) % 4, number.to(tl.float32))
    tl.atomic_max(out + 4, number.to(tl.float32) - 5)
    tl.atomic_min(out + 5, 5 - number.to(tl.float32))


@pytest.mark.parametrize("sem", [None, "acquire", "release", "acq_rel", "relaxed"])
def test_programs_that_meet_at_one_place_lose_nothing(sem: str | None) -> None:
    programs = 40
    wanted = np.zeros(6)
    for p in range(programs):
        for i in range(3):
            wanted[(p + i) % 4] += p
    wanted[4:] = [programs - 6, 6 - programs]
    for name, (out, count, seen, *_) in everywhere(
        everyone_adds, (programs,), np.zeros(6, np.float32), np.zeros(1, np.int32), np.full(programs, -1, np.int32), sem
    ):
        np.testing.assert_array_equal(out, wanted, name)
        assert count[0] == programs, name
        assert sorted(seen) == list(range(programs)), name


@rtriton.jit
def one_place(out, old, n, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    before = tl.atomic_add(out + tl.zeros((BLOCK,), tl.int32), 1, offsets < n)
    tl.store(old + offsets, before, offsets < n)


def test_elements_of_a_tile_that_meet_at_one_place_are_added_one_after_the_other() -> None:
    for name, (out, old, *_) in everywhere(one_place, (1,), np.zeros(1, np.int32), np.zeros(256, np.int32), 200, 256):
        assert out[0] == 200, name
        assert sorted(old[:200]) == list(range(200)), name


@rtriton.jit
def small_tile(out):
    tl.atomic_add(out + tl.arange(0, 4)[:, None] * 2 + tl.arange(0, 2)[None, :], 1.0)


def test_copies_of_an_element_in_other_lanes_add_once() -> None:
    for name, (out,) in everywhere(small_tile, (3,), np.zeros(8, np.float32)):
        np.testing.assert_array_equal(out, np.full(8, 3.0), name)


@rtriton.jit
def swap(out, old, wanted, new, SEM: tl.constexpr, SCOPE: tl.constexpr, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    before = tl.atomic_cas(out + offsets, tl.load(wanted + offsets), tl.load(new + offsets), SEM, SCOPE)
    tl.store(old + offsets, before)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32",
                                   "float64"])  # fmt: skip
def test_compare_and_swap_changes_what_equals(dtype: str) -> None:
    rng = np.random.default_rng(5)
    out, wanted = (rng.integers(0, 3, 32).astype(dtype) for _ in range(2))
    new = np.arange(100, 132).astype(dtype)
    for name, got in everywhere(swap, (1,), out, np.zeros_like(out), wanted, new, "acq_rel", "sys", 32):
        np.testing.assert_array_equal(got[0], np.where(out == wanted, new, out), name)
        np.testing.assert_array_equal(got[1], out, name)


@rtriton.jit
def locked(data, lock, BLOCK: tl.constexpr):
    while tl.atomic_cas(lock, 0, 1, "acquire") == 1:
        pass
    places = data + tl.arange(0, BLOCK)
    tl.store(places, tl.load(places) + 1)
    tl.debug_barrier()
    tl.atomic_xchg(lock, 0, sem="release")


def test_a_lock_lets_one_program_in() -> None:
    for name, (data, lock, _) in everywhere(locked, (9,), np.zeros(64, np.float32), np.zeros(1, np.int32), 64):
        np.testing.assert_array_equal(data, np.full(64, 9.0), name)
        assert lock[0] == 0, name


@rtriton.jit
def narrow_extremes(desc, x, HOW: tl.constexpr):
    value = tl.load(x + tl.program_id(0) * 16 + tl.arange(0, 16))
    if HOW == "max":
        desc.atomic_max([0], value)
    elif HOW == "min":
        desc.atomic_min([0], value)
    else:
        desc.atomic_add([0], value)


@pytest.mark.parametrize("how", ["max", "min", "add"])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(
    ("name", "target"), [("interpret", ""), ("cpu", ""), ("emulate", "sm_80"), ("emulate", "sm_90")]
)
def test_narrow_floats_are_combined_by_compare_and_swap(
    how: str, dtype: type, name: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if target:
        monkeypatch.setenv("RTRITON_TARGET", target)
    x = np.random.default_rng(6).integers(-30, 30, 6 * 16).astype(dtype)
    out = np.zeros(16, dtype)
    rows = x.reshape(6, 16).astype(np.float32)
    wanted = {"max": rows.max(0, initial=0), "min": rows.min(0, initial=0), "add": rows.sum(0)}[how]
    with backend(name):
        narrow_extremes[(6,)](TensorDescriptor.from_tensor(out, [16]), x, how)
    np.testing.assert_array_equal(out.astype(np.float32), wanted)


@rtriton.jit
def largest(out, x):
    tl.atomic_max(out, tl.load(x + tl.program_id(0)))


@rtriton.jit
def smallest(out, x):
    tl.atomic_min(out, tl.load(x + tl.program_id(0)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", [-1, 1])
def test_extremes_of_floats_of_both_signs(dtype: type, sign: int) -> None:
    x = (sign * np.array([3.0, -2.5, 0.0, -0.0, 1e-30, -1e30, 7.25])).astype(dtype)
    for kernel, how in ((largest, np.max), (smallest, np.min)):
        start = np.array([-np.inf if kernel is largest else np.inf], dtype)
        for name, (out, _) in everywhere(kernel, (7,), start, x):
            assert out[0] == how(x), name


# -- PTX -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90"])
@pytest.mark.parametrize("scope", ["gpu", "cta", "sys"])
@pytest.mark.parametrize("sem", ["acquire", "release", "acq_rel", "relaxed"])
def test_order_and_scope_are_in_the_ptx_and_assemble(
    sem: str, scope: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTRITON_TARGET", target)
    x, old = np.zeros(64, np.float32), np.zeros(64, np.int32)
    with backend("emulate"):
        rmw = update.warmup(x, x, x, 64, "add", sem, scope, 64, grid=(1,)).asm["ptx"]
        cas = swap.warmup(old, old, old, old, sem, scope, 64, grid=(1,)).asm["ptx"]
    assert f"atom.global.{scope}.{sem}.add.f32" in rmw
    assert f"atom.global.{sem}.{scope}.cas.b32" in cas
    assemble(rmw, target)
    assemble(cas, target)


@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90"])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("how", ["add", "max"])
def test_loops_of_compare_and_swap_assemble(
    how: str, dtype: type, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTRITON_TARGET", target)
    x = np.zeros(96, dtype)
    with backend("emulate"):
        ptx = narrow_extremes.warmup(TensorDescriptor.from_tensor(x, [16]), x, how, grid=(1,)).asm["ptx"]
    swapped = how == "max" or (dtype is ml_dtypes.bfloat16 and target != "sm_90")
    assert (".cas.b16" in ptx) == swapped
    assemble(ptx, target)


# -- rules -----------------------------------------------------------------------------------------------------------

REFUSED = [
    ("int8", "add", "atomic_add does not support i8"),
    ("int16", "add", "atomic_add does not support i16"),
    ("uint16", "max", "atomic_max does not support u16"),
    ("float16", "max", "atomic_max does not support f16"),
    ("float16", "xchg", "atomic_xchg does not support f16"),
    ("float32", "xor", "atomic_xor needs integers, got f32"),
    ("bool", "or", "atomic_or does not support i1"),
]


@pytest.mark.parametrize(("dtype", "how", "message"), REFUSED)
def test_types_without_an_atomic_are_refused(dtype: str, how: str, message: str) -> None:
    x = np.zeros(16, dtype)
    with pytest.raises(CompilationError, match=message):
        update.warmup(x, x, x, 16, how, "relaxed", "gpu", 16, grid=(1,))


def test_bytes_are_not_compared_and_swapped() -> None:
    x = np.zeros(16, np.int8)
    with pytest.raises(CompilationError, match="elements of 16, 32 and 64 bits, got i8"):
        swap.warmup(x, x, x, x, "relaxed", "gpu", 16, grid=(1,))


@pytest.mark.parametrize(("sem", "scope", "message"), [
    ("seq_cst", "gpu", "sem is one of 'acquire', 'release', 'acq_rel', 'relaxed', got 'seq_cst'"),
    ("relaxed", "cluster", "scope is one of 'gpu', 'cta', 'sys', got 'cluster'"),
])  # fmt: skip
def test_unknown_orders_and_scopes_are_refused_by_name(sem: str, scope: str, message: str) -> None:
    x = np.zeros(16, np.int32)
    with pytest.raises(CompilationError, match=message):
        update.warmup(x, x, x, 16, "add", sem, scope, 16, grid=(1,))


@rtriton.jit
def through_const(x: tl.const):
    tl.atomic_add(x, 1)


def test_a_pointer_to_const_is_not_updated() -> None:
    with pytest.raises(CompilationError, match="Cannot store to a constant pointer"):
        through_const.warmup(np.zeros(16, np.int32), grid=(1,))


def test_the_backends_are_all_walked() -> None:
    assert [name for name, _ in everywhere(small_tile, (1,), copied(np.zeros(8, np.float32)))] == list(BACKENDS)
