"""Which op runs where and which type goes where, for docs/language.md: asked of the tables and the compilers.

An op runs in the interpreter if it has a handler there or a `meaning` in its row, on the CPU if that backend has a rule
for it, as PTX if there is a lowering. What types can be used for is found by compiling a kernel for each.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import rtriton
import rtriton.language as tl
from rtriton.backend.cpu import elementwise as cpu_elementwise
from rtriton.backend.cpu import emit as cpu_emit
from rtriton.backend.cpu.facts import HINTS
from rtriton.backend.cpu.launch import compile_cpu
from rtriton.backend.cpu.lower import LAZY, NOW
from rtriton.backend.cpu.vector_math import MATH
from rtriton.backend.ptx import emit as ptx_emit
from rtriton.errors import KernelError
from rtriton.frontend.lower import lower
from rtriton.interpret import HANDLERS
from rtriton.language import gpu
from rtriton.language.table import OPS, OpDef
from rtriton.passes import run_pipeline
from rtriton.target import Target
from rtriton.types import DTYPES, DType, Pointer
from tests.language.page_functions import table

KNOWN = {
    "interpreter": {"cast", "bitcast", "addptr", "yield"},
    "CPU": {"cast", "bitcast", "where", "yield"},
    "PTX": {"yield"},
}
"""Ops that the machinery of an execution does itself, outside its tables: every kernel that is run tests them."""
assert cpu_emit.FAMILIES


def in_interpreter(row: OpDef) -> bool:
    return row.name in HANDLERS or row.name in KNOWN["interpreter"] or (row.elementwise and row.meaning is not None)


def on_cpu(row: OpDef) -> bool:
    rules = cpu_elementwise.RULES.keys() | MATH.keys() | LAZY.keys() | NOW.keys() | set(HINTS)
    return row.name in KNOWN["CPU"] or row.name in rules or _expanded(row)


def _expanded(row: OpDef) -> bool:
    """Assembly is turned into other ops before the CPU backend sees it."""
    return row.name in ("inline_asm", "inline_asm_volatile")


def as_ptx(row: OpDef) -> bool:
    ptx_emit._load_families()
    return row.name in KNOWN["PTX"] or row.name in ptx_emit.LOWERINGS


PLACES: dict[str, Callable[[OpDef], bool]] = {"interpreter": in_interpreter, "CPU": on_cpu, "PTX": as_ptx}


def of_kernels(row: OpDef) -> bool:
    """Do kernels contain it before the passes for GPUs made it?"""
    return row.name not in {made.name for name in gpu.__all__ if isinstance(made := getattr(gpu, name), OpDef)}


def holes() -> list[str]:
    """`op: place` for each op of kernels that is missing somewhere."""
    return [f"{row.name}: {place}" for row in OPS.values() if of_kernels(row)
            for place, has in PLACES.items() if not has(row)]  # fmt: skip


def matrix() -> str:
    """The rows of the op table and where each runs."""
    def cell(row: OpDef, place: str) -> str:
        if not of_kernels(row) and place == "CPU":
            return "" if not PLACES[place](row) else "yes"
        return "yes" if PLACES[place](row) else "**no**"

    rows = [(f"`{row.name}`", " ".join(row.doc.split("\n\n")[0].split()), *(cell(row, p) for p in PLACES))
            for row in OPS.values()]  # fmt: skip
    return table(("op", "", *PLACES), rows)


# -- types -----------------------------------------------------------------------------------------------------------


@rtriton.jit
def _moved(x, out):
    i = tl.arange(0, 32)
    tl.store(out + i, tl.load(x + i))


@rtriton.jit
def _converted(x, out):
    i = tl.arange(0, 32)
    tl.store(out + i, tl.load(x + i).to(tl.float32).to(out.dtype.element_ty))


@rtriton.jit
def _argument(x, out):
    tl.store(out, x)


@rtriton.jit
def _arithmetic(x, out):
    i = tl.arange(0, 32)
    a = tl.load(x + i)
    tl.store(out + i, a * a + a)


@rtriton.jit
def _compared(x, out):
    i = tl.arange(0, 32)
    a = tl.load(x + i)
    tl.store(out + i, tl.where(a < tl.load(out + i), a, a))


@rtriton.jit
def _bits(x, out):
    i = tl.arange(0, 32)
    a = tl.load(x + i)
    tl.store(out + i, (a & a) >> a)


@rtriton.jit
def _mathematics(x, out):
    i = tl.arange(0, 32)
    tl.store(out + i, tl.exp(tl.load(x + i)))


@rtriton.jit
def _summed(x, out):
    i = tl.arange(0, 32)
    a = tl.load(x + i)
    tl.store(out, tl.sum(a))
    tl.store(out + i, tl.cumsum(a, 0))


@rtriton.jit
def _sorted(x, out):
    i = tl.arange(0, 32)
    tl.store(out + i, tl.sort(tl.load(x + i)))


@rtriton.jit
def _multiplied(x, out):
    at = tl.arange(0, 32)[:, None] * 32 + tl.arange(0, 32)
    a = tl.load(x + at)
    tl.store(out + at, tl.dot(a, a).to(out.dtype.element_ty))


@rtriton.jit
def _added(x, out):
    i = tl.arange(0, 32)
    tl.atomic_add(out + i, tl.load(x + i))


@rtriton.jit
def _larger(x, out):
    i = tl.arange(0, 32)
    tl.atomic_max(out + i, tl.load(x + i))


@rtriton.jit
def _swapped(x, out):
    i = tl.arange(0, 32)
    a = tl.load(x + i)
    tl.atomic_cas(out + i, a, a)


USES: dict[str, Any] = {
    "load, store": _moved, "argument": _argument, "to, from fp32": _converted, "+ - *": _arithmetic,
    "<, where": _compared, "& | ^ << >>": _bits, "exp, sqrt ...": _mathematics, "sum, cumsum": _summed,
    "sort": _sorted, "dot": _multiplied, "atomic_add": _added, "atomic_max": _larger, "atomic_cas": _swapped,
}  # fmt: skip


def usable(kernel: Any, dtype: DType) -> bool:
    """Does it compile for that type: by the front end, and then for a CPU and for a GPU?"""
    argument = dtype if kernel is _argument else Pointer(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = lower(kernel, {"x": argument, "out": Pointer(dtype)}, {}).kernel
        except KernelError:
            return False
        made = run_pipeline(made, None, "tile")
        compile_cpu(made)
        ptx_emit.lower_to_ptx(made, Target.of("sm_90a"))
    return True


def types() -> str:
    """The types and what each can be used for; what one backend took and another did not would raise."""
    rows = [(f"`tl.{t.codegen_name()}`", f"`{t.short}`", *("yes" if usable(k, t) else "" for k in USES.values()))
            for t in DTYPES]  # fmt: skip
    return table(("type", "in IR", *USES), rows)
