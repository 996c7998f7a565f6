"""How arguments specialise, as Triton's rules say: the type in the signature, and what is known of the value."""
from __future__ import annotations

import enum
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.ahead import ASTSource
from rtriton.arguments import specialise

Point = namedtuple("Point", ["x", "y"])


class Colour(enum.IntEnum):
    RED = 5


def described(value: Any, plain: bool = False) -> tuple[Any, bool, Any]:
    """(type, divisible by 16, constant) of one argument."""
    @rtriton.jit
    def one(a):
        pass

    src = ASTSource.of(one, [specialise(value, plain)])
    return src.signature["a"], (0,) in src.attrs, src.constants.get((0,))


@pytest.mark.parametrize(("value", "wanted"), [
    (None, ("constexpr", False, None)), (True, ("u1", False, None)), (False, ("u1", False, None)),
    (1, ("constexpr", False, 1)), (0, ("i32", True, None)), (-1, ("i32", False, None)), (16, ("i32", True, None)),
    (17, ("i32", False, None)), (2**31 - 1, ("i32", False, None)), (2**31, ("i64", True, None)),
    (-2**31 - 1, ("i64", False, None)), (2**63 - 1, ("i64", False, None)), (2**63, ("u64", True, None)),
    (2**64 - 1, ("u64", False, None)), (1.0, ("fp32", False, None)), (np.float64(1.5), ("fp32", False, None)),
    (Colour.RED, ("i32", False, None)), (tl.constexpr(3), ("constexpr", False, 3)),
    (tl.float16, ("constexpr", False, tl.float16)),
])
def test_a_value_specialises_as_in_triton(value: Any, wanted: tuple[Any, bool, Any]) -> None:
    assert described(value) == wanted


def test_integers_that_are_not_specialised_keep_only_their_type() -> None:
    for value, wanted in ((1, "i32"), (16, "i32"), (2**31, "i64"), (2**63, "u64")):
        assert described(value, plain=True) == (wanted, False, None)
    with pytest.raises(OverflowError, match="fits no 64-bit type"):
        specialise(2**64)


def test_arrays_specialise_on_type_and_alignment() -> None:
    memory = np.zeros(64, np.uint8)
    start = -memory.ctypes.data % 16
    assert described(memory[start:start + 16].view(np.float32)) == ("*fp32", True, None)
    assert described(memory[start + 4:start + 20].view(np.int16)) == ("*i16", False, None)


def test_tuples_specialise_part_by_part_and_named_ones_stay_named() -> None:
    @rtriton.jit
    def one(a):
        pass

    src = ASTSource.of(one, [specialise((1, (16, 2.5), Point(None, 7)))])
    assert src.signature["a"] == ("constexpr", ("i32", "fp32"), Point("constexpr", "i32"))
    assert src.signature["a"][2]._fields == ("x", "y")
    assert src.constants == {(0, 0): 1, (0, 2, 0): None} and list(src.attrs) == [(0, 1, 0)]


@pytest.mark.parametrize(("annotation", "value", "wanted"), [
    (tl.int64, 1, "i64"), ("tl.int64", 16, "i64"), (int, 7, "i32"), ("i8", 7, "i8"), (float, 1, "fp32"),
    ("fp64", 1, "fp64"), (tl.float16, 2.0, "fp16"), (bool, 1, "u1"), ("uint32", -1, "u32"), ("u1", 3, "u1"),
])
def test_an_annotation_forces_the_type(annotation: Any, value: Any, wanted: str) -> None:
    def one(a):
        pass

    one.__annotations__["a"] = annotation
    kernel = rtriton.jit(one)
    assert ASTSource.of(kernel, [kernel.argument(0, value)]).signature == {"a": wanted}


def test_a_number_that_its_annotation_cannot_hold_is_refused_and_not_wrapped() -> None:
    def one(a: tl.int8):
        pass

    with pytest.raises(OverflowError, match=r"one\(\): argument 'a': 200 does not fit i8"):
        rtriton.jit(one).argument(0, 200)


def test_a_pointer_annotation_and_const_are_in_the_signature() -> None:
    def one(a: "*fp16", b: tl.const, c):  # noqa: F722
        pass

    kernel = rtriton.jit(one)
    x = np.zeros(16, np.uint16)
    arguments = [kernel.argument(i, x) for i in range(3)]
    assert list(ASTSource.of(kernel, arguments).signature.values()) == ["*fp16", "*ku16", "*u16"]


def test_parameters_tell_what_was_declared() -> None:
    @rtriton.jit(do_not_specialize=["n"], do_not_specialize_on_alignment=[0])
    def kernel(x, n: int = 3, BLOCK: tl.constexpr = 16):
        pass

    assert [(p.num, p.name, p.has_default, p.is_constexpr) for p in kernel.params] == [
        (0, "x", False, False), (1, "n", True, False), (2, "BLOCK", True, True)]
    assert kernel.arg_names == ["x", "n", "BLOCK"] and kernel.constexprs == [2]
    assert [p.do_not_specialize for p in kernel.params] == [False, True, False]
    assert [p.do_not_specialize_on_alignment for p in kernel.params] == [True, False, False]


def test_a_constexpr_cannot_be_left_unspecialised() -> None:
    @rtriton.jit(do_not_specialize=["N"])
    def kernel(N: tl.constexpr):
        pass

    with pytest.raises(rtriton.CompilationError, match="N marked as constexpr and listed in do_not_specialize"):
        kernel[1,](N=5)
