"""Statements: assignments, and control flow turned into structured regions.

An `if` on a value becomes an `if` op that yields the variables its branches change; loops carry the variables they
change. An early `return` becomes structure: what follows an `if` that returns is lowered inside its branches.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtriton import ir
from rtriton.errors import CompilationError, UnsupportedLanguageConstruct
from rtriton.frontend import calls
from rtriton.frontend.expressions import AUGMENTED, binary, evaluate
from rtriton.frontend.scope import Binding, assigned_names, contains, flatten, is_number, rebind, same, same_form
from rtriton.guards import is_tuple
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.values import PUBLIC, range_, unwrap
from rtriton.source import is_constexpr_annotation
from rtriton.types import DType, Type, dtype_of, show_type

if TYPE_CHECKING:
    from rtriton.frontend.lower import Lowering


@dataclass(frozen=True)
class Returned:
    """A function has returned `value`."""

    value: Binding


def run(low: Lowering, statements: Sequence[Any]) -> Returned | None:
    """Lower statements one after the other; what they return, if they do."""
    for i, node in enumerate(statements):
        if node.data == "if_stmt":
            result = _if(low, node, statements[i + 1:])
            if result is not None:
                return result
            if contains(node, ("return_stmt",)):
                return None           # the rest was lowered inside the branches
            continue
        with low.at(node):
            result = STATEMENTS[str(node.data)](low, node)
        if result is not None:
            return result
    return None


def _branches(node: Any) -> list[tuple[Any, Sequence[Any]]]:
    """(condition, statements) of if, elif ...; the condition of else is None."""
    condition, suite, *rest = node.children
    found: list[tuple[Any, Sequence[Any]]] = [(condition, suite.children)]
    for part in rest:
        if part is not None and part.data == "elif_":
            found.append((part.children[0], part.children[1].children))
        elif part is not None:
            found.append((None, part.children[0].children))
    return found


def _if(low: Lowering, node: Any, rest: Sequence[Any]) -> Returned | None:
    return _if_chain(low, node, _branches(node), rest if contains(node, ("return_stmt",)) else ())


def _if_chain(low: Lowering, node: Any, branches: list[tuple[Any, Sequence[Any]]],
              rest: Sequence[Any]) -> Returned | None:
    if not branches:
        return run(low, rest)
    (test, body), others = branches[0], branches[1:]
    if test is None:
        return run(low, [*body, *rest])
    condition = evaluate(low, test)
    if not isinstance(condition, Value):
        return run(low, [*body, *rest]) if condition else _if_chain(low, node, others, rest)
    with low.at(test):
        condition = low.scalar_condition(condition)
    return _dynamic_if(low, node, condition,
                       lambda: run(low, [*body, *rest]), lambda: _if_chain(low, node, others, rest))


@dataclass
class _Branch:
    ops: ir.Builder
    names: dict[str, Binding]
    returned: Returned | None


def _branch(low: Lowering, body: Callable[[], Returned | None]) -> _Branch:
    before = dict(low.frame.names)
    with low.inside() as build:
        returned = body()
        made = _Branch(build, dict(low.frame.names), returned)
    low.frame.names = before
    return made


def _dynamic_if(low: Lowering, node: Any, condition: Value, then: Callable[[], Returned | None],
                otherwise: Callable[[], Returned | None]) -> Returned | None:
    before = dict(low.frame.names)
    sides = [_branch(low, then), _branch(low, otherwise)]
    with low.at(node):
        if sides[0].returned is not None or sides[1].returned is not None:
            return _join_returns(low, condition, sides)
        names = [n for n in sides[0].names if n in sides[1].names
                 and not all(same(side.names[n], before.get(n, _Branch)) for side in sides)]
        names = [n for n in names if not same(sides[0].names[n], sides[1].names[n])]
        joined = _join(low, condition, sides, [tuple(side.names[n] for n in names) for side in sides], names)
    for name, binding in zip(names, joined, strict=True):
        low.frame.names[name] = binding
    for name in sides[0].names:
        if name in sides[1].names and name not in names:
            low.frame.names[name] = sides[0].names[name]
    return None


def choose(low: Lowering, condition: Value, then: Callable[[], Binding], otherwise: Callable[[], Binding]) -> Returned:
    """then() if condition else otherwise(), each lowered in a region of its own."""
    sides = [_branch(low, lambda: Returned(then())), _branch(low, lambda: Returned(otherwise()))]
    return _join_returns(low, condition, sides)


def _join_returns(low: Lowering, condition: Value, sides: list[_Branch]) -> Returned:
    values = tuple(side.returned.value if side.returned is not None else None for side in sides)
    if all(v is None for v in values):
        _join(low, condition, sides, [(), ()], [])
        return Returned(None)
    if any(v is None for v in values):
        raise TypeError("the function returns a value on one path and nothing on another")
    return Returned(_join(low, condition, sides, [(values[0],), (values[1],)], ["the returned value"])[0])


def _join(low: Lowering, condition: Value, sides: list[_Branch], bindings: list[tuple[Binding, ...]],
          names: Sequence[str]) -> tuple[Binding, ...]:
    """Close both regions with what they yield; the bindings of the results."""
    for name, x, y in zip(names, *bindings, strict=True):
        if not same_form(x, y):
            raise TypeError(f"{name} is {s.describe(x)} in one branch of an if and {s.describe(y)} in the other")
    leaves = [list(flatten(b)) for b in bindings]
    if len(leaves[0]) != len(leaves[1]):
        raise TypeError(f"{', '.join(names)}: a tuple has another length in each branch of an if")
    dynamic = [i for i, (x, y) in enumerate(zip(*leaves, strict=True)) if not same(x, y)]
    labels = [n for n, b in zip(names, bindings[0], strict=True) for _ in flatten(b)]
    for side, values in zip(sides, leaves, strict=True):
        with low.inside(side.ops):
            for i in dynamic:
                values[i] = _value_for_join(low, values[i], labels[i])
    for i in dynamic:
        _unify(low, sides, leaves, i, labels[i])
    regions: list[ir.Block] = []
    for side, values in zip(sides, leaves, strict=True):
        side.ops.op("yield", *(values[i] for i in dynamic))
        regions.append(ir.Block((), tuple(side.ops.ops)))
    results = low.build.op("if", condition, regions=regions, names=[labels[i] for i in dynamic])
    merged = list(leaves[0])
    for i, value in zip(dynamic, results, strict=True):
        merged[i] = value
    return rebind(bindings[0], iter(merged))


def _value_for_join(low: Lowering, x: Any, label: str) -> Value:
    if isinstance(x, Value) or is_number(x):
        return s.to_value(low, x)
    raise TypeError(f"{label} is {s.describe(x)} in one branch of an if on a run-time value "
                    "and something else in the other")


def _unify(low: Lowering, sides: list[_Branch], leaves: list[list[Any]], i: int, label: str) -> None:
    """Two numbers of different types in the branches: a constant takes the other side's type, else an error."""
    x, y = leaves[0][i], leaves[1][i]
    if x.type == y.type:
        return
    for k, (here, there) in enumerate(((x, y), (y, x))):
        if low.is_constant(here) and isinstance(there.type, DType):
            with low.inside(sides[k].ops):
                leaves[k][i] = s.cast(low, here, there.type)
            return
    raise TypeError(f"{label} has type {show_type(x.type)} in one branch and {show_type(y.type)} in the other")


