"""The verifier names the op that breaks a rule."""

import pytest

from rtriton.errors import KernelError
from rtriton.ir import Block, Kernel, Op, Value
from rtriton.layout import tile
from rtriton.text import parse
from rtriton.types import Tile, float32, int32
from rtriton.verify import verify
from tests.kernels.examples import EXAMPLES


def kernel(text):
    return parse("kernel @k(%p: *f32, %n: i32, %x: f32, %t: 8xf32, %c: i1) {} {\n" + text + "\n}")


@pytest.mark.parametrize("make", EXAMPLES, ids=lambda m: m.__name__)
def test_the_tutorial_kernels_are_well_formed(make):
    verify(make().kernel)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%y: f32 = add %x, %n", "add needs operands of one type, got f32 and i32"),
        ("%y: i32 = add %x, %x", "add gives f32, not i32"),
        ("%y: f32 = frobnicate %x", "there is no op named 'frobnicate'"),
        ("%y: f32 = neg %x {fast = true}", "neg has no attribute 'fast'"),
        ("%y: 8xf32 = splat %t {shape = (8,)}", "splat takes a scalar"),
        ("%y: f32 = load %p, %x", "a mask is made of i1"),
        ("store %p, %n", "store: the value is i32"),
        ("%y: 7xi32 = arange {start = 0, end = 7}", "must be a power of 2"),
        ("%y: f32 = for %n, %n, %n, %x (%i: i32, %a: f32) {\n yield %i\n}", "for carries f32 but yields i32"),
        ("%y: f32 = if %c () {\n yield %x\n} () {\n yield %n\n}", "the branches of an if give"),
        ("yield %x", "yields from its body"),
        ("%a: f32, %b: f32 = neg %x", "neg gives 1 values, not 2"),
        ("%y: f32 = reduce %t {axis = 1} (%a: f32, %b: f32) {\n yield %a\n}", "axis 1 is not an axis"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    with pytest.raises(KernelError, match=message):
        verify(kernel(text))


def test_a_value_made_twice_is_refused():
    value = Value(int32, "x")
    op = Op("program_id", (), {"axis": 0}, (), (value,))
    with pytest.raises(KernelError, match="a second time"):
        verify(Kernel("k", Block((), (op, op))))


def test_a_value_of_another_kernel_is_refused():
    with pytest.raises(KernelError, match="where it is not defined"):
        verify(Kernel("k", Block((), (Op("neg", (Value(int32, "x"),), {}, (), (Value(int32, "y"),)),))))


def test_a_value_of_a_region_is_not_seen_outside():
    inside = kernel("if %c () {\n%a: f32 = neg %x\nyield\n} () {\nyield\n}")
    leaked = inside.body.ops[0].regions[0].ops[0].result
    use = Op("neg", (leaked,), {}, (), (Value(float32, "y"),))
    with pytest.raises(KernelError, match="where it is not defined"):
        verify(Kernel("k", Block(inside.params, (*inside.body.ops, use))))


def test_a_yield_ends_its_region():
    with pytest.raises(KernelError, match="yield is not the last op"):
        verify(kernel("if %c () {\nyield\n%a: f32 = neg %x\nyield\n} () {\nyield\n}"))


def test_layouts_belong_to_their_stage():
    laid_out = Tile((8,), int32, tile((8,), lane=[(1,), (2,), (4,)]))
    with_layout = Kernel("k", Block((), (Op("arange", (), {"start": 0, "end": 8}, (), (Value(laid_out, "r"),)),)))
    verify(with_layout, "layout")
    with pytest.raises(KernelError, match="has a layout before the layout passes"):
        verify(with_layout, "tile")
    without = Kernel("k", Block((), (Op("arange", (), {"start": 0, "end": 8}, (), (Value(Tile((8,), int32), "r"),)),)))
    with pytest.raises(KernelError, match="has no layout"):
        verify(without, "layout")
