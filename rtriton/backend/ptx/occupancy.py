"""How many registers a kernel may take: fewer where otherwise too few threads are resident to keep the memory busy.

Assemblers hand out registers without knowing how many threads it takes to hide the way to memory.  A thread with 128
bytes under way (`passes.analysis.flight`) does best with all the registers that the assembler likes, one with 16 bytes
needs many neighbours.  So a kernel is assembled as it is; if then less than `BUSY` bytes are under way on an SM, it is
assembled again with as many registers as let so many threads in, or, where that spills, as one more block of threads
needs.  What spills is not used.

    caps(registers=56, warps=8, shared=64, under_way=32) -> [40, 48]        layer norm of 4096 columns
"""
from __future__ import annotations

BUSY = 48 * 1024  # bytes: 4.8 TB/s for 1.3 microseconds, by 132 SMs
REGISTERS = 65536  # of an SM, handed out to warps in units of UNIT a thread
UNIT = 8
WARPS = 64  # resident on an SM
BLOCKS = 32
SHARED = 228 * 1024  # bytes of an SM, each block taking RESERVED besides its own
RESERVED = 1024


def caps(registers: int, warps: int, shared: int, under_way: int) -> list[int]:
    """Numbers of registers a thread to try, in this order, instead of `registers`: none where enough is under way.

    warps, shared: of a block, in warps and bytes; under_way: bytes of a thread, 0 where unknown."""
    if not under_way or not registers:
        return []
    most = min(WARPS // warps, BLOCKS, SHARED // (shared + RESERVED))
    blocks = min(most, _fit(registers, warps))
    wanted = min(most, -(-BUSY // (under_way * 32 * warps)))
    if blocks >= wanted or blocks == 0:
        return []
    found: list[int] = []
    for n in (wanted, blocks + 1):
        cap = REGISTERS // (32 * warps * n) // UNIT * UNIT
        if cap not in found:
            found.append(cap)
    return found


def _fit(registers: int, warps: int) -> int:
    """Blocks for whose registers an SM has room."""
    each = -(-registers // UNIT) * UNIT
    return REGISTERS // (32 * warps * each)