# -- loops -----------------------------------------------------------------------------------------------------------

def _for(low: Lowering, node: Any) -> Returned | None:
    target, source, suite, otherwise = node.children
    _refuse_in_loop(low, node, otherwise)
    domain = evaluate(low, source)
    if is_tuple(domain):
        return _unrolled(low, target, domain, suite)
    if not isinstance(domain, range_):
        raise TypeError(f"a for loop runs over range, tl.range, tl.static_range or a tuple, got {s.describe(domain)}")
    if domain.static:
        given = (domain.start, domain.stop, domain.step)
        turns = range(*(s.constant_int(unwrap(x), "a bound of static_range") for x in given))
        return _unrolled(low, target, turns, suite)
    _dynamic_for(low, target, domain, suite)
    return None


NOT_IN_LOOPS = {"return_stmt": "return inside a loop", "break_stmt": "break", "continue_stmt": "continue"}


def _refuse_in_loop(low: Lowering, node: Any, otherwise: Any) -> None:
    if otherwise is not None:
        raise UnsupportedLanguageConstruct("the kernel language has no else for loops", low.span(otherwise))
    for kind, words in NOT_IN_LOOPS.items():
        found = next((c for c in node.iter_subtrees_topdown() if c.data == kind), None)
        if found is not None:
            raise UnsupportedLanguageConstruct(f"the kernel language has no {words}: make it part of the loop's "
                                               "condition, or guard the rest of the body by an if", low.span(found))


