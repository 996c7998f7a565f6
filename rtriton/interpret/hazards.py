"""May the programs of a launch run together, op by op, or must one end before the next starts?

Together is faster by orders of magnitude and gives the same result unless a program can see what another wrote. That
is possible, so programs run one after the other, when a kernel
- compares and swaps (locks), or uses the old value of any atomic;
- tests memory in a `while` loop's condition or lets it decide the loop's carried values;
- reads and writes (or updates atomically) through the same argument, or through two that share memory;
- writes through pointers of unknown origin, when it also reads, or reads through such pointers, when it also writes;
- prints (lines of one program belong together).

The origin of a pointer is traced through arithmetic, selection and loop-carried values to the kernel's parameters.
Programs that write one place without such reads give what the last one writes at that place in its last store there,
as on a machine where stores of later programs land later.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtriton.interpret.memory import Region
from rtriton.ir import Block, Kernel, Op, Value, uses, walk
from rtriton.types import Pointer, element_of

UNKNOWN = -1
# What an op does to memory, and which operand is the pointer; an atomic whose result is not used does not read.
ACCESSES = {"load": ("load", 0), "async_copy": ("load", 1), "store": ("store", 0), "atomic_rmw": ("store", 0),
            "atomic_cas": ("store", 0)}  # fmt: skip
Origins = dict[Value, frozenset[int]]


@dataclass(frozen=True)
class Plan:
    """`alone`: why programs run one at a time ("" if together); `written`: parameters; `origins`: of each pointer."""

    alone: str
    written: frozenset[int]
    origins: Origins

    def root(self, pointer: Value) -> int | None:
        """The parameter that a pointer surely comes from."""
        found = self.origins.get(pointer, frozenset({UNKNOWN}))
        (only,) = found if len(found) == 1 else (UNKNOWN,)
        return None if only == UNKNOWN else only


def plan(kernel: Kernel) -> Plan:
    origins = pointer_origins(kernel)
    accesses: dict[str, set[int]] = {"load": set(), "store": set()}
    for op in walk(kernel.body):
        how, at = ACCESSES.get(op.kind, ("", 0))
        pointer = op.operands[at] if how else None
        if pointer is not None:
            accesses[how] |= origins.get(pointer, frozenset({UNKNOWN}))
    reads, writes = frozenset(accesses["load"]), frozenset(accesses["store"])
    return Plan(_reason(kernel, reads, writes), writes, origins)


def _reason(kernel: Kernel, reads: frozenset[int], writes: frozenset[int]) -> str:
    users = uses(kernel.body)
    for op in walk(kernel.body):
        if op.kind == "atomic_cas":
            return "it compares and swaps"
        if op.kind == "atomic_rmw" and users.get(op.result):
            return "it uses the old value of an atomic"
        if op.kind == "while" and any(inner.kind in ("load", "atomic_rmw") for r in op.regions for inner in walk(r)):
            return "a while loop reads memory"
        if op.kind == "print":
            return "it prints"
    if reads & writes:
        return "it reads and writes through one argument"
    if (UNKNOWN in writes and reads) or (UNKNOWN in reads and writes):
        return "it uses pointers of unknown origin"
    return ""


def shares_memory(made: Plan, kernel: Kernel, regions: list[Region | None]) -> bool:
    """Two arguments, one of them written, overlap, and the kernel reads."""
    present = [(i, r) for i, r in enumerate(regions) if r is not None]
    reads = any(ACCESSES.get(op.kind, ("", 0))[0] == "load" for op in walk(kernel.body))
    return reads and any(a.overlaps(b) for i, a in present if i in made.written for j, b in present if i != j)


def pointer_origins(kernel: Kernel) -> Origins:
    """The parameters that each pointer may come from (UNKNOWN for loaded and converted ones), to a fixed point."""
    origins: Origins = {v: frozenset({i}) for i, v in enumerate(kernel.params) if isinstance(v.type, Pointer)}
    while _flow(kernel.body, origins):
        pass
    return origins


def _flow(block: Block, origins: Origins) -> bool:
    changed = False
    for op in block.ops:
        for region in op.regions:
            changed |= _flow(region, origins)
        for target, sources in _edges(op):
            changed |= _merge(target, sources, op, origins)
    return changed


def _edges(op: Op) -> list[tuple[Value, list[Value]]]:
    """Where each pointer result (or region parameter) comes from."""
    if op.kind == "for":
        carried = list(op.operands[3:])
        params = op.regions[0].params[1:]
        return [
            (v, [w for w in (carried[i], op.regions[0].yielded[i]) if w is not None])
            for group in (params, op.results)
            for i, v in enumerate(group)
        ]
    if op.kind == "while":
        groups = (op.regions[0].params, op.regions[1].params, op.results)
        return [
            (v, [w for w in (op.operands[i], op.regions[1].yielded[i]) if w is not None])
            for g in groups
            for i, v in enumerate(g)
        ]
    if op.kind == "if":
        return [(v, [r.yielded[i] for r in op.regions]) for i, v in enumerate(op.results)]
    operands = [v for v in op.operands if v is not None]
    return [(v, operands) for v in op.results]


def _merge(target: Value, sources: list[Value], op: Op, origins: Origins) -> bool:
    if not isinstance(element_of(target.type), Pointer):
        return False
    found = origins.get(target, frozenset())
    pointers = [v for v in sources if isinstance(element_of(v.type), Pointer)]
    for value in pointers:
        found |= origins.get(value, frozenset())
    if not pointers or op.kind == "load":
        found |= {UNKNOWN}
    if found == origins.get(target):
        return False
    origins[target] = found
    return True
