"""Tensor descriptors in kernels: `tl.make_tensor_descriptor`, and what is done with one made there or on the host.

A descriptor is a value of the compiler: base pointer, shape (i32) and strides (i64) are scalars, the block's shape and
the padding are known when compiling. Reads outside of the array give 0 or NaN, writes outside are dropped. Everything
becomes tiles of pointers and masks here, on every target: no memory is needed for the descriptor itself, so that the
allocator of `rtriton.set_allocator` is never asked for any.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.blocks import (
    addresses, along, inside, integer, items, padding, padding_name, pointed_at, same_rank, scalar_pointer,
)
from rtriton.language.values import Compound, Context, Method, Public, public, unwrap
from rtriton.types import (
    DType, Tile, bfloat16, check_shape, element_of, float16, float32, int32, int64, shape_of, show_type, uint32, uint64,
)

MOST_AXES = 5
LEAST_BYTES = 16          # of a block's last axis
LEAST_ROWS = 8            # of a gather or scatter
COMBINES: dict[str, tuple[DType, ...]] = {
    "add": (uint32, int32, uint64, float32, float16, bfloat16),
    **dict.fromkeys(("min", "max"), (uint32, int32, uint64, int64, float16, bfloat16)),
    **dict.fromkeys(("and", "or", "xor"), (uint32, int32, uint64, int64)),
}


@dataclass(frozen=True)
class TensorDescriptorType:
    """What `descriptor.type` is."""

    block_type: Tile

    def __str__(self) -> str:
        return f"tensor_descriptor<{self.block_type}>"


@dataclass(frozen=True, repr=False)
class TensorDescriptor(Compound):
    """An array in memory of which blocks of one shape are read and written."""

    methods: ClassVar[dict[str, Method]] = {}

    base: Value
    shape: tuple[Value, ...]
    strides: tuple[Value, ...]
    block_shape: tuple[int, ...]
    padding: str

    @property
    def dtype(self) -> DType:
        return pointed_at(self.base)

    @property
    def block_type(self) -> Tile:
        return Tile(self.block_shape, self.dtype)

    @property
    def type(self) -> TensorDescriptorType:
        return TensorDescriptorType(self.block_type)

    def parts(self) -> tuple[Any, ...]:
        return self.base, self.shape, self.strides

    def with_parts(self, parts: tuple[Any, ...]) -> TensorDescriptor:
        base, shape, strides = parts
        return TensorDescriptor(base, shape, strides, self.block_shape, self.padding)

    def form(self) -> str:
        return f"block_shape {self.block_shape} padding {self.padding}"

    def __repr__(self) -> str:
        return f"a tensor descriptor with blocks of {'x'.join(map(str, self.block_shape))}, padding {self.padding!r}"


def check_blocks(block_shape: Sequence[int], element: DType) -> tuple[int, ...]:
    """The block's shape; ValueError where its last axis is too short."""
    sizes = check_shape(tuple(block_shape))
    size = element.bits // 8
    if sizes[-1] * size < LEAST_BYTES:
        raise ValueError(f"Descriptor block shape must have at least {LEAST_BYTES} bytes in the last dimension, "
                         f"but got {sizes[-1]} * {size} = {sizes[-1] * size} bytes")
    return sizes


