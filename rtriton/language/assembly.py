"""`tl.inline_asm_elementwise`: PTX of the user's, for `pack` elements at a time.

The primitive takes one register for each constraint. What is packed where is said here: elements of fewer than 32 bits
share 32-bit registers, the first in the lowest bits, and neighbours along the last axis go together.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from rtriton.assembly import WIDTHS, filled, parse_constraints
from rtriton.guards import is_list
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.reduce import interleaved, strided
from rtriton.language.values import Context, public, unwrap
from rtriton.types import (
    BY_SHORT, DType, Scalar, element_of, int1, shape_of, show_type, uint8, uint32,
)


@public()
def inline_asm_elementwise(b: Context, asm: Any, constraints: Any, args: Any, dtype: Any, is_pure: Any,
                           pack: Any) -> Any:
    """The assembly run on every `pack` elements of `args`, which are broadcast to one shape; tiles of `dtype`.

    `constraints` in LLVM's syntax, outputs first ("=r,r,r"); `dtype` one type or a tuple of them. Elements under 32
    bits share registers; which neighbours meet in one run is not defined for pack > 1. Without `is_pure` it is run
    wherever it stands, even if no result is read. ValueError where constraints, operands and results do not fit."""
    text, wanted, several = unwrap(asm), unwrap(dtype), is_list(unwrap(dtype))
    rules = parse_constraints(str(unwrap(constraints)))
    types = [s.need_dtype(t, "inline_asm_elementwise's dtype") for t in (wanted if several else (wanted,))]
    if not types:
        raise ValueError("inline_asm_elementwise gives at least one result: name its dtype")
    count = s.constant_int(pack, "inline_asm_elementwise's pack")
    if count < 1 or count & (count - 1):
        raise ValueError(f"inline_asm_elementwise: pack is a power of two, got {count}")
    values = [s.to_value(b, x) for x in unwrap(args)]
    shape = s.broadcast_shape(*(v.type for v in values)) if values else ()
    values = [s.broadcast_to(b, v, shape) for v in values]
    inputs = [word for v in values for word in _words(b, _columns(b, v, count), rules.inputs)]
    outputs = [_word_type(t, count, rules.outputs) for t in types for _ in range(_registers(t, count))]
    _check(rules.inputs, [v.type for v in inputs], "inputs")
    _check(rules.outputs, outputs, "outputs")
    filled(text, rules.outputs + rules.inputs)
    kind = "inline_asm" if unwrap(is_pure) else "inline_asm_volatile"
    made = b.build.op(kind, *inputs, asm=text, constraints=str(unwrap(constraints)), types=tuple(outputs))
    results = [_unpacked(b, t, made, k, types, count, shape) for k, t in enumerate(types)]
    return tuple(results) if several else results[0]


def _columns(b: Context, x: Value, pack: int) -> list[Value]:
    """The elements that go into one run, each as a tile over all runs."""
    shape = shape_of(x.type)
    if pack == 1 or not shape:
        return [x] * pack
    rows, left = divmod(prod(shape), pack)
    if left:
        raise ValueError(f"inline_asm_elementwise: {show_type(x.type)} has no {pack} neighbours")
    return strided(b, s.retile(b, x, (rows, pack)))


def _per_register(element: Scalar, pack: int) -> int:
    """How many elements share a register."""
    return min(pack, 32 // max(8, element.bits)) if element.bits < 32 else 1


def _registers(element: Scalar, pack: int) -> int:
    return pack // _per_register(element, pack)


def _words(b: Context, columns: Sequence[Value], letters: Sequence[str]) -> list[Value]:
    """The elements of a run as registers. A predicate stays one where the constraints have room for predicates."""
    element = element_of(columns[0].type)
    if _whole(element, len(columns), letters):
        return list(columns)
    each = _per_register(element, len(columns))
    return [_word(b, columns[k : k + each]) for k in range(0, len(columns), each)]


def _word(b: Context, parts: Sequence[Value]) -> Value:
    """Narrow elements in one 32-bit register, the first lowest."""
    total: Value | None = None
    for k, part in enumerate(parts):
        element = element_of(part.type)
        raw = s.cast(b, part, uint8) if element == int1 else b.build.one("bitcast", part, to=_bits(element.bits))
        wide = s.cast(b, raw, uint32)
        if k:
            wide = b.build.one("shl", wide, b.build.const(k * max(8, element.bits), wide.type))
        total = wide if total is None else b.build.one("or", total, wide)
    assert total is not None
    return total


def _bits(width: int) -> DType:
    return BY_SHORT[f"u{width}"]


def _word_type(element: DType, pack: int, letters: Sequence[str]) -> Scalar:
    """The type of a result register: the element's own where it fills it."""
    return element if _whole(element, pack, letters) else uint32


def _whole(element: Scalar, pack: int, letters: Sequence[str]) -> bool:
    """Whether an element has a register of its own type for itself: wide ones; others if the constraints say so."""
    return element.bits >= 32 or (pack == 1 and {1: "b", 16: "h"}.get(element.bits, "?") in letters)


def _check(letters: Sequence[str], types: Sequence[Any], what: str) -> None:
    """Whether registers and constraints agree, one by one."""
    widths = [element_of(t).bits for t in types]
    if [WIDTHS[letter] for letter in letters] != widths:
        raise ValueError(f"inline_asm_elementwise: the constraints name {len(letters)} {what} "
                         f"({', '.join(letters) or 'none'}), the operands fill registers of "
                         f"{', '.join(map(str, widths)) or 'no'} bits")


def _unpacked(b: Context, element: DType, made: Sequence[Value], k: int, types: Sequence[DType], pack: int,
              shape: tuple[int, ...]) -> Value:
    """Result k from the registers that hold it."""
    first = sum(_registers(t, pack) for t in types[:k])
    words = made[first : first + _registers(element, pack)]
    each = _per_register(element, pack)
    columns = [_element(b, w, j, element) for w in words for j in range(each)]
    if pack == 1 or not shape:
        return columns[0]
    return s.retile(b, interleaved(b, columns), shape)


def _element(b: Context, word: Value, position: int, element: DType) -> Value:
    if element_of(word.type) == element:
        return word
    width = max(8, element.bits)
    if position:
        word = b.build.one("shr", word, b.build.const(position * width, word.type))
    raw = s.cast(b, word, _bits(width))
    if element == int1:
        return s.truth(b, b.build.one("and", raw, b.build.const(1, raw.type)))
    return b.build.one("bitcast", raw, to=element)

