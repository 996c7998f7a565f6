"""Laid-out tile IR -> PTX. A tile is a list of registers indexed by its layout's register bits, a scalar is one.

    module = emit(kernel, Target.of("sm_90a"))         # kernel: after the GPU passes
    module = lower_to_ptx(kernel, Target.of("sm_80"))   # kernel: optimised tile IR; runs those passes first

`Emitter` knows the module being written, where values are, which lane and warp a thread is, and which instructions
it has already written: `pure` gives the register of an equal instruction in this or an enclosing region.  The ops'
lowerings stand in one file per family (`emit_memory`, `emit_reduce`, ...) and register themselves with `@lowering`.

A register may be known as another plus a constant (`affine`): addresses then fold constants into the instruction,
and what nobody reads is dropped at the end.
"""
from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from rtriton import layout as L, numerics
from rtriton.backend.ptx.cleanup import drop_unread
from rtriton.backend.ptx.module import Module
from rtriton.backend.ptx.operands import Argument, Mem, Param, Reg, Special
from rtriton.errors import KernelError
from rtriton.ir import Block, Kernel, Op, Span, Value, definitions, uses
from rtriton.layout import Layout
from rtriton.passes import Hook
from rtriton.passes.analysis.axis_info import Table, axis_info
from rtriton.passes.analysis.flight import bytes_under_way
from rtriton.target import Target
from rtriton.types import DType, Pointer, Scalar, Tile, Type, element_of

LANE_BITS = 5  # of the number of a thread; those above say which warp it is in
Lowering = Callable[["Emitter", Op], None]
OpHook = Callable[[Op, Sequence[object]], None]
LOWERINGS: dict[str, Lowering] = {}
FAMILIES = ("asm", "elementwise", "memory", "shape", "order", "reduce", "scan", "convert", "debug", "dot", "fma",
            "control", "atomic", "async", "index")  # fmt: skip


def lowering(*kinds: str) -> Callable[[Lowering], Lowering]:
    """Register the function that emits ops of these kinds."""

    def put(function: Lowering) -> Lowering:
        for kind in kinds:
            LOWERINGS[kind] = function
        return function

    return put


def emit(kernel: Kernel, target: Target, each: OpHook | None = None) -> Module:
    """The PTX module of a kernel that the GPU passes have laid out. `each(op, instructions)` is called for every op,
    inner ones first; those that nobody reads are then left out of the module."""
    _load_families()
    e = Emitter(kernel, target, each)
    e.prologue()
    e.block(kernel.body)
    e.m.do("ret")
    drop_unread(e.m)
    e.m.under_way = bytes_under_way(kernel)
    e.m.verify()
    return e.m


def lower_to_ptx(kernel: Kernel, target: Target, each: Hook | None = None) -> Module:
    """Optimised tile IR -> layout passes -> PTX; `each(name, before, after)` is called after every pass."""
    from rtriton.passes import GPU, TILE, run_pipeline

    return emit(run_pipeline(kernel, target, GPU[len(TILE) :], each), target)


def _load_families() -> None:
    from importlib import import_module

    for family in FAMILIES:
        import_module(f"rtriton.backend.ptx.emit_{family}")


@dataclass(frozen=True)
class Loc:
    """A place in the user's program, as the module wants it; `caller` is the call that brought `function` there."""

    file: str
    line: int
    col: int
    function: str = ""
    caller: Loc | None = None


