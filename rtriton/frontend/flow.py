"""How statements end, and how two ways of going on become one: `if` on a run-time value, break, continue, return.

A run of statements falls through (None) or has left (`Left`): for certain, or perhaps, and then `code` says at run
time whether and how. What follows an `if` whose one branch has left is lowered inside the other branch; what follows
statements that have perhaps left is guarded by `code == 0`. So control flow is structured from the start, and no
statement is lowered twice.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rtriton import ir
from rtriton.errors import CompilationError
from rtriton.frontend import explain
from rtriton.frontend.scope import ABSENT, Binding, flatten, is_number, names_read, rebind, same, same_form
from rtriton.ir import Span, Value
from rtriton.language import semantic as s
from rtriton.types import DType, Pointer, Type, element_of, int64, shape_of, show_type, with_element

if TYPE_CHECKING:
    from rtriton.frontend.lower import Lowering

CODES = {"continue": 1, "break": 2, "return": 3}
RETURN = frozenset(("return",))


@dataclass(frozen=True)
class Left:
    """Control has left these statements. `code` is one of CODES, known or a value of the kernel; 0 where it has not
    left, which is possible unless `certain`. `value` is what `return` gave (ABSENT if there was none)."""

    kinds: frozenset[str]
    code: int | Value
    certain: bool = True
    value: Binding = ABSENT
    place: Span | None = None


Outcome = Left | None


def leave(kind: str, value: Binding = ABSENT, place: Span | None = None) -> Left:
    return Left(frozenset((kind,)), CODES[kind], True, value, place)


def consumed(low: Lowering, left: Outcome, kind: str) -> Outcome:
    """The outcome of a loop whose body's (or turn's) outcome is `left`: `kind` ends there."""
    if left is None or left.kinds == frozenset((kind,)):
        return None
    if kind not in left.kinds:
        return left
    here = s.compare(low, "eq", left.code, CODES[kind])
    code = low.build.one("where", here, s.to_value(low, 0), s.to_value(low, left.code))
    return Left(left.kinds - {kind}, code, False, left.value)


# -- statements one after the other ----------------------------------------------------------------------------------

Runner = Callable[[], Outcome]


@dataclass
class Branch:
    """One of two ways to go on: its ops, the names after it, and how it ended."""

    ops: ir.Builder
    names: dict[str, Binding]
    left: Outcome

    @property
    def gone(self) -> bool:
        return self.left is not None and self.left.certain


def branch(low: Lowering, body: Runner) -> Branch:
    before = dict(low.frame.names)
    with low.inside() as build:
        left = body()
        made = Branch(build, dict(low.frame.names), left)
    low.frame.names = before
    return made


def proceed(low: Lowering, left: Outcome, rest: Runner, node: Any) -> Outcome:
    """`rest` after statements that ended with `left`."""
    if left is None:
        return rest()
    return left if left.certain else guarded(low, left, rest, node)


def guarded(low: Lowering, left: Left, rest: Runner, node: Any) -> Outcome:
    """`rest` where control has not left."""
    with low.at(node):
        still = s.compare(low, "eq", left.code, 0)
    code = CODES[min(left.kinds)] if len(left.kinds) == 1 else left.code
    gone = Branch(branch(low, lambda: None).ops, dict(low.frame.names), replace(left, code=code, certain=True))
    with low.at(node):
        return join(low, still, [branch(low, rest), gone], node)


def choice(low: Lowering, node: Any, condition: Value, then: Runner, otherwise: Runner,
           rest: Runner | None) -> tuple[Outcome, bool]:
    """An `if` on a run-time value. `rest`, the statements after it, goes into the branch that has not left if the
    other has; the second result says whether it did."""
    sides = [branch(low, then), branch(low, otherwise)]
    moved = rest is not None and sides[0].gone != sides[1].gone
    if rest is not None and moved:
        alive = sides[1] if sides[0].gone else sides[0]
        before, low.frame.names = low.frame.names, alive.names
        with low.inside(alive.ops):
            alive.left = proceed(low, alive.left, rest, node)
            alive.names = low.frame.names
        low.frame.names = before
    with low.at(node):
        return join(low, condition, sides, node), moved


# -- joining two branches --------------------------------------------------------------------------------------------

def join(low: Lowering, condition: Value, sides: list[Branch], node: Any) -> Outcome:
    """Close both branches with what they yield: the names that differ, and how and with which value they left."""
    names = _names_to_join(low, sides, node)
    bindings: list[tuple[Binding, ...]] = [tuple(side.names.get(n, ABSENT) for n in names) for side in sides]
    left = _join_outcomes(low, sides)
    labels = list(names)
    if left is not None:
        labels += ["the way out", "the returned value"]
        bindings = [(*b, side.left.code if side.left else 0, side.left.value if side.left else ABSENT)
                    for b, side in zip(bindings, sides, strict=True)]
    try:
        joined = merge(low, condition, sides, bindings, labels)
    except TypeError as error:
        raise _at_the_return(error, sides) from error
    low.frame.names.update(zip(names, joined, strict=False))
    return None if left is None else replace(left, code=joined[-2], value=joined[-1])


def _at_the_return(error: TypeError, sides: list[Branch]) -> Exception:
    """An error about what is returned, at the return that came second."""
    places = [side.left.place for side in sides if side.left is not None and side.left.place is not None]
    if len(places) < 2 or not str(error).startswith(DIFFER["the returned value"]):
        return error
    second = max(places, key=lambda p: (p.line, p.column))
    return CompilationError(str(error), second, getattr(error, "__notes__", ()))


def _join_outcomes(low: Lowering, sides: list[Branch]) -> Outcome:
    lefts = [side.left for side in sides if side.left is not None]
    if not lefts:
        return None
    values = [left.value for left in lefts if "return" in left.kinds]
    if len(values) == 2 and (values[0] is None) != (values[1] is None):
        raise TypeError("the function returns a value on one path and nothing on another")
    places = [left.place for left in lefts if left.place is not None]
    return Left(frozenset[str]().union(*(left.kinds for left in lefts)), 0, all(side.gone for side in sides),
                place=places[-1] if places else None)


def _names_to_join(low: Lowering, sides: list[Branch], node: Any) -> list[str]:
    """The names whose value after the branches is not the one before. One that a single branch sets is undefined
    after both, unless the other branch has left."""
    x, y = (side.names for side in sides)
    if all(side.gone and side.left is not None and side.left.kinds == RETURN for side in sides):
        return []
    frame = low.frame
    for name in set(x) ^ set(y):
        frame.partial[name] = ("in one branch of the if", low.span(node))
    one_sided = [n for side, other in ((sides[0], sides[1]), (sides[1], sides[0])) if other.gone and not side.gone
                 for n in side.names if n not in other.names and n in frame.later]
    both = [n for n in x if n in y]
    frame.names.update({n: x[n] for n in both if same(x[n], y[n])})
    return [n for n in both if not same(x[n], y[n])] + one_sided


def merge(low: Lowering, condition: Value, sides: list[Branch], bindings: Sequence[tuple[Binding, ...]],
          names: Sequence[str]) -> tuple[Binding, ...]:
    """The `if` op: the bindings of the first branch, with a result of the op where the branches differ."""
    first, second = ([*b] for b in bindings)
    for i in range(len(names)):
        for here, there, side, other in ((first, second, *sides), (second, first, *reversed(sides))):
            misfit = (side.gone and not other.gone and there[i] is not ABSENT and not _fits(here[i], there[i])
                      and not _goes_round(low, side, names[i]))
            if here[i] is ABSENT or misfit:
                here[i] = _stand_in(low, side, there[i])
    leaves = [_leaves(side, names) for side in (first, second)]
    for name, x, y in zip(names, first, second, strict=True):
        if not same_form(x, y):
            raise TypeError(f"{name} is {s.describe(x)} in one branch of an if and {s.describe(y)} in the other")
    dynamic = [i for i, ((x, _), (y, _)) in enumerate(zip(*leaves, strict=True)) if not same(x, y)]
    labels = [name for _, name in leaves[0]]
    values = [[x for x, _ in part] for part in leaves]
    before = [list(made) for made in values]
    for side, made, other in zip(sides, values, reversed(before), strict=True):
        with low.inside(side.ops):
            for i in dynamic:
                made[i] = _value(low, made[i], other[i], labels[i])
    for i in dynamic:
        _unify(low, sides, values, i, labels[i])
    regions: list[ir.Block] = []
    for side, made in zip(sides, values, strict=True):
        side.ops.op("yield", *(made[i] for i in dynamic))
        regions.append(ir.Block((), tuple(side.ops.ops)))
    results = low.build.op("if", condition, regions=regions, names=[_label(labels[i]) for i in dynamic])
    for i, value in zip(dynamic, results, strict=True):
        values[0][i] = value
    rest: Iterator[Any] = iter(values[0])
    return tuple(rebind(binding, rest) for binding in first)


def _goes_round(low: Lowering, side: Branch, name: str) -> bool:
    """Does a loop carry the name out of a branch that breaks or continues?"""
    return name in low.frame.carried and side.left is not None and side.left.kinds != RETURN


def _leaves(bindings: Sequence[Binding], names: Sequence[str]) -> list[tuple[Any, str]]:
    return [(x, name) for name, binding in zip(names, bindings, strict=True) for x in flatten(binding)]


def _label(name: str) -> str:
    return "" if " " in name else name


def _fits(x: Binding, y: Binding) -> bool:
    """Have both the same form and types?"""
    a, b = list(flatten(x)), list(flatten(y))
    return same_form(x, y) and len(a) == len(b) and all(_joinable(v, w) for v, w in zip(a, b, strict=True))


def _joinable(x: Any, y: Any) -> bool:
    if isinstance(x, Value) and isinstance(y, Value):
        return x.type == y.type
    return same(x, y) or all(isinstance(v, Value) or is_number(v) for v in (x, y))


def _stand_in(low: Lowering, side: Branch, binding: Binding) -> Binding:
    """What a branch that has left hands out for a name that only the other branch sets: nobody reads it."""
    with low.inside(side.ops):
        made = [zero(low, x.type) if isinstance(x, Value) else x for x in flatten(binding)]
    return rebind(binding, iter(made))


def zero(low: Lowering, type: Type) -> Value:
    """A value of `type` that nobody reads."""
    element = element_of(type)
    if not isinstance(element, Pointer):
        return low.build.const(0.0 if element.is_floating() else 0, type)
    return low.build.one("cast", low.build.const(0, with_element(type, int64) if shape_of(type) else int64), to=element)


def _value(low: Lowering, x: Any, y: Any, label: str) -> Value:
    if isinstance(x, Value) or is_number(x):
        return s.to_value(low, x)
    raise TypeError(f"{label} is {s.describe(x)} in one branch of an if on a run-time value and {s.describe(y)} in the "
                    "other")


# Triton's words for two types that meet at the end of an if, by what has them
DIFFER = {
    "the value": "Ternary expression with dynamic condition has inconsistent type",
    "the returned value": "Inconsistent return types",
}


def _unify(low: Lowering, sides: list[Branch], leaves: list[list[Any]], i: int, label: str) -> None:
    """Two numbers of different types in the branches: a constant takes the other side's type, else an error."""
    x, y = leaves[0][i], leaves[1][i]
    if x.type == y.type:
        return
    for k, (here, there) in enumerate(((x, y), (y, x))):
        if low.is_constant(here) and isinstance(there.type, DType):
            with low.inside(sides[k].ops):
                leaves[k][i] = s.cast(low, here, there.type)
            return
    both = f"{show_type(x.type)} in one branch and {show_type(y.type)} in the other"
    error = TypeError(f"{DIFFER.get(label, f'Mismatched type for {label}')}: {both}")
    for value in (x, y):
        error.add_note(f"{label}: {explain.line_of(low, value)}")
    raise error


def choose(low: Lowering, condition: Value, then: Callable[[], Binding], otherwise: Callable[[], Binding]) -> Binding:
    """then() if condition else otherwise(), each lowered in a region of its own."""
    given: list[Binding] = []

    def run(body: Callable[[], Binding]) -> Outcome:
        given.append(body())
        return None

    sides = [branch(low, lambda: run(then)), branch(low, lambda: run(otherwise))]
    return merge(low, condition, sides, [(given[0],), (given[1],)], ["the value"])[0]


def reads_of(statements: Sequence[Any]) -> frozenset[str]:
    return frozenset[str]().union(*map(names_read, statements))
