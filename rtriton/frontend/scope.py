"""Names: what a kernel function can see, and what its variables are bound to while it is lowered.

A binding is a `Value`, a compile-time Python object (number, dtype, function ...), or a tuple of bindings. Local names
first, then what the function closes over, then its module's globals (constexpr ones only), then Python's builtins.
"""
from __future__ import annotations

import builtins
import keyword
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtriton import knobs
from rtriton.frontend.refuse import KEYWORDS
from rtriton.guards import is_tuple
from rtriton.ir import Span, Value
from rtriton.language.aggregates import Aggregate, may_set_fields
from rtriton.language.values import Compound, Public, constexpr, constexpr_function, unwrap
from rtriton.source import KernelFunction, is_constexpr_annotation
from rtriton.types import DType, Pointer

Binding = Any
MISSING = object()
# What type rules and Python itself raise about a kernel without knowing the place.
PLAIN_ERRORS = (
    TypeError, ValueError, NameError, SyntaxError, AttributeError, IndexError, KeyError, ZeroDivisionError,
    OverflowError, Warning,
)


class Absent:
    """No binding: a name that is not set, a function that has not returned."""

    def __repr__(self) -> str:
        return "nothing"


ABSENT = Absent()


@dataclass
class Frame:
    """One function being lowered. `later`: the names that statements after the block being lowered read; `carried`:
    those that the innermost loop carries; `partial`: where names were set that are not set on every path, for the error
    of who reads them."""

    fn: KernelFunction
    names: dict[str, Binding]
    used_globals: dict[str, Any] = field(default_factory=dict[str, Any])
    later: frozenset[str] = frozenset()
    carried: frozenset[str] = frozenset()
    partial: dict[str, tuple[str, Span]] = field(default_factory=dict[str, "tuple[str, Span]"])

    def find(self, name: str) -> Binding:
        """What `name` means here; NameError with a reason otherwise."""
        if name in self.names:
            return self.names[name]
        if name in self.partial:
            where, place = self.partial[name]
            raise NameError(f"{name} is not defined here: it is set only {where} at line {place.line}; "
                            "give it a value before that")
        outer = self.fn.nonlocals()
        if name in outer:
            return self._outside(name, outer[name], "the enclosing function")
        if name in self.fn.globals:
            return self._outside(name, self.fn.globals[name], "the module")
        found = getattr(builtins, name, MISSING)
        if keyword.iskeyword(name):
            raise SyntaxError(f"the kernel language has no {KEYWORDS.get(name, name)}")
        if found is MISSING:
            raise NameError(f"{name} is not defined")
        return found

    def _outside(self, name: str, value: Any, where: str) -> Any:
        if knobs.compilation.allow_non_constexpr_globals and not isinstance(value, constexpr):
            self.used_globals[name] = value
            return value
        if isinstance(value, types.FunctionType) and not hasattr(value, "__triton_builtin__"):
            raise NameError(f"{name} is a plain Python function: a kernel can call functions under @jit, "
                            "@constexpr_function, and those of tl")
        if isinstance(value, constexpr):
            self.used_globals[name] = value.value
            return value.value
        if isinstance(value, ALLOWED) or callable(value):
            self.used_globals[name] = value
            return value
        annotated = is_constexpr_annotation(self.fn.globals.get("__annotations__", {}).get(name))
        raise NameError(f"Cannot access global variable {name} from within a kernel: it is a plain "
                        f"{type(value).__name__} of {where}, which may change{', whatever its annotation' * annotated};"
                        f" write {name} = tl.constexpr(...), or pass it as an argument "
                        "(TRITON_ALLOW_NON_CONSTEXPR_GLOBALS=1 allows all)")


ALLOWED = (types.ModuleType, types.FunctionType, type, DType, Pointer, KernelFunction, Public, constexpr_function)


def flatten(binding: Binding) -> Iterator[Any]:
    """The leaves of a binding."""
    if is_tuple(binding):
        for part in binding:
            yield from flatten(part)
    elif isinstance(binding, Compound):
        yield from flatten(binding.parts())
    else:
        yield binding