@dataclass
class Emitter:
    kernel: Kernel
    target: Target
    each: OpHook | None = None
    m: Module = field(init=False)
    values: dict[Value, list[Reg]] = field(default_factory=dict[Value, list[Reg]])
    affine: dict[Reg, tuple[Reg, int]] = field(default_factory=dict[Reg, tuple[Reg, int]])
    constants: dict[Reg, int] = field(default_factory=dict[Reg, int])
    scopes: list[dict[tuple[object, ...], Reg]] = field(default_factory=lambda: [{}])
    info: Table = field(init=False)
    used: dict[Value, list[Op]] = field(init=False)
    made: dict[Value, Op] = field(init=False)
    tid: Reg = field(init=False)
    lane: Reg = field(init=False)
    warp: Reg = field(init=False)
    shared: Reg = field(init=False)

    def __post_init__(self) -> None:
        self.num_warps = int(self.kernel.attrs.get("num_warps", 4))
        self.warp_bits = L.log2(self.num_warps)
        divisible = self.kernel.attrs.get("divisible", {})
        params = [_param(i, v.type, divisible.get(i, 1)) for i, v in enumerate(self.kernel.params)]
        shared = int(self.kernel.attrs.get("shared_bytes", 0))
        most = self.kernel.attrs.get("maxnreg")
        self.m = Module(self.kernel.name, self.target.sm, params, shared, self.num_warps, most)
        self.info = axis_info(self.kernel)
        self.used, self.made = uses(self.kernel.body), definitions(self.kernel.body)

    def prologue(self) -> None:
        """Parameters, and who this thread is; what is not read is dropped at the end."""
        m = self.m
        for i, value in enumerate(self.kernel.params):
            loaded = m.load_param(f"arg{i}")
            self.values[value] = [self.from_memory(loaded, element_of(value.type))]
        self.tid = m("mov.u32", Special("tid.x"))
        self.lane = m("and.b32", self.tid, 31)
        self.warp = m("shr.u32", self.tid, 5)
        if self.num_warps > 1:  # the same in all lanes: lets ptxas keep what depends on it in uniform registers
            self.warp = m("shfl.sync.idx.b32", self.warp, 0, 31, -1)
        else:
            self.warp = m("mov.u32", 0)
        if m.shared_bytes:
            self.shared = m("mov.u32", m.shared)

    # -- values ------------------------------------------------------------------------------------------------------

    def regs(self, value: Value | None) -> list[Reg]:
        assert value is not None
        return self.values[value]

    def one(self, value: Value | None) -> Reg:
        """The register of a scalar."""
        (reg,) = self.regs(value)
        return reg

    def put(self, op: Op, *results: Sequence[Reg]) -> None:
        for value, regs in zip(op.results, results, strict=True):
            self.values[value] = list(regs)

    def layout(self, value: Value | None) -> Layout:
        assert value is not None
        layout = value.type.layout if isinstance(value.type, Tile) else None
        if layout is None:
            raise KernelError(f"{value} has no layout: the layout passes have not run")
        return layout

    def is_used(self, op: Op) -> bool:
        return any(self.used.get(v) for v in op.results)

    # -- instructions ------------------------------------------------------------------------------------------------

    def pure(self, opcode: str, *args: Argument) -> Reg:
        """The result of an instruction without effects; an equal one that dominates this place is taken again."""
        found = self.known(opcode, *args)
        if found is None:
            found = self.scopes[-1][_key(opcode, args)] = self.m(opcode, *args)
        return found

    def known(self, opcode: str, *args: Argument) -> Reg | None:
        """The result of an equal instruction that dominates this place, if there is one."""
        key = _key(opcode, args)
        return next((scope[key] for scope in reversed(self.scopes) if key in scope), None)

    def remember(self, result: Reg, opcode: str, *args: Argument) -> None:
        """Say that `result` is what this instruction would give."""
        self.scopes[-1][_key(opcode, args)] = result

    @contextmanager
    def scope(self) -> Generator[None]:
        """What is computed inside is not to be found after it."""
        self.scopes.append({})
        try:
            yield
        finally:
            self.scopes.pop()

    def const(self, value: int | float, type: Scalar) -> Reg:
        """A register that holds a number of a type."""
        reg = self.pure(*_mov(value, type))
        if type.kind in "iup":
            self.constants[reg] = int(value)
        return reg

    def plus(self, base: Reg, constant: int) -> Reg:
        """base + constant, known as such."""
        if not constant:
            return base
        root, already = self.affine.get(base, (base, 0))
        total = already + constant
        if not total:
            return root
        bits = 64 if root.type == "b64" else 32
        limit = 1 << (bits - 1)
        result = self.pure(f"add.s{bits}", root, (total + limit) % (1 << bits) - limit)
        if -limit <= total < limit:
            self.affine[result] = (root, total)
        return result

    def split_affine(self, reg: Reg) -> tuple[Reg, int]:
        return self.affine.get(reg, (reg, 0))

    def linear(self, columns: Mapping[str, Sequence[int]]) -> Reg | None:
        """The xor over lane and warp bits of their columns, computed at run time; None when it is 0 everywhere. Bits of
        the two that go equally far, counted from where they are in the thread's number, go together."""
        lanes, warps = (_shifts(columns.get(dim, ())) for dim in ("lane", "warp"))
        parts: list[Reg] = []
        for shift, mask in sorted(lanes.items()):
            beside = warps.pop(shift + LANE_BITS, 0)
            if beside:
                parts.append(self.shifted(self.tid, mask | beside << LANE_BITS, shift, LANE_BITS + self.warp_bits))
            else:
                parts.append(self.shifted(self.lane, mask, shift, LANE_BITS))
        parts += [self.shifted(self.warp, mask, shift, self.warp_bits) for shift, mask in sorted(warps.items())]
        return self.xored(parts)

    def mapped(self, source: Reg, columns: Sequence[int]) -> Reg | None:
        """The xor of the columns whose bits are set in `source`; None when it is 0 everywhere."""
        found = sorted(_shifts(columns).items())
        return self.xored([self.shifted(source, mask, shift, len(columns)) for shift, mask in found])

    def xored(self, parts: Sequence[Reg]) -> Reg | None:
        if not parts:
            return None
        total = parts[0]
        for part in parts[1:]:
            total = self.pure("xor.b32", total, part)
        return total

    def shifted(self, source: Reg, mask: int, shift: int, bits: int) -> Reg:
        kept = source if mask == (1 << bits) - 1 else self.pure("and.b32", source, mask)
        if not shift:
            return kept
        return self.pure("shl.b32", kept, shift) if shift > 0 else self.pure("shr.u32", kept, -shift)

    def owner(self, layout: Layout) -> Reg | None:
        """True in the one place of each element that stores it; None when there are no copies."""
        return self.owner_of(layout.copies("lane"), layout.copies("warp"))

    def owner_of(self, lanes: int, warps: int) -> Reg | None:
        """True where these bits of lane and warp are all zero."""
        found: Reg | None = None
        for copies, source in ((lanes, self.lane), (warps, self.warp)):
            if copies:
                mine = self.pure("setp.eq.u32", self.pure("and.b32", source, copies), 0)
                found = mine if found is None else self.pure("and.pred", found, mine)
        return found

    def both(self, a: Reg | None, b: Reg | None) -> Reg | None:
        """The conjunction of two predicates, either of which may be absent."""
        if a is None or b is None:
            return a if b is None else b
        return self.pure("and.pred", a, b)

    def barrier(self) -> None:
        if self.num_warps > 1:
            self.m.do("bar.sync", 0)
        else:
            self.m.do("bar.warp.sync", -1)

    def address(self, pointer: Reg) -> Mem:
        """A pointer as an instruction takes it: its constant folded in where it fits."""
        base, constant = self.split_affine(pointer)
        return Mem(base, constant) if -(1 << 31) <= constant < 1 << 31 else Mem(pointer)

    def shared_at(self, offset: int) -> Mem:
        return Mem(self.shared, offset)

    def from_memory(self, reg: Reg, type: Scalar) -> Reg:
        """A value as memory has it -> as registers hold it: i1 is a predicate."""
        return self.pure("setp.ne.b16", reg, 0) if type.kind == "b" else reg

    def to_memory(self, reg: Reg, type: Scalar) -> Reg:
        if type.kind != "b":
            return reg
        return self.pure("selp.u16", 1, 0, reg)

    # -- ops ---------------------------------------------------------------------------------------------------------

    def block(self, block: Block) -> None:
        for op in block.ops:
            if op.kind != "yield":
                self.op(op)

    def op(self, op: Op) -> None:
        lower = LOWERINGS.get(op.kind)
        if lower is None:
            raise KernelError(f"the PTX backend has no lowering for {op.kind}", op.span)
        first = len(self.m.body)
        with self.m.at(loc(op.span)):
            try:
                lower(self, op)
            except (TypeError, ValueError) as error:
                error.add_note(f"while emitting {op.kind} at {op.span}")
                raise
        if self.each is not None:
            self.each(op, self.m.body[first:])


