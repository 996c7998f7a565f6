"""The IR: building, walking, rewriting, cloning."""

import pytest

from rtriton.ir import Block, Kernel, Value, clone, definitions, free_values, rebuild, uses, walk
from rtriton.language.table import builder, infer
from rtriton.text import parse, show
from rtriton.types import Tile, float32, int32

LOOP = """kernel @k(%n: i32, %x: f32) {} {
  %zero: i32 = const {value = 0, type = type(i32)}
  %one: i32 = const {value = 1, type = type(i32)}
  %s: f32 = for %zero, %n, %one, %x (%i: i32, %a: f32) {
    %b: f32 = add %a, %x
    yield %b
  }
  %t: f32 = neg %s
}
"""


def test_the_builder_types_ops_by_the_table():
    build = builder()
    five = build.const(5, Tile((4,), int32))
    total = build.one("add", five, five)
    assert total.type == Tile((4,), int32) and [op.kind for op in build.ops] == ["const", "add"]


def test_the_builder_refuses_operands_that_do_not_fit():
    build = builder()
    with pytest.raises(TypeError, match="add needs operands of one type"):
        build.one("add", build.const(1, int32), build.const(1.0, float32))


def test_the_builder_makes_regions_that_yield():
    build = builder()
    low, high, start = build.const(0, int32), build.const(3, int32), build.const(0.0, float32)
    index, carried = Value(int32, "i"), Value(float32, "a")
    body = build.block((index, carried), lambda inner: [inner.one("add", carried, carried)])
    (result,) = build.op("for", low, high, low, start, regions=[body])
    assert result.type == float32 and body.yielded[0].type == float32


def test_walk_meets_an_op_before_those_in_its_regions():
    assert [op.kind for op in walk(parse(LOOP).body)] == ["const", "const", "for", "add", "yield", "neg"]


def test_uses_and_definitions_see_into_regions():
    kernel = parse(LOOP)
    x = kernel.params[1]
    assert [op.kind for op in uses(kernel.body)[x]] == ["for", "add"]
    assert sorted(op.kind for op in definitions(kernel.body).values()) == ["add", "const", "const", "for", "neg"]


def test_free_values_are_those_from_outside_in_order_of_use():
    kernel = parse(LOOP)
    loop = kernel.body.ops[2]
    assert [v.name for v in free_values(loop.regions[0])] == ["x"]
    assert free_values(kernel.body) == []


def test_rebuild_returns_the_same_kernel_when_no_rule_applies():
    kernel = parse(LOOP)
    assert rebuild(kernel, lambda op, operands, build: None, infer) is kernel


def test_rebuild_replaces_inside_regions_and_follows_the_values():
    kernel = parse(LOOP)

    def doubled(op, operands, build):
        return [build.one("mul", operands[0], operands[1])] if op.kind == "add" else None

    after = rebuild(kernel, doubled, infer)
    assert [op.kind for op in walk(after.body)] == ["const", "const", "for", "mul", "yield", "neg"]
    assert "add" in show(kernel), "the kernel that was given is not changed"


def test_rebuild_refuses_a_rule_that_appends_and_returns_none():
    def careless(op, operands, build):
        build.const(1, int32)

    with pytest.raises(AssertionError, match="appended ops but returned None"):
        rebuild(parse(LOOP), careless, infer)


def test_rebuild_retypes_parameters_and_results():
    kernel = parse("kernel @k(%x: f32) {} {\n  %y: f32 = neg %x\n}\n")
    after = rebuild(kernel, lambda op, operands, build: None, infer, retype=lambda v: Tile((4,), float32))
    assert after.params[0].type == Tile((4,), float32) == after.body.ops[0].result.type


def test_clone_copies_with_new_values_and_mapped_parameters():
    kernel = parse(LOOP)
    loop, build = kernel.body.ops[2], builder()
    one, start = build.const(1, int32), build.const(2.0, float32)
    (result,) = clone(loop.regions[0], dict(zip(loop.regions[0].params, (one, start), strict=True)), build)
    assert build.ops[-1].operands[0] is start and result is build.ops[-1].result
    assert result is not loop.regions[0].ops[0].result


def test_a_kernel_without_results_yields_nothing():
    assert Block((), ()).yielded == () and Kernel("k", Block((), ())).params == ()