def rebind(binding: Binding, leaves: Iterator[Any]) -> Binding:
    """A binding of the same form with other leaves."""
    if isinstance(binding, Compound):
        return binding.with_parts(rebind(binding.parts(), leaves))
    if not is_tuple(binding):
        return next(leaves)
    return tuple_like(binding, [rebind(p, leaves) for p in binding])


def tuple_like(x: tuple[Any, ...], parts: list[Any]) -> tuple[Any, ...]:
    """A tuple of these parts; a named one if x is."""
    kind: type[Any] = type(x)
    return kind(*parts) if hasattr(kind, "_fields") else tuple(parts)


def same_form(x: Binding, y: Binding) -> bool:
    """Do two bindings differ in their leaves only?"""
    if isinstance(x, Compound) or isinstance(y, Compound):
        return isinstance(x, Compound) and isinstance(y, Compound) and x.form() == y.form()
    if is_tuple(x) or is_tuple(y):
        return is_tuple(x) and is_tuple(y) and len(x) == len(y) and all(map(same_form, x, y))
    return True


def is_number(x: Any) -> bool:
    return isinstance(unwrap(x), (bool, int, float))


def same(x: Any, y: Any) -> bool:
    """Are two bindings one and the same, without looking at run time?"""
    if x is y:
        return True
    if isinstance(x, Value) or isinstance(y, Value):
        return False
    if is_tuple(x) and is_tuple(y):
        return len(x) == len(y) and all(map(same, x, y))
    if isinstance(x, Compound) and isinstance(y, Compound):
        return same_form(x, y) and same(x.parts(), y.parts())
    return type(x) is type(y) and bool(x == y)


def assigned_names(node: Any) -> set[str]:
    """The names that the statements below `node` bind."""
    found: set[str] = set()
    for child in getattr(node, "children", ()):
        data = getattr(child, "data", None)
        if data in ("testlist_target", "target_list"):
            found |= target_names(child)
        elif data == "with_item" and child.children[1] is not None:
            found |= target_names(child.children[1])
        elif data in ("annassign", "augassign"):
            found |= target_names(child.children[0])
        if data is not None:
            found |= assigned_names(child)
    return found


def names_read(node: Any) -> frozenset[str]:
    """The names that occur below `node`; kept with the tree, which does not change."""
    kept: frozenset[str] | None = node.__dict__.get("names_read")
    if kept is None:
        parts = [c for c in node.children if hasattr(c, "data")]
        kept = frozenset[str]().union(*map(names_read, parts))
        if node.data == "name":
            kept |= {str(node.children[0])}
        elif node.data == "strings":                # the fields of an f-string are parsed when they are evaluated
            kept |= frozenset(re.findall(r"[^\W\d]\w*", " ".join(str(c.children[0]) for c in node.children)))
        node.__dict__["names_read"] = kept
    return kept


def changed_names(node: Any, names: Mapping[str, Binding]) -> set[str]:
    """The names that the statements below `node` bind, or call a method of an aggregate on that may set its fields."""
    return assigned_names(node) | {n for n, method in called_on(node)
                                   if isinstance(names.get(n), Aggregate) and may_set_fields(names[n], method)}


def called_on(node: Any) -> Iterator[tuple[str, str]]:
    """(x, f) of every call x.f(...) below `node`; f is "" where the call is of a field: x.y.f(...)."""
    for child in getattr(node, "children", ()):
        if getattr(child, "data", None) == "call" and child.children[0].data == "attribute":
            owner, method = child.children[0].children
            inner = owner.data == "attribute"
            while owner.data == "attribute":
                owner = owner.children[0]
            if owner.data == "name":
                yield str(owner.children[0]), "" if inner else str(method)
        yield from called_on(child)


def target_names(node: Any) -> set[str]:
    """The names in an assignment's target; subscripts and attributes bind none."""
    if node.data == "name":
        return {str(node.children[0])}
    if node.data in ("testlist_target", "target_list", "tuple", "list", "paren", "star_expr"):
        return {name for c in node.children if c is not None for name in target_names(c)}
    return set()
