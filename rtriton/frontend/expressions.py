"""Expressions: a tree becomes a Value, or, where everything is known, a Python object."""
from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any

from rtriton import language
from rtriton.errors import CompilationError, UnsupportedLanguageConstruct, nearest
from rtriton.frontend import calls, host
from rtriton.frontend.scope import Binding, flatten, is_number
from rtriton.guards import is_tuple
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.aggregates import Aggregate, is_aggregate_class
from rtriton.language.budget import check_format, check_known, check_length
from rtriton.language.known import from_host, type_of
from rtriton.language.shape import subscript as index_tile
from rtriton.language.values import METHODS, Compound, Context
from rtriton.types import element_of, shape_of, show_type

if TYPE_CHECKING:
    from rtriton.frontend.lower import Lowering

OnKnown = Callable[[Any, Any], Any]               # what an operator means on compile-time objects
OnValues = Callable[[Context, Any, Any], Value]   # the op it builds on values of the kernel


def _bitwise(kind: str) -> OnValues:
    def build(b: Context, x: Any, y: Any) -> Value:
        return s.integers(b, kind, x, y)

    return build


def _python(name: str) -> OnKnown:
    """Python's own operator (looked up by name: some of them have no types in its stubs)."""
    return getattr(operator, name)


BINARY: dict[str, tuple[OnKnown, OnValues]] = {
    "add": (operator.add, s.add), "sub": (operator.sub, s.sub), "mul": (operator.mul, s.mul),
    "mod": (operator.mod, s.mod), "truediv": (_python("truediv"), s.truediv),
    "floordiv": (_python("floordiv"), s.floordiv), "and_": (_python("and_"), _bitwise("and")),
    "or_": (_python("or_"), _bitwise("or")), "xor": (_python("xor"), _bitwise("xor")),
    "shl": (_python("lshift"), _bitwise("shl")), "shr": (_python("rshift"), _bitwise("shr")),
}
AUGMENTED = {"+=": "add", "-=": "sub", "*=": "mul", "/=": "truediv", "//=": "floordiv", "%=": "mod", "**=": "pow",
             ">>=": "shr", "<<=": "shl", "&=": "and_", "|=": "or_", "^=": "xor", "@=": "matmul"}
COMPARE: dict[str, tuple[OnKnown, str]] = {
    "==": (operator.eq, "eq"), "!=": (operator.ne, "ne"), "<": (operator.lt, "lt"), "<=": (operator.le, "le"),
    ">": (operator.gt, "gt"), ">=": (operator.ge, "ge"),
}


def evaluate(low: Lowering, node: Any) -> Binding:
    """The meaning of an expression; errors carry its place."""
    handler = HANDLERS.get(str(node.data))
    if handler is None:
        construct = str(node.data).replace("_", " ")
        raise UnsupportedLanguageConstruct(f"the kernel language has no {construct}", low.span(node))
    with low.at(node):
        low.step()
        found: Binding = handler(low, node)
        check_known(found)
        return found


def _only(low: Lowering, node: Any) -> Binding:
    return evaluate(low, node.children[0])


def _name(low: Lowering, node: Any) -> Binding:
    return from_host(low.frame.find(str(node.children[0])))


def _number(low: Lowering, node: Any) -> Binding:
    return ast.literal_eval(str(node.children[0]))


def _strings(low: Lowering, node: Any) -> Binding:
    parts: list[str] = []
    for string in node.children:
        text = str(string.children[0])
        prefix = text[:min(text.find(quote) for quote in "'\"" if quote in text)].lower()
        if "b" in prefix:
            raise UnsupportedLanguageConstruct("the kernel language has no bytes: use a text", low.span(node))
        if "f" in prefix:
            parts.append(_format(low, ast.parse(text, mode="eval").body, node))
        else:
            parts.append(ast.literal_eval(text))
    return "".join(parts)


CONVERSIONS: dict[int, Callable[[Any], Any]] = {115: str, 114: repr, 97: ascii}


def _format(low: Lowering, text: ast.expr, node: Any) -> str:
    """An f-string (or a field's format) whose fields are known when compiling."""
    if isinstance(text, ast.Constant):
        return str(text.value)
    if isinstance(text, ast.JoinedStr):
        return "".join(_format(low, part, node) for part in text.values)
    if not isinstance(text, ast.FormattedValue):
        raise TypeError(f"not a format string: {ast.unparse(text)}")
    value = _field(low, ast.unparse(text.value), node)
    value = CONVERSIONS[text.conversion](value) if text.conversion in CONVERSIONS else value
    form = _format(low, text.format_spec, node) if text.format_spec is not None else ""
    check_format(form)
    return format(value, form)


