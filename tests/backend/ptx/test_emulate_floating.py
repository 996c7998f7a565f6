"""Floating-point instructions in the emulator against exact fractions, rounded as the standard says."""

from collections.abc import Callable
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from tests.backend.ptx.exactly import interesting_floats, root, rounded
from tests.backend.ptx.one_opcode import compute

COUNT = 300
STORED = {"f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
MODES = ("rn", "rz", "rm", "rp")


def column(type: str, seed: int) -> tuple[np.ndarray, list[Fraction]]:
    values = interesting_floats(type, COUNT, seed)
    stored = values.astype(STORED[type])
    assert np.array_equal(stored.astype(np.float64), values)
    return stored.view(f"u{stored.itemsize}"), [Fraction(float(x)) for x in values]


def check(opcode: str, type: str, mode: str, arity: int, exact: Callable[..., Fraction], positive: bool = False,
          nonzero: bool = False) -> None:
    columns = [column(type, seed) for seed in range(arity)]
    first, last = columns[0][1], columns[-1][1]
    keep = [i for i in range(COUNT) if not (positive and first[i] < 0) and not (nonzero and not last[i])]
    got = compute(opcode, *(bits[keep] for bits, _ in columns)).view(STORED[type]).astype(np.float64)
    want = [rounded(exact(*(values[i] for _, values in columns)), type, mode) for i in keep]
    wrong = [i for i, (x, y) in enumerate(zip(got.tolist(), want, strict=True)) if x != y]
    shown = [[float(values[keep[i]]) for _, values in columns] + [got[i], want[i]] for i in wrong[:3]]
    assert not wrong, f"{opcode}: operands, got and wanted {shown}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("type", ["f32", "f64"])
def test_arithmetic_in_every_rounding(type: str, mode: str) -> None:
    check(f"add.{mode}.{type}", type, mode, 2, lambda a, b: a + b)
    check(f"sub.{mode}.{type}", type, mode, 2, lambda a, b: a - b)
    if type == "f32":
        check(f"mul.{mode}.f32", type, mode, 2, lambda a, b: a * b)
        check(f"fma.{mode}.f32", type, mode, 3, lambda a, b, c: a * b + c)
        check(f"div.{mode}.f32", type, mode, 2, lambda a, b: a / b, nonzero=True)
        check(f"sqrt.{mode}.f32", type, mode, 1, root, positive=True)
        check(f"rcp.{mode}.f32", type, mode, 1, lambda a: 1 / a, nonzero=True)


@pytest.mark.parametrize("mode", MODES)
def test_doubles_of_moderate_size_in_every_rounding(mode: str) -> None:
    """Where no partial product under- or overflows, which is where double-length arithmetic is exact."""
    def run(opcode: str, arity: int, exact: Callable[..., Fraction], positive: bool = False) -> None:
        rng = np.random.default_rng(arity)
        values = [np.ldexp(rng.uniform(1, 2, COUNT) * rng.choice([-1, 1], COUNT), rng.integers(-60, 60, COUNT))
                  for _ in range(arity)]
        values = [np.abs(x) for x in values] if positive else values
        got = compute(f"{opcode}.{mode}.f64", *values).view(np.float64).tolist()
        rows = zip(*([Fraction(float(x)) for x in column] for column in values), strict=True)
        assert got == [rounded(exact(*row), "f64", mode) for row in rows]

    run("mul", 2, lambda a, b: a * b)
    run("fma", 3, lambda a, b, c: a * b + c)
    run("div", 2, lambda a, b: a / b)
    run("rcp", 1, lambda a: 1 / a)
    run("sqrt", 1, root, positive=True)


@pytest.mark.parametrize("type", ["f16", "bf16"])
def test_half_precision_alone_and_in_pairs(type: str) -> None:
    check(f"add.{type}", type, "rn", 2, lambda a, b: a + b)
    check(f"sub.{type}", type, "rn", 2, lambda a, b: a - b)
    check(f"mul.{type}", type, "rn", 2, lambda a, b: a * b)
    check(f"fma.rn.{type}", type, "rn", 3, lambda a, b, c: a * b + c)
    columns = [column(type, seed)[0] for seed in range(3)]
    for opcode in ("add.{}", "mul.{}", "fma.rn.{}", "min.{}", "max.{}"):
        operands = columns[: 3 if "fma" in opcode else 2]
        alone = compute(opcode.format(type), *operands)
        pairs = compute(opcode.format(type + "x2"), *(x.view(np.uint32) for x in operands))
        assert np.array_equal(pairs.view(np.uint16), alone)


def test_a_fused_product_sum_is_not_rounded_twice() -> None:
    # 1 + 2**-24 is a tie of float32, and the product is a little above it, by less than float64 shows.
    tiny = float.fromhex("0x1p-40")
    a, b, c = (np.asarray([x], np.float32) for x in (tiny, tiny, 1.0))
    half = np.asarray([2.0 ** -24], np.float32)
    two = compute("fma.rn.f32", half, c, c).view(np.float32)
    assert two[0] == 1.0
    big = np.asarray([1 + 2.0 ** -23], np.float32)
    exact = Fraction(float(big[0])) * Fraction(2) ** -24 + 1
    assert compute("fma.rn.f32", big, half, c).view(np.float32)[0] == rounded(exact, "f32")
    assert compute("fma.rn.f32", a, b, c).view(np.float32)[0] == 1.0


def test_subnormals_are_flushed_only_where_the_opcode_says_so() -> None:
    tiny, one = np.asarray([2.0 ** -130, -(2.0 ** -130)], np.float32), np.ones(2, np.float32)
    kept = compute("mul.f32", tiny, one).view(np.float32)
    flushed = compute("mul.ftz.f32", tiny, one).view(np.float32)
    assert np.array_equal(kept, tiny)
    assert flushed.tolist() == [0, 0] and np.signbit(flushed).tolist() == [False, True]
    small = np.asarray([2.0 ** -100, 2.0 ** -100], np.float32)
    assert compute("mul.ftz.f32", small, small).view(np.float32).tolist() == [0, 0]


def test_saturation_clamps_to_zero_and_one() -> None:
    a = np.asarray([-3, 0.25, 0.75, np.nan, np.inf], np.float32)
    assert compute("add.sat.f32", a, np.full(5, 0.5, np.float32)).view(np.float32).tolist() == [0, 0.75, 1, 0, 1]


def test_minimum_and_maximum_of_nan_and_signed_zeros() -> None:
    a = np.asarray([np.nan, 1, 0.0, -0.0, np.nan], np.float32)
    b = np.asarray([2, np.nan, -0.0, 0.0, np.nan], np.float32)
    low, high = (compute(f"{name}.f32", a, b).view(np.float32) for name in ("min", "max"))
    assert low[:2].tolist() == high[:2].tolist() == [2, 1] and np.isnan(low[4]) and np.isnan(high[4])
    assert np.signbit(low[2:4]).all() and not np.signbit(high[2:4]).any()
    assert np.isnan(compute("min.NaN.f32", a, b).view(np.float32)[:2]).all()


def test_signs_touch_only_the_sign() -> None:
    a = np.asarray([1.5, -2.5, -0.0, np.inf], np.float32)
    assert np.array_equal(compute("neg.f32", a), (-a).view(np.uint32))
    assert np.array_equal(compute("abs.f32", a), np.abs(a).view(np.uint32))
    assert compute("copysign.f32", a, np.full(4, 3, np.float32)).view(np.float32).tolist() == [3, -3, -3, 3]


FUNCTIONS = {"ex2": np.exp2, "lg2": np.log2, "sin": np.sin, "cos": np.cos, "rsqrt": lambda x: 1 / np.sqrt(x),
             "rcp": lambda x: 1 / x, "sqrt": np.sqrt, "tanh": np.tanh}


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_approximate_functions_are_the_nearest_float(name: str) -> None:
    x = np.random.default_rng(0).uniform(0.01, 20, COUNT).astype(np.float32)
    got = compute(f"{name}.approx.f32", x).view(np.float32)
    assert np.array_equal(got, FUNCTIONS[name](x.astype(np.float64)).astype(np.float32))


def test_functions_in_half_precision() -> None:
    x = np.random.default_rng(0).uniform(-4, 4, COUNT)
    for type in ("f16", "bf16"):
        stored = x.astype(STORED[type])
        got = compute(f"tanh.approx.{type}", stored.view(np.uint16))
        assert np.array_equal(got, np.tanh(stored.astype(np.float64)).astype(STORED[type]).view(np.uint16))


@pytest.mark.parametrize("type", ["f32", "f64", "f16", "bf16"])
def test_comparisons_with_nan(type: str) -> None:
    a, b = (np.asarray(x).astype(STORED[type]) for x in ([1, 2, 2, np.nan, np.nan, -0.0], [2, 1, 2, 1, np.nan, 0.0]))
    raw = [x.view(f"u{x.itemsize}") for x in (a, b)]
    want = {"lt": [1, 0, 0, 0, 0, 0], "le": [1, 0, 1, 0, 0, 1], "eq": [0, 0, 1, 0, 0, 1], "ne": [1, 1, 0, 0, 0, 0],
            "ltu": [1, 0, 0, 1, 1, 0], "equ": [0, 0, 1, 1, 1, 1], "neu": [1, 1, 0, 1, 1, 0], "geu": [0, 1, 1, 1, 1, 1],
            "num": [1, 1, 1, 0, 0, 1], "nan": [0, 0, 0, 1, 1, 0]}
    got = {compare: compute(f"setp.{compare}.{type}", *raw).tolist() for compare in want}
    assert got == want


def test_kinds_of_numbers() -> None:
    x = np.asarray([1.0, np.inf, np.nan, 2.0 ** -130, 0.0], np.float32)
    want = {"finite": [1, 0, 0, 1, 1], "infinite": [0, 1, 0, 0, 0], "number": [1, 1, 0, 1, 1],
            "notanumber": [0, 0, 1, 0, 0], "normal": [1, 0, 0, 0, 0], "subnormal": [0, 0, 0, 1, 0]}
    assert {name: compute(f"testp.{name}.f32", x).tolist() for name in want} == want
