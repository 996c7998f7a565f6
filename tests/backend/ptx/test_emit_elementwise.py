"""Elementwise ops, casts and functions: the emulated PTX gives what the interpreter gives, for every type."""
import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.types import BY_NAME, DTYPES
from tests.backend.ptx.both import both, compiled, typed

N = 256
INTS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["fp16", "bf16", "fp32", "fp64"]


def numbers(name: str, seed: int = 0, low: float | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    type = BY_NAME[name]
    if type.kind == "f":
        return rng.uniform(-8.0 if low is None else low, 8.0, N)
    if type.kind == "b":
        return rng.integers(0, 2, N)
    floor = -100 if type.kind == "i" and low is None else 0 if low is None else int(low)
    return rng.integers(floor, 100, N)


@rtriton.jit
def binary(x, y, out, op: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x + i)
    b = tl.load(y + i)
    if op == "add":
        r = a + b
    elif op == "sub":
        r = a - b
    elif op == "mul":
        r = a * b
    elif op == "div":
        r = a / b
    elif op == "floordiv":
        r = a // b
    elif op == "mod":
        r = a % b
    elif op == "and":
        r = a & b
    elif op == "or":
        r = a | b
    elif op == "xor":
        r = a ^ b
    elif op == "max":
        r = tl.maximum(a, b)
    elif op == "min":
        r = tl.minimum(a, b)
    elif op == "shl":
        r = a << (b & 7)
    elif op == "shr":
        r = a >> (b & 7)
    tl.store(out + i, r)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "floordiv", "mod", "and", "or", "xor", "max", "min", "shl", "shr"])
@pytest.mark.parametrize("type", INTS)
def test_integer_arithmetic(op: str, type: str) -> None:
    low = 1 if op in ("floordiv", "mod") else None
    args = {"x": typed(numbers(type), BY_NAME[type]), "y": typed(numbers(type, 1, low), BY_NAME[type])}
    args["out"] = typed(np.zeros(N), BY_NAME[type])
    both(binary, args, {"op": op, "N": N})


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "mod", "max", "min"])
@pytest.mark.parametrize("type", FLOATS)
def test_float_arithmetic(op: str, type: str, target: str) -> None:
    args = {"x": typed(numbers(type), BY_NAME[type]), "y": typed(numbers(type, 1, 0.5), BY_NAME[type])}
    args["out"] = typed(np.zeros(N), BY_NAME[type])
    both(binary, args, {"op": op, "N": N}, rtol=1e-6 if op in ("div", "mod") else 0, atol=1e-6, target=target)


@rtriton.jit
def compare(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x + i)
    b = tl.load(y + i)
    r = (a < b).to(tl.int32) + 2 * (a <= b).to(tl.int32) + 4 * (a > b).to(tl.int32) + 8 * (a >= b).to(tl.int32)
    r += 16 * (a == b).to(tl.int32) + 32 * (a != b).to(tl.int32)
    tl.store(out + i, r)


@pytest.mark.parametrize("type", [*INTS, *FLOATS, "int1"])
def test_comparisons(type: str) -> None:
    x, y = numbers(type), numbers(type, 1)
    y[::3] = x[::3]
    if BY_NAME[type].kind == "f":
        x[5] = np.nan
    both(compare, {"x": typed(x, BY_NAME[type]), "y": typed(y, BY_NAME[type]), "out": np.zeros(N, np.int32)}, {"N": N})


@rtriton.jit
def cast(x, out, to: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i).to(to))


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
@pytest.mark.parametrize("to", [t.name for t in DTYPES])
@pytest.mark.parametrize("source", [t.name for t in DTYPES])
def test_casts(source: str, to: str, target: str) -> None:
    low = 0 if BY_NAME[to].kind == "u" or BY_NAME[source].kind == "u" else None
    x = numbers(source, 3, low)
    if BY_NAME[source].kind == "f" and BY_NAME[to].kind == "f":
        x[:8] = [0.0, -0.0, 0.001, 3e-5, 448.0, -447.0, 0.0175, 240.0]
    args = {"x": typed(x, BY_NAME[source]), "out": typed(np.zeros(N), BY_NAME[to])}
    both(cast, args, {"to": BY_NAME[to], "N": N}, target=target)


@pytest.mark.parametrize("to", [t.name for t in DTYPES if t.kind in "biu"])
@pytest.mark.parametrize("source", ["fp16", "bf16", "fp32", "fp64"])
def test_a_float_that_no_integer_holds_saturates_and_nan_is_0(source: str, to: str) -> None:
    x = np.resize([np.nan, np.inf, -np.inf, 1e4, -1e4, 3e38, -3e38, 0.9, -0.9], N)
    with np.errstate(over="ignore"):
        args = {"x": typed(x, BY_NAME[source]), "out": typed(np.zeros(N), BY_NAME[to])}
    (out,) = both(cast, args, {"to": BY_NAME[to], "N": N})[1:]
    if to != "int1":
        low, high = BY_NAME[to].get_int_min_value(), BY_NAME[to].get_int_max_value()
        assert out[:3].tolist() == [0, high, low]