def _field(low: Lowering, text: str, node: Any) -> Any:
    from rtriton.frontend.parse import parse_expression

    try:
        value = evaluate(low, parse_expression(text))
    except CompilationError as error:                # its place is in the field's text, not in the file
        raise type(error)(error.message, low.span(node), error.notes) from error
    if any(isinstance(x, Value) for x in flatten(value)):
        raise TypeError(f"an f-string shows what is known when compiling, {text} is {s.describe(value)}: "
                        "use tl.device_print for values")
    return value


def _tuple(low: Lowering, node: Any) -> Binding:
    parts: list[Any] = []
    for child in node.children:
        if child is None:
            continue
        if child.data == "star_expr":
            parts.extend(low.sequence(child.children[0]))
        else:
            parts.append(evaluate(low, child))
    return tuple(parts)


def _list_comp(low: Lowering, node: Any) -> Binding:
    element, clause = node.children
    target, source, condition = clause.children
    made: list[Any] = []
    before = dict(low.frame.names)
    for item in low.sequence(source):
        low.assign(target, item, sanitize=False)
        asked = True if condition is None else evaluate(low, condition)
        if isinstance(asked, Value):
            raise TypeError(f"a comprehension's condition must be known when compiling, got {s.describe(asked)}")
        if asked:
            made.append(evaluate(low, element))
    low.frame.names = before
    return tuple(made)


def _binary(low: Lowering, node: Any) -> Binding:
    left, right = (evaluate(low, c) for c in node.children)
    return binary(low, str(node.data), left, right)


def binary(low: Lowering, kind: str, left: Any, right: Any) -> Binding:
    """An operator on bindings: Python's meaning on known objects, the language's on values."""
    if kind == "pow":
        if isinstance(left, Value) or isinstance(right, Value):
            raise TypeError("** needs numbers known when compiling; use tl.exp2(y * tl.log2(x)) or multiply")
        _check_size(left, right, left.bit_length() if isinstance(left, int) else 0)
        return left ** right
    if kind == "matmul":
        raise UnsupportedLanguageConstruct("the kernel language has no @: use tl.dot(a, b)", low.build.span)
    known, build = BINARY[kind]
    if isinstance(left, Compound) or isinstance(right, Compound):
        return _by_method(low, f"__{kind.strip('_')}__", left, right)
    if not isinstance(left, Value) and not isinstance(right, Value):
        if kind == "shl":
            _check_size(left, right, 1)
        if kind == "mod" and isinstance(left, str):
            check_format(left)
        if kind == "mul":
            check_length(left, right)
            check_length(right, left)
        try:
            return known(left, right)
        except TypeError as error:
            if "unsupported operand" not in str(error):
                raise
            raise TypeError(f"{error}: {s.describe(left)} and {s.describe(right)}") from None
    return build(low, left, right)


MAX_BITS = 1 << 12


def _check_size(left: Any, right: Any, bits: int) -> None:
    """Refuse an integer of so many bits (`bits` for each unit of `right`) that computing it would take forever."""
    if isinstance(left, int) and isinstance(right, int) and bits * right > MAX_BITS:
        raise OverflowError(f"a compile-time integer has at most {MAX_BITS} bits")


def _by_method(low: Lowering, name: str, left: Any, right: Any) -> Binding:
    """An operator of an aggregate: its method `__add__`, or `__radd__` of the one on the right."""
    owner, other = (left, right) if isinstance(left, Compound) else (right, left)
    called = name if owner is left else f"__r{name[2:]}"
    return calls.call(low, attribute(low, owner, SHIFTS.get(called, called)), [other], {})


SHIFTS = {"__shl__": "__lshift__", "__shr__": "__rshift__", "__rshl__": "__rlshift__", "__rshr__": "__rrshift__"}


def _unary(low: Lowering, node: Any) -> Binding:
    value = evaluate(low, node.children[0])
    if isinstance(value, Compound):
        return calls.call(low, attribute(low, value, f"__{node.data}__"), [], {})
    if not isinstance(value, Value):
        return {"neg": operator.neg, "pos": operator.pos, "invert": operator.invert}[str(node.data)](value)
    if node.data == "pos":
        return value
    return s.negate(low, value) if node.data == "neg" else s.invert(low, value)


