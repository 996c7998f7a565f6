"""Which arguments a pointer can come from: through arithmetic, shapes, choices, loops and branches.

    sources(kernel)[pointer]  ->  frozenset({0, 2})    the first and the third parameter; no entry: not known

Pointers that were loaded, or made of integers, come from nowhere that is known.
"""

from __future__ import annotations

from collections.abc import Iterator

from rtriton.ir import Block, Kernel, Op, Value
from rtriton.types import Pointer, element_of

Sources = dict[Value, frozenset[int]]
PASSED_ON = frozenset((
    "addptr", "splat", "expand_dims", "broadcast", "reshape", "trans", "where", "join", "split", "cat", "gather",
    "exchange", "order", "bitcast", "multiple_of", "max_contiguous", "max_constancy"))
UNKNOWN = frozenset({-1})


def sources(kernel: Kernel) -> Sources:
    """The parameters, by number, that each pointer may come from."""
    found: Sources = {v: frozenset({i}) for i, v in enumerate(kernel.params) if isinstance(v.type, Pointer)}
    while _block(kernel.body, found):
        pass
    return {value: names for value, names in found.items() if not names & UNKNOWN}


def _block(block: Block, found: Sources) -> bool:
    """Spread what is known; whether that told anything new."""
    return sum(_op(op, found) for op in block.ops) > 0  # of all, none left out after the first


def _op(op: Op, found: Sources) -> bool:
    changed = sum(_block(region, found) for region in op.regions) > 0
    for to, given in _flows(op):
        if isinstance(element_of(to.type), Pointer):
            now = found.get(to, frozenset()).union(*(found.get(v, frozenset()) for v in given)) if given else UNKNOWN
            changed |= now != found.get(to, frozenset())
            found[to] = now
    return changed


def _flows(op: Op) -> Iterator[tuple[Value, list[Value]]]:
    """Values that others become: (the new one, those it may be)."""
    operands = [v for v in op.operands if v is not None]
    match op.kind:
        case "for":
            (body,) = op.regions
            for to in (body.params[1:], op.results):
                yield from _each(to, operands[3:], body.yielded)
        case "while":
            test, body = op.regions
            for to in (test.params, body.params, op.results):
                yield from _each(to, operands, body.yielded)
        case "if":
            yield from _each(op.results, op.regions[0].yielded, op.regions[1].yielded)
        case _:
            passed = [v for v in operands if isinstance(element_of(v.type), Pointer)] if op.kind in PASSED_ON else []
            for result in op.results:
                yield result, passed


def _each(to: tuple[Value, ...], *given: tuple[Value, ...] | list[Value]) -> Iterator[tuple[Value, list[Value]]]:
    for value, *rest in zip(to, *given, strict=True):
        yield value, list(rest)
