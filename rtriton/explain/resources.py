"""What a program occupies of a GPU: registers, shared memory, threads; and how many of them fit on an SM at once."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rtriton.backend.ptx.module import Inst
from rtriton.backend.ptx.occupancy import resident
from rtriton.explain.build import Built


@dataclass(frozen=True)
class Resources:
    """What a program occupies; None where there is no assembler to tell. `programs` fit on one SM at once, `limit` says
    what keeps more from it."""

    registers: int | None
    spills: int | None
    shared: int
    threads: int
    barriers: int
    programs: int | None
    limit: str
    instructions: int | None


FEW_THREADS = 512  # on an SM


def resources_of(built: Built) -> Resources:
    """What a program of a built kernel occupies."""
    threads, shared = built.module.num_warps * 32, built.module.shared_bytes
    barriers = sum(map(barriers_in, built.made.values()))
    if built.assembled is None:
        return Resources(None, None, shared, threads, barriers, None, "", None)
    usage = built.assembled.usage
    held = resident(built.target, usage.registers, built.module.num_warps, shared)
    limit = min(held, key=lambda what: held[what])
    sass = next((stage for stage in built.stages if stage.name == "sass"), None)
    count = None if sass is None else sum(line.startswith("/*") and not line.endswith("NOP") for line, _ in sass.lines)
    return Resources(usage.registers, usage.spills, shared, threads, barriers, held[limit], limit, count)


def barriers_in(insts: Iterable[Inst]) -> int:
    """Instructions at which the warps of a program wait for each other."""
    return sum(inst.opcode.startswith("bar.sync") for inst in insts)


def resource_hints(resources: Resources, multiplies: bool) -> Iterator[str]:
    """About the whole kernel. Few warps are enough where tensor cores are what is waited for."""
    if resources.spills:
        yield (f"{resources.spills} bytes of registers are spilled to local memory in each thread: smaller tiles or "
               "more warps need fewer registers")
    if resources.programs is not None and resources.programs * resources.threads < FEW_THREADS and not multiplies:
        yield (f"only {resources.programs * resources.threads // 32} warps fit on an SM at once, limited by "
               f"{resources.limit}: little can hide the latency of memory")