def _not(low: Lowering, node: Any) -> Binding:
    value = evaluate(low, node.children[-1])
    if is_tuple(value):
        raise UnsupportedLanguageConstruct("the kernel language has no `not` of a tuple: compare its len() with 0",
                                           low.span(node))
    return s.invert(low, s.truth(low, value)) if isinstance(value, Value) else not value


def _boolean(low: Lowering, node: Any) -> Binding:
    """and / or: short-circuit on what is known, bitwise on values."""
    is_and = node.data == "and_test"
    result = evaluate(low, node.children[0])
    for child in node.children[1:]:
        if not isinstance(result, Value):
            if bool(result) != is_and:
                return result
            result = evaluate(low, child)
            continue
        other = evaluate(low, child)
        if not isinstance(other, Value):
            if bool(other) == is_and:
                continue
            other = s.to_value(low, bool(other))
        left, right = s.broadcast_pair(low, s.truth(low, result), s.truth(low, other))
        result = low.build.one("and" if is_and else "or", left, right)
    return result


def _comparison(low: Lowering, node: Any) -> Binding:
    """a < b, and chains a < b < c as (a < b) and (b < c)."""
    left, result = evaluate(low, node.children[0]), None
    for sign, child in zip(node.children[1::2], node.children[2::2], strict=True):
        right = evaluate(low, child)
        part = compare(low, " ".join(map(str, sign.children)), left, right)
        if result is None:
            result = part
        elif isinstance(result, Value) or isinstance(part, Value):
            result = low.build.one("and", *s.broadcast_pair(low, s.truth(low, result), s.truth(low, part)))
        else:
            result = result and part
        left = right
    return result


def compare(low: Lowering, sign: str, left: Any, right: Any) -> Binding:
    if sign in ("is", "is not"):
        return (left is right or (is_number(left) and is_number(right) and left == right)) == (sign == "is")
    if sign in ("in", "not in"):
        if any(isinstance(x, (Value, Compound)) for x in (*flatten(left), *flatten(right))) \
                or not isinstance(right, Container):
            raise TypeError("'in' needs a value and a tuple that are known when compiling")
        return (left in right) == (sign == "in")
    if is_tuple(left) and is_tuple(right) and any(isinstance(x, Value) for x in (*flatten(left), *flatten(right))):
        return _compare_tuples(low, sign, left, right)
    known, kind = COMPARE[sign]
    if isinstance(left, Compound) or isinstance(right, Compound):
        if left is None or right is None:
            return sign == "!="
        return _by_method(low, f"__{kind}__", left, right)
    if not isinstance(left, Value) and not isinstance(right, Value):
        return known(left, right)
    if (left is None or right is None) and sign in ("==", "!="):
        return sign == "!="
    return s.compare(low, kind, left, right)


def _compare_tuples(low: Lowering, sign: str, left: tuple[Any, ...], right: tuple[Any, ...]) -> Binding:
    """== and != of tuples with run-time parts: all parts are equal; of different lengths never."""
    if sign not in ("==", "!="):
        raise TypeError(f"tuples with run-time parts are compared by == and !=, got {sign}")
    result: Binding = len(left) == len(right)
    for x, y in zip(left, right, strict=False):
        part = compare(low, "==", x, y)
        if not isinstance(part, Value) or not isinstance(result, Value):
            known, other = (part, result) if not isinstance(part, Value) else (result, part)
            result = other if known else False
        else:
            result = low.build.one("and", *s.broadcast_pair(low, result, part))
    return result if sign == "==" else s.invert(low, result) if isinstance(result, Value) else not result


def _attribute(low: Lowering, node: Any) -> Binding:
    return attribute(low, evaluate(low, node.children[0]), str(node.children[1]))


def attribute(low: Lowering, base: Any, name: str) -> Binding:
    if isinstance(base, Value):
        return _value_attribute(low, base, name)
    if isinstance(base, Aggregate):
        return host.member(low, base, name)
    if isinstance(base, Compound) and name in base.methods:
        return calls.Bound(base.methods[name], base)
    if is_aggregate_class(base):
        return host.class_member(base, name)
    if name in KNOWN_ATTRIBUTES and not hasattr(base, name):
        return KNOWN_ATTRIBUTES[name](base)
    found = getattr(base, name, None)
    if found is None and not hasattr(base, name):
        if base is language:
            raise AttributeError(f"the kernel language has no tl.{name}{nearest(name, dir(language))}")
        raise AttributeError(f"{s.describe(base)} has no attribute {name}")
    return from_host(found)


