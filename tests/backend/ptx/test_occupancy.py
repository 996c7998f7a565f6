"""Registers and threads: how much is under way from memory, and which caps are tried for it."""
import re

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.backend.cuda import registers
from rtriton.backend.cuda.registers import Usage, fitted, with_cap
from rtriton.backend.ptx.occupancy import caps, resident
from rtriton.target import Target
from tests.backend.ptx.both import compiled


@rtriton.jit
def norm(x, w, out, n, N: tl.constexpr, STAGES: tl.constexpr):
    i = tl.arange(0, N)
    for row in tl.range(0, n, 1, num_stages=STAGES):
        v = tl.load(x + row * N + i)
        total = tl.sum(v * v)
        tl.store(out + row * N + i, v * total)
    tl.store(out + i, tl.load(w + i) + tl.load(out + N + i))


@rtriton.jit
def product(x, out, N: tl.constexpr):
    i = tl.arange(0, N)
    at = i[:, None] * N + i[None, :]
    a = tl.load(x + at)
    tl.store(out + at, tl.dot(a, a))


@pytest.mark.parametrize(
    ("target", "registers", "warps", "shared", "programs", "limit"),
    [
        ("sm_90a", 32, 4, 0, 16, "registers"),
        ("sm_90a", 255, 4, 0, 2, "registers"),
        ("sm_90a", 16, 4, 100 << 10, 2, "shared memory"),
        ("sm_89", 16, 16, 0, 3, "threads"),
        ("sm_89", 16, 1, 0, 24, "programs"),
        ("sm_80", 16, 1, 0, 32, "programs"),
    ],
)
def test_programs_on_an_sm_are_what_each_resource_leaves(
    target: str, registers: int, warps: int, shared: int, programs: int, limit: str
) -> None:
    """As in NVIDIA's table of compute capabilities."""
    held = resident(Target.of(target), registers, warps, shared)
    assert min(held.values()) == held[limit] == programs


@pytest.mark.parametrize(("stages", "bytes"), [(1, 16), (3, 32)])
def test_what_is_under_way_is_counted_at_the_leanest_stretch(stages: int, bytes: int) -> None:
    """16 bytes of a row in a thread, twice that where copies of two rows are on their way."""
    x = np.zeros(1024, np.float32)
    args = {"x": x, "w": x, "out": x, "n": 2}
    _, module = compiled(norm, args, {"N": 512, "STAGES": stages})
    assert module.under_way == bytes


@rtriton.jit
def scored(q, k, out, n, N: tl.constexpr):
    i = tl.arange(0, N)
    query = tl.load(q + i)
    top = float("-inf")
    for row in range(n):
        top = tl.maximum(top, tl.max(tl.load(k + row * 8 * N + tl.arange(0, 8)[:, None] * N + i) * query))
    tl.store(out, top)


def test_what_is_loaded_once_before_a_loop_does_not_count() -> None:
    x = np.zeros(8192, np.float32)
    args = {"q": x, "k": x, "out": x, "n": 2}
    assert compiled(scored, args, {"N": 512})[1].under_way == 128


def test_a_product_says_nothing() -> None:
    x = np.zeros((32, 32), np.float16)
    assert compiled(product, {"x": x, "out": x.astype(np.float32)}, {"N": 32})[1].under_way == 0


@pytest.mark.parametrize(("what", "expected"), [  # registers, warps, shared bytes, bytes under way
    ((56, 8, 64, 32), [40, 48]),  # layer norm of 4096 columns
    ((47, 4, 32, 16), [32, 40]),  # of 1024: all threads that fit
    ((142, 8, 64, 32), [128]),
    ((80, 4, 64, 16), [48, 56, 64, 72]),
    ((48, 4, 0, 32), []),  # 40 KB are under way: near enough
    ((80, 4, 64, 128), []),  # enough is under way
    ((25, 4, 32, 16), []),  # all threads are resident
    ((56, 8, 100 * 1024, 16), []),  # shared memory is what lets no more in
    ((56, 8, 0, 0), []),
])  # fmt: skip
def test_caps_let_enough_threads_in(what: tuple[int, int, int, int], expected: list[int]) -> None:
    assert caps(Target.of("sm_90a"), *what) == expected


def test_what_keeps_the_memory_busy_is_the_targets() -> None:
    assert caps(Target.of("sm_80"), 56, 8, 64, 16) == []  # 16 KB are under way
    assert caps(Target.of("sm_90"), 56, 8, 64, 16) == [40, 48]


@pytest.mark.parametrize(("free", "least", "kept"), [(47, 0, 32), (47, 40, 40), (47, 48, None), (80, 64, 64),
                                                     (80, 72, 72), (80, 0, 48), (80, 80, None)])  # fmt: skip
def test_the_lowest_cap_that_does_not_spill_is_used(
    free: int, least: int, kept: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.zeros(1024, np.float32)
    module = compiled(norm, {"x": x, "w": x, "out": x, "n": 2}, {"N": 512, "STAGES": 1})[1]
    text, tried = str(module), list[str]()

    def used(cubin: bytes, _: str) -> Usage:
        cap = re.search(rb"[.]maxnreg (\d+)", cubin)
        return Usage(min(free, int(cap[1])), 8 if int(cap[1]) < least else 0) if cap else Usage(free, 0)

    def assemble(ptx: str) -> bytes:
        tried.append(ptx)
        return ptx.encode()

    monkeypatch.setattr(registers, "usage", used)
    ptx, cubin = fitted(text, module, assemble)
    assert cubin == ptx.encode() and len(tried) <= 4
    assert ptx == (with_cap(text, kept) if kept else text)
