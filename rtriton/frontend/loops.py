"""Loops: `for` over a range, a tuple or static_range, and `while`; what they carry from turn to turn.

A loop carries the variables that its body changes. A `for` that may end early (break, return) becomes a `while` op
that carries how it ended; `continue` alone guards the rest of the body.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rtriton import ir
from rtriton.errors import CompilationError, UnsupportedLanguageConstruct
from rtriton.frontend import calls, explain, flow
from rtriton.frontend.expressions import evaluate
from rtriton.frontend.flow import Left, Outcome, consumed, guarded, reads_of
from rtriton.frontend.scope import ABSENT, Binding, changed_names, flatten, is_number, rebind, same_form, target_names
from rtriton.guards import is_tuple
from rtriton.ir import Value
from rtriton.language.table import OPS, Effects
from rtriton.language import semantic as s
from rtriton.language.values import PUBLIC, Condition, range_, unwrap
from rtriton.types import DType, Type, dtype_of, show_type

if TYPE_CHECKING:
    from rtriton.frontend.lower import Lowering

Body = Callable[[], Outcome]


def for_loop(low: Lowering, node: Any, run: Callable[[Sequence[Any]], Outcome]) -> Outcome:
    target, source, suite, otherwise = node.children
    _refuse_else(low, otherwise, "for")
    domain = evaluate(low, source)
    if is_tuple(domain):
        return _unrolled(low, node, domain, run)
    if isinstance(domain, range):
        return _unrolled(low, node, domain, run)
    if not isinstance(domain, range_):
        raise TypeError(f"a for loop runs over range, tl.range, tl.static_range or a tuple, got {s.describe(domain)}")
    if domain.static:
        given = (domain.start, domain.stop, domain.step)
        turns = range(*(s.constant_int(unwrap(x), "a bound of static_range") for x in given))
        return _unrolled(low, node, turns, run)
    return _dynamic_for(low, target, domain, node, lambda: run(suite.children))


def _refuse_else(low: Lowering, otherwise: Any, kind: str) -> None:
    if otherwise is not None:
        raise UnsupportedLanguageConstruct(
            f"the kernel language has no else for {kind} loops: set a variable before `break` and test it after the "
            "loop", low.span(otherwise))


def _unrolled(low: Lowering, node: Any, items: Sequence[Any], run: Callable[[Sequence[Any]], Outcome]) -> Outcome:
    """One copy of the body per item; those after a turn that perhaps broke off are guarded."""
    target, _, suite, _ = node.children
    later, left = low.frame.later, None
    low.frame.later = later | reads_of(suite.children)
    for item in items:
        low.step()

        def turn(item: Any = item) -> Outcome:
            low.assign(target, item, sanitize=False)
            return consumed(low, run(suite.children), "continue")

        left = turn() if left is None else guarded(low, left, turn, node)
        if left is not None and left.certain:
            break
    low.frame.later = later
    return consumed(low, left, "break")


# -- what a loop carries ---------------------------------------------------------------------------------------------

def _of_values(binding: Binding) -> bool:
    """Can a loop carry it: values and numbers only?"""
    return all(isinstance(x, Value) or is_number(x) for x in flatten(binding))


class Carried:
    """The variables that a loop changes, flattened into values."""

    def __init__(self, low: Lowering, names: set[str]) -> None:
        frame = low.frame.names
        self.names = [n for n in frame if n in names and _of_values(frame[n])]
        self.fixed = {n: frame[n] for n in frame if n in names and not _of_values(frame[n])}
        self.forms = [frame[n] for n in self.names]
        self.labels = [n for n, form in zip(self.names, self.forms, strict=True) for _ in flatten(form)]
        self.init = [s.to_value(low, x) for form in self.forms for x in flatten(form)]
        self.types: list[Type] = [v.type for v in self.init]

    def params(self) -> list[Value]:
        return [Value(t, n) for t, n in zip(self.types, self.labels, strict=True)]

    def bind(self, low: Lowering, values: Sequence[Value]) -> None:
        leaves = iter(values)
        for name, form in zip(self.names, self.forms, strict=True):
            low.frame.names[name] = rebind(form, leaves)

    def collect(self, low: Lowering) -> list[Value]:
        """The values after a turn; an error names a variable whose type changed."""
        for name, before in self.fixed.items():
            if low.frame.names[name] is not before and _of_values(low.frame.names[name]):
                raise TypeError(f"loop-carried variable {name} is {s.describe(before)} before the loop and becomes "
                                f"{s.describe(low.frame.names[name])} in it: give it a number or a tile first")
        made: list[Value] = []
        for name, form in zip(self.names, self.forms, strict=True):
            leaves, wanted = list(flatten(low.frame.names[name])), list(flatten(form))
            if len(leaves) == len(wanted) and not same_form(low.frame.names[name], form):
                raise TypeError(f"loop-carried variable {name} is {s.describe(form)} "
                                f"but becomes {s.describe(low.frame.names[name])}")
            if len(leaves) != len(wanted):
                raise TypeError(f"loop-carried variable {name} is a tuple of {len(wanted)} "
                                f"but becomes one of {len(leaves)}")
            made += [self._value(low, x, name, self.types[len(made) + i]) for i, x in enumerate(leaves)]
        return made

    def _value(self, low: Lowering, x: Any, name: str, wanted: Type) -> Value:
        if is_number(x) and isinstance(wanted, DType):
            return s.to_value(low, x, wanted)
        if not isinstance(x, Value) and not is_number(x):
            raise TypeError(f"loop-carried variable {name} has initial type {show_type(wanted)} but becomes "
                            f"{s.describe(x)} in the loop")
        value = s.to_value(low, x)
        if value.type != wanted:
            if low.is_constant(value) and isinstance(wanted, DType) and isinstance(value.type, DType):
                return s.cast(low, value, wanted)
            error = TypeError(f"loop-carried variable {name} has initial type {show_type(wanted)} but is re-assigned "
                              f"to {show_type(value.type)} in the loop: give it one type, for example by .to(...)")
            error.add_note(f"before: {explain.line_of(low, self.init[self.labels.index(name)])}")
            error.add_note(f"in the loop: {explain.line_of(low, value)}")
            raise error
        return value


class Exit:
    """How a loop's body left, carried to the loop's test: the code, then what a return gave."""

    def __init__(self, left: Left) -> None:
        self.left = left
        self.known = [] if left.value is ABSENT else list(flatten(left.value))
        self.values = [x for x in self.known if isinstance(x, Value)]

    def params(self) -> list[Value]:
        return [Value(dtype_of(s.natural_type(0)), "left"), *(Value(v.type, "returned") for v in self.values)]

    def init(self, low: Lowering) -> list[Value]:
        return [s.to_value(low, 0), *(flow.zero(low, v.type) for v in self.values)]

    def yielded(self, low: Lowering) -> list[Value]:
        return [s.to_value(low, self.left.code), *self.values]

    def after(self, results: Sequence[Value]) -> Left:
        code, *values = results
        given = iter(values)
        value = self.left.value
        if value is not ABSENT:
            value = rebind(value, iter([next(given) if isinstance(x, Value) else x for x in self.known]))
        return Left(self.left.kinds, code, False, value)


def _body(low: Lowering, carried: Carried, params: Sequence[Value], body: Body) -> tuple[ir.Builder, Outcome]:
    """A turn: its ops without the final yield (collected values are appended by the caller), and how it ended."""
    before, later, around = dict(low.frame.names), low.frame.later, low.frame.carried
    low.frame.carried = frozenset(carried.names)
    low.frame.later = later | low.frame.carried
    with low.inside() as build:
        carried.bind(low, params)
        left = consumed(low, body(), "continue")
        values = carried.collect(low)
        ends = Exit(left).yielded(low) if left is not None else []
    made = set(low.frame.names) - set(before)
    build.op("yield", *values, *ends)
    low.frame.names, low.frame.later, low.frame.carried = before, later, around
    for name in made:
        low.frame.partial[name] = ("inside the loop", low.build.span)
    return build, left


# -- for -------------------------------------------------------------------------------------------------------------

def _dynamic_for(low: Lowering, target: Any, domain: range_, node: Any, statements: Body) -> Outcome:
    start, stop, step = (unwrap(x) for x in (domain.start, domain.stop, domain.step))
    reverse = isinstance(step, int) and step < 0
    if isinstance(step, int) and step == 0:
        raise ValueError("a range's step must not be 0")
    bounds = [_bound(low, x) for x in (start, stop, -step if reverse else step)]
    kind = dtype_of(bounds[0].type)
    for other in bounds[1:]:
        kind = s.integer_promote(kind, dtype_of(other.type))
    first, last, stride = (s.cast(low, x, kind) for x in bounds)
    begin, down = first, stride
    if reverse:                                  # count turns upwards; the index runs down from start
        turns = calls.call(low, PUBLIC["cdiv"], [s.sub(low, first, last), stride], {})
        first, last, stride = s.to_value(low, 0, kind), s.cast(low, turns, kind), s.to_value(low, 1, kind)
    carried = Carried(low, changed_names(node.children[2], low.frame.names) | _kept_index(low, target, kind))
    index, params = Value(kind, _label(target)), carried.params()

    def turn() -> Outcome:
        seen = index if not reverse else s.sub(low, begin, s.binary(low, "mul", index, down))
        low.assign(target, seen)
        return statements()

    build, left = _body(low, carried, params, turn)
    if left is not None:
        _warn_of_early(low, domain, left)
        return _early(low, carried, left, index, params, build, (first, last, stride, step), domain.hints)
    attrs = {k: v for k, v in (("num_stages", domain.num_stages), ("unroll", domain.unroll)) if v}
    region = ir.Block((index, *params), tuple(build.ops))
    results = low.build.op("for", first, last, stride, *carried.init, regions=[region], names=carried.labels, **attrs,
                           **domain.hints)
    carried.bind(low, results)
    return None


def _warn_of_early(low: Lowering, domain: range_, left: Left) -> None:
    """Say which options a loop loses that may end early."""
    lost = [f"{name}={n}" for name, n in (("num_stages", domain.num_stages), ("loop_unroll_factor", domain.unroll))
            if n > 1]
    if lost:
        low.warn(f"this loop may end early (by {' or '.join(sorted(left.kinds))}), so it runs one turn after the other "
                 f"and {' and '.join(lost)} {'has' if len(lost) == 1 else 'have'} no effect")


def _early(low: Lowering, carried: Carried, left: Left, index: Value, params: list[Value], body: ir.Builder,
           bounds: tuple[Value, Value, Value, Any], hints: Mapping[str, bool]) -> Outcome:
    """The `while` of a `for` that may end early: it goes on while the index is in range and nothing has left."""
    first, last, stride, step = bounds
    exit = Exit(left)
    *ops, final = body.ops
    with low.inside() as rest:
        rest.ops += ops
        following = s.binary(low, "add", index, stride)
        rest.op("yield", following, *final.operands)
    seen = [Value(index.type, index.name), *carried.params(), *exit.params()]
    with low.inside() as test:
        in_range = s.compare(low, "lt", seen[0], last)
        if not isinstance(step, int):
            up = s.compare(low, "gt", stride, 0)
            in_range = test.one("where", up, in_range, s.compare(low, "gt", seen[0], last))
        code = seen[1 + len(params)]
        test.op("yield", test.one("and", s.compare(low, "eq", code, 0), in_range))
    regions = [ir.Block(tuple(seen), tuple(test.ops)),
               ir.Block((index, *params, *exit.params()), tuple(rest.ops))]
    kept = {name: on for name, on in hints.items() if name == "disable_licm"}      # what a `while` can have
    results = low.build.op("while", first, *carried.init, *exit.init(low), regions=regions,
                           names=[index.name, *carried.labels], **kept)
    carried.bind(low, results[1:1 + len(params)])
    return consumed(low, exit.after(results[1 + len(params):]), "break")


def _kept_index(low: Lowering, target: Any, kind: DType) -> set[str]:
    """The loop's variable, where it had a value of its type before: after the loop it is the last index."""
    names = target_names(target)
    before = [low.frame.names.get(n) for n in names]
    kept = len(names) == 1 and all(isinstance(x, Value) and x.type == kind for x in before)
    return names if kept else set()