# What Triton's objects around a compile-time value have: `x.value` of a constexpr, `x.values` of a tuple.
KNOWN_ATTRIBUTES: dict[str, Callable[[Any], Any]] = {
    "value": lambda x: x, "values": lambda x: x, "type": type_of,
}


def _value_attribute(low: Lowering, value: Value, name: str) -> Binding:
    if name == "dtype":
        return element_of(value.type)
    if name == "type":
        return value.type
    if name == "shape":
        return shape_of(value.type)
    if name == "numel":
        return calls.numel(value)
    if name == "T":
        return METHODS["trans"].fn(low, value)
    if name in METHODS:
        return calls.Bound(METHODS[name], value)
    known = nearest(name, (*METHODS, "dtype", "type", "shape", "numel"))
    raise AttributeError(f"a value of type {show_type(value.type)} has no attribute {name}{known}")


def _subscript(low: Lowering, node: Any) -> Binding:
    base = evaluate(low, node.children[0])
    index = tuple(x for c in node.children[1].children if c is not None for x in _indices(low, c))
    if isinstance(base, Value):
        return index_tile(low, base, index)
    if isinstance(base, Compound):
        given: Any = index if len(index) != 1 else index[0]
        return calls.call(low, attribute(low, base, "__getitem__"), [given], {})
    if len(index) != 1:
        raise TypeError(f"{s.describe(base)} takes one index")
    if isinstance(index[0], Value):
        raise TypeError("a tuple is indexed by a number known when compiling")
    return from_host(base[index[0]])


def _indices(low: Lowering, node: Any) -> tuple[Any, ...]:
    if node.data == "star_expr":
        return low.sequence(node.children[0])
    if node.data != "slice":
        return (evaluate(low, node),)
    return (slice(*(None if c is None else evaluate(low, c) for c in node.children)),)


def _if_expression(low: Lowering, node: Any) -> Binding:
    body, test, otherwise = node.children
    condition = evaluate(low, test)
    if not isinstance(condition, Value):
        return evaluate(low, body if condition else otherwise)
    return low.choose(condition, lambda: evaluate(low, body), lambda: evaluate(low, otherwise))


def _call(low: Lowering, node: Any) -> Binding:
    args, kwargs = calls.arguments(low, node.children[1])
    callee = evaluate(low, node.children[0])
    if not isinstance(callee, host.HostMethod):
        return calls.call(low, callee, args, kwargs)
    result, changed = host.call_method(low, callee, args, kwargs)
    if changed is not None:
        _keep(low, node.children[0].children[0], changed)
    return result


def _keep(low: Lowering, target: Any, changed: Aggregate) -> None:
    """An aggregate whose method has set fields: the variable, or the field, that it was called on holds it now."""
    if target.data == "name":
        low.frame.names[str(target.children[0])] = changed
    elif target.data == "attribute":
        owner = evaluate(low, target.children[0])
        if not isinstance(owner, Aggregate):
            raise TypeError(f"the fields of {s.describe(owner)} cannot be set")
        outer = owner.copy()
        setattr(outer, str(target.children[1]), changed)
        _keep(low, target.children[0], outer)


def _constant(value: Any) -> Callable[[Any, Any], Binding]:
    def handler(low: Lowering, node: Any) -> Binding:
        return value

    return handler


HANDLERS: dict[str, Callable[[Any, Any], Binding]] = {
    "testlist": _only, "expr_stmt": _only, "testlist_target": _only, "paren": _only, "name": _name, "number": _number,
    "strings": _strings, "none": _constant(None), "true": _constant(True), "false": _constant(False),
    "ellipsis": _constant(Ellipsis), "tuple": _tuple, "list": _tuple, "list_comp": _list_comp,
    **dict.fromkeys((*BINARY, "pow", "matmul"), _binary), **dict.fromkeys(("neg", "pos", "invert"), _unary),
    "not_test": _not, "or_test": _boolean, "and_test": _boolean, "comparison": _comparison, "attribute": _attribute,
    "subscript": _subscript, "if_exp": _if_expression, "call": _call,
}
