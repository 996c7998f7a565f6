"""How many registers a kernel may take: fewer where otherwise too few threads are resident to keep the memory busy.

Assemblers hand out registers without knowing how many threads it takes to hide the way to memory.  A thread with 128
bytes under way (`passes.analysis.flight`) does best with all the registers that the assembler likes, one with 16 bytes
needs many neighbours.  So a kernel is assembled as it is; if then too little is under way on an SM (the target says
how much keeps its memory busy), it is assembled again with as many registers as let enough threads in, or, where that
spills, with the fewest that do not.  Under a cap assemblers unroll loops less, so five sixths are left alone.

    caps(Target.of("sm_90a"), registers=56, warps=8, shared=64, under_way=32) -> [40, 48]     layer norm of 4096 columns
"""
from __future__ import annotations

from rtriton.target import Target

LEAST = 0.6  # of the registers that the assembler likes: with fewer, everything measured spilled
REGISTERS = 65536  # of an SM, handed out to warps in units of UNIT a thread
UNIT = 8
BLOCKS = 32  # resident on an SM
RESERVED = 1024  # bytes of shared memory that each takes besides its own


def caps(target: Target, registers: int, warps: int, shared: int, under_way: int) -> list[int]:
    """The numbers of registers a thread, rising, that let more blocks in than `registers`, up to as many as keep the
    memory busy: none where enough is under way.

    warps, shared: of a block, in warps and bytes; under_way: bytes of a thread, 0 where unknown."""
    if not under_way or not registers:
        return []
    busy = target.under_way * 1024
    most = min(target.warps // warps, BLOCKS, (target.shared_bytes + RESERVED) // (shared + RESERVED))
    blocks = min(most, _fit(registers, warps))
    wanted = min(most, -(-busy // (under_way * 32 * warps)))
    if blocks * under_way * 32 * warps >= busy * 5 // 6 or blocks == 0:
        return []
    found = {REGISTERS // (32 * warps * n) // UNIT * UNIT for n in range(blocks + 1, wanted + 1)}
    return sorted(cap for cap in found if cap >= LEAST * registers)


def _fit(registers: int, warps: int) -> int:
    """Blocks for whose registers an SM has room."""
    each = -(-registers // UNIT) * UNIT
    return REGISTERS // (32 * warps * each)
