"""Type promotion, cell by cell, against a table taken from Triton 3.6 itself (promotion_3.6.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rtriton.errors import CompilationError
from rtriton.frontend.lower import lower
from rtriton.ir import walk
from rtriton.source import KernelFunction
from rtriton.types import BY_NAME, Pointer, element_of
import rtriton.language as tl

TABLE: dict[str, dict[str, dict[str, str]]] = json.loads((Path(__file__).parent / "promotion_3.6.json").read_text())


@KernelFunction
def apply(x, y, out, kind: tl.constexpr):
    a, b = tl.load(x + tl.arange(0, 16)), tl.load(y + tl.arange(0, 16))
    if kind == "add":
        r = a + b
    elif kind == "truediv":
        r = a / b
    elif kind == "floordiv":
        r = a // b
    elif kind == "mod":
        r = a % b
    elif kind == "and_":
        r = a & b
    elif kind == "lt":
        r = a < b
    elif kind == "where":
        r = tl.where(a == a, a, b)
    else:
        r = tl.maximum(a, b)
    tl.device_print("result", r)


@KernelFunction
def apply_number(x, kind: tl.constexpr, number: tl.constexpr):
    a = tl.load(x + tl.arange(0, 16))
    tl.device_print("result", a + number if kind == "add_scalar" else a / number)


def printed_type(fn: KernelFunction, signature: dict[str, Any], constants: dict[str, Any]) -> str:
    try:
        kernel = lower(fn, signature, constants).kernel
    except CompilationError:
        return "ERR"
    (op,) = [op for op in walk(kernel.body) if op.kind == "print"]
    value = op.operands[0]
    assert value is not None
    return str(element_of(value.type))


@pytest.mark.parametrize("kind", ["add", "truediv", "floordiv", "mod", "and_", "lt", "where", "maximum"])
def test_two_tiles_compute_in_the_type_that_triton_computes_in(kind: str) -> None:
    wrong: list[str] = []
    for left, row in TABLE[kind].items():
        for right, wanted in row.items():
            got = printed_type(
                apply, {"x": Pointer(BY_NAME[left]), "y": Pointer(BY_NAME[right])}, {"out": None, "kind": kind}
            )
            if got != wanted:
                wrong.append(f"{left} {right}: wanted {wanted}, got {got}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", ["add_scalar", "truediv_scalar"])
def test_a_python_number_takes_the_type_that_triton_gives_it(kind: str) -> None:
    wrong: list[str] = []
    for left, row in TABLE[kind].items():
        for text, wanted in row.items():
            got = printed_type(apply_number, {"x": Pointer(BY_NAME[left])}, {"kind": kind, "number": eval(text)})
            if got != wanted:
                wrong.append(f"{left} {text}: wanted {wanted}, got {got}")
    assert not wrong, "\n".join(wrong)
