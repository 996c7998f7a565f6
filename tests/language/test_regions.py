"""Functions of single elements: what reduce, scan and map_elementwise call, with branches and loops in them."""

from __future__ import annotations

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.backend.ptx.emit import lower_to_ptx
from rtriton.backend.ptx.ptxas import assemble
from rtriton.errors import CompilationError
from rtriton.target import Target
from tests.kernels.everywhere import everywhere, optimised

RNG = np.random.default_rng(12)
SIZES = (1, 2, 32, 512)


@rtriton.jit
def sign(x, y):
    if x < y:
        return -1
    elif x == y:
        return 0
    else:
        return 1


@rtriton.jit
def signs(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.map_elementwise(sign, tl.load(x + i), tl.load(y + i)))


@pytest.mark.parametrize("size", SIZES)
def test_map_elementwise_branches_for_each_element(size: int) -> None:
    x, y = (RNG.integers(-3, 3, size, np.int32) for _ in range(2))
    for name, arrays in everywhere(signs, {"x": x, "y": y, "out": np.zeros_like(x)}, {"N": size}):
        np.testing.assert_array_equal(arrays["out"], np.sign(x - y), err_msg=name)


@rtriton.jit
def steps(n):
    count = 0
    while n > 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        count += 1
    return count


@rtriton.jit
def collatz(x, out, M: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, M)[:, None] * N + tl.arange(0, N)
    tl.store(out + i, tl.map_elementwise(steps, tl.load(x + i)) + tl.program_id(0))


def counted(n: int) -> int:
    turns = 0
    while n > 1:
        n, turns = (n // 2 if n % 2 == 0 else 3 * n + 1), turns + 1
    return turns


@pytest.mark.parametrize("shape", [(1, 1), (4, 8), (2, 128)], ids=str)
def test_map_elementwise_loops_for_each_element(shape: tuple[int, int]) -> None:
    x = RNG.integers(1, 100, shape).astype(np.int32)
    wanted = np.vectorize(counted)(x)
    for name, arrays in everywhere(collatz, {"x": x, "out": x}, {"M": shape[0], "N": shape[1]}, num_warps=2):
        np.testing.assert_array_equal(arrays["out"], wanted, err_msg=name)


@rtriton.jit
def quotient(a, b):
    return a // b, a % b, a > b


@rtriton.jit
def quotients(a, b, out, rest, above, N: tl.constexpr):
    i = tl.arange(0, N)
    q, r, more = tl.map_elementwise(quotient, tl.load(a + i), tl.load(b))
    tl.store(out + i, q)
    tl.store(rest + i, r)
    tl.store(above + i, more)


@pytest.mark.parametrize("size", SIZES)
def test_map_elementwise_gives_several_results_of_several_types(size: int) -> None:
    a = RNG.integers(0, 1 << 31, size).astype(np.uint32)
    b = np.array([1234], np.uint32)
    args = {"a": a, "b": b, "out": a, "rest": a, "above": np.zeros(size, np.int8)}
    for name, arrays in everywhere(quotients, args, {"N": size}):
        np.testing.assert_array_equal(arrays["out"], a // b, err_msg=name)
        np.testing.assert_array_equal(arrays["rest"], a % b, err_msg=name)
        np.testing.assert_array_equal(arrays["above"], a > b, err_msg=name)


@rtriton.jit
def turned(a0, a1, a2, a3, b0, b1, b2, b3):
    return a3, a2, a1, a0, a0 + b0, a1 - b1, a2 * b2, a3 + b3


@rtriton.jit
def by_fours(a, b, out, mixed, N: tl.constexpr):
    i = tl.arange(0, N)
    x, y = tl.map_elementwise(turned, tl.load(a + i), tl.load(b + i), pack=4)
    tl.store(out + i, x)
    tl.store(mixed + i, y)


@pytest.mark.parametrize("size", [4, 64, 512])
def test_map_elementwise_hands_over_neighbours(size: int) -> None:
    a, b = (RNG.integers(-9, 9, size).astype(np.int32) for _ in range(2))
    groups, others = a.reshape(-1, 4), b.reshape(-1, 4)
    wanted = np.stack((groups[:, 0] + others[:, 0], groups[:, 1] - others[:, 1], groups[:, 2] * others[:, 2],
                       groups[:, 3] + others[:, 3]), 1)  # fmt: skip
    for name, arrays in everywhere(by_fours, {"a": a, "b": b, "out": a, "mixed": a}, {"N": size}):
        np.testing.assert_array_equal(arrays["out"], groups[:, ::-1].ravel(), err_msg=name)
        np.testing.assert_array_equal(arrays["mixed"], wanted.ravel(), err_msg=name)


@rtriton.jit
def nearest_to_zero(a, b):
    if tl.abs(a) < tl.abs(b):
        return a
    if tl.abs(a) == tl.abs(b):
        return tl.maximum(a, b)
    return b


@rtriton.jit
def nearest(x, out, running, M: tl.constexpr, N: tl.constexpr, AXIS: tl.constexpr, LEFT: tl.constexpr):
    i = tl.arange(0, M)[:, None] * N + tl.arange(0, N)
    tile = tl.load(x + i)
    tl.store(out + tl.arange(0, LEFT), tl.reduce(tile, AXIS, nearest_to_zero))
    tl.store(running + i, tl.associative_scan(tile, AXIS, nearest_to_zero))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(2, 4), (16, 64), (128, 2)], ids=str)