@public()
def make_tensor_descriptor(b: Context, base: Any, shape: Any, strides: Any, block_shape: Any,
                           padding_option: Any = "zero") -> TensorDescriptor:
    """A descriptor of the array of `shape` and `strides` at `base`, read and written in blocks of `block_shape`.

    base: *T; shape, strides: 1 to 5 integers (taken as int32 and int64), the last stride the constant 1; block_shape:
    powers of two known when compiling, at least 16 bytes along the last axis; padding_option: what is read outside of
    the array, "zero" or "nan" (floats only)."""
    what = "make_tensor_descriptor"
    pointer = scalar_pointer(base, what)
    given, steps, blocks = items(shape, "shape"), items(strides, "strides"), s.shape_argument(block_shape)
    if not 1 <= len(given) <= MOST_AXES:
        raise ValueError(f"{what}: a descriptor has 1 to {MOST_AXES} axes, got {len(given)}")
    if len(blocks) != len(given):
        raise ValueError(f"{what}: shape has {len(given)} axes, block_shape {len(blocks)}")
    same_rank(what, len(given), strides=steps)
    if isinstance(steps[-1], Value) or steps[-1] != 1:
        raise ValueError(f"{what}: the last stride must be the constant 1, got {s.describe(steps[-1])}")
    option = padding_name(padding_option) or "zero"
    tile = Tile(check_blocks(blocks, pointed_at(pointer)), pointed_at(pointer))
    if option == "nan" and not tile.scalar.is_floating():
        raise ValueError(f"padding_option 'nan' is for floats, got {show_type(tile)}")
    return TensorDescriptor(pointer, tuple(integer(b, x, int32, f"{what}: shape") for x in given),
                            tuple(integer(b, x, int64, f"{what}: strides") for x in steps), tile.shape, option)


# -- blocks ----------------------------------------------------------------------------------------------------------

def _offset(b: Context, x: Any) -> Value:
    """An offset in elements as i64."""
    x = unwrap(x)
    if isinstance(x, Value) and isinstance(x.type, DType) and x.type.is_int() and x.type.bits == 64:
        raise TypeError(f"a descriptor's offsets are 32-bit integers, got {s.describe(x)}: add .to(tl.int32)")
    checked = integer(b, x, int32, "a descriptor's offset") if isinstance(x, int) else x
    return integer(b, checked, int64, "a descriptor's offset")


def _block(b: Context, desc: TensorDescriptor, offsets: Any) -> tuple[Value, Value]:
    """Pointers to the block at `offsets`, and where they lie in the array."""
    given = items(offsets, "offsets")
    if len(given) != len(desc.block_shape):
        raise ValueError(f"expected {len(desc.block_shape)} offsets, but got {len(given)}")
    starts = [_offset(b, x) for x in given]
    sizes = [s.cast(b, n, int64) for n in desc.shape]
    mask = inside(b, sizes, starts, desc.block_shape, range(len(starts)))
    assert mask is not None
    return addresses(b, desc.base, desc.strides, starts, desc.block_shape), mask


def _descriptor(x: Any, what: str) -> TensorDescriptor:
    if not isinstance(x, TensorDescriptor):
        raise TypeError(f"{what} needs a tensor descriptor, got {s.describe(x)}")
    return x


def _value(b: Context, value: Any, shape: tuple[int, ...], desc: TensorDescriptor) -> Value:
    """What is stored, cast to the elements of the array."""
    s.need_writable(desc.base)
    number = s.stored(b, value, desc.dtype)
    if shape_of(number.type) != shape:
        raise ValueError(f"wanted a value of the block's shape {s.show(shape)}, got {show_type(number.type)}")
    return number


@public()
def load_tensor_descriptor(b: Context, desc: Any, offsets: Any) -> Value:
    """The block at `offsets` (32-bit integers, one for each axis); what lies outside of the array is its padding."""
    source = _descriptor(desc, "load_tensor_descriptor")
    where, mask = _block(b, source, offsets)
    return b.build.one("load", where, mask, padding(b, source.padding, source.block_type))


@public()
def store_tensor_descriptor(b: Context, desc: Any, offsets: Any, value: Any) -> None:
    """Write a tile of the block's shape at `offsets`, cast to the array's type; what lies outside is dropped."""
    target = _descriptor(desc, "store_tensor_descriptor")
    number = _value(b, value, target.block_shape, target)
    where, mask = _block(b, target, offsets)
    b.build.op("store", where, number, mask)


