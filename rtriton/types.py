"""The types of tile IR: scalars, pointers, tiles, shared buffers. They are values: equal when written the same.

    DType("fp32")            f32         what `tl.float32` is; also the type of a scalar Value
    Pointer(float32)         *f32        `*const f32` may only be read
    Tile((64, 32), float32)  64x32xf32   each size a power of two; the layout is None until `coalesce`
    Shared((64, 32), float16, layout, stages)   a buffer in shared memory

Integers carry their signedness, so `div` on u32 needs no flag; `i1` is what comparisons and masks are made of.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from rtriton.layout import Layout

MAX_TILE_ELEMENTS = 1 << 20


class Signedness(Enum):
    """Triton's names for the sign of integers."""

    SIGNED = 0
    UNSIGNED = 1


class KindOrder(Enum):
    """Triton's names for the kinds of numbers, in the order in which promotion climbs."""

    BOOLEAN = 0
    INTEGRAL = 1
    FLOATING = 2


class Kind(str):
    """b (mask), i, u or f. Called, as Triton's programs do, it is the KindOrder."""

    def __call__(self) -> KindOrder:
        return {"b": KindOrder.BOOLEAN, "f": KindOrder.FLOATING}.get(self, KindOrder.INTEGRAL)


class _ByName(type):
    """`DType("int8")` is the type of that name; with all fields it makes a new row of the table."""

    def __call__(cls, name: str, *row: Any) -> Any:
        if row:
            return super().__call__(name, *row)
        if name not in BY_NAME:
            raise ValueError(f"no dtype is called {name!r}: there are {', '.join(BY_NAME)}")
        return BY_NAME[name]