def loc(span: Span | None) -> Loc | None:
    if span is None or not span.file or not span.line:
        return None
    return Loc(span.file, span.line, span.column, span.function, loc(span.caller))


def _param(index: int, type: Type, divisor: int) -> Param:
    element = element_of(type)
    if isinstance(element, Pointer):
        return Param(f"arg{index}", "u64", True, max(divisor, element.element.itemsize))
    return Param(f"arg{index}", memory_type(element))


def _key(opcode: str, args: Sequence[Argument]) -> tuple[object, ...]:
    """Equal for equal instructions; 0.0 and -0.0 differ."""
    return (opcode, *(repr(a) if isinstance(a, float) else tuple(a) if isinstance(a, list) else a for a in args))


def _mov(value: int | float, type: Scalar) -> tuple[str, int | float]:
    """The instruction that makes a constant."""
    if type.kind == "b":
        return "mov.pred", -1 if value else 0
    if isinstance(type, DType) and type.kind == "f":
        if type.short in ("f32", "f64"):
            return f"mov.{type.short}", float(value)
        stored = np.asarray(numerics.encode(np.asarray([value], np.float64), type))
        return "mov.b16", int(stored.view(np.uint16 if type.bits == 16 else np.uint8)[0])
    width = max(16, type.bits)
    return f"mov.b{width}", wrapped(int(value), type) % (1 << width)


