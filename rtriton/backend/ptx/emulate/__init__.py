"""Run PTX in NumPy, without a GPU, and find what a GPU would not tell: `emulate(text, entry, grid, args)`.

Addresses out of every array, misaligned accesses, reads of registers and shared memory that nobody wrote, races between
warps, barriers that never fill: each is an `EmulatorError` that names the thread, the PTX line and the user's line.
"""

from rtriton.backend.ptx.emulate.findings import Finding
from rtriton.backend.ptx.emulate.memory import Memory
from rtriton.backend.ptx.emulate.parse import ParseError, parse
from rtriton.backend.ptx.emulate.run import Executed, emulate
from rtriton.errors import EmulatorError, EmulatorWarning

__all__ = ["EmulatorError", "EmulatorWarning", "Executed", "Finding", "Memory", "ParseError", "emulate", "parse"]