@dataclass(frozen=True)
class DType(metaclass=_ByName):
    """A scalar type. `kind` is b (mask), i, u or f; `storage` the NumPy dtype name of its bytes in memory."""

    # Triton's lists of names, filled in below the table
    SINT_TYPES: ClassVar[tuple[str, ...]]
    UINT_TYPES: ClassVar[tuple[str, ...]]
    FP_TYPES: ClassVar[tuple[str, ...]]
    STANDARD_FP_TYPES: ClassVar[tuple[str, ...]]

    # the package that programs know the types by: compat.py says "triton"
    package: ClassVar[str] = "rtriton"

    SIGNEDNESS: ClassVar[type[Signedness]] = Signedness
    KIND: ClassVar[type[KindOrder]] = KindOrder

    name: str            # Triton's name, as in str(tl.float32)
    short: str           # the name in IR text
    kind: Kind
    primitive_bitwidth: int
    storage: str
    fp_mantissa_width: int = -1
    exponent_bias: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind(self.kind))

    @property
    def bits(self) -> int:
        return self.primitive_bitwidth

    @property
    def itemsize(self) -> int:
        """Bytes of one element in memory (a mask takes a whole byte)."""
        return max(1, self.primitive_bitwidth // 8)

    @property
    def scalar(self) -> DType:
        return self

    @property
    def int_bitwidth(self) -> int:
        """Bits of an integer; AttributeError for a float, as in Triton."""
        return self._of_integers("int_bitwidth", self.primitive_bitwidth)

    @property
    def int_signedness(self) -> Signedness:
        """SIGNED or UNSIGNED (masks are unsigned); AttributeError for a float."""
        return self._of_integers("int_signedness", Signedness.SIGNED if self.kind == "i" else Signedness.UNSIGNED)

    def _of_integers(self, name: str, value: Any) -> Any:
        if not self.is_int():
            raise AttributeError(f"{self.name} is no integer type: it has no {name}")
        return value

    def is_floating(self) -> bool:
        return self.kind == "f"

    def is_int(self) -> bool:
        return self.kind in "biu"

    def is_int_signed(self) -> bool:
        return self.kind == "i"

    def is_int_unsigned(self) -> bool:
        return self.kind in "bu"

    def is_bool(self) -> bool:
        return self.kind == "b"

    def is_fp8(self) -> bool:
        return self.kind == "f" and self.primitive_bitwidth == 8

    def is_standard_floating(self) -> bool:
        return self.kind == "f" and self.primitive_bitwidth > 8

    def is_ptr(self) -> bool:
        return False

    def is_const(self) -> bool:
        return False

    def is_void(self) -> bool:
        return self.kind == "v"

    def is_block(self) -> bool:
        return False

    @staticmethod
    def is_dtype(name: str) -> bool:
        """Is there a type of this name?"""
        return name in BY_NAME or name == "void"

    def with_element_ty(self, element_ty: DType) -> DType:
        return element_ty

    def codegen_name(self) -> str:
        """The name in tl: float32, bfloat16, int8."""
        return self.name.replace("bf", "bfloat").replace("fp", "float")

    def get_int_max_value(self) -> int:
        return (1 << (self.bits - (self.kind == "i"))) - 1

    def get_int_min_value(self) -> int:
        return -(1 << (self.bits - 1)) if self.kind == "i" else 0

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{self.package}.language.{self.codegen_name()}"


int1 = DType("int1", "i1", "b", 1, "uint8")
int8 = DType("int8", "i8", "i", 8, "int8")
int16 = DType("int16", "i16", "i", 16, "int16")
int32 = DType("int32", "i32", "i", 32, "int32")
int64 = DType("int64", "i64", "i", 64, "int64")
uint8 = DType("uint8", "u8", "u", 8, "uint8")
uint16 = DType("uint16", "u16", "u", 16, "uint16")
uint32 = DType("uint32", "u32", "u", 32, "uint32")
uint64 = DType("uint64", "u64", "u", 64, "uint64")
float8e5 = DType("fp8e5", "f8e5", "f", 8, "uint8", 2, 15)
float8e4nv = DType("fp8e4nv", "f8e4", "f", 8, "uint8", 3, 7)
float8e4b15 = DType("fp8e4b15", "f8e4b15", "f", 8, "uint8", 3, 15)
float8e4b8 = DType("fp8e4b8", "f8e4b8", "f", 8, "uint8", 3, 8)
float8e5b16 = DType("fp8e5b16", "f8e5b16", "f", 8, "uint8", 2, 16)
float16 = DType("fp16", "f16", "f", 16, "float16", 10, 15)
bfloat16 = DType("bf16", "bf16", "f", 16, "uint16", 7, 127)
float32 = DType("fp32", "f32", "f", 32, "float32", 23, 127)
float64 = DType("fp64", "f64", "f", 64, "float64", 52, 1023)

void = DType("void", "void", "v", 0, "uint8")       # no value; no value of a kernel has it

DTYPES: tuple[DType, ...] = (int1, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
                             float8e5, float8e4nv, float8e4b15, float8e4b8, float8e5b16, float16, bfloat16, float32,
                             float64)
BY_SHORT: dict[str, DType] = {t.short: t for t in DTYPES}
BY_NAME: dict[str, DType] = {t.name: t for t in DTYPES}


def _is_named(name: str) -> Callable[[DType], bool]:
    return lambda dtype: dtype.name == name


for _dtype in DTYPES:                                # is_int8(), is_fp8e4nv() ...
    setattr(DType, f"is_{_dtype.name}", _is_named(_dtype.name))
DType.SINT_TYPES = tuple(t.name for t in DTYPES if t.kind == "i")
DType.UINT_TYPES = tuple(t.name for t in DTYPES if t.kind in "bu")
DType.FP_TYPES = tuple(t.name for t in DTYPES if t.kind == "f")
DType.STANDARD_FP_TYPES = tuple(t.name for t in DTYPES if t.is_standard_floating())


@dataclass(frozen=True)
class Pointer:
    """The address of an element in global memory. A pointer to a pointer points at its `Address`."""

    element: DType
    const: bool = False

    @property
    def name(self) -> str:
        """Triton's name."""
        return f"{'const_' if self.const else ''}pointer<{self.element.name}>"

    @property
    def address_space(self) -> int:
        """Global memory, as Triton counts."""
        return 1

    def is_const(self) -> bool:
        return self.const

    @property
    def scalar(self) -> Pointer:
        return self

    @property
    def element_ty(self) -> Scalar:
        target = self.element.target if isinstance(self.element, Address) else None
        return self.element if target is None else target

    @property
    def primitive_bitwidth(self) -> int:
        return 64

    @property
    def bits(self) -> int:
        return 64

    @property
    def itemsize(self) -> int:
        return 8

    @property
    def kind(self) -> str:
        return "p"

    def is_ptr(self) -> bool:
        return True

    def is_floating(self) -> bool:
        return False

    def is_int(self) -> bool:
        return False

    def is_bool(self) -> bool:
        return False

    def is_fp8(self) -> bool:
        return False

    def is_block(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"*{'const ' if self.const else ''}{self.element.short}"


Scalar = DType | Pointer


@dataclass(frozen=True)
class Address(DType):
    """Eight bytes in memory that hold a pointer of type `target`; IR text shows them as u64."""

    target: Pointer | None = None


def pointer_to(element: Scalar, const: bool = False) -> Pointer:
    """The type of a pointer to a number or to another pointer."""
    if not isinstance(element, Pointer):
        return Pointer(element, const)
    return Pointer(Address(f"address of {element}", "u64", "u", 64, "uint64", -1, 0, element), const)


@dataclass(frozen=True)
class Tile:
    """A tile of `shape` elements; `layout` says which lane holds which element once the layout passes have run."""

    shape: tuple[int, ...]
    element: Scalar
    layout: Layout | None = None

    @property
    def scalar(self) -> Scalar:
        return self.element

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def rank(self) -> int:
        return len(self.shape)

    def is_block(self) -> bool:
        return True

    def is_ptr(self) -> bool:
        return False

    @property
    def element_ty(self) -> Scalar:
        return self.element

    @property
    def name(self) -> str:
        """Triton's name."""
        return f"<{list(self.shape)}, {self.element.name}>"

    @property
    def nbytes(self) -> int:
        return self.numel * self.element.itemsize

    def get_block_shapes(self) -> tuple[int, ...]:
        return self.shape

    def with_element_ty(self, element_ty: Scalar) -> Tile:
        return Tile(self.shape, element_ty)

    def is_int(self) -> bool:
        return False

    def is_floating(self) -> bool:
        return False

    def __str__(self) -> str:
        return "x".join(map(str, self.shape)) + "x" + show_type(self.element)


@dataclass(frozen=True)
class Shared:
    """A buffer in shared memory: `stages` tiles of `shape`, each stored by `layout`."""

    shape: tuple[int, ...]
    element: DType
    layout: Layout | None = None
    stages: int = 1

    @property
    def scalar(self) -> DType:
        return self.element

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.element.itemsize * self.stages

    def __str__(self) -> str:
        return "shared<" + "x".join(map(str, self.shape)) + f"x{self.element.short}, {self.stages}>"


Type = DType | Pointer | Tile | Shared


def show_type(type: Type) -> str:
    """The name in IR text."""
    return type.short if isinstance(type, DType) else str(type)


def show_types(types: Iterable[Type | None], between: str = ", ") -> str:
    """Their names in IR text; None (an absent operand) is left out."""
    return between.join(show_type(t) for t in types if t is not None)


def parse_scalar(text: str) -> Scalar:
    """A scalar or pointer type from its name in IR text."""
    if not text.startswith("*"):
        return BY_SHORT[text]
    return Pointer(BY_SHORT[text[1:].removeprefix("const ")], const=text.startswith("*const "))


def element_of(type: Type) -> Scalar:
    """The scalar type of one element (of itself for a scalar)."""
    return type if isinstance(type, (DType, Pointer)) else type.element


def dtype_of(type: Type) -> DType:
    """The scalar dtype; a TypeError for pointers."""
    element = element_of(type)
    if isinstance(element, Pointer):
        raise TypeError(f"wanted numbers, got pointers {element}")
    return element


def shape_of(type: Type) -> tuple[int, ...]:
    """() for a scalar."""
    return () if isinstance(type, (DType, Pointer)) else type.shape


def with_element(type: Type, element: Scalar) -> Type:
    """The same shape (and layout) with other elements."""
    if isinstance(type, Tile):
        return Tile(type.shape, element, type.layout)
    if isinstance(type, Shared):
        raise TypeError("a shared buffer has no elementwise type")
    return element


def with_shape(type: Type, shape: tuple[int, ...]) -> Type:
    """The same elements in another shape, layout dropped; a scalar for ()."""
    element = element_of(type)
    return Tile(tuple(shape), element) if shape else element


def check_shape(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """`shape` as a tuple of ints, each a power of two, at most 2**20 elements; else a TypeError or ValueError."""
    for i, n in enumerate(shape):
        if not isinstance(n, int) or isinstance(n, bool):
            raise TypeError(f"a tile's sizes are compile-time integers, got {n!r}")
        if n < 1 or n & (n - 1):
            error = ValueError(f"Shape element {i} must be a power of 2")
            error.add_note(f"got {n} in {tuple(shape)}")
            raise error
    if prod(shape) > MAX_TILE_ELEMENTS:
        raise ValueError(f"a tile has at most {MAX_TILE_ELEMENTS} elements, got {prod(shape)} in {tuple(shape)}")
    return tuple(shape)
