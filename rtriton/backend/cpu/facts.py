"""What is known of tile values before any code exists: how they change along the lanes, and what recomputing them
costs.

`Facts.chunk(value, axis, lanes)` looks at `lanes` neighbouring elements along `axis`, starting at a multiple of
`lanes`:

    stride    0: all equal.  1: rising by one (pointers: by one element) ...  None: anything
    divisor   a number that divides the first of them, whichever chunk it is
    positive  none is negative

So `offs = pid * 128 + arange(0, 128)` has stride 1 and divisor 16 for 16 lanes, `offs // 16` then stride 0, `offs % 16`
stride 1: a pointer made from them is still a scalar plus neighbouring offsets, a plain vector load.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import gcd, prod
from typing import Any

from rtriton.ir import Block, Kernel, Op, Value, walk
from rtriton.types import Pointer, dtype_of, element_of, shape_of

ANYTHING = 1 << 62  # what divides zero
PATTERNLESS = ("dot", "gather", "cat", "join", "split", "histogram", "scan", "order")
HINTS = ("multiple_of", "max_contiguous", "max_constancy")


@dataclass(frozen=True, slots=True)
class Chunk:
    stride: int | None
    divisor: int = 1
    positive: bool = False


UNKNOWN = Chunk(None)


class Facts:
    """Facts of one kernel; nothing here depends on the order in which code is emitted."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.definition: dict[Value, Op] = {}
        self.parameter: dict[Value, tuple[Op, int, int]] = {}  # region parameter -> (op, region, position)
        self.same: dict[Value, Value] = {}  # clamped and wrapped indices that are now taken to be what they clamp
        self._caches: dict[frozenset[Value], dict[tuple[Value, int, int], Chunk]] = {}
        self.known = self._caches.setdefault(frozenset(), {})
        for op in walk(kernel.body):
            for result in op.results:
                self.definition[result] = op
            for r, region in enumerate(op.regions):
                for k, param in enumerate(region.params):
                    self.parameter[param] = (op, r, k)

    def chunk(self, value: Value, axis: int, lanes: int) -> Chunk:
        """What is known of a chunk along `axis` (-1: of single elements)."""
        value = self.same.get(value, value)
        key = (value, axis, lanes)
        if key not in self.known:
            self.known[key] = UNKNOWN  # a value that depends on itself through a loop
            self.known[key] = self._chunk(value, axis, lanes)
        return self.known[key]

    @contextmanager
    def taking(self, same: dict[Value, Value]) -> Generator[None]:
        """Facts as they are where each key equals its value."""
        before, known = self.same, self.known
        self.same = same
        self.known = self._caches.setdefault(frozenset(same), {})
        yield
        self.same, self.known = before, known

    @cached_property
    def clamps(self) -> dict[Value, Value]:
        """Tiles min(x, s) and x % s for one scalar s: equal to x wherever a tile does not reach the edge."""
        found: dict[Value, Value] = {}
        for value, op in self.definition.items():
            if op.kind in ("minimum", "rem") and shape_of(value.type) and element_of(value.type).kind in "iu":
                x, y = op.operands
                if x is not None and y is not None and self.scalar_of(y) is not None and self.constant(y) is None:
                    found[value] = x
        return found

    def uniform(self, value: Value, axis: int, lanes: int) -> bool:
        return not lanes or self.chunk(value, axis, lanes).stride == 0

    def scalar_of(self, value: Value) -> Value | None:
        """The scalar that a tile holds everywhere, if it was made so."""
        while (op := self.definition.get(value)) is not None and shape_of(value.type):
            if op.kind not in ("splat", "broadcast", "expand_dims", "reshape", "trans"):
                return None
            assert op.operands[0] is not None
            value = op.operands[0]
        return value if not shape_of(value.type) else None

    def constant(self, value: Value) -> int | float | None:
        """The number a value is everywhere, if it is known."""
        op = self.definition.get(value)
        if op is not None and op.kind == "const":
            return op.attrs["value"]
        scalar = self.scalar_of(value)
        return None if scalar is None or scalar is value else self.constant(scalar)

    def _chunk(self, value: Value, axis: int, lanes: int) -> Chunk:
        op = self.definition.get(value)
        if op is None:
            return self._of_parameter(value)
        rule = _RULES.get(op.kind)
        if rule is not None:
            return rule(self, op, axis, lanes)
        if op.kind in HINTS:
            return self._hint(op, axis, lanes)
        operands = [v for v in op.operands if v is not None]
        tile = bool(shape_of(value.type))
        if op.regions or not operands or op.kind in PATTERNLESS:
            return Chunk(None if tile else 0)
        same = all(self.chunk(v, axis, lanes).stride == 0 for v in operands)
        return Chunk(0 if same or not tile else None)

    def _of_parameter(self, value: Value) -> Chunk:
        stride = None if shape_of(value.type) else 0
        if value not in self.parameter:
            divisible: Mapping[Any, int] = self.kernel.attrs.get("divisible", {})
            divisor = divisible.get(self.kernel.params.index(value), 1) if value in self.kernel.params else 1
            return Chunk(stride, divisor)
        op, _, k = self.parameter[value]
        if op.kind == "for" and k == 0:  # the index
            low, step = (self.chunk(v, -1, 0) for v in (op.operands[0], op.operands[2]) if v is not None)
            return Chunk(0, gcd(low.divisor, step.divisor), low.positive and step.positive)
        return Chunk(stride)

    def _hint(self, op: Op, axis: int, lanes: int) -> Chunk:
        assert op.operands[0] is not None
        given = self.chunk(op.operands[0], axis, lanes)
        if op.kind != "multiple_of" or shape_of(op.result.type):
            return given
        values: Any = op.attrs["values"]
        number = int(values) if isinstance(values, int) else int(values[0])
        return Chunk(given.stride, _lcm(given.divisor, number), given.positive)

    # -- what recomputing costs --------------------------------------------------------------------------------------

    def mapped(self, op: Op, axis: int, lanes: int) -> int | None:
        """Where the lanes of a shape op's result come from: an axis of its operand, -1 for a single element."""
        assert op.operands[0] is not None
        source, shape = shape_of(op.operands[0].type), shape_of(op.results[0].type)
        if axis < 0:
            return -1
        if op.kind == "splat":
            return -1
        if op.kind == "expand_dims":
            at = op.attrs["axis"]
            return -1 if axis == at else axis - (axis > at)
        if op.kind == "broadcast":
            return -1 if source[axis] == 1 else axis
        if op.kind == "trans":
            return int(op.attrs["order"][axis])
        if op.kind == "reshape":
            inner = prod(shape[axis + 1 :])
            for k, n in enumerate(source):
                if prod(source[k + 1 :]) == inner and n % lanes == 0:
                    return k
        return None