def _combine(how: str) -> Callable[..., None]:
    def fn(b: Context, desc: Any, offsets: Any, value: Any) -> None:
        if desc.dtype not in COMBINES[how]:
            raise TypeError(f"a descriptor's atomic_{how} works on {', '.join(map(show_type, COMBINES[how]))}, "
                            f"got {show_type(desc.dtype)}")
        number = _value(b, value, desc.block_shape, desc)
        where, mask = _block(b, desc, offsets)
        b.build.op("atomic_rmw", where, number, mask, how=how, sem="relaxed", scope="gpu")

    fn.__name__ = f"atomic_{how}"
    fn.__doc__ = f"Combine the block at `offsets` with a tile of its shape by {how}, each element atomically."
    return fn


# -- rows ------------------------------------------------------------------------------------------------------------

def _rows(b: Context, desc: TensorDescriptor, x_offsets: Any, y_offset: Any, what: str) -> tuple[Value, Value]:
    """Pointers to the blocks of one row each at [x_offsets, y_offset], and where they lie in the array."""
    if len(desc.block_shape) != 2 or desc.block_shape[0] != 1:
        raise ValueError(f"descriptor {what} needs a 2-d descriptor whose blocks have 1 row, got {desc!r}")
    rows = s.need_tile(x_offsets, f"descriptor {what}: x_offsets")
    if len(shape_of(rows.type)) != 1 or not element_of(rows.type).is_int():
        raise ValueError(f"descriptor {what}: x_offsets is a 1-d tile of integers, got {show_type(rows.type)}")
    count, columns = shape_of(rows.type)[0], desc.block_shape[1]
    if count < LEAST_ROWS:
        raise ValueError(f"descriptor {what} must have at least {LEAST_ROWS} rows, but got {count}")
    least = 32 // desc.dtype.bits * 8
    if columns < least:
        raise ValueError(f"descriptor {what} of {show_type(desc.dtype)} must have at least {least} columns, "
                         f"but got {columns}")
    start, shape = _offset(b, y_offset), (count, columns)
    row = b.build.one("expand_dims", s.cast(b, rows, int64), axis=1)
    starts = s.binary(b, "mul", row, desc.strides[0])
    first = b.build.one("addptr", *s.broadcast_pair(b, desc.base, starts))
    column = s.binary(b, "mul", s.add(b, along(b, 1, shape), start), desc.strides[1])
    where = b.build.one("addptr", *s.broadcast_pair(b, first, column))
    sizes = [s.cast(b, n, int64) for n in desc.shape]
    columns_inside = inside(b, sizes, [start, start], (1, columns), (1,))
    assert columns_inside is not None
    rows_inside = s.integers(b, "and", s.compare(b, "ge", row, 0), s.compare(b, "lt", row, sizes[0]))
    return where, s.integers(b, "and", rows_inside, columns_inside)


def gather(b: Context, desc: TensorDescriptor, x_offsets: Any, y_offset: Any) -> Value:
    """The rows `x_offsets` (1-d, at least 8) of the array, from column `y_offset` on, as wide as the block."""
    where, mask = _rows(b, desc, x_offsets, y_offset, "gather")
    result = Tile(shape_of(where.type), desc.dtype)
    return b.build.one("load", where, mask, padding(b, desc.padding, result))


def scatter(b: Context, desc: TensorDescriptor, value: Any, x_offsets: Any, y_offset: Any) -> None:
    """Write the rows of `value` to the rows `x_offsets` of the array, from column `y_offset` on."""
    where, mask = _rows(b, desc, x_offsets, y_offset, "scatter")
    b.build.op("store", where, _value(b, value, shape_of(where.type), desc), mask)


def _method(name: str, fn: Callable[..., Any]) -> None:
    TensorDescriptor.methods[name] = entry = Public(fn, True)
    entry.__name__ = f"tensor_descriptor.{name}"


_method("load", load_tensor_descriptor.fn)
_method("store", store_tensor_descriptor.fn)
_method("gather", gather)
_method("scatter", scatter)
for _how in COMBINES:
    _method(f"atomic_{_how}", _combine(_how))