def test_a_combine_function_may_branch(shape: tuple[int, int], axis: int) -> None:
    x = (RNG.permutation(shape[0] * shape[1]) - 30).reshape(shape).astype(np.float32)
    lines = np.moveaxis(x, axis, -1)
    wanted = np.moveaxis(np.array([[min(line[: n + 1], key=lambda v: (abs(v), -v)) for n in range(len(line))]
                                   for line in lines]), -1, axis)  # fmt: skip
    left = shape[1 - axis]
    args = {"x": x, "out": np.zeros(left, np.float32), "running": np.zeros_like(x)}
    for name, arrays in everywhere(nearest, args, {"M": shape[0], "N": shape[1], "AXIS": axis, "LEFT": left}):
        np.testing.assert_array_equal(arrays["running"], wanted, err_msg=name)
        np.testing.assert_array_equal(arrays["out"], np.take(wanted, -1, axis), err_msg=name)


@rtriton.jit
def divisor(a, b):
    while b != 0:
        rest = a % b
        a = b
        b = rest
    return a


@rtriton.jit
def divisors(x, out, running, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out, tl.reduce(tl.load(x + i), 0, divisor))
    tl.store(running + i, tl.associative_scan(tl.load(x + i), 0, divisor))


@pytest.mark.parametrize("size", [1, 8, 64, 256])
def test_a_combine_function_may_loop(size: int) -> None:
    x = (RNG.integers(1, 1000, size) * 12).astype(np.int32)
    args = {"x": x, "out": np.zeros(1, np.int32), "running": np.zeros_like(x)}
    for name, arrays in everywhere(divisors, args, {"N": size}):
        np.testing.assert_array_equal(arrays["out"], np.gcd.reduce(x), err_msg=name)
        np.testing.assert_array_equal(arrays["running"], np.gcd.accumulate(x), err_msg=name)


def test_the_function_to_map_must_return_scalars() -> None:
    x = np.zeros(8, np.int32)
    with pytest.raises(CompilationError, match="whole must return scalars"):
        optimised(maps_whole, {"x": x}, {"N": 8})


@rtriton.jit
def whole(x):
    return tl.full((4,), 1, tl.int32)


@rtriton.jit
def maps_whole(x, N: tl.constexpr):
    tl.store(x + tl.arange(0, N), tl.map_elementwise(whole, tl.load(x + tl.arange(0, N))))


@pytest.mark.parametrize("sm", ["sm_80", "sm_89", "sm_90a"])
def test_regions_with_control_flow_assemble(sm: str) -> None:
    x = np.zeros(512, np.int32)
    for kernel, args, constants in ((collatz, {"x": x, "out": x}, {"M": 2, "N": 256}),
                                    (divisors, {"x": x, "out": x, "running": x}, {"N": 512})):  # fmt: skip
        assemble(str(lower_to_ptx(optimised(kernel, args, constants), Target.of(sm))), sm)