def _label(target: Any) -> str:
    names = [str(c.children[0]) for c in target.children if c is not None and c.data == "name"]
    return names[0] if len(names) == 1 else ""


def _bound(low: Lowering, x: Any) -> Value:
    if isinstance(x, (Value, int)):
        value = s.to_value(low, x)
        if isinstance(value.type, DType) and value.type.kind in "biu":
            return value
    raise TypeError(f"a range's bounds are integer scalars, got {s.describe(x)}")


# -- while -----------------------------------------------------------------------------------------------------------

def while_loop(low: Lowering, node: Any, run: Callable[[Sequence[Any]], Outcome]) -> Outcome:
    test, suite, otherwise = node.children
    _refuse_else(low, otherwise, "while")
    carried = Carried(low, changed_names(suite, low.frame.names))
    before, params = dict(low.frame.names), carried.params()
    with low.inside() as asked:
        carried.bind(low, params)
        condition, hints = evaluate(low, test), {}
        if isinstance(condition, Condition):
            condition, hints = condition.value, condition.hints
        always = not isinstance(condition, Value)
        if always and not condition:
            low.frame.names = before
            return None
        with low.at(test):
            condition = low.scalar_condition(s.to_value(low, bool(condition) if always else condition))
    low.frame.names = before
    inner = carried.params()
    build, left = _body(low, carried, inner, lambda: run(suite.children))
    if always and left is None:
        raise CompilationError("this loop never ends: its condition is true and nothing in it breaks or returns",
                               low.span(test))
    if left is None:
        asked.op("yield", condition)
        regions = [ir.Block(tuple(params), tuple(asked.ops)), ir.Block(tuple(inner), tuple(build.ops))]
        results = low.build.op("while", *carried.init, regions=regions, names=carried.labels, **hints)
        carried.bind(low, results)
        return None
    exit = Exit(left)
    ends = exit.params()
    going = _unless_left(low, asked, condition, ends[0])
    regions = [ir.Block((*params, *ends), tuple(going.ops)),
               ir.Block((*inner, *exit.params()), tuple(build.ops))]
    results = low.build.op("while", *carried.init, *exit.init(low), regions=regions, names=carried.labels, **hints)
    carried.bind(low, results[:len(params)])
    return consumed(low, exit.after(results[len(params):]), "break")


def _unless_left(low: Lowering, asked: ir.Builder, condition: Value, code: Value) -> ir.Builder:
    """The test of a loop that may have left: false then, and a condition that sees or changes memory is not asked."""
    plain = all(not op.regions and not OPS[op.kind].effects & ~Effects.PROGRAM for op in asked.ops)
    with low.inside() as build:
        if plain:
            build.ops += asked.ops
        still = s.compare(low, "eq", code, 0)
        if plain:
            build.op("yield", build.one("and", still, condition))
            return build
        asked.op("yield", condition)
        with low.inside() as no:
            no.op("yield", s.to_value(low, False))
        regions = [ir.Block((), tuple(asked.ops)), ir.Block((), tuple(no.ops))]
        build.op("yield", *build.op("if", still, regions=regions))
    return build
