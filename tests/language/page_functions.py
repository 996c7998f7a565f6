"""The functions of `tl` for docs/language.md: by group, with signature and the first sentence of their docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import rtriton.language as tl
from rtriton.language.blocks import BlockPointer
from rtriton.language.descriptors import TensorDescriptor
from rtriton.language.extra import libdevice
from rtriton.language.table import OPS
from rtriton.source import KernelFunction

GROUPS = {
    "Programs": "program_id num_programs",
    "Making tiles": "arange full zeros zeros_like to_tensor cast",
    "Shapes": "broadcast broadcast_to expand_dims reshape view ravel trans permute join split interleave cat gather "
              "flip",
    "Arithmetic": "add sub mul fdiv div_rn cdiv fma umulhi abs minimum maximum clamp where logical_and logical_or",
    "Mathematics": "exp exp2 log log2 sin cos sqrt sqrt_rn rsqrt erf floor ceil sigmoid softmax",
    "Reductions, scans and orders": "reduce sum max min argmax argmin xor_sum reduce_or item associative_scan cumsum "
                                    "cumprod sort topk bitonic_merge histogram map_elementwise",
    "Memory": "load store make_block_ptr advance make_tensor_descriptor load_tensor_descriptor "
              "store_tensor_descriptor debug_barrier",
    "Atomics": "atomic_add atomic_max atomic_min atomic_and atomic_or atomic_xor atomic_xchg atomic_cas",
    "Products": "dot dot_scaled",
    "Random numbers": "rand randn randint rand4x randn4x randint4x philox philox_impl uint_to_uniform_float "
                      "pair_uniform_to_normal",
    "Grids": "swizzle2d",
    "What the compiler is told": "assume multiple_of max_contiguous max_constancy condition",
    "Checks and prints": "static_assert static_print device_assert device_print",
    "Assembly and libraries": "inline_asm_elementwise extern_elementwise",
}  # fmt: skip
"""Every public function is in one of them: `ungrouped` says which is not."""


def ungrouped() -> set[str]:
    """Public functions of no group, names in groups that are no function, names in two."""
    listed = " ".join(GROUPS.values()).split()
    public = {name for name in tl.PUBLIC if not name.startswith("_")}
    return public.symmetric_difference(listed) | {name for name in listed if listed.count(name) > 1}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(head), *map(tuple, rows)]
    lines.insert(1, ("---",) * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def sections() -> list[str]:
    parts: list[str] = []
    for title, names in GROUPS.items():
        rows = [(f"`{signature(name, tl.PUBLIC[name])}`", kind(name), sentence(tl.PUBLIC[name]))
                for name in names.split()]  # fmt: skip
        parts += [f"### {title}", table(("function", "", ""), rows)]
    operators = sorted(name for name in tl.METHODS if name.startswith("__"))
    return [
        "*Method*: `x.f(...)` is `tl.f(x, ...)`. *In the language*: a kernel function like yours, which the compiler "
        "inlines; it works wherever the ops that it uses do.",
        *parts,
        "### Members of values",
        "`x.dtype`, `x.shape`, `x.numel`, `x.type`, `x.T`. `x.to(dtype, fp_downcast_rounding=None, bitcast=False)` is "
        "`tl.cast`. Operators are methods too: " + ", ".join(f"`{name}`" for name in operators) + ".",
        "### Methods of block pointers and descriptors",
        table(("method", ""), [*_methods("block pointer", BlockPointer.methods),
                               *_methods("tensor descriptor", TensorDescriptor.methods)]),
        "### Loops and values known when compiling",
        table(("name", ""), [(f"`tl.{signature(name, made)}`", sentence(made)) for name, made in _classes()]),
        "### tl.extra.cuda",
        table(("function", ""), [(f"`{signature(name, fn)}`", sentence(fn)) for name, fn in _cuda()]),
        "### tl.extra.libdevice",
        f"{len(libdevice.FUNCTIONS)} functions under the names of NVIDIA's library, written in the language; they are "
        "`tl.extra.cuda.libdevice` too. " + _notes(libdevice) + " They are: "
        + ", ".join(f"`{name}`" for name in sorted(libdevice.FUNCTIONS)) + ".",
    ]  # fmt: skip


def kind(name: str) -> str:
    """Whether it is a method, and whether it is written in the language."""
    words = ["method"] if name in tl.METHODS else []
    words += ["in the language"] if isinstance(tl.PUBLIC[name], KernelFunction) else []
    words += [f"op `{name}`"] if name in OPS and not words[1:] else []
    return ", ".join(words)


def signature(name: str, fn: Any) -> str:
    """name(parameters with defaults), without annotations."""
    target = fn.fn if isinstance(fn, KernelFunction) else fn
    parts: list[str] = []
    own = isinstance(target, type) and "__signature__" in dir(target)  # which says how instances are called
    for p in inspect.signature(target.__init__ if own else target).parameters.values():
        if p.name.startswith("_") or own and p.name == "self":
            continue
        star = "*" if p.kind is p.VAR_POSITIONAL else ""
        parts.append(star + p.name + ("" if p.default is p.empty else f"={_default(p.default)}"))
    return f"{name}({', '.join(parts)})"


def _default(value: Any) -> str:
    value = getattr(value, "value", value)
    return f"tl.{value.codegen_name()}" if isinstance(value, tl.dtype) else repr(value)


def sentence(fn: Any) -> str:
    """The first sentence of a docstring."""
    text = " ".join((inspect.getdoc(fn.fn if isinstance(fn, KernelFunction) else fn) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.])\s(?=[A-Z`])", text)[0]


def documented() -> list[tuple[str, Any]]:
    """Everything that this page describes, by name."""
    methods = [*BlockPointer.methods.items(), *TensorDescriptor.methods.items()]
    public = [(name, fn) for name, fn in tl.PUBLIC.items() if not name.startswith("_")]
    return [*public, *methods, *_classes(), *_cuda()]


def _methods(of: str, methods: dict[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, fn in methods.items():
        shown = signature(name, fn)
        rows.append((f"{of}: `{re.sub(r'[(](desc|self|base|pointer)(, )?', '(', shown)}`", sentence(fn)))
    return rows


def _classes() -> list[tuple[str, Any]]:
    return [("range", tl.range), ("static_range", tl.static_range), ("constexpr", tl.constexpr),
            ("constexpr_function", tl.constexpr_function), ("const", tl.const), ("pointer_type", tl.pointer_type),
            ("block_type", tl.block_type)]  # fmt: skip


def _cuda() -> list[tuple[str, Callable[..., Any]]]:
    module = tl.extra.cuda
    return [(name, getattr(module, name)) for name in module.__all__ if name != "libdevice"]


def _notes(module: Any) -> str:
    """The prose of a module's docstring after its example."""
    paragraphs = inspect.getdoc(module).split("\n\n")
    return " ".join(paragraphs[-1].split())
