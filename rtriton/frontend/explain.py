"""What an error says besides its sentence: the operands of the expression, their types, and where they came from.

      a: 128x64xf16, loaded at matmul.py:28:9
      BLOCK: 100, known when compiling
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rtriton.errors import CompilationError, KernelError, outside
from rtriton.ir import Span, Value
from rtriton.source import KernelFunction
from rtriton.types import DType, show_type

if TYPE_CHECKING:
    from rtriton.frontend.lower import Lowering

MOST = 6
VERBS = {"load": "loaded", "cast": "converted", "bitcast": "converted", "const": "set", "arange": "made",
         "splat": "made", "reshape": "reshaped", "trans": "transposed", "broadcast": "broadcast", "reduce": "reduced",
         "addptr": "moved", "for": "carried by the loop", "while": "carried by the loop",
         "if": "set in the branches"}
WITHOUT = ("if_stmt", "for_stmt", "while_stmt", "with_stmt")   # whole blocks: their names say little


def operands(low: Lowering, node: Any) -> list[str]:
    """One line per name in the expression `node`."""
    if getattr(node, "data", "") in WITHOUT:
        return []
    lines: dict[str, str] = {}
    for name in _names(node):
        if name not in lines and name in low.frame.names:
            line = line_of(low, low.frame.names[name])
            if line:
                lines[name] = f"{name}: {line}"
    return list(lines.values())[:MOST]


def line_of(low: Lowering, binding: Any) -> str:
    """Type and origin of what a name is bound to; "" for what explains nothing."""
    if isinstance(binding, Value):
        return f"{show_type(binding.type)}, {origin(low, binding)}"
    if isinstance(binding, (bool, int, float, str, DType)):
        return f"{show_type(binding) if isinstance(binding, DType) else repr(binding)}, known when compiling"
    return ""


def origin(low: Lowering, value: Value) -> str:
    """Where a value was made."""
    op = low.made.get(value)
    if op is None:
        return "an argument" if value in low.arguments else "carried by a loop"
    return f"{VERBS.get(op.kind, 'computed')} at {outside(op.span)}"


def _names(node: Any) -> Iterator[str]:
    if node.data == "name":
        yield str(node.children[0])
    for child in node.children:
        if hasattr(child, "data"):
            yield from _names(child)


def is_library(fn: KernelFunction) -> bool:
    """Is this one of the language's own functions, written in the language?"""
    return str(fn.__module__).startswith("rtriton.language")


def from_library(fn: KernelFunction, error: KernelError, place: Span) -> Exception:
    """An error inside a library function, told at the user's call of it: a plain one takes its place there."""
    inner = f"in tl.{fn.__name__}, at {error.span}"
    if type(error) is not CompilationError:
        return type(error)(error.message, place, [inner])
    plain = TypeError(error.message)
    plain.add_note(inner)
    return plain