def _lcm(a: int, b: int) -> int:
    return a // gcd(a, b) * b if b else a


def _operand_chunks(facts: Facts, op: Op, axis: int, lanes: int) -> list[Chunk]:
    return [facts.chunk(v, axis, lanes) for v in op.operands if v is not None]


def _const(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    value = op.attrs["value"]
    whole = isinstance(value, int) and not isinstance(value, bool)
    return Chunk(0, (abs(value) or ANYTHING) if whole else 1, bool(value >= 0))


def _arange(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    start = op.attrs["start"]
    if axis == 0:
        return Chunk(1, gcd(start, lanes), start >= 0)
    return Chunk(0, 1, start >= 0)


def _add(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    x, y = _operand_chunks(facts, op, axis, lanes)
    stride = None if x.stride is None or y.stride is None else x.stride + y.stride
    return Chunk(stride, gcd(x.divisor, y.divisor), x.positive and y.positive)


def _sub(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    x, y = _operand_chunks(facts, op, axis, lanes)
    stride = None if x.stride is None or y.stride is None else x.stride - y.stride
    return Chunk(stride, gcd(x.divisor, y.divisor))


def _mul(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    x, y = _operand_chunks(facts, op, axis, lanes)
    divisor = min(x.divisor * y.divisor, ANYTHING)
    positive = x.positive and y.positive
    if x.stride == 0 and y.stride == 0:
        return Chunk(0, divisor, positive)
    for a, other in ((x, op.operands[1]), (y, op.operands[0])):
        assert other is not None
        factor = facts.constant(other)
        if a.stride is not None and isinstance(factor, int):
            return Chunk(a.stride * factor, divisor, positive)
    return Chunk(None, divisor, positive)


def _shl(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    x, y = _operand_chunks(facts, op, axis, lanes)
    assert op.operands[1] is not None
    count = facts.constant(op.operands[1])
    if x.stride is None or not isinstance(count, int) or not 0 <= count < 32:
        return Chunk(0 if x.stride == 0 and y.stride == 0 else None)
    return Chunk(x.stride << count, min(x.divisor << count, ANYTHING), x.positive)


def _divided(facts: Facts, op: Op, axis: int, lanes: int, divisor: int | None, x: Chunk, rest: bool) -> Chunk:
    """x // divisor, or (rest) x % divisor, for chunks that cannot straddle a multiple of the divisor."""
    strides = [c.stride for c in _operand_chunks(facts, op, axis, lanes)]
    same = all(s == 0 for s in strides)
    if divisor is None or divisor <= 0 or not x.positive:
        return Chunk(0 if same else None)
    inside = x.stride is not None and 0 <= x.stride * max(lanes - 1, 0) < gcd(x.divisor, divisor)
    if rest:
        return Chunk(0 if same else x.stride if inside else None, gcd(x.divisor, divisor), True)
    return Chunk(0 if same or inside else None, x.divisor // divisor if x.divisor % divisor == 0 else 1, True)


def _div(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    return _by_constant(facts, op, axis, lanes, False)


def _rem(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    return _by_constant(facts, op, axis, lanes, True)


def _by_constant(facts: Facts, op: Op, axis: int, lanes: int, rest: bool) -> Chunk:
    x, y = op.operands
    assert x is not None and y is not None
    if element_of(x.type).kind == "f":
        return Chunk(0 if all(c.stride == 0 for c in _operand_chunks(facts, op, axis, lanes)) else None)
    number = facts.constant(y)
    divisor = number if isinstance(number, int) else None
    return _divided(facts, op, axis, lanes, divisor, facts.chunk(x, axis, lanes), rest)


def _shr(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    x, y = op.operands
    assert x is not None and y is not None
    count = facts.constant(y)
    divisor = 1 << count if isinstance(count, int) and 0 <= count < 62 else None
    return _divided(facts, op, axis, lanes, divisor, facts.chunk(x, axis, lanes), False)


def _and(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    x, y = op.operands
    assert x is not None and y is not None
    number = facts.constant(y)
    if isinstance(number, int) and number > 0 and (number & (number + 1)) == 0 and element_of(x.type).kind in "iu":
        given = facts.chunk(x, axis, lanes)
        return _divided(facts, op, axis, lanes, number + 1, Chunk(given.stride, given.divisor, True), True)
    return Chunk(0 if all(c.stride == 0 for c in _operand_chunks(facts, op, axis, lanes)) else None)


def _least(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    x, y = _operand_chunks(facts, op, axis, lanes)
    return Chunk(0 if x.stride == 0 and y.stride == 0 else None, gcd(x.divisor, y.divisor), x.positive and y.positive)


def _cast(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    assert op.operands[0] is not None
    x = facts.chunk(op.operands[0], axis, lanes)
    source, to = element_of(op.operands[0].type), element_of(op.result.type)
    if source.kind in "iu" and to.kind in "iu" and to.bits >= source.bits:
        return Chunk(x.stride, x.divisor, x.positive or source.kind == "u")
    return Chunk(0 if x.stride == 0 else None)


def _addptr(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    x, y = _operand_chunks(facts, op, axis, lanes)
    return Chunk(None if x.stride is None or y.stride is None else x.stride + y.stride)


def _shape_op(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    assert op.operands[0] is not None
    source = facts.mapped(op, axis, lanes)
    if source is None:
        return Chunk(0 if facts.scalar_of(op.operands[0]) is not None else None)
    return facts.chunk(op.operands[0], source, lanes if source >= 0 else 0)


def _place(facts: Facts, op: Op, axis: int, lanes: int) -> Chunk:
    return Chunk(0, 1, True)


_RULES = {
    "const": _const, "arange": _arange, "program_id": _place, "num_programs": _place, "add": _add, "sub": _sub,
    "mul": _mul, "shl": _shl, "div": _div, "rem": _rem, "shr": _shr, "and": _and, "minimum": _least,
    "maximum": _least, "cast": _cast, "addptr": _addptr, "splat": _shape_op, "expand_dims": _shape_op,
    "broadcast": _shape_op, "trans": _shape_op, "reshape": _shape_op,
}  # fmt: skip


def pointee_size(value: Value) -> int:
    """Bytes of what a pointer (or a tile of pointers) points at."""
    element = element_of(value.type)
    if not isinstance(element, Pointer):
        raise TypeError(f"wanted a pointer, got {value.type}")
    return element.element.itemsize


def yields(block: Block) -> tuple[Value, ...]:
    return block.yielded


__all__ = ["HINTS", "Chunk", "Facts", "dtype_of", "pointee_size", "yields"]