@rtriton.jit
def unary(x, out, op: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(x + i)
    if op == "exp":
        r = tl.exp(a)
    elif op == "exp2":
        r = tl.exp2(a)
    elif op == "log":
        r = tl.log(a)
    elif op == "log2":
        r = tl.log2(a)
    elif op == "sin":
        r = tl.sin(a)
    elif op == "cos":
        r = tl.cos(a)
    elif op == "sqrt":
        r = tl.sqrt(a)
    elif op == "sqrt_rn":
        r = tl.sqrt_rn(a)
    elif op == "rsqrt":
        r = tl.rsqrt(a)
    elif op == "erf":
        r = tl.erf(a)
    elif op == "floor":
        r = tl.floor(a)
    elif op == "ceil":
        r = tl.ceil(a)
    elif op == "abs":
        r = tl.abs(a)
    elif op == "neg":
        r = -a
    tl.store(out + i, r)


POSITIVE = ("log", "log2", "sqrt", "sqrt_rn", "rsqrt")


FUNCTIONS = ["exp", "exp2", "log", "log2", "sin", "cos", "sqrt", "sqrt_rn", "rsqrt", "erf", "floor", "ceil"]


@pytest.mark.parametrize("op", FUNCTIONS)
@pytest.mark.parametrize("type", ["fp32", "fp64"])
def test_functions(op: str, type: str) -> None:
    if (op, type) == ("sqrt_rn", "fp64"):  # tl.sqrt_rn takes f32 only
        return
    x = numbers(type, 2, 1e-3 if op in POSITIVE else None)
    args = {"x": typed(x, BY_NAME[type]), "out": typed(np.zeros(N), BY_NAME[type])}
    tolerance = {"rtol": 3e-6, "atol": 1e-6} if type == "fp32" else {"rtol": 1e-13, "atol": 1e-14}
    both(unary, args, {"op": op, "N": N}, **tolerance)


@pytest.mark.parametrize("op", ["abs", "neg"])
@pytest.mark.parametrize("type", [*INTS, *FLOATS])
def test_signs(op: str, type: str) -> None:
    if op == "neg" and BY_NAME[type].kind == "u":
        pytest.skip("the language has no negative unsigned numbers")
    args = {"x": typed(numbers(type), BY_NAME[type]), "out": typed(np.zeros(N), BY_NAME[type])}
    both(unary, args, {"op": op, "N": N})


@rtriton.jit
def bits(x, out, to: tl.constexpr, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i).to(to, bitcast=True))


PAIRS = [("fp32", "int32"), ("int64", "fp64"), ("fp16", "uint16"), ("int8", "uint8"), ("fp8e5", "int8")]


@pytest.mark.parametrize("pair", PAIRS)
def test_bitcasts(pair: tuple[str, str]) -> None:
    source, to = (BY_NAME[n] for n in pair)
    both(bits, {"x": typed(numbers(pair[0]), source), "out": typed(np.zeros(N), to)}, {"to": to, "N": N})


@rtriton.jit
def multiply_add(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b = tl.load(x + i), tl.load(y + i)
    tl.store(out + i, tl.where(a > b, a - b, a * b + b))


@pytest.mark.parametrize("target", ["sm_80", "sm_90"])
def test_bf16_is_computed_with_as_such_where_the_gpu_does(target: str) -> None:
    brain = BY_NAME["bf16"]
    x, y = (typed(np.random.default_rng(seed).integers(-8, 8, N), brain) for seed in (1, 2))  # all results are exact
    args = {"x": x, "y": y, "out": typed(np.zeros(N), brain)}
    both(multiply_add, args, {"N": N}, target=target)
    text = str(compiled(multiply_add, args, {"N": N}, target=target)[1])
    assert "fma.rn.bf16x2" in text
    assert ("sub.bf16x2" in text, "setp.gt.bf16" in text) == ((target == "sm_90",) * 2)


@rtriton.jit
def halves(x, y, out, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b = tl.load(x + i), tl.load(y + i)
    tl.store(out + i, tl.abs(-a) * b + a)


@rtriton.jit
def columns(x, y, out, N: tl.constexpr):
    i, j = tl.arange(0, N)[:, None], tl.arange(0, N)[None, :]
    tl.store(out + i + j * N, tl.load(x + i * N + j).trans() + tl.load(y + i + j * N))


@pytest.mark.parametrize("type", ["fp16", "bf16"])
def test_two_halves_are_computed_with_at_once_where_they_lie_in_one_word(type: str) -> None:
    x, y = (typed(np.random.default_rng(seed).integers(-8, 8, 256), BY_NAME[type]) for seed in (1, 2))
    args = {"x": x, "y": y, "out": typed(np.zeros(256), BY_NAME[type])}
    short = BY_NAME[type].short
    both(halves, args, {"N": 256})
    text = str(compiled(halves, args, {"N": 256}, num_warps=1)[1])
    assert [text.count(f"{op}.{short}x2") for op in ("neg", "abs", "fma.rn")] == [4, 4, 4]
    assert f".{short} " not in text, "nothing is left for one half"
    both(columns, args, {"N": 16})
