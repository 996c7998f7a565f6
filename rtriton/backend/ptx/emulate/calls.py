"""Calls of the driver's functions: vprintf writes to standard output, __assertfail stops the kernel.

The parameters of a call, declared in the block around it, are registers here: `st.param` writes them.
"""

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rtriton.backend.ptx.emulate.decode import Decoder, Getter, family
from rtriton.backend.ptx.emulate.local import LOCAL_WINDOW
from rtriton.backend.ptx.emulate.memory import Memory
from rtriton.backend.ptx.emulate.program import Address, Group, Instruction, Name
from rtriton.backend.ptx.emulate.state import Array, Index, Machine, Step
from rtriton.errors import DeviceAssertError
from rtriton.ir import NO_SPAN, Span

CONVERSION = re.compile(r"%%|%([-+ #0]*\d*(?:\.\d+)?)(?:hh|h|ll|l)?([diouxXcfFeEgGaAps])")


def st_param(d: Decoder, inst: Instruction) -> Step:
    """Set a parameter of a call."""
    where, type = inst.operands[0], inst.parts[-1]
    if not isinstance(where, Address) or where.base is None or where.offset:
        raise TypeError("a parameter of a call is set as a whole")
    put, get, machine = d.put(where.base, type), d.get(inst.operands[1], type), d.machine
    return lambda index: put(index, machine.each(index, get(index)))


@family("call")
def call(d: Decoder, inst: Instruction) -> Step:
    """A function of the driver's; any other is refused where it is reached."""
    words = [item for item in inst.operands if isinstance(item, Name)]
    name, last = words[0].text if words else "", inst.operands[-1]
    if name not in FUNCTIONS:
        return d.refusal(inst)
    arguments = [d.get(item, "u32" if d.width(d.numbers[item.text]) == 32 else "u64")
                 for item in (last.items if isinstance(last, Group) else ()) if isinstance(item, Name)]
    return FUNCTIONS[name](d, inst, arguments)


def _vprintf(d: Decoder, inst: Instruction, arguments: list[Getter]) -> Step:
    machine, (format, values) = d.machine, arguments

    def run(index: Index) -> None:
        text = _text(d.memory, int(format(index)[0]))
        at = values(index) - np.uint64(LOCAL_WINDOW)
        columns = list(_columns(d, machine, index, text, at))
        rows = zip(*columns, strict=True) if columns else [()] * len(at)
        sys.stdout.write("".join(_filled(text, row) for row in rows))
        sys.stdout.flush()

    return run


def _columns(d: Decoder, machine: Machine, index: Index, text: str, at: Array) -> Iterator[Array]:
    """The arguments of all threads, one conversion after the other."""
    offset = 0
    for found in CONVERSION.finditer(text):
        if found[0] == "%%":
            continue
        kind = found[2]
        size = 8 if kind in "fFeEgGaAps" or "ll" in found[0] else 4
        offset = -(-offset // size) * size
        (raw,) = d.local.load(machine, index, at + np.uint64(offset), size, 1)
        dtype = np.float64 if kind in "fFeEgGaA" else np.dtype(f"{'i' if kind in 'di' else 'u'}{size}")
        yield raw.view(dtype)
        offset += size


def _filled(text: str, row: tuple[Any, ...]) -> str:
    values = iter(row)

    def shown(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        flags, kind = found.groups()
        number = next(values).item()
        return f"%{flags}{kind}" % number if kind != "p" else f"{number:#x}"

    return CONVERSION.sub(shown, text)


def _assertfail(d: Decoder, inst: Instruction, arguments: list[Getter]) -> Step:
    machine = d.machine

    def run(index: Index) -> None:
        message, file, line, _, _ = (machine.each(index, get(index))[0] for get in arguments)
        thread = machine.whose(int(machine.numbers(index)[0]))
        column = inst.place.column if inst.place else 1
        place = _text(d.memory, int(file))
        span = Span(place, int(line), column) if place else NO_SPAN
        raise DeviceAssertError(_text(d.memory, int(message)), f"kernel {d.entry.name} {thread}", span)

    return run


FUNCTIONS: dict[str, Callable[[Decoder, Instruction, list[Getter]], Step]] = {
    "vprintf": _vprintf, "__assertfail": _assertfail,
}  # fmt: skip


def _text(memory: Memory, address: int) -> str:
    """The C string at an address."""
    for allocation in memory.allocations:
        if allocation.start <= address < allocation.start + len(allocation.data):
            raw = allocation.data[address - allocation.start :].tobytes()
            return raw.split(b"\0", 1)[0].decode()
    raise ValueError(f"no string at address {address:#x}")
