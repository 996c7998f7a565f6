"""A kernel in tile IR as an LLVM module with one function, which runs a range of programs:

    kernel(arguments, grid, begin, end, arena)

Arguments and grid are read once; then a loop over the programs, numbered with x fastest. What the programs of a range
share is hoisted out of that loop like out of any other.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtriton.backend.cpu import atomics, control, dot, memory, numbers, order, reduce, region, scan, shape
from rtriton.backend.cpu.facts import Facts
from rtriton.backend.cpu.llvm import Builder, V
from rtriton.backend.cpu.lower import Lowering
from rtriton.backend.cpu.plan import plan
from rtriton.backend.cpu.target import CpuTarget
from rtriton.deep import deep_recursion
from rtriton.ir import Kernel, Op, walk
from rtriton.types import element_of

ENTRY = "kernel"
PADDING = 256  # bytes past the last buffer that a vector load may touch
FAMILIES = (atomics, control, dot, memory, order, reduce, region, scan, shape)  # imported for their lowerings


@dataclass(frozen=True)
class Emitted:
    text: str
    arena_bytes: int
    messages: tuple[Op, ...]


DEEP = 100_000  # frames: evaluation follows a chain of ops to its start, and a chain may have thousands


def emit(kernel: Kernel, target: CpuTarget) -> Emitted:
    """LLVM text for a kernel, and what its launch must provide."""
    with deep_recursion(DEEP):
        return _emit(kernel, target)


def _emit(kernel: Kernel, target: CpuTarget) -> Emitted:
    b = Builder(bool(kernel.attrs.get("fp_fusion", True)))
    facts = Facts(kernel)
    low = Lowering(kernel, target, b, facts, plan(kernel, facts))
    attributes = (
        f'nounwind "prefer-vector-width"="{target.vector_bits}" "min-legal-vector-width"="{target.vector_bits}"'
    )
    with b.function(ENTRY, ("ptr", "ptr", "i64", "i64", "ptr"), attributes) as (arguments, grid, begin, end, arena):
        low.arena = arena
        _arguments(low, arguments)
        low.grid = tuple(b.cast("trunc", b.load(b.gep(grid, b.int(k), 8), "i64", 0, 8), "i32") for k in range(3))
        low.number = b.load(b.gep(grid, b.int(5), 8), "i64", 0, 8)
        (linear,) = b.open_loop(begin)
        b.exit_unless(b.cmp("icmp ult", linear, end))
        low.program = _program(low, linear)
        low.block(kernel.body)
        b.close_loop(b.op("add", linear, b.int(1)))
    if low.needs_zeros:
        b.globals.append("@zeros = internal constant [512 x i8] zeroinitializer, align 64")
    return Emitted(b.module(), low.arena_top + PADDING, tuple(low.messages))


def _arguments(low: Lowering, arguments: V) -> None:
    for k, param in enumerate(low.kernel.params):
        slot = low.b.gep(arguments, low.b.int(k), 8)
        element = element_of(param.type)
        if element.kind == "p":
            low.scalars[param] = low.b.load(slot, "ptr", 0, 8)
        else:
            raw = low.b.load(slot, numbers.memory(element), 0, 8)
            low.scalars[param] = numbers.decode(low.m, raw, element)


def _program(low: Lowering, linear: V) -> tuple[V, V, V]:
    """The program's place on each axis; 32-bit division, since a grid's sizes are 32-bit numbers."""
    b = low.b
    used = {op.attrs["axis"] for op in low.facts.definition.values() if op.kind == "program_id"}
    if any(op.kind == "print" for op in walk(low.kernel.body)):  # a print names its program
        used = {0, 1, 2}
    x, y, _ = (b.cast("zext", size, "i64") for size in low.grid)
    zero = b.int(0, "i32")
    if not used & {1, 2}:
        return b.cast("trunc", b.op("urem", linear, x), "i32") if used else zero, zero, zero
    rows = b.op("udiv", linear, x)
    first = b.cast("trunc", b.op("sub", linear, b.op("mul", rows, x)), "i32")
    third = b.op("udiv", rows, y)
    return first, b.cast("trunc", b.op("sub", rows, b.op("mul", third, y)), "i32"), b.cast("trunc", third, "i32")
