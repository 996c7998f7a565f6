"""A launch: arguments become parameters and allocations, an entry closures; CTAs go in batches to the scheduler."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate import (
    async_copy,
    atomics,
    calls,
    compare,
    convert,
    floating,
    integer,
    mbarrier,
    mma,
    warp,
)
from rtriton.backend.ptx.emulate.barriers import Barriers
from rtriton.backend.ptx.emulate.control import control, is_control
from rtriton.backend.ptx.emulate.decode import DTYPES, Decoder
from rtriton.backend.ptx.emulate.findings import Ends, Findings
from rtriton.backend.ptx.emulate.global_race import GlobalRaces
from rtriton.backend.ptx.emulate.local import LOCAL_BASE, LocalMemory
from rtriton.backend.ptx.emulate.mbarrier import SIZE, Mbarriers
from rtriton.backend.ptx.emulate.memory import Memory
from rtriton.backend.ptx.emulate.parse import parse
from rtriton.backend.ptx.emulate.program import Entry, Instruction, Literal, Program, Variable
from rtriton.backend.ptx.emulate.race import ClockRaces, EpochRaces, Races
from rtriton.backend.ptx.emulate.schedule import Code, Scheduler
from rtriton.backend.ptx.emulate.shared import SHARED_BASE, SharedMemory
from rtriton.backend.ptx.emulate.state import Machine
from rtriton.backend.ptx.emulate.warp import members
from rtriton.backend.ptx.module import Module
from rtriton.backend.ptx.names import symbol
from rtriton.errors import EmulatorError

BATCH_THREADS = 1 << 14  # long enough arrays that NumPy's own cost is small, short enough for the caches
BATCH_SHARED = 1 << 24
MAX_STEPS = 5_000_000  # per batch: minutes of work

# Families of instructions register themselves when imported; a new one is added here.
FAMILY_FILES = (async_copy, atomics, calls, compare, convert, floating, integer, mbarrier, mma, warp)

cached_parse = lru_cache(maxsize=64)(parse)


@dataclass(frozen=True)
class Executed:
    """What a launch did: instructions issued (a group of threads counts once), CTAs, and batches of them."""

    steps: int
    ctas: int
    batches: int


def emulate(ptx: str | Module, entry: str | None, grid: int | Sequence[int], args: Sequence[Any], *,
            block: int | Sequence[int] | None = None, shared: int | None = None, races: bool = True,
            strict: bool = True, poison: Collection[int] = (), memory: Memory | None = None, max_steps: int = MAX_STEPS,
            batch_threads: int = BATCH_THREADS, names: Sequence[str] = (), ends: Ends | None = None) -> Executed:
    """Launch a kernel on NumPy arrays and scalars, in place; EmulatorError at the end if it is wrong anywhere.

    `entry` may be None where the text has one kernel. `block` is needed only without .reqntid. `shared` is the size of
    dynamic shared memory (a Module knows its own). `poison` names arguments, by position, whose contents may not be
    read before they are written. Without `strict` registers may be read before they are written, as compilers do whose
    unused lanes compute along with the others. `memory` lets pointers inside arrays be followed: put
    `memory.address(array)` into them before. `names` are the arguments' in the user's program, `ends` says where its
    expressions end, for the carets.
    """
    program = cached_parse(str(ptx))
    kernel = _entry(program, entry)
    dynamic = (ptx.shared_bytes if isinstance(ptx, Module) else 0) if shared is None else shared
    machine = Machine(program, kernel, _three(grid, "grid"), _block(kernel, block),
                      Findings(entry or kernel.name, ends or {}), strict=strict)
    memory = memory or Memory()
    params = _params(kernel, args, memory, poison, names)
    symbols = _constants(program, memory)
    size = _place([*program.shared, *kernel.shared], SHARED_BASE, symbols) + dynamic
    local = LocalMemory(machine, _place(kernel.local, LOCAL_BASE, symbols))
    checker = _races(machine, kernel) if races and size else None
    copies = any(inst.opcode.startswith("cp.async") for inst in kernel.code)
    objects = any(inst.parts[0] == "mbarrier" for inst in kernel.code)
    storage = SharedMemory(machine, size, _granule(kernel, "shared"), checker, copies, objects)
    memory.races = GlobalRaces(machine, _granule(kernel, "global")) if races else None
    barriers = Barriers(machine, checker, memory.races)
    numbers = {name: number for number, name in enumerate(kernel.registers)}
    machine.regs, machine.init = [None] * len(numbers), [None] * len(numbers)
    under_way = async_copy.AsyncCopies(machine, storage)
    decoder = Decoder(machine, kernel, memory, storage, local, barriers, under_way,
                      Mbarriers(machine, storage, checker), numbers, params, symbols)
    with np.errstate(all="ignore"):
        executed = _launch(decoder, _decode(decoder), max_steps, batch_threads)
    machine.findings.finish()
    return executed


def _launch(d: Decoder, code: Code, max_steps: int, batch_threads: int) -> Executed:
    machine = d.machine
    total = machine.grid[0] * machine.grid[1] * machine.grid[2]
    size = max(1, min(batch_threads // machine.padded, BATCH_SHARED // d.shared.stride))
    scheduler = Scheduler(machine, code, d.barriers, max_steps)
    batches = 0
    for first in range(0, total, size):
        start = machine.reset(first, min(size, total - first))
        d.shared.reset()
        d.local.reset()
        d.barriers.reset()
        d.copies.reset()
        d.mbarriers.reset()
        if d.memory.races:
            d.memory.races.reset()
        scheduler.run(start)
        batches += 1
    return Executed(machine.steps, total, batches)


def _decode(d: Decoder) -> Code:
    instructions = d.entry.code
    count = len(instructions)
    code = Code([None] * (count + 1), [None] * (count + 1), [None] * count, [False] * (count + 1))
    for label in d.entry.labels.values():
        code.leaders[label] = True
    for pc, inst in enumerate(instructions):
        if is_control(inst):
            code.controls[pc] = control(d, inst, pc)
            code.leaders[pc + 1] = True
        else:
            code.steps[pc] = d.decode(inst)
            code.members[pc] = members(d, inst)
    end = Instruction("ret", ("ret",), (), None, False, instructions[-1].line if instructions else 1, None)
    code.controls[count] = control(d, end, count)  # running off the end is a return
    return code


def _entry(program: Program, name: str | None) -> Entry:
    names = list(program.entries)
    if name is None and len(names) == 1:
        return program.entries[names[0]]
    if name is None or symbol(name) not in program.entries:
        raise EmulatorError(f"no entry {name!r} in this PTX; it has {names}")
    return program.entries[symbol(name)]


def _three(sizes: int | Sequence[int], what: str) -> tuple[int, int, int]:
    given = (sizes,) if isinstance(sizes, int | np.integer) else tuple(sizes)
    if not 1 <= len(given) <= 3 or any(int(size) < 1 for size in given):
        raise EmulatorError(f"a {what} is one to three positive numbers, got {sizes}")
    x, y, z = (*(int(size) for size in given), 1, 1)[:3]
    return x, y, z


def _block(entry: Entry, block: int | Sequence[int] | None) -> tuple[int, int, int]:
    if block is not None:
        return _three(block, "block")
    if entry.block is None:
        raise EmulatorError(f"kernel {entry.name} has no .reqntid: say block=")
    return entry.block


def _params(entry: Entry, args: Sequence[Any], memory: Memory,
            poison: Collection[int], names: Sequence[str]) -> dict[str, tuple[bytes, str]]:
    if len(args) != len(entry.params):
        raise EmulatorError(f"kernel {entry.name} takes {len(entry.params)} arguments "
                            f"({', '.join(param.name for param in entry.params)}), got {len(args)}")
    names = names or [param.name for param in entry.params]
    return {param.name: (_pack(param, arg, memory, name, i in poison), param.type)
            for i, (param, arg, name) in enumerate(zip(entry.params, args, names, strict=True))}


def _pack(param: Variable, arg: Any, memory: Memory, name: str, poison: bool) -> bytes:
    """The bytes of one parameter."""
    size, kind = param.size or 0, _kind(arg)
    if param.type == "bytes":
        data = bytes(arg)
        if len(data) != size:
            raise EmulatorError(f"parameter {param.name} wants {size} bytes, got {len(data)}")
        return data
    if kind == "array" and param.type in ("u64", "b64", "s64"):
        return memory.address(arg, name, poison).to_bytes(8, "little")
    if kind == "typed" and arg.itemsize == size and arg.dtype.kind != "b":
        return arg.tobytes()
    if param.type.startswith("f") and kind != "array":
        return DTYPES[param.type].type(arg).tobytes()
    if kind == "int" or (kind == "typed" and arg.dtype.kind in "iub"):
        if not -(1 << 8 * size - 1) <= int(arg) < 1 << 8 * size:
            raise EmulatorError(f"parameter {param.name} is .{param.type}, {arg} does not fit")
        return (int(arg) % (1 << 8 * size)).to_bytes(size, "little")
    raise EmulatorError(f"parameter {param.name} is .{param.type}, got {type(arg).__name__}: {arg!r}")


def _kind(arg: object) -> str:
    """array, typed (a NumPy scalar), int, float or other."""
    kinds: tuple[tuple[str, type], ...] = (("array", np.ndarray), ("typed", np.generic), ("int", int), ("float", float))
    return next((name for name, kind in kinds if isinstance(arg, kind)), "other")


def _constants(program: Program, memory: Memory) -> dict[str, int]:
    """Module-wide variables become arrays of their own."""
    found = dict[str, int]()
    for variable in program.constants:
        data = np.zeros(variable.size or 0, np.uint8)
        if variable.data:
            data[: len(variable.data)] = np.frombuffer(variable.data, np.uint8)
        found[variable.name] = memory.address(data, variable.name)
    return found


def _place(variables: list[Variable], base: int, symbols: dict[str, int]) -> int:
    """Give variables their addresses, those without a size last; the bytes of all."""
    at = 0
    for variable in sorted(variables, key=lambda variable: variable.size is None):
        at = -(-at // variable.align) * variable.align
        symbols[variable.name] = base + at
        at += variable.size or 0
    return at


def _touches(inst: Instruction, space: str) -> bool:
    """Whether an instruction may access a space: it names it, or none, or copies between them."""
    spaces = {part.split("::")[0] for part in inst.parts} & {"global", "param", "const", "local", "shared"}
    copies = inst.parts[0] == "cp"
    return (inst.parts[0] in ("ld", "st", "atom", "red") and (not spaces or space in spaces)) or copies or \
        (inst.parts[0] in ("ldmatrix", "stmatrix", "mbarrier") and space == "shared")


def _granule(entry: Entry, space: str) -> int:
    """Bytes of the narrowest access to a space."""
    sizes = [16]
    for inst in entry.code:
        if not _touches(inst, space):
            continue
        if inst.parts[0] in ("ld", "st", "atom", "red"):
            count = next((int(part[1:]) for part in inst.parts if part in ("v2", "v4")), 1)
            sizes.append(DTYPES[inst.parts[-1]].itemsize * count)
        elif inst.parts[0] == "mbarrier":
            sizes.append(SIZE)
        elif inst.parts[0] == "cp" and len(inst.operands) > 2 and isinstance(inst.operands[2], Literal):
            sizes.append(inst.operands[2].value)
    return min(sizes)


def _races(machine: Machine, entry: Entry) -> Races:
    """Counting barriers is enough where each gathers the whole CTA."""
    objects = any(inst.parts[0] == "mbarrier" for inst in entry.code)
    updates = objects or any(inst.parts[0] in ("atom", "red") and _touches(inst, "shared") for inst in entry.code)
    whole = Literal("int", machine.block_threads)
    partial = any(is_control(inst) and inst.parts[0] in ("bar", "barrier") and "red" not in inst.parts and
                  ("arrive" in inst.parts or (len(inst.operands) > 1 and inst.operands[1] != whole))
                  for inst in entry.code)
    return ClockRaces(machine, updates) if partial or objects else EpochRaces(machine, updates)
