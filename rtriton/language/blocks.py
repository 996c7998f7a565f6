"""Blocks of an array in memory: `tl.make_block_ptr`, `tl.advance`, and the addresses that blocks stand for.

A block pointer is a value of the compiler, not of tile IR: base, shape, strides and offsets are scalars, the block's
shape is known when compiling. Loads and stores through it become tiles of pointers and masks here, so that passes and
backends know nothing of it:

    start = base + sum of offset * stride        a scalar pointer, all that `advance` changes
    tile  = start + sum of arange * stride       does not change in a loop, so it leaves it
    mask  = offset + arange >= 0 & offset + arange < shape, of the axes that are checked

Everything is computed in 64 bits, so that arrays of more than 2**31 elements are addressed as they should be.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rtriton.guards import is_list
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.known import must_use_result
from rtriton.language.values import METHODS, Compound, Context, Method, public, unwrap
from rtriton.types import DType, Pointer, Tile, check_shape, element_of, int1, int8, int64, shape_of, show_type

PADDING = ("", "zero", "nan")


@dataclass(frozen=True)
class BlockPointerType:
    """What `block_pointer.dtype` is: a pointer to a tile."""

    element_ty: Tile

    @property
    def scalar(self) -> BlockPointerType:
        return self

    def is_ptr(self) -> bool:
        return True

    def is_block(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"*{self.element_ty}"


@dataclass(frozen=True, repr=False)
class BlockPointer(Compound):
    """A block of `block_shape` elements at `offsets` of an array; shape, strides and offsets are scalars of i64."""

    base: Value
    array_shape: tuple[Value, ...]
    strides: tuple[Value, ...]
    offsets: tuple[Value, ...]
    block_shape: tuple[int, ...]

    @property
    def tile(self) -> Tile:
        """The type of what is loaded."""
        return Tile(self.block_shape, pointed_at(self.base))

    @property
    def type(self) -> BlockPointerType:
        return BlockPointerType(self.tile)

    dtype = type

    methods: ClassVar[dict[str, Method]] = {}

    def parts(self) -> tuple[Any, ...]:
        return self.base, self.array_shape, self.strides, self.offsets

    def with_parts(self, parts: tuple[Any, ...]) -> BlockPointer:
        base, shape, strides, offsets = parts
        return BlockPointer(base, shape, strides, offsets, self.block_shape)

    def form(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return f"a block pointer to {self.tile}"


def pointed_at(pointer: Value) -> DType:
    """The element type of a scalar pointer."""
    element = element_of(pointer.type)
    assert isinstance(element, Pointer)
    return element.element


def scalar_pointer(x: Any, what: str) -> Value:
    """x, if it points at one element."""
    if not s.is_pointer(x) or shape_of(x.type):
        raise ValueError(f"{what}: the base is a scalar pointer, got {s.describe(x)}")
    return x


def items(x: Any, what: str) -> tuple[Any, ...]:
    """A list of numbers, or one number as a list of one."""
    x = unwrap(x)
    if isinstance(x, (int, Value)):
        return (x,)
    if not is_list(x):
        raise TypeError(f"{what} is a list of numbers, one for each axis, got {s.describe(x)}")
    return tuple(map(unwrap, x))


def integer(b: Context, x: Any, to: DType, what: str) -> Value:
    """An integer scalar as `to`; TypeError for anything else, ValueError for a number that does not fit."""
    x = unwrap(x)
    if isinstance(x, int):
        if not to.get_int_min_value() <= int(x) <= to.get_int_max_value():
            raise ValueError(f"{what} must fit {show_type(to)}, got {x}")
        return b.build.const(int(x), to)
    if not isinstance(x, Value) or not isinstance(x.type, DType) or not x.type.is_int():
        raise TypeError(f"{what} is an integer scalar, got {s.describe(x)}")
    return s.cast(b, x, to)


def same_rank(what: str, rank: int, **given: Sequence[Any]) -> None:
    for name, values in given.items():
        if len(values) != rank:
            raise ValueError(f"{what}: block_shape has {rank} axes, so {name} needs {rank} numbers, got {len(values)}")


@public()
def make_block_ptr(b: Context, base: Any, shape: Any, strides: Any, offsets: Any, block_shape: Any,
                   order: Any) -> BlockPointer:
    """A pointer to the block of `block_shape` elements at `offsets` in an array of `shape` and `strides` at `base`.

    base: *T; shape, strides, offsets: integers, one for each axis (computed in int64); block_shape: powers of two known
    when compiling; order: the axes, the one contiguous in memory first; a hint that changes no result and is checked to
    be a permutation. Through *i1 bytes are read and written as i8."""
    what = "make_block_ptr"
    pointer = scalar_pointer(base, what)
    sizes = check_shape(s.shape_argument(block_shape))
    rank = len(sizes)
    given = {"shape": items(shape, "shape"), "strides": items(strides, "strides"),
             "offsets": items(offsets, "offsets"), "order": items(order, "order")}
    same_rank(what, rank, **given)
    if sorted(s.constant_int(axis, "an axis of order") for axis in given["order"]) != list(range(rank)):
        raise ValueError(f"{what}: order is a permutation of 0 to {rank - 1}, got {given['order']}")
    if pointed_at(pointer) == int1:
        element = element_of(pointer.type)
        assert isinstance(element, Pointer)
        pointer = s.cast(b, pointer, replace(element, element=int8))
    wide = {name: tuple(integer(b, x, int64, f"{what}: {name}") for x in given[name])
            for name in ("shape", "strides", "offsets")}
    return BlockPointer(pointer, wide["shape"], wide["strides"], wide["offsets"], sizes)


@must_use_result("it moves nothing by itself, write `pointer = tl.advance(pointer, ...)`")
@public(method=True)
def advance(b: Context, base: Any, offsets: Any) -> BlockPointer:
    """The block pointer moved by `offsets` elements along each axis."""
    if not isinstance(base, BlockPointer):
        raise TypeError(f"advance moves block pointers, got {s.describe(base)}: add to a pointer instead")
    moves = items(offsets, "offsets")
    same_rank("advance", len(base.block_shape), offsets=moves)
    moved = [s.binary(b, "add", old, integer(b, by, int64, "advance: offsets")) if by != 0 else old
             for old, by in zip(base.offsets, moves, strict=True)]
    return replace(base, offsets=tuple(moved))


def checked_axes(boundary_check: Any, rank: int) -> tuple[int, ...]:
    """The axes that `boundary_check` names; ValueError for one that is none, or twice."""
    given = unwrap(boundary_check)
    if given is None or given == "" or given == ():
        return ()
    axes = tuple(s.constant_int(axis, "an axis of boundary_check") for axis in items(given, "boundary_check"))
    for axis in axes:
        if not 0 <= axis < rank:
            raise ValueError(f"boundary_check: axis {axis} is not an axis of a block of {rank} axes")
    if len(set(axes)) != len(axes):
        raise ValueError(f"boundary_check: an axis is named twice in {axes}")
    return tuple(sorted(axes))


BlockPointer.methods["advance"] = METHODS["advance"]


# -- addresses -------------------------------------------------------------------------------------------------------

def along(b: Context, axis: int, shape: Sequence[int]) -> Value:
    """0, 1, 2 ... along one axis as i64, with ones for the other sizes."""
    line = s.cast(b, b.build.one("arange", start=0, end=shape[axis]), int64)
    for d in range(len(shape)):
        line = line if d == axis else b.build.one("expand_dims", line, axis=d)
    return line


def total(b: Context, terms: Sequence[Value], kind: str = "add") -> Value:
    """The terms combined, stretched to one shape."""
    result = terms[0]
    for term in terms[1:]:
        result = b.build.one(kind, *s.broadcast_pair(b, result, term))
    return result


def addresses(b: Context, base: Value, strides: Sequence[Value], offsets: Sequence[Value],
              shape: Sequence[int]) -> Value:
    """A tile of pointers to the block at `offsets`."""
    start = base
    for offset, stride in zip(offsets, strides, strict=True):
        start = b.build.one("addptr", start, b.build.one("mul", offset, stride))
    steps = [b.build.one("mul", *s.broadcast_pair(b, along(b, d, shape), stride)) for d, stride in enumerate(strides)]
    return b.build.one("addptr", *s.broadcast_pair(b, start, total(b, steps)))


def inside(b: Context, array_shape: Sequence[Value], offsets: Sequence[Value], shape: Sequence[int],
           axes: Sequence[int]) -> Value | None:
    """Where a block lies in its array, looking at `axes` only; None for no axes."""
    tests: list[Value] = []
    for d in axes:
        position = s.add(b, along(b, d, shape), offsets[d])
        tests += [s.compare(b, "ge", position, 0), s.compare(b, "lt", position, array_shape[d])]
    return s.broadcast_to(b, total(b, tests, "and"), shape) if tests else None


def padding(b: Context, option: str, type: Tile) -> Value | None:
    """What is read outside of the array; None where that is left open."""
    if not option:
        return None
    if option == "nan" and not type.scalar.is_floating():
        raise ValueError(f"padding_option 'nan' is for floats, got {show_type(type)}")
    return b.build.const((float("nan") if option == "nan" else 0.0) if type.scalar.is_floating() else 0, type)


def padding_name(option: Any) -> str:
    text = unwrap(option) or ""
    if text not in PADDING:
        raise ValueError(f"padding_option is one of {', '.join(map(repr, PADDING))}, got {text!r}")
    return text


def load_block(b: Context, pointer: BlockPointer, boundary_check: Any, padding_option: str,
               attrs: Mapping[str, Any]) -> Value:
    """`tl.load` of a block pointer."""
    other = padding(b, padding_option, pointer.tile)
    mask = inside(b, pointer.array_shape, pointer.offsets, pointer.block_shape,
                  checked_axes(boundary_check, len(pointer.block_shape)))
    where = addresses(b, pointer.base, pointer.strides, pointer.offsets, pointer.block_shape)
    return b.build.one("load", where, mask, other if mask is not None else None, **attrs)


def store_block(b: Context, pointer: BlockPointer, value: Any, boundary_check: Any, attrs: Mapping[str, Any]) -> None:
    """`tl.store` through a block pointer."""
    number = s.cast(b, s.to_value(b, value), pointer.tile.scalar)
    if shape_of(number.type) not in ((), pointer.block_shape):
        raise ValueError(f"store: {pointer!r} takes a tile of its shape or a scalar, got {show_type(number.type)}")
    mask = inside(b, pointer.array_shape, pointer.offsets, pointer.block_shape,
                  checked_axes(boundary_check, len(pointer.block_shape)))
    where = addresses(b, pointer.base, pointer.strides, pointer.offsets, pointer.block_shape)
    b.build.op("store", where, s.broadcast_to(b, number, pointer.block_shape), mask, **attrs)
