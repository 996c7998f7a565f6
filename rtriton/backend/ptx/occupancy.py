"""How many registers a kernel may take: fewer where otherwise too few threads are resident to keep the memory busy.

Assemblers hand out registers without knowing how many threads it takes to hide the way to memory.  A thread with 128
bytes under way (`passes.analysis.flight`) does best with all the registers that the assembler likes, one with 16 bytes
needs many neighbours.  So a kernel is assembled as it is; if then too little is under way on an SM (the target says
how much keeps its memory busy), it is assembled again with as many registers as let enough threads in, or, where that
spills, with the fewest that do not.  Under a cap assemblers unroll loops less, so five sixths are left alone.

    caps(Target.of("sm_90a"), registers=56, warps=8, shared=64, under_way=32) -> [40, 48]     layer norm of 4096 columns
"""
from __future__ import annotations

from rtriton.target import REGISTERS, RESERVED, UNIT, Target

LEAST = 0.6  # of the registers that the assembler likes: with fewer, everything measured spilled


def resident(target: Target, registers: int, warps: int, shared: int) -> dict[str, int]:
    """How many programs each resource of an SM holds at once: the least of them is how many there are.

    registers: of a thread; warps, shared: of a program, in warps and bytes."""
    each = -(-max(registers, 1) // UNIT) * UNIT
    return {
        "registers": REGISTERS // (each * 32 * warps),
        "shared memory": target.sm_shared_bytes // (shared + RESERVED),
        "threads": target.warps // warps,
        "programs": target.programs,
    }


def caps(target: Target, registers: int, warps: int, shared: int, under_way: int) -> list[int]:
    """The numbers of registers a thread, rising, that let more blocks in than `registers`, up to as many as keep the
    memory busy: none where enough is under way.

    warps, shared: of a block, in warps and bytes; under_way: bytes of a thread, 0 where unknown."""
    if not under_way or not registers:
        return []
    busy = target.under_way * 1024
    held = resident(target, registers, warps, shared)
    blocks, most = min(held.values()), min(n for what, n in held.items() if what != "registers")
    wanted = min(most, -(-busy // (under_way * 32 * warps)))
    if blocks * under_way * 32 * warps >= busy * 5 // 6 or blocks == 0:
        return []
    found = {REGISTERS // (32 * warps * n) // UNIT * UNIT for n in range(blocks + 1, wanted + 1)}
    return sorted(cap for cap in found if cap >= LEAST * registers)
