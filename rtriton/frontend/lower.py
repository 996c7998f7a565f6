"""From the tree of a kernel to tile IR: `lower(fn, signature, constants)`.

    lower(add, {"x": Pointer(float32), "n": int32}, {"BLOCK": 128}, divisible={"x": 16})

Calls of other kernel functions are inlined; spans keep the chain of calls. Errors of the type rules become
CompilationErrors at the expression that broke the rule.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rtriton.devices import CPU, GPUTarget
from rtriton.deep import deep_recursion
from rtriton.errors import CompilationError, KernelError, UnsupportedLanguageConstruct
from rtriton.frontend import explain, expressions, flow, statements
from rtriton.frontend.hints import spread_hints
from rtriton.frontend.parse import parse, span_of
from rtriton.frontend.refuse import no_target
from rtriton.frontend.scope import PLAIN_ERRORS, Frame, flatten, rebind, tuple_like
from rtriton.guards import is_list, is_tuple
from rtriton.ir import Block, Builder, Kernel, Op, Span, Value
from rtriton.language import infer
from rtriton.language import semantic as s
from rtriton.language.budget import MAX_OPS, MAX_STEPS
from rtriton.language.reduce import only_element
from rtriton.language.values import Compound, Leaf, from_host, range_
from rtriton.source import KernelFunction
from rtriton.types import Tile, Type, dtype_of, int64, show_type

MAX_DEPTH = 64
DEEP = 6000


@dataclass
class Lowered:
    """A lowered kernel and what its meaning depends on outside its arguments."""

    kernel: Kernel
    functions: dict[KernelFunction, None] = field(default_factory=dict[KernelFunction, None])
    globals: dict[tuple[KernelFunction, str], Any] = field(default_factory=dict[tuple[KernelFunction, str], Any])


class Recorder(Builder):
    """A builder that notes which op made each value, for all regions of a kernel together."""

    def __init__(self, made: dict[Value, Op]) -> None:
        super().__init__(infer)
        self.made = made

    def append(self, op: Op) -> tuple[Value, ...]:
        if len(self.made) > MAX_OPS:
            raise OverflowError(f"a kernel has at most {MAX_OPS} ops, with all that is inlined and unrolled: make a "
                                "static_range a range")
        self.made.update(dict.fromkeys(op.results, op))
        return super().append(op)


class Lowering:
    """The state of one lowering. Public `tl` functions see it as their Context."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.made: dict[Value, Op] = {}
        self.arguments: set[Value] = set()
        self.build: Builder = Recorder(self.made)
        self.frames: list[Frame] = []
        self.callers: list[Span | None] = [None]
        self.warned: set[tuple[str, str, int]] = set()
        self.result = Lowered(Kernel("", Block((), ())))
        self.steps = 0

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def step(self) -> None:
        """One more expression, or turn of an unrolled loop, is looked at."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise OverflowError(f"compiling takes more than {MAX_STEPS} steps: a loop that is unrolled, or a "
                                "comprehension, has too many turns")

    def option(self, name: str) -> Any:
        return self.options.get(name)

    def warn(self, message: str, place: Span | None = None) -> None:
        """One of Python's warnings, at the line of the user's that led here, once in a compilation."""
        span = place or explain.outside(self.build.span)
        if (message, span.file, span.line) not in self.warned:
            self.warned.add((message, span.file, span.line))
            warnings.warn_explicit(message, UserWarning, span.file, span.line)

    # -- places --------------------------------------------------------------------------------------------------

    def span(self, node: Any) -> Span:
        return span_of(self.frame.fn.source, node, self.callers[-1])

    @contextmanager
    def at(self, node: Any) -> Generator[None]:
        """Ops made inside carry the place of `node`; plain errors become errors at that place."""
        before, self.build.span = self.build.span, self.span(node)
        builder = self.build
        try:
            yield
        except KernelError:
            raise
        except RecursionError:
            raise
        except Exception as error:
            raise self.located(error, node) from error
        finally:
            builder.span = before

    def located(self, error: Exception, node: Any) -> CompilationError:
        """A plain error, at the place of `node`, with the operands there."""
        place, notes = self.span(node), [*explain.operands(self, node), *getattr(error, "__notes__", ())]
        if isinstance(error, SyntaxError):
            return UnsupportedLanguageConstruct(str(error), place)
        if isinstance(error, PLAIN_ERRORS):
            return CompilationError(_sentence(error), place, notes)
        return CompilationError(f"internal error ({type(error).__name__}: {_sentence(error)}): this is a mistake of "
                                "rtriton's, not of the kernel's", place, notes)

    @contextmanager
    def inside(self, build: Builder | None = None) -> Generator[Builder]:
        """Ops made inside go into a region's builder."""
        outer = self.build
        self.build = build or Recorder(self.made)
        self.build.span = outer.span
        try:
            yield self.build
        finally:
            self.build = outer

    # -- bindings ------------------------------------------------------------------------------------------------

    def evaluate(self, node: Any) -> Any:
        return expressions.evaluate(self, node)

    def attribute(self, x: Any, name: str) -> Any:
        return expressions.attribute(self, x, name)

    def binary(self, kind: str, x: Any, y: Any) -> Any:
        return expressions.binary(self, kind, x, y)

    def call(self, callee: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return expressions.calls.call(self, callee, args, kwargs)

    def to_tensor(self, x: Any) -> Value:
        """Triton's name for what plain functions that are given the compiler ask most."""
        return s.to_value(self, x)

    def sequence(self, node: Any) -> tuple[Any, ...]:
        """A tuple known when compiling."""
        value = self.evaluate(node)
        if isinstance(value, range_):
            return value.known()
        if not is_list(value):
            raise TypeError(f"wanted a tuple, got {s.describe(value)}")
        return tuple(value)

    def assign(self, target: Any, value: Any, sanitize: bool = True) -> None:
        """Bind the names of an assignment's target. A plain number becomes a scalar value, as in Triton."""
        parts = [c for c in target.children if c is not None]
        if target.data in ("testlist_target", "target_list", "paren") and len(parts) == 1:
            self.assign(target.children[0], value, sanitize)
        elif target.data == "name":
            if isinstance(value, Value) and not value.name:
                value.name = str(target.children[0])
            self.frame.names[str(target.children[0])] = self.sanitized(value) if sanitize else value
        elif target.data in ("tuple", "list", "target_list", "testlist_target"):
            for part in parts:
                if part.data == "star_expr":
                    raise UnsupportedLanguageConstruct("the kernel language has no starred targets: slice the tuple",
                                                       self.span(part))
            if not is_tuple(value) or len(value) != len(parts):
                raise TypeError(f"{len(parts)} names cannot be assigned from {s.describe(value)}")
            for part, item in zip(parts, value, strict=True):
                self.assign(part, item, sanitize)
        else:
            raise CompilationError(no_target("only names can be assigned", target), self.span(target))

    def sanitized(self, value: Any) -> Any:
        """What a variable holds: numbers as scalars of the kernel, other objects as they are."""
        value = from_host(value)
        if is_tuple(value):
            return rebind(value, iter([self.sanitized(v) for v in flatten(value)]))
        return s.to_value(self, value) if isinstance(value, s.Number) else value

    def is_constant(self, value: Value) -> bool:
        """Was `value` made by a `const` op?"""
        return value in self.made and self.made[value].kind == "const"

    def scalar_condition(self, value: Value) -> Value:
        """The i1 that an if or while tests."""
        if isinstance(value.type, Tile):
            if value.type.numel == 1:
                return s.truth(self, only_element(self, value))
            raise TypeError(f"a condition is a scalar, got {show_type(value.type)}: reduce it, or use tl.where")
        return s.truth(self, value)

    def choose(self, condition: Value, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        """then() if condition else otherwise(), each lowered in a region of its own."""
        return flow.choose(self, self.scalar_condition(condition), then, otherwise)

    # -- functions -----------------------------------------------------------------------------------------------

    def inline(self, fn: KernelFunction, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The value of a call of `fn`, its body lowered here."""
        if len(self.frames) > MAX_DEPTH:
            raise TypeError(f"calls are more than {MAX_DEPTH} deep at {fn.__name__}: kernel functions are inlined, so "
                            "a recursion must end by what is known when compiling")
        names, caller = bind(fn, args, kwargs), self.build.span
        if not explain.is_library(fn) or explain.is_library(self.frame.fn):
            return self.body(fn, names, caller)
        try:
            return self.body(fn, names, caller)
        except KernelError as error:
            raise explain.from_library(fn, error, caller) from error

    def body(self, fn: KernelFunction, names: dict[str, Any], caller: Span | None) -> Any:
        frame = Frame(fn, names)
        self.frames.append(frame)
        self.callers.append(caller)
        self.result.functions[fn] = None
        try:
            left = statements.run(self, parse(fn.source).children[-1].children)
            return self.returned(fn, left)
        except KernelError as error:
            seen = error.within(fn.source.first_line, fn.source.indent, self.place_in_frame(error))
            if seen is error:
                raise
            raise seen from error
        finally:
            self.frames.pop()
            self.callers.pop()
            self.result.globals.update({(fn, n): v for n, v in frame.used_globals.items()})

    def place_in_frame(self, error: KernelError) -> Span:
        """The place of an error in the function being lowered: its own, or the call that led to it."""
        spans = [error.span]
        while spans[-1].caller is not None:
            spans.append(spans[-1].caller)
        depth = sum(caller is not None for caller in self.callers)
        return spans[max(0, len(spans) - 1 - depth)]

    def returned(self, fn: KernelFunction, left: flow.Outcome) -> Any:
        """The value of a call whose body ended so."""
        if left is None:
            return None
        if left.value is not None and not left.certain:
            self.warn(f"{fn.__name__} returns a value on one path and nothing on another: what it gives there is "
                      "undefined", Span(fn.source.file, fn.source.first_line))
        return left.value

    def region(self, fn: Any, types: list[Type]) -> Block:
        """The region of a reduce or scan: `fn(*left, *right)` on scalars."""
        numbers = range(len(types)) if len(types) > 1 else [""]
        params = [Value(t, f"{side}{i}") for side in ("l", "r") for i, t in zip(numbers, types, strict=True)]

        def cast(results: tuple[Any, ...]) -> list[Value]:
            if len(results) != len(types):
                raise TypeError(f"{fn.__name__} combines {len(types)} value{'s' * (len(types) > 1)}, so it must "
                                f"return as many, not {len(results)}")
            return [s.cast(self, v, dtype_of(t)) for v, t in zip(results, types, strict=True)]

        return self._region(fn, "the combine function", params, cast)

    def scalar_region(self, fn: Any, types: list[Type]) -> Block:
        """The region of a map: `fn(*elements)`, which gives scalars of any types."""
        params = [Value(t, f"x{i}") for i, t in enumerate(types)]

        def scalars(results: tuple[Any, ...]) -> list[Value]:
            values = [s.to_value(self, v) for v in results]
            if not values or any(isinstance(v.type, Tile) for v in values):
                raise TypeError(f"{fn.__name__} must return scalars, got {s.describe(results)}")
            return values

        return self._region(fn, "the function to map", params, scalars)

    def _region(self, fn: Any, role: str, params: list[Value], results: Callable[[tuple[Any, ...]], list[Value]],
                ) -> Block:
        """A call of `fn` on scalars, its value put into a region's results."""
        if not isinstance(fn, KernelFunction):
            raise TypeError(f"{role} must be a function under @jit, got {s.describe(fn)}")
        with self.inside() as build:
            made = self.inline(fn, list(params), {})
            build.op("yield", *results(made if is_tuple(made) else (made,)))
        return Block(tuple(params), tuple(build.ops))


def _sentence(error: Exception) -> str:
    return str(error.args[0]) if error.args else type(error).__name__


def bind(fn: KernelFunction, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by parameter name, defaults filled in; TypeError as Python words it. As in Triton a constexpr parameter
    of a called function may be given a run-time value: where it has to be known, its use says so."""
    names: dict[str, Any] = {}
    if len(args) > len(fn.params):
        raise TypeError(f"{fn.__name__}() takes {len(fn.params)} arguments but {len(args)} were given")
    for param, value in zip(fn.params, args, strict=False):
        names[param.name] = value
    for name, value in kwargs.items():
        if name in names:
            raise TypeError(f"{fn.__name__}() got multiple values for argument '{name}'")
        if name not in fn.arg_names:
            raise TypeError(f"{fn.__name__}() got an unexpected keyword argument '{name}'")
        names[name] = value
    for param in fn.params:
        if param.name not in names:
            if not param.has_default:
                raise TypeError(f"{fn.__name__}() missing a required argument: '{param.name}'")
            names[param.name] = from_host(param.default)
    return {p.name: from_host(names[p.name]) for p in fn.params}


def lower(fn: KernelFunction, signature: Mapping[str, Type], constants: Mapping[str, Any],
          divisible: Mapping[str, int] | None = None, target: GPUTarget = CPU, **options: Any) -> Lowered:
    """The tile IR of kernel `fn`.

    signature: the type of each run-time parameter; constants: the value of each other one, in which a `Leaf` stands for
    a run-time element of a tuple; divisible: what pointers and integers are known to be multiples of; options:
    num_warps, num_stages, debug ... as kernel attributes; target: what tl.target_info tells."""
    low = Lowering({**options, "target": target})
    params: dict[str, Value] = {}

    def argument(x: Any) -> Any:
        """A constant; a Leaf becomes a parameter of the kernel."""
        if isinstance(x, Leaf):
            return params.setdefault(x.name, Value(signature[x.name], x.name.replace(".", "_")))
        if isinstance(x, Compound):              # its numbers are 64-bit scalars in kernels
            leaves = [argument(p) if isinstance(p, Leaf) else s.to_value(low, p, int64) for p in flatten(x)]
            return rebind(x, iter(leaves))
        return tuple_like(x, [argument(part) for part in x]) if is_tuple(x) else x

    names = {p.name: argument(Leaf(p.name) if p.name in signature else from_host(constants[p.name]))
             for p in fn.params}
    known = {name: i for i, name in enumerate(params)}
    first = Span(fn.source.file, fn.source.first_line)
    for p in fn.params:
        if p.is_constexpr and (p.do_not_specialize or p.do_not_specialize_on_alignment):
            raise CompilationError(f"{p.name} marked as constexpr and listed in do_not_specialize or "
                                   "do_not_specialize_on_alignment: a constexpr is always specialised", first)
    low.arguments.update(params.values())
    try:
        with deep_recursion(DEEP):            # nested blocks and calls are nested calls here
            low.body(fn, names, None)
    except RecursionError as error:
        raise CompilationError("the kernel nests deeper than the compiler follows: split it into functions, or use "
                               "tl.range instead of an unrolled loop", first) from error
    attrs = {k: v for k, v in options.items() if v is not None}
    attrs["divisible"] = {known[n]: d for n, d in (divisible or {}).items() if n in known}
    body = spread_hints(Block(tuple(params.values()), tuple(low.build.ops)))
    low.result.kernel = Kernel(fn.__name__, body, attrs)
    return low.result


