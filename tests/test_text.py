"""Text and IR are one: what is shown can be read, and shows the same."""

import pytest

from rtriton.errors import RtritonError
from rtriton.ir import Block, Kernel, Op, Span, Value
from rtriton.layout import tile
from rtriton.text import parse, show
from rtriton.types import DTYPES, Pointer, Shared, Tile, float16, float32, int32
from tests.kernels.examples import EXAMPLES


@pytest.mark.parametrize("make", EXAMPLES, ids=lambda m: m.__name__)
def test_every_tutorial_kernel_prints_parses_and_prints_the_same(make):
    text = show(make().kernel)
    assert show(parse(text)) == text


@pytest.mark.parametrize("file", ["größe.py", "my kernel (1).py", "a:b,c.py", "1", "", "<exec 1a>", "名.py"])
@pytest.mark.parametrize("name", ["größer", "_", "k1"])
def test_a_kernel_of_any_name_in_any_file_is_read_back(name, file):
    kernel = Kernel(name, Block((), (Op("barrier", (), {}, (), (), Span(file, 3, 4, caller=Span(file, 5, 6))),)))
    text = show(kernel)
    back = parse(text)
    assert show(back) == text and back.name == name
    span = back.body.ops[0].span
    assert (span.line, span.column, span.caller.line, span.caller.column) == (3, 4, 5, 6)


def const(value, type=int32):
    return Kernel("k", Block((), (Op("const", (), {"value": value, "type": type}, (), (Value(type, "c"),)),)))


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        2**63,
        1.5,
        -0.0,
        1e-30,
        1e22,
        3.0e-5,
        float("inf"),
        -float("inf"),
        float("nan"),
        True,
        False,
        "",
        'a"b\\c\n\t{}',
        "ünï",
        None,
        (),
        (1,),
        (1, (2, "x")),
        {0: 16, 3: 4},
    ],
)
def test_attributes_of_every_kind_come_back(value):
    text = show(const(value))
    back = parse(text)
    assert show(back) == text
    got = back.body.ops[0].attrs["value"]
    assert got == value and type(got) is type(value) or value != value and got != got


@pytest.mark.parametrize(
    "type",
    [
        *DTYPES,
        Pointer(float16),
        Pointer(float16, const=True),
        Tile((4, 8), float32),
        Tile((1,), int32),
        Tile((8,), Pointer(float32)),
        Tile((2, 2), Pointer(float32, const=True)),
        Shared((16, 8), float16, None, 3),
    ],
    ids=str,
)
def test_types_of_every_kind_come_back(type):
    back = parse(show(const(0, type)))
    assert back.body.ops[0].attrs["type"] == type == back.body.ops[0].result.type


def test_layouts_are_named_above_the_kernel_and_come_back():
    layout = tile((2, 4), register=[(0, 1)], lane=[(0, 2), (1, 0)])
    text = show(const(0, Tile((2, 4), float32, layout)))
    assert text.count("layout<") == 1
    back = parse(text)
    assert back.body.ops[0].result.type.layout == layout and show(back) == text


def test_places_and_their_callers_come_back():
    span = Span("helper.py", 3, 5, caller=Span("kernel.py", 12, 9))
    kernel = Kernel("k", Block((), (Op("barrier", span=span),)))
    text = show(kernel)
    assert "@ helper.py:3:5 < kernel.py:12:9" in text and show(parse(text)) == text
    assert "@ helper" not in show(kernel, spans=False)


def test_values_of_one_name_are_told_apart():
    a, b = Value(int32, "x"), Value(int32, "x")
    ops = (
        Op("program_id", (), {"axis": 0}, (), (a,)),
        Op("program_id", (), {"axis": 1}, (), (b,)),
        Op("add", (a, b), {}, (), (Value(int32, "x"),)),
    )
    text = show(Kernel("k", Block((), ops)))
    assert show(parse(text)) == text
    first, second, total = parse(text).body.ops
    assert total.operands == (first.result, second.result)


def test_names_that_ir_text_cannot_hold_are_changed():
    text = show(Kernel("k", Block((Value(int32, "a-b"), Value(int32, "1x")), ())))
    assert show(parse(text)) == text


def test_absent_operands_are_underscores():
    text = "kernel @k(%p: *f32) {} {\n  %x: f32 = load %p, _, _\n}\n"
    assert parse(text).body.ops[0].operands[1:] == (None, None) and show(parse(text)) == text


def test_values_of_a_region_are_not_seen_after_it():
    text = """kernel @k(%c: i1) {} {
      if %c () {
        %x: i32 = program_id {axis = 0}
        yield
      } () {
        yield
      }
      %y: i32 = add %x, %x
    }"""
    with pytest.raises(RtritonError, match="%x is used before it is made"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kernel @k() {} {\n  %x i32 = const\n}", "line 2"),
        ("", "not understood"),
        ("kernel @k() {} { %x: q32 = const }", "there is no type 'q32'"),
        ("kernel @k() {} {} kernel @l() {} {}", "wanted one kernel, got 2"),
    ],
)
def test_text_that_says_no_kernel_is_refused_with_its_place(text, message):
    with pytest.raises(RtritonError, match=message):
        parse(text)


def test_comments_are_skipped():
    assert parse("// a kernel\nkernel @k() {} { // nothing\n}").name == "k"


def test_an_op_without_operands_ends_where_the_next_begins():
    text = "kernel @k() {} {\n  barrier\n  %x: i32 = program_id {axis = 0}\n}\n"
    assert [len(op.operands) for op in parse(text).body.ops] == [0, 0] and show(parse(text)) == text
