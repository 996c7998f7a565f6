"""The result types of functions and operators that promotion_3.6.json leaves out, against a table that Triton 3.6's own
front end was asked for (promotion_functions_3.6.json): two tiles, a tile and a Python number on either side, one tile.

fdiv is not in it: Triton takes its operands as they are and fails in a later stage where they differ; here they are
promoted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rtriton.language as tl
from rtriton.errors import CompilationError
from rtriton.frontend.lower import lower
from rtriton.ir import walk
from rtriton.source import KernelFunction
from rtriton.types import BY_NAME, Pointer, element_of

TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "promotion_functions_3.6.json").read_text())
EXPRESSIONS = {
    "add": "a + b", "mul": "a * b", "truediv": "a / b", "floordiv": "a // b", "mod": "a % b", "and_": "a & b",
    "shl": "a << b", "shr": "a >> b", "lt": "a < b", "rsub": "b - a", "rtruediv": "b / a", "rfloordiv": "b // a",
    "rmod": "b % a", "rshl": "b << a", "where": "tl.where(a == a, a, b)", "maximum": "tl.maximum(a, b)",
    "minimum": "tl.minimum(a, b)", "maximum_nan": "tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)",
    "clamp": "tl.clamp(a, b, b)", "fma": "tl.fma(a, b, b)", "fma_left": "tl.fma(b, a, a)",
    "div_rn": "tl.div_rn(a, b)", "umulhi": "tl.umulhi(a, b)", "cdiv": "tl.cdiv(a, b)", "add_fn": "tl.add(a, b)",
    "mul_fn": "tl.mul(a, b)", "neg": "-a", "invert": "~a", "softmax": "tl.softmax(a)",
    **{n: f"tl.{n}(a, 0)" for n in ("sum", "max", "min", "argmax", "cumsum", "cumprod", "xor_sum")},
}  # fmt: skip


def kernel(expression: str, second: str) -> KernelFunction:
    """A kernel that prints an expression of the tile `a` and of `b`: a second tile, or the constexpr `number`."""
    kind = ": tl.constexpr" if second == "number" else ""
    text = (f"@KernelFunction\ndef k(x, y, number: tl.constexpr):\n    a = tl.load(x + tl.arange(0, 16))\n"
            f"    b{kind} = {second}\n    tl.device_print('result', {expression})\n")
    space: dict[str, Any] = {"tl": tl, "KernelFunction": KernelFunction}
    exec(text, space)
    return space["k"]


def type_of(fn: KernelFunction, x: str, y: str, number: Any) -> str:
    try:
        signature = {"x": Pointer(BY_NAME[x]), "y": Pointer(BY_NAME[y])}
        lowered = lower(fn, signature, {"number": number}).kernel
    except CompilationError:
        return "ERR"
    (value,) = [op.operands[0] for op in walk(lowered.body) if op.kind == "print"]
    assert value is not None
    return str(element_of(value.type))


def compare(fn: KernelFunction, row: str, wanted: str, columns: list[Any]) -> list[str]:
    found = [type_of(fn, row, *column) for column in columns]
    cells = zip(columns, wanted.split(), found, strict=True)
    return [f"{row} with {c}: wanted {w}, got {g}" for c, w, g in cells if w != g]


@pytest.mark.parametrize("op", TABLE["two"])
def test_two_tiles(op: str) -> None:
    fn = kernel(EXPRESSIONS[op], "tl.load(y + tl.arange(0, 16))")
    columns = [(t, None) for t in TABLE["types"]]
    wrong = [w for row, wanted in TABLE["two"][op].items() for w in compare(fn, row, wanted, columns)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("op", TABLE["number"])
def test_a_tile_and_a_python_number(op: str) -> None:
    fn = kernel(EXPRESSIONS[op], "number")
    columns = [("fp32", eval(n)) for n in TABLE["numbers"]]
    wrong = [w for row, wanted in TABLE["number"][op].items() for w in compare(fn, row, wanted, columns)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("op", TABLE["one"])
def test_one_tile(op: str) -> None:
    fn = kernel(EXPRESSIONS.get(op, f"tl.{op}(a)"), "a")
    found = {t: type_of(fn, t, "fp32", None) for t in TABLE["types"]}
    wanted = dict(zip(TABLE["types"], TABLE["one"][op].split(), strict=True))
    assert found == wanted
