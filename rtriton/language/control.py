"""Public functions about the program rather than its data: static and device asserts and prints, assume, condition."""
from __future__ import annotations

import string
from typing import Any

from rtriton.errors import CompileTimeAssertionFailure
from rtriton.guards import is_list
from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.values import Condition, Context, condition_of, public, unwrap
from rtriton.printing import show_prefix
from rtriton.types import Pointer, element_of, shape_of


@public()
def static_assert(b: Context, cond: Any, msg: Any = "") -> None:
    """Fail the compilation unless `cond`, known when compiling, holds."""
    cond = unwrap(cond)
    if isinstance(cond, Value):
        raise TypeError("static_assert needs a condition known when compiling; use tl.device_assert for this one")
    if not cond:
        reason = f": {unwrap(msg)}" if unwrap(msg) else ""
        raise CompileTimeAssertionFailure(f"static assertion failed{reason}", b.build.span)


@public()
def static_print(b: Context, *values: Any, sep: Any = " ", end: Any = "\n", file: Any = None,
                 flush: Any = False) -> None:
    """Print while compiling: known values as they are, others as Triton writes them, `fp32[constexpr[16]]`."""
    shown = [printable(v) for v in values]
    print(*shown, sep=unwrap(sep), end=unwrap(end), file=unwrap(file), flush=unwrap(flush))


def printable(x: Any) -> Any:
    """A value of the kernel as its type and sizes; in a tuple, each item's text; anything else as it is."""
    x = unwrap(x)
    if isinstance(x, Value):
        element = element_of(x.type)
        name = f"pointer<{element.element.name}>" if isinstance(element, Pointer) else element.name
        return f"{name}[{', '.join(f'constexpr[{n}]' for n in shape_of(x.type))}]"
    return [str(printable(v)) for v in x] if is_list(x) else x


@public()
def device_assert(b: Context, cond: Any, msg: Any = "", mask: Any = None) -> None:
    """Stop the kernel if `cond` is false anywhere that `mask` holds; only with debug=True or TRITON_DEBUG=1."""
    if not b.option("debug"):
        return
    test = s.truth(b, cond)
    given = unwrap(mask)
    if given is not None:
        test = b.build.one("or", *s.broadcast_pair(b, test, s.invert(b, s.truth(b, given))))
    b.build.op("assert", test, message=str(unwrap(msg)))


@public()
def device_print(b: Context, prefix: Any, *args: Any, hex: Any = False) -> None:
    """Print, while the kernel runs, a line for each element of `args`: program, place, `prefix` and value.

    `hex` shows their bits. `prefix` is a text of printable ASCII characters known when compiling."""
    text = unwrap(prefix)
    if not isinstance(text, str):
        raise TypeError(f"device_print's first argument is a text, got {s.describe(prefix)}")
    if not all(c in string.printable for c in text):
        raise ValueError(f"device_print's text is made of printable ASCII characters, got {text!r}")
    values = [s.to_value(b, a) for a in args]
    b.build.op("print", *values, prefix=show_prefix(text, len(values)), hex=bool(unwrap(hex)))


@public()
def assume(b: Context, cond: Any) -> None:
    """Promise that `cond` holds."""
    test = unwrap(cond)
    if isinstance(test, Value):
        b.build.op("assume", s.truth(b, test))


@public()
def condition(b: Context, arg1: Any, disable_licm: Any = False) -> Condition:
    """The condition of a while loop; with disable_licm what is the same in every turn stays in the loop."""
    return condition_of(unwrap(arg1), disable_licm)