def _unrolled(low: Lowering, target: Any, items: Sequence[Any], suite: Any) -> Returned | None:
    for item in items:
        low.assign(target, item, sanitize=False)
        run(low, suite.children)
    return None


def _of_values(binding: Binding) -> bool:
    """Can a loop carry it: values and numbers only?"""
    return all(isinstance(x, Value) or is_number(x) for x in flatten(binding))


class Carried:
    """The variables that a loop changes, flattened into values."""

    def __init__(self, low: Lowering, names: set[str]) -> None:
        frame = low.frame.names
        self.names = [n for n in frame if n in names and _of_values(frame[n])]
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
        value = s.to_value(low, x)
        if value.type != wanted:
            if low.is_constant(value) and isinstance(wanted, DType) and isinstance(value.type, DType):
                return s.cast(low, value, wanted)
            raise TypeError(f"loop-carried variable {name} has initial type {show_type(wanted)} but is re-assigned to "
                            f"{show_type(value.type)} in the loop: give it one type, for example by .to(...)")
        return value


def _dynamic_for(low: Lowering, target: Any, domain: range_, suite: Any) -> None:
    start, stop, step = (unwrap(x) for x in (domain.start, domain.stop, domain.step))
    reverse = isinstance(step, int) and step < 0
    if isinstance(step, int) and step == 0:
        raise ValueError("a range's step must not be 0")
    bounds = [_bound(low, x) for x in (start, stop, -step if reverse else step)]
    kind = dtype_of(bounds[0].type)
    for other in bounds[1:]:
        kind = s.integer_promote(kind, dtype_of(other.type))
    low_, high, stride = (s.cast(low, x, kind) for x in bounds)
    first, down = low_, stride
    if reverse:                                  # count turns upwards; the index runs down from start
        turns = calls.call(low, PUBLIC["cdiv"], [s.sub(low, low_, high), stride], {})
        low_, high, stride = s.to_value(low, 0, kind), s.cast(low, turns, kind), s.to_value(low, 1, kind)
    carried = Carried(low, assigned_names(suite))
    before = dict(low.frame.names)
    index, params = Value(low_.type, _label(target)), carried.params()
    with low.inside() as build:
        carried.bind(low, params)
        seen = index if not reverse else s.sub(low, first, s.binary(low, "mul", index, down))
        low.assign(target, seen)
        run(low, suite.children)
        build.op("yield", *carried.collect(low))
    low.frame.names = before
    region = ir.Block((index, *params), tuple(build.ops))
    attrs = {k: v for k, v in (("num_stages", domain.num_stages), ("unroll", domain.unroll)) if v}
    results = low.build.op("for", low_, high, stride, *carried.init, regions=[region], names=carried.labels, **attrs)
    carried.bind(low, results)


def _label(target: Any) -> str:
    names = [str(c.children[0]) for c in target.children if c is not None and c.data == "name"]
    return names[0] if len(names) == 1 else ""


