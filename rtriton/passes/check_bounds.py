"""check_bounds: every load, store and atomic asks first whether its address lies in the argument it was made from.

The kernel gets further parameters, at the end: for each array argument that is accessed the bytes that its allocation
has before and from its first element on, and a report with one word per access. An access that is out of bounds does
not happen (a load gives zero) and leaves in its word the lowest (program, offset) for which that was so. Pointers that
were loaded or made of integers are not checked.

This pass is in no pipeline: RTRITON_CHECK=bounds puts it before all others, so that every backend checks the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rtriton.ir import Block, Builder, Kernel, Op, Span, Value, rebuild
from rtriton.language import infer
from rtriton.passes import register
from rtriton.passes.analysis.provenance import Sources, sources
from rtriton.types import Pointer, Scalar, Tile, Type, element_of, int1, int64, shape_of, uint64

ACCESSES = {"load": "load", "store": "store", "atomic_rmw": "atomic", "atomic_cas": "atomic"}
MASKS = {"load": 1, "store": 2, "atomic_rmw": 2}  # the operand that is the mask
OFFSET_BITS = 40  # of a report; the rest is the number of the program
FARTHEST, LAST_PROGRAM = 1 << OFFSET_BITS - 1, (1 << 64 - OFFSET_BITS) - 2
NOTHING = (1 << 64) - 1  # what the report holds where all is well
SPARE_WORDS = 1  # the report begins with: where an atomic_cas that is out of bounds goes


@dataclass(frozen=True)
class Access:
    """One access that is checked: its place, what it is, and which parameters its pointer may come from."""

    span: Span
    kind: str
    bytes: int
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Checked:
    """A kernel with checks: its accesses in the order of their words in the report, and the parameters whose extents
    it is passed (bytes before and from the first element on, of each; then the report) behind its own."""

    kernel: Kernel
    accesses: tuple[Access, ...]
    arguments: tuple[int, ...]


@register
def check_bounds(kernel: Kernel, target: Any) -> Kernel:
    """Check every access against the extent of its argument.

    before:  kernel @k(%x: *f32) ...
             %v: 128xf32 = load %p
    after:   kernel @k(%x: *f32, %x_before: i64, %x_bytes: i64, %report: *u64) ...
             %inside: 128xi1 = ...                                  -%x_before <= %p - %x <= %x_bytes - 4
             %_: 128xu64 = atomic_rmw %word, %where, %outside {how = "min"}
             %v: 128xf32 = load %p, %inside, %zero
    """
    return checked(kernel).kernel


def checked(kernel: Kernel) -> Checked:
    """The kernel with checks, and what its report means; the same kernel where there is nothing to check."""
    work = _Work(sources(kernel), kernel.params)
    now = rebuild(kernel, work.rule, infer)
    if not work.accesses:
        return Checked(kernel, (), ())
    extents = [v for pair in work.extents.values() for v in pair]
    prelude = Builder(infer)
    work.key(prelude)
    body = Block((*kernel.params, *extents, work.report), (*prelude.ops, *now.body.ops))
    return Checked(replace(now, body=body), tuple(work.accesses), tuple(work.extents))


@dataclass
class _Work:
    """The rule that puts checks in, and what it has met."""

    sources: Sources
    params: Sequence[Value]
    accesses: list[Access] = field(default_factory=list[Access])
    extents: dict[int, tuple[Value, Value]] = field(default_factory=dict[int, tuple[Value, Value]])
    report: Value = field(default_factory=lambda: Value(Pointer(uint64), "report"))
    program: Value = field(default_factory=lambda: Value(uint64, "program_key"))

    def rule(self, op: Op, operands: tuple[Value | None, ...], build: Builder) -> Sequence[Value] | None:
        if op.kind not in ACCESSES or (pointer := operands[0]) is None or pointer not in self.sources:
            return None
        mask_at = MASKS.get(op.kind, len(operands))
        mask = operands[mask_at] if len(operands) > mask_at else None
        inside = self.inside(op, pointer, mask, build)
        if op.kind == "atomic_cas":
            spare = self.spare(pointer.type, build)
            return build.op(op.kind, build.one("where", inside, pointer, spare), *operands[1:], **op.attrs)
        inside = inside if mask is None else build.one("and", inside, mask)
        if op.kind != "load":
            return build.op(op.kind, *operands[:2], inside, **op.attrs)
        other = operands[2] if len(operands) > 2 else None
        if other is None and not isinstance(element_of(op.result.type), Pointer):
            other = build.const(0, op.result.type)
        return build.op("load", pointer, inside, other, **op.attrs)

    def inside(self, op: Op, pointer: Value, mask: Value | None, build: Builder) -> Value:
        """Whether each address is inside of an argument that it may come from; where none is, that is reported."""
        element = element_of(pointer.type)
        assert isinstance(element, Pointer)
        size, arguments = element.element.itemsize, tuple(sorted(self.sources[pointer]))
        address = build.one("cast", pointer, to=int64)
        inside: Value | None = None
        offset = address
        for argument in arguments:
            before, bytes = self.extent(argument)
            first, lowest = build.one("cast", self.params[argument], to=int64), build.one("neg", before)
            highest = build.one("sub", bytes, build.const(size, int64))
            offset = build.one("sub", address, _full(first, pointer.type, build))
            fits = build.one("and", build.one("ge", offset, _full(lowest, pointer.type, build)),
                             build.one("le", offset, _full(highest, pointer.type, build)))
            inside = fits if inside is None else build.one("or", inside, fits)
        assert inside is not None
        outside = build.one("xor", inside, _constant(True, pointer.type, int1, build))
        if mask is not None:
            outside = build.one("and", outside, mask)
        word = build.one("addptr", self.report, build.const(SPARE_WORDS + len(self.accesses), int64))
        build.op("atomic_rmw", _full(word, pointer.type, build), self.where(offset, pointer.type, build), outside,
                 how="min", sem="relaxed")
        self.accesses.append(Access(op.span, ACCESSES[op.kind], size, arguments))
        return inside

    def where(self, offset: Value, like: Type, build: Builder) -> Value:
        """The program and the offset as one number: the lowest program first, then the lowest offset."""
        low, high = (_constant(n, like, int64, build) for n in (-FARTHEST, FARTHEST - 1))
        near = build.one("minimum", build.one("maximum", offset, low), high)
        shifted = build.one("bitcast", build.one("sub", near, low), to=uint64)
        return build.one("or", shifted, _full(self.program, like, build))

    def key(self, build: Builder) -> None:
        """Append what makes the number of the program among all, in the upper bits."""
        x, y, z = (build.one("cast", build.one("program_id", axis=axis), to=int64) for axis in range(3))
        across, down = (build.one("cast", build.one("num_programs", axis=axis), to=int64) for axis in range(2))
        number = build.one("add", x, build.one("mul", across, build.one("add", y, build.one("mul", down, z))))
        number = build.one("minimum", number, build.const(LAST_PROGRAM, int64))
        shifted = build.one("shl", number, build.const(OFFSET_BITS, int64))
        build.append(Op("bitcast", (shifted,), {"to": uint64}, (), (self.program,)))

    def extent(self, argument: int) -> tuple[Value, Value]:
        """The parameters that say how far an argument's allocation reaches to both sides of its first element."""
        name = self.params[argument].name
        return self.extents.setdefault(argument, (Value(int64, f"{name}_before"), Value(int64, f"{name}_bytes")))

    def spare(self, like: Type, build: Builder) -> Value:
        """A pointer to where nobody looks."""
        place = build.one("cast", self.report, to=int64)
        return _full(build.one("cast", place, to=element_of(like)), like, build)


def _full(scalar: Value, like: Type, build: Builder) -> Value:
    """A scalar as a tile of the shape that `like` has; itself for a scalar."""
    return build.one("splat", scalar, shape=shape_of(like)) if isinstance(like, Tile) else scalar


def _constant(value: int | bool, like: Type, element: Scalar, build: Builder) -> Value:
    return build.const(value, Tile(shape_of(like), element) if isinstance(like, Tile) else element)
