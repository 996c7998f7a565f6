"""Statements: assignments, conditions, and the ways out of a block."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rtriton.errors import CompilationError, UnsupportedLanguageConstruct
from rtriton.frontend import calls, loops
from rtriton.frontend.expressions import AUGMENTED, binary, evaluate
from rtriton.frontend.flow import Outcome, choice, leave, proceed, reads_of
from rtriton.frontend.refuse import no_target, refused_at
from rtriton.frontend.scope import flatten
from rtriton.ir import Value
from rtriton.language.values import PUBLIC
from rtriton.source import is_constexpr_annotation

if TYPE_CHECKING:
    from rtriton.frontend.lower import Lowering

COMPOUND = ("if_stmt", "for_stmt", "while_stmt", "with_stmt")


def run(low: Lowering, statements: Sequence[Any]) -> Outcome:
    """Lower statements one after the other; how they end."""
    for i, node in enumerate(statements):
        rest = statements[i + 1:]
        left, done = _statement(low, node, rest)
        if done:
            return left
        if left is None:
            continue
        return proceed(low, left, partial(run, low, rest), node) if rest else left
    return None


def _statement(low: Lowering, node: Any, rest: Sequence[Any]) -> tuple[Outcome, bool]:
    """How one statement ends, and whether `rest`, the statements after it, was lowered with it."""
    if node.data not in COMPOUND:
        with low.at(node):
            return STATEMENTS[str(node.data)](low, node), False
    later = low.frame.later
    low.frame.later = later | reads_of(rest)
    if node.data == "if_stmt":
        left, done = _if_chain(low, node, _branches(node), partial(_rest, low, rest, later) if rest else None)
    else:
        with low.at(node):
            left, done = STATEMENTS[str(node.data)](low, node), False
    low.frame.later = later
    return left, done


def _rest(low: Lowering, rest: Sequence[Any], later: frozenset[str]) -> Outcome:
    before, low.frame.later = low.frame.later, later
    left = run(low, rest)
    low.frame.later = before
    return left


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


def _if_chain(low: Lowering, node: Any, branches: list[tuple[Any, Sequence[Any]]],
              rest: Callable[[], Outcome] | None) -> tuple[Outcome, bool]:
    if not branches:
        return None, False
    (test, body), others = branches[0], branches[1:]
    if test is None:
        return run(low, body), False
    condition = evaluate(low, test)
    if not isinstance(condition, Value):
        return (run(low, body), False) if condition else _if_chain(low, node, others, rest)
    with low.at(test):
        condition = low.scalar_condition(condition)
    return choice(low, node, condition, lambda: run(low, body), lambda: _if_chain(low, node, others, None)[0], rest)


def _for(low: Lowering, node: Any) -> Outcome:
    return loops.for_loop(low, node, lambda statements: run(low, statements))


def _while(low: Lowering, node: Any) -> Outcome:
    return loops.while_loop(low, node, lambda statements: run(low, statements))


# -- simple statements -----------------------------------------------------------------------------------------------

def _expression(low: Lowering, node: Any) -> Outcome:
    _refuse_unused(low, node.children[0])
    evaluate(low, node.children[0])
    return None


def _refuse_unused(low: Lowering, node: Any) -> None:
    """A call whose result is all that it does."""
    if node.data != "call" or not _is_path(node.children[0]):
        return
    called = evaluate(low, node.children[0])
    fn = called.fn if isinstance(called, calls.Bound) else called
    reason = getattr(fn, "_must_use_result", False)
    if reason:
        words = f" {reason}" if isinstance(reason, str) else ""
        raise TypeError(f"The result of {fn.__name__} is not being used.{words}")


def _is_path(node: Any) -> bool:
    """Is it a name, or an attribute of one: x, x.y, x.y.z?"""
    return node.data == "name" or node.data == "attribute" and _is_path(node.children[0])


def _assign(low: Lowering, node: Any) -> Outcome:
    *targets, source = node.children
    value = evaluate(low, source)
    for target in targets:
        low.assign(target, value)
    return None


def _annotated(low: Lowering, node: Any) -> Outcome:
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


def _augmented(low: Lowering, node: Any) -> Outcome:
    target, sign, source = node.children
    if target.data != "name":
        raise UnsupportedLanguageConstruct(no_target("only a name can be changed in place", target),
                                           low.span(target))
    low.assign(target, binary(low, AUGMENTED[str(sign)], evaluate(low, target), evaluate(low, source)))
    return None


def _return(low: Lowering, node: Any) -> Outcome:
    """A number that is returned is a scalar of the kernel, as one that is assigned: so in Triton."""
    value = low.sanitized(evaluate(low, node.children[0])) if node.children[0] is not None else None
    return leave("return", value, low.span(node))


def _assert(low: Lowering, node: Any) -> Outcome:
    test, message = node.children
    condition = evaluate(low, test)
    text = evaluate(low, message) if message is not None else ""
    calls.call(low, PUBLIC["device_assert"], [condition if isinstance(condition, Value) else bool(condition), text], {})
    return None


def _pass(low: Lowering, node: Any) -> Outcome:
    return None


def _with(low: Lowering, node: Any) -> Outcome:
    """`with scope(...) as name:` for classes made for it, whose constructor takes `_semantic` (the compiler, as public
    functions see it). Enter and exit run while compiling, around the lowering of the body."""
    *items, suite = node.children
    entered: list[Any] = []
    for item in items:
        manager = _manager(low, item.children[0])
        value = manager.__enter__()
        entered.append(manager)
        if item.children[1] is not None:
            low.assign(item.children[1], value)
    left = run(low, suite.children)
    for manager in reversed(entered):
        manager.__exit__(None, None, None)
    return left


def _manager(low: Lowering, node: Any) -> Any:
    made: Any = evaluate(low, node.children[0]) if node.data == "call" else None
    takes = getattr(getattr(made, "__init__", None), "__code__", None) if isinstance(made, type) else None
    if takes is None or "_semantic" not in takes.co_varnames or not hasattr(made, "__exit__"):
        raise UnsupportedLanguageConstruct(
            "the kernel language has no with, but for classes with __enter__ and __exit__ whose constructor takes "
            "_semantic", low.span(node))
    args, kwargs = calls.arguments(low, node.children[1])
    return made(*args, **kwargs, _semantic=low)


def _leave_loop(low: Lowering, node: Any) -> Outcome:
    return leave(str(node.data).split("_")[0])


def _refused(low: Lowering, node: Any) -> Outcome:
    raise refused_at(low.frame.fn.source, node.meta.line, node.meta.column, low.callers[-1])


STATEMENTS: dict[str, Callable[[Any, Any], Outcome]] = {
    "expr_stmt": _expression, "assign": _assign, "annassign": _annotated, "augassign": _augmented,
    "return_stmt": _return, "assert_stmt": _assert, "pass_stmt": _pass, "for_stmt": _for, "while_stmt": _while,
    "with_stmt": _with, "refused_stmt": _refused,
    "break_stmt": _leave_loop, "continue_stmt": _leave_loop,
}
