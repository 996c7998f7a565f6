"""How many registers a kernel may take: fewer where otherwise too few threads are resident to keep the memory busy.

Assemblers hand out registers without knowing how many threads it takes to hide the way to memory.  A thread with 128
bytes under way (`passes.analysis.flight`) does best with all the registers that the assembler likes, one with 16 bytes
needs many neighbours.  So a kernel is assembled as it is; if then less than `ENOUGH` bytes are under way on an SM, it
is assembled again with as many registers as let `BUSY` bytes' threads in, or, where that spills, with the fewest that
do not.  Under a cap assemblers unroll loops less, so that little is gained where it is near enough as it is.

    caps(registers=56, warps=8, shared=64, under_way=32) -> [40, 48]        layer norm of 4096 columns
"""
from __future__ import annotations

BUSY = 48 * 1024  # bytes: 4.8 TB/s for 1.3 microseconds, by 132 SMs
ENOUGH = 40 * 1024
LEAST = 0.6  # of the registers that the assembler likes: with fewer, everything measured spilled
REGISTERS = 65536  # of an SM, handed out to warps in units of UNIT a thread
UNIT = 8
WARPS = 64  # resident on an SM
BLOCKS = 32
SHARED = 228 * 1024  # bytes of an SM, each block taking RESERVED besides its own
RESERVED = 1024


def caps(registers: int, warps: int, shared: int, under_way: int) -> list[int]:
    """The numbers of registers a thread, rising, that let more blocks in than `registers`, up to as many as keep the
    memory busy: none where enough is under way.

    warps, shared: of a block, in warps and bytes; under_way: bytes of a thread, 0 where unknown."""
    if not under_way or not registers:
        return []
    most = min(WARPS // warps, BLOCKS, SHARED // (shared + RESERVED))
    blocks = min(most, _fit(registers, warps))
    wanted = min(most, -(-BUSY // (under_way * 32 * warps)))
    if blocks * under_way * 32 * warps >= ENOUGH or blocks == 0:
        return []
    found = {REGISTERS // (32 * warps * n) // UNIT * UNIT for n in range(blocks + 1, wanted + 1)}
    return sorted(cap for cap in found if cap >= LEAST * registers)


def _fit(registers: int, warps: int) -> int:
    """Blocks for whose registers an SM has room."""
    each = -(-registers // UNIT) * UNIT
    return REGISTERS // (32 * warps * each)
