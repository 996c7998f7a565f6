"""Every elementwise op of the table gives the interpreter's numbers, for every type it takes, on every target that
runs here.
"""

from __future__ import annotations

import numpy as np
import pytest

from rtriton.ir import Block, Kernel, Value
from rtriton.language import OPS
from rtriton.language.table import builder
from rtriton.types import BY_SHORT, DTYPES, DType, Pointer, Tile, int1

from .harness import TARGETS, agree, close, decoded, run_interpreted, run_native, samples

SIZE = 64
SPECIAL = ("where", "cast", "bitcast", "addptr")
INEXACT = {
    "exp": 1.5,
    "exp2": 1.5,
    "log": 4,
    "log2": 4,
    "sin": 2.5,
    "cos": 2.5,
    "rsqrt": 2,
    "erf": 1.5,
    "tanh": 2,
    "sqrt": 1,
    "sqrt_rn": 1,
}  # fmt: skip   (NumPy's own f32 log is off by up to 3.5)


def elementwise_kernel(kind: str, types: list[DType], result: DType, attrs: dict | None = None) -> Kernel:
    """Load SIZE elements of each operand, apply the op, store."""
    build = builder()
    params = [Value(Pointer(t), f"x{k}") for k, t in enumerate(types)] + [Value(Pointer(result), "out")]
    offsets = build.one("arange", start=0, end=SIZE)

    def at(p: Value) -> Value:
        return build.one("addptr", build.one("splat", p, shape=(SIZE,)), offsets)

    xs = [build.one("load", at(p)) for p in params[:-1]]
    build.op("store", at(params[-1]), build.one(kind, *xs, **(attrs or {})))
    return Kernel(f"test_{kind}", Block(tuple(params), tuple(build.ops)), {})


def accepted(kind: str, arity: int) -> list[DType]:
    good = []
    for t in DTYPES:
        try:
            OPS[kind].rule(*[Tile((4,), t)] * arity)
        except TypeError:
            continue
        good.append(t)
    return good


COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
ROWS = {kind: len(row.operands) for kind, row in OPS.items() if row.elementwise and kind not in SPECIAL}
KINDS = {t: [kind for kind, arity in ROWS.items() if t in accepted(kind, arity)] for t in DTYPES}


def place(build, pointer: Value, size: int = SIZE) -> Value:
    return build.one("addptr", build.one("splat", pointer, shape=(size,)), build.one("arange", start=0, end=size))


def kernel_of_all(t: DType, size: int = SIZE) -> tuple[Kernel, list[str]]:
    """Every op that takes `t`, each result stored to an array of its own; one kernel per type compiles fast."""
    build = builder()
    inputs = [Value(Pointer(t), f"x{k}") for k in range(3)] + [Value(Pointer(t), "counts")]
    outputs = [Value(Pointer(int1 if kind in COMPARISONS else t), kind) for kind in KINDS[t]]
    xs = [build.one("load", place(build, p, size)) for p in inputs]
    for kind, out in zip(KINDS[t], outputs, strict=True):
        operands = [xs[0], xs[3]] if kind in ("shl", "shr") else xs[: len(OPS[kind].operands)]
        build.op("store", place(build, out, size), build.one(kind, *operands))
    return Kernel(f"all_{t.short}", Block((*inputs, *outputs), tuple(build.ops)), {}), KINDS[t]


def casts_from(a: DType, rounding: str, size: int = SIZE) -> tuple[Kernel, list[DType]]:
    build = builder()
    to = [b for b in DTYPES if rounding == "rtne" or (a.kind == b.kind == "f" and b.bits < a.bits)]
    source, outputs = Value(Pointer(a), "x"), [Value(Pointer(b), b.short) for b in to]
    x = build.one("load", place(build, source, size))
    for b, out in zip(to, outputs, strict=True):
        build.op("store", place(build, out, size), build.one("cast", x, to=b, rounding=rounding))
    return Kernel(f"casts_{a.short}", Block((source, *outputs), tuple(build.ops)), {}), to


def both(kernel: Kernel, args: list[np.ndarray], target: str) -> tuple[list, list]:
    """The arguments' numbers after native code, and after the interpreter."""
    types = [p.type.element for p in kernel.params]
    return decoded(run_native(kernel, (1,), args, target), types), decoded(run_interpreted(kernel, (1,), args), types)