def wrapped(value: int, type: Scalar) -> int:
    """An integer brought into the range of its type."""
    value %= 1 << type.bits
    return value - (1 << type.bits) if type.kind == "i" and value >> (type.bits - 1) else value


def _shifts(columns: Sequence[int]) -> dict[int, int]:
    """Shift distance -> the bits of the source that go that far."""
    found: dict[int, int] = {}
    for k, column in enumerate(columns):
        for bit in L.bits(column):
            found[bit - k] = found.get(bit - k, 0) | 1 << k
    return found


def memory_type(type: Scalar) -> str:
    """The PTX type that moves one element: u8, u16, f32 ..."""
    if isinstance(type, Pointer):
        return "u64"
    if type.short in ("f32", "f64"):
        return type.short
    bits = max(8, type.bits)
    return f"{'s' if type.kind == 'i' else 'u'}{bits}"


def arith_type(type: Scalar) -> str:
    """The PTX type that arithmetic on an element is spelled with; i8 and u8 live in 16 bits, extended."""
    if isinstance(type, Pointer):
        return "u64"
    if type.kind == "b":
        return "pred"
    if type.kind == "f":
        return type.short if type.short in ("f16", "bf16", "f32", "f64") else "b16"
    return f"{'s' if type.kind == 'i' else 'u'}{max(16, type.bits)}"


def bits_type(type: Scalar) -> str:
    """The PTX register type of an element: pred, b16, b32, b64."""
    if type.kind == "b":
        return "pred"
    return f"b{max(16, type.bits)}"


def is_dtype(type: Scalar) -> DType:
    if isinstance(type, Pointer):
        raise TypeError(f"wanted numbers, got pointers {type}")
    return type
