"""One kernel from source to machine code, every stage kept, with the places in the source that each line came from.

    built = build(signature.source(fn), Target.of("sm_90a"), signature.options)
    built.stages[-1].lines      IR, PTX, SASS: the text of each line and its places, innermost first
    built.made[op]              the PTX instructions of an op of the final IR

Machine code needs ptxas, and its text nvdisasm; where one is missing `built.problems` says so and the rest is there.
"""
from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rtriton.ahead import ASTSource
from rtriton.backend.cuda.registers import Usage, fitted_by
from rtriton.backend.ptx.disassemble import DisassembleError, Place, disassemble
from rtriton.backend.ptx.emit import emit
from rtriton.backend.ptx.module import Inst, Module
from rtriton.backend.ptx.ptxas import Assembled, assemble, find_ptxas, version
from rtriton.compile import Unit
from rtriton.devices import GPUTarget
from rtriton.errors import PTXASError
from rtriton.frontend.lower import lower
from rtriton.ir import Kernel, Op, Span
from rtriton.layout import Layout
from rtriton.options import check_for, kernel_attributes, resolve, settled
from rtriton.passes import GPU, PIPELINES, run_pipeline
from rtriton.passes.pipeline import why_not
from rtriton.target import Target
from rtriton.text import Names, named, show_lines

Places = tuple[Place, ...]


@dataclass(frozen=True)
class Stage:
    """A text that the kernel became: after a pass (`reason`: why it stands where it does), as PTX or as SASS."""

    name: str
    reason: str
    lines: tuple[tuple[str, Places], ...]
    same: bool = False  # nothing changed

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line, _ in self.lines)


@dataclass(frozen=True)
class Built:
    """A kernel through all stages; `kernels` is the IR after each step, the front end's first, the last the one that
    was emitted."""

    source: ASTSource
    target: Target
    options: Mapping[str, Any]
    stages: tuple[Stage, ...]
    kernels: Mapping[str, Kernel]
    unpipelined: Mapping[Span, str]  # of loops that the pass pipeline left as they are: why
    layouts: Mapping[Layout, str]  # by the names that the stages' texts give them
    made: Mapping[Op, tuple[Inst, ...]]
    module: Module
    assembled: Assembled | None
    assembler: str
    problems: tuple[str, ...]

    @property
    def kernel(self) -> Kernel:
        return self.kernels["barriers"]


def build(source: ASTSource, target: Target, wished: Mapping[str, Any]) -> Built:
    """Compile for a GPU that need not be here. Raises what a launch with these arguments would."""
    options = settled(resolve(wished, (), None))
    check_for("ptx", options)
    machine = GPUTarget("cuda", target.number, 32)
    unit = Unit(source, source.arguments(), options, "ptx", machine)
    lowered = lower(unit.fn, unit.signature, unit.constants, unit.divisible, machine, **kernel_attributes(options))
    kernel = named(lowered.kernel)
    names, stages, kernels = Names(), list[Stage](), {"frontend": kernel}
    stages.append(Stage("frontend", "tile IR as the front end makes it", tuple(_ir_lines(kernel, names))))
    reasons = iter(GPU)

    unpipelined: dict[Span, str] = {}

    def keep(name: str, before: Kernel, after: Kernel) -> None:
        kernels[name] = after
        if name == "pipeline":
            unpipelined.update(why_not(before, target))
        step = next(step for step in reasons if step.name == name)
        stages.append(Stage(name, step.reason, tuple(_ir_lines(after, names)), after is before))

    last = run_pipeline(run_pipeline(kernel, None, "tile", keep), target, GPU[len(PIPELINES["tile"]) :], keep)
    kernels["barriers"] = last
    made, module = _emitted(last, target)
    stages.append(Stage("ptx", "PTX, without its line tables", tuple(_ptx_lines(str(module)))))
    machine = _machine(module, target, tuple(shlex.split(options["ptx_options"] or "")))
    return Built(source, target, options, (*stages, *machine.stages), kernels, unpipelined, names.layouts, made, module,
                 machine.assembled, machine.assembler, machine.problems)


def _emitted(kernel: Kernel, target: Target) -> tuple[dict[Op, tuple[Inst, ...]], Module]:
    """The PTX instructions of each op, without those that nobody reads, and the module of all."""
    pieces: dict[Op, list[Inst]] = {}
    taken: set[int] = set()

    def note(op: Op, items: Any) -> None:
        mine = [item for item in items if isinstance(item, Inst) and id(item) not in taken]
        taken.update(map(id, mine))
        pieces[op] = mine

    module = emit(kernel, target, note)
    live = {id(item) for item in module.body}
    return {op: tuple(inst for inst in insts if id(inst) in live) for op, insts in pieces.items()}, module


class _Machine(NamedTuple):
    stages: tuple[Stage, ...]
    assembled: Assembled | None
    assembler: str
    problems: tuple[str, ...]


def _machine(module: Module, target: Target, options: tuple[str, ...]) -> _Machine:
    """Machine code and its text, as far as the tools reach; with as many registers as a launch would have."""
    assembled, assembler = None, ""

    def by_ptxas(text: str) -> Assembled:
        return assemble(text, target.sm, options=options)

    try:
        assembler = f"ptxas {version(find_ptxas())}"
        _, assembled = fitted_by(str(module), module, by_ptxas, _used)
        sass = disassemble(assembled.cubin)
    except (PTXASError, DisassembleError) as missing:
        return _Machine((), assembled, assembler, (str(missing),))
    lines = tuple((line.text, line.places) for line in sass.lines if not line.text.lstrip().startswith("//"))
    return _Machine((Stage("sass", f"machine code for {target.sm}, by {assembler}", lines),), assembled, assembler, ())


def _used(made: Assembled) -> Usage:
    return Usage(made.usage.registers, made.usage.spills)


def places_of(span: Span | None) -> Places:
    """Where something stands and the calls that it was inlined through, innermost first."""
    found: list[Place] = []
    while span is not None:
        if span.file and span.line:
            found.append((span.file, span.line))
        span = span.caller
    return tuple(found)


def _ir_lines(kernel: Kernel, names: Names) -> Iterator[tuple[str, Places]]:
    for text, op in show_lines(kernel, names):
        yield text, () if op is None else places_of(op.span)


_FILE = re.compile(r'\.file (\d+) "(.*)"')
_LOC = re.compile(r"\s*\.loc (\d+) (\d+) (\d+)(?:, function_name \w+, inlined_at (\d+) (\d+) (\d+))?")


def _ptx_lines(ptx: str) -> Iterator[tuple[str, Places]]:
    """Lines with the places that `.loc` gives them; `.loc`, `.file` and the debug section are left out."""
    files = {number: name.replace('\\"', '"').replace("\\\\", "\\") for number, name in _FILE.findall(ptx)}
    chains: dict[tuple[str, ...], Places] = {}
    now: Places = ()
    for line in ptx.splitlines():
        if found := _LOC.match(line):
            file, row, column, *caller = found.groups()
            around = chains.get(tuple(caller), ()) if caller[0] is not None else ()
            now = chains[file, row, column] = ((files[file], int(row)), *around)
        elif line.startswith((".file", ".section")):
            return
        else:
            now = () if line == "}" else now
            yield re.sub(r"\s*\t", " ", line), now