def same(name: str, got: np.ndarray, wanted: np.ndarray, ulp: float = 0) -> None:
    try:
        close(got, wanted, ulp)
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from None


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("t", DTYPES, ids=lambda t: t.short)
def test_every_op_agrees_with_the_interpreter(t: DType, target: str) -> None:
    kernel, kinds = kernel_of_all(t)
    counts = (np.arange(SIZE) % max(1, t.bits)).astype(t.storage) if t.kind != "f" else samples(t, SIZE)
    results = [np.zeros(SIZE, np.uint8 if kind in COMPARISONS else t.storage) for kind in kinds]
    got, wanted = both(kernel, [*(samples(t, SIZE, k) for k in range(3)), counts, *results], target)
    for kind, g, w in zip(kinds, got[4:], wanted[4:], strict=True):
        if (kind, t.short) != ("fma", "f64"):  # the oracle rounds twice
            same(f"{kind} of {t}", g, w, INEXACT.get(kind, 0))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rounding", ["rtne", "rtz"])
def test_casts_between_all_types_agree_with_the_interpreter(target: str, rounding: str) -> None:
    for a in DTYPES:
        kernel, to = casts_from(a, rounding)
        if to:
            got, wanted = both(kernel, [samples(a, SIZE), *(np.zeros(SIZE, b.storage) for b in to)], target)
            for b, g, w in zip(to, got[1:], wanted[1:], strict=True):
                same(f"{a} to {b}", g, w)


def test_bitcast_keeps_the_bits() -> None:
    for a in DTYPES:
        for b in DTYPES:
            if a.bits == b.bits and a.bits > 1:
                data = samples(a, SIZE)
                (_, out) = run_native(
                    elementwise_kernel("bitcast", [a], b, {"to": b}), (1,), [data, np.zeros(SIZE, b.storage)]
                )
                have, want = out.view(np.uint8).reshape(SIZE, -1), data.view(np.uint8).reshape(SIZE, -1)
                nan = np.isnan(data.astype(np.float32)) if data.dtype.kind == "f" else np.zeros(SIZE, bool)
                narrow = (a.kind == "f" and a.bits < 32) or (
                    b.kind == "f" and b.bits < 32
                )  # a NaN may change its payload
                if not narrow:
                    close(have[~nan], want[~nan])


@pytest.mark.parametrize("bits", [8, 16])
def test_every_narrow_float_survives_the_way_through_registers(bits: int) -> None:
    """All codes of bf16, f16 and fp8 decode and encode to themselves (NaN to a NaN)."""
    for t in DTYPES:
        if t.kind != "f" or t.bits != bits:
            continue
        codes = np.arange(1 << bits, dtype=f"uint{bits}")
        for target in TARGETS:
            kernel = elementwise_kernel("neg", [t], t)
            for start in range(0, len(codes), max(SIZE, len(codes) // 16)):
                data = codes[start : start + SIZE]
                (_, out) = run_native(kernel, (1,), [data, np.zeros(SIZE, data.dtype)], target)
                magnitude = data & ((1 << (bits - 1)) - 1)
                last = {"bf16": 0x7F80, "f16": 0x7C00, "f8e5": 0x7C, "f8e4": 0x7E, "f8e4b15": 0x7E}.get(t.short, 0x7F)
                number = magnitude <= last
                if t.short in ("f8e5b16", "f8e4b8"):  # of 0 there is one, and 0x80 is NaN
                    number &= magnitude != 0
                assert (out[number] == data[number] ^ (1 << (bits - 1))).all(), (t.short, target)


def test_integer_division_by_zero_and_of_the_smallest_number_does_not_trap() -> None:
    for short in ("i8", "i32", "i64", "u32", "u64"):
        t = BY_SHORT[short]
        low = t.get_int_min_value()
        x = np.array([low, low, 5, 0] * (SIZE // 4), t.storage)
        y = np.array([0, -1 if t.kind == "i" else 1, 0, 0] * (SIZE // 4)).astype(t.storage)
        for kind in ("div", "rem"):
            agree(elementwise_kernel(kind, [t, t], t), (1,), [x, y, np.zeros(SIZE, t.storage)], optimise=False)