def _bound(low: Lowering, x: Any) -> Value:
    value = s.to_value(low, x)
    if not isinstance(value.type, DType) or value.type.kind not in "iu":
        raise TypeError(f"a range's bounds are integer scalars, got {s.describe(x)}")
    return value


def _while(low: Lowering, node: Any) -> Returned | None:
    test, suite, otherwise = node.children
    _refuse_in_loop(low, node, otherwise)
    carried = Carried(low, assigned_names(suite))
    before = dict(low.frame.names)
    regions: list[ir.Block] = []
    for is_test in (True, False):
        params = carried.params()
        with low.inside() as build:
            carried.bind(low, params)
            if is_test:
                condition = evaluate(low, test)
                if not isinstance(condition, Value) and not condition:
                    low.frame.names = before
                    return None
                build.op("yield", low.scalar_condition(s.to_value(low, condition)))
            else:
                run(low, suite.children)
                build.op("yield", *carried.collect(low))
        regions.append(ir.Block(tuple(params), tuple(build.ops)))
        low.frame.names = dict(before)
    results = low.build.op("while", *carried.init, regions=regions, names=carried.labels)
    carried.bind(low, results)
    return None


# -- simple statements -----------------------------------------------------------------------------------------------

def _expression(low: Lowering, node: Any) -> Returned | None:
    evaluate(low, node.children[0])
    return None


def _assign(low: Lowering, node: Any) -> Returned | None:
    *targets, source = node.children
    if len(targets) > 1:
        raise UnsupportedLanguageConstruct("the kernel language has no a = b = c: write one assignment a line",
                                           low.span(node))
    low.assign(targets[0], evaluate(low, source))
    return None


def _annotated(low: Lowering, node: Any) -> Returned | None:
    target, annotation, source = node.children
    if source is None:
        raise CompilationError("an annotated name needs a value here", low.span(node))
    constexpr = is_constexpr_annotation(evaluate(low, annotation))
    value = evaluate(low, source)
    if constexpr and any(isinstance(x, Value) for x in flatten(value)):
        raise TypeError("a constexpr must be known when compiling, got a run-time value")
    if constexpr and target.data == "name" and str(target.children[0]) in low.frame.names:
        raise TypeError(f"{target.children[0]} is already defined: a constexpr cannot be reassigned")
    low.assign(target, value, sanitize=not constexpr)
    return None


def _augmented(low: Lowering, node: Any) -> Returned | None:
    target, sign, source = node.children
    if target.data != "name":
        raise UnsupportedLanguageConstruct("only a name can be changed in place: tiles and tuples are values",
                                           low.span(target))
    low.assign(target, binary(low, AUGMENTED[str(sign)], evaluate(low, target), evaluate(low, source)))
    return None


def _return(low: Lowering, node: Any) -> Returned | None:
    return Returned(evaluate(low, node.children[0]) if node.children[0] is not None else None)


def _assert(low: Lowering, node: Any) -> Returned | None:
    test, message = node.children
    condition = evaluate(low, test)
    text = evaluate(low, message) if message is not None else ""
    if isinstance(condition, Value):
        calls.call(low, PUBLIC["device_assert"], [condition, text], {})
    else:
        calls.call(low, PUBLIC["static_assert"], [condition, text], {})
    return None


def _pass(low: Lowering, node: Any) -> Returned | None:
    return None


def _with(low: Lowering, node: Any) -> Returned | None:
    raise UnsupportedLanguageConstruct("the kernel language has no with", low.span(node))


def _stray(low: Lowering, node: Any) -> Returned | None:
    raise UnsupportedLanguageConstruct(f"{str(node.data).split('_')[0]} stands outside a loop", low.span(node))


STATEMENTS: dict[str, Callable[[Any, Any], Returned | None]] = {
    "expr_stmt": _expression, "assign": _assign, "annassign": _annotated, "augassign": _augmented,
    "return_stmt": _return, "assert_stmt": _assert, "pass_stmt": _pass, "for_stmt": _for, "while_stmt": _while,
    "with_stmt": _with,
    "break_stmt": _stray, "continue_stmt": _stray,
}
