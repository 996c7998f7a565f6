"""mma.sync in the emulator, with fragments placed element by element as the PTX ISA's formulas say."""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from rtriton.backend.ptx.emulate import emulate
from rtriton.backend.ptx.isa import forms
from rtriton.backend.ptx.module import Module, Param, Reg, Special

Place = Callable[[int, int, int], tuple[int, int]]  # element i, groupID g, threadID_in_group t -> (row, column)

# The PTX ISA, "Matrix Fragments for mma.m...": A, B and accumulator for each shape and size of element.
FRAGMENTS: dict[str, tuple[Place, Place]] = {
    "m16n8k8 16": (lambda i, g, t: (g if i < 2 else g + 8, t * 2 + (i & 1)), lambda i, g, t: (t * 2 + i, g)),
    "m16n8k16 16": (lambda i, g, t: (g if i < 2 or 4 <= i < 6 else g + 8, t * 2 + (i & 1) + (8 if i >= 4 else 0)),
                    lambda i, g, t: (t * 2 + (i & 1) + (8 if i >= 2 else 0), g)),
    "m16n8k4 32": (lambda i, g, t: (g if i == 0 else g + 8, t), lambda i, g, t: (t, g)),
    "m16n8k8 32": (lambda i, g, t: (g if i in (0, 2) else g + 8, t if i < 2 else t + 4),
                   lambda i, g, t: (t if i == 0 else t + 4, g)),
    "m16n8k16 8": (lambda i, g, t: (g if i < 4 else g + 8, t * 4 + (i & 3)), lambda i, g, t: (t * 4 + i, g)),
    "m16n8k32 8": (lambda i, g, t: (g if i < 4 or 8 <= i < 12 else g + 8, t * 4 + (i & 3) + (16 if i >= 8 else 0)),
                   lambda i, g, t: (t * 4 + (i & 3) + (16 if i >= 4 else 0), g)),
    "m8n8k4 64": (lambda i, g, t: (g, t), lambda i, g, t: (t, g)),
    "m16n8k4 64": (lambda i, g, t: (g if i == 0 else g + 8, t), lambda i, g, t: (t, g)),
    "m16n8k8 64": (lambda i, g, t: (g if i in (0, 2) else g + 8, t if i < 2 else t + 4),
                   lambda i, g, t: (t if i == 0 else t + 4, g)),
    "m16n8k16 64": (lambda i, g, t: (g if i % 2 == 0 else g + 8, (i * 2 if i % 2 == 0 else i * 2 - 2) + t),
                    lambda i, g, t: (t + 4 * i, g)),
}
TYPES = {"f16": np.float16, "bf16": ml_dtypes.bfloat16, "tf32": np.float32, "f32": np.float32, "f64": np.float64,
         "s8": np.int8, "u8": np.uint8, "s32": np.int32, "e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}


def accumulator(i: int, g: int, t: int) -> tuple[int, int]:
    return g if i < 2 else g + 8, t * 2 + (i & 1)


CASES = [("m16n8k8", "f32", "f16", "f16"), ("m16n8k8", "f16", "f16", "f16"), ("m16n8k16", "f32", "f16", "f16"),
         ("m16n8k16", "f16", "f16", "f16"), ("m16n8k8", "f32", "bf16", "bf16"), ("m16n8k16", "f32", "bf16", "bf16"),
         ("m16n8k4", "f32", "tf32", "tf32"), ("m16n8k8", "f32", "tf32", "tf32"), ("m16n8k16", "s32", "s8", "u8"),
         ("m16n8k32", "s32", "u8", "s8"), ("m16n8k32", "f32", "e4m3", "e5m2"), ("m16n8k32", "f32", "e5m2", "e5m2"),
         ("m8n8k4", "f64", "f64", "f64"), ("m16n8k4", "f64", "f64", "f64"), ("m16n8k8", "f64", "f64", "f64"),
         ("m16n8k16", "f64", "f64", "f64")]


def spread(matrix: np.ndarray, place: Place, word: int) -> np.ndarray:
    """A matrix as the registers of 32 lanes."""
    count = matrix.size // 32
    lanes = [[matrix[place(i, lane >> 2, lane % 4)] for i in range(count)] for lane in range(32)]
    return np.asarray(lanes, matrix.dtype).view(f"u{word // 8}")


def product(opcode: str, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The accumulator's registers after one mma, from those of the operands."""
    word = 8 * c.dtype.itemsize
    m = Module("k", "sm_90a", [Param(name, "u64") for name in "abco"], num_warps=1)
    lane = m("mov.u32", Special("tid.x"))

    def load(name: str, array: np.ndarray) -> tuple[Reg, ...]:
        address = m("mad.wide.u32", lane, array.shape[1] * word // 8, m.load_param(name))
        found = []
        for _ in range(array.shape[1]):
            found.append(m(f"ld.global.b{word}", address))
            address = m("add.u64", address, word // 8)
        return tuple(found)

    out = np.zeros_like(c)
    results = m.many(opcode, load("a", a), load("b", b), load("c", c))
    address = m("mad.wide.u32", lane, c.shape[1] * word // 8, m.load_param("o"))
    for value in results:
        m.do(f"st.global.b{word}", address, value)
        address = m("add.u64", address, word // 8)
    m.do("ret")
    emulate(m, "k", 1, [a, b, c, out])
    return out


def values(rng: np.random.Generator, type: str, shape: tuple[int, int]) -> np.ndarray:
    if type in ("s8", "u8", "s32"):
        return rng.integers(-100 if type != "u8" else 0, 120, shape).astype(TYPES[type])
    found = rng.standard_normal(shape).astype(TYPES[type])
    return (found.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32) if type == "tf32" else found


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case))
def test_each_shape_and_type(case: tuple[str, str, str, str]) -> None:
    shape, result, a_type, b_type = case
    m, n, k = (int(part) for part in shape.replace("n", "m").replace("k", "m").split("m")[1:])
    word = 64 if result == "f64" else 32
    place_a, place_b = FRAGMENTS[f"{shape} {8 * np.dtype(TYPES[a_type]).itemsize}"]
    rng = np.random.default_rng(k)
    a, b, c = values(rng, a_type, (m, k)), values(rng, b_type, (k, n)), values(rng, result, (m, n))
    opcode = f"mma.sync.aligned.{shape}.row.col.{result}.{a_type}.{b_type}.{result}"
    assert forms(opcode)
    registers = product(opcode, spread(a, place_a, word), spread(b, place_b, word), spread(c, accumulator, word))
    want = a.astype(np.float64) @ b.astype(np.float64) + c.astype(np.float64)
    got = registers.view(TYPES[result])
    wanted = spread(want.astype(TYPES[result]), accumulator, word).view(TYPES[result])
    tolerance = {"f16": 2e-3, "f32": 1e-6, "f64": 1e-14, "s32": 0}[result]
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def test_integer_products_clamp_or_wrap() -> None:
    a, b = np.full((16, 32), 127, np.int8), np.full((32, 8), 127, np.int8)
    c = np.full((16, 8), 2**31 - 10, np.int32)
    place_a, place_b = FRAGMENTS["m16n8k32 8"]
    args = spread(a, place_a, 32), spread(b, place_b, 32), c.reshape(32, 4).view("u4")
    clamped = product("mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32", *args).view(np.int32)
    assert (clamped == 2**31 - 1).all()
    wrapped = product("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", *args).view(np.int32)
    assert (wrapped == 2**31 - 10 + 32 * 127 * 127 - 2**32).all()
