"""Where everything in shared memory lies: buffers and the scratch of ops, by their lifetimes.

    before:  %y: 64x64xf32 #b = convert_layout %x
    after:   %y: 64x64xf32 #b = convert_layout %x {scratch = 0}

Two ops that follow each other get different scratch: the barrier inside the second then orders the first's reads
before the third's writes, and none is needed between.  Where that is too much memory they share it.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from rtriton.errors import OutOfResources
from rtriton.ir import Block, Kernel, Op, Value, uses, walk
from rtriton.passes import instead_of, register
from rtriton.passes.analysis.scratch import scratch_bytes
from rtriton.target import Target
from rtriton.types import Shared

BUFFER_ALIGN = 1024  # swizzles repeat after this many bytes
COMFORT = 48 * 1024  # above this scratch of its own may cost a resident CTA


@dataclass
class Life:
    """A buffer from its making to its last use, or the scratch of an op; in op numbers."""

    op: Op
    size: int
    start: int
    end: int
    offset: int = -1


@register
def allocate(kernel: Kernel, target: Target) -> Kernel:
    """Give offsets to buffers and scratch; the total becomes the kernel's `shared_bytes`."""
    needs, buffers = _needs(kernel), _lifetimes(kernel, set())
    total = _place(lives := buffers + _scratch(kernel, needs, apart=True))
    if total > max(COMFORT, _place(buffers)):
        total = _place(lives := buffers + _scratch(kernel, needs, apart=False))
    return _placed(kernel, target, lives, total)


@instead_of("allocate")
def side_by_side(kernel: Kernel, target: Target) -> Kernel:
    """A place of its own for each, for as long as the kernel runs."""
    found = _lifetimes(kernel, set()) + _scratch(kernel, _needs(kernel), apart=True)
    total = _place(lives := [replace(life, start=0, end=0) for life in found])
    return _placed(kernel, target, lives, total)


def _needs(kernel: Kernel) -> dict[Op, int]:
    """Bytes of scratch of the ops that work through some."""
    readers = uses(kernel.body)
    return {op: n for op in walk(kernel.body) if (n := scratch_bytes(op, any(readers.get(v) for v in op.results)))}


def _placed(kernel: Kernel, target: Target, lives: list[Life], total: int) -> Kernel:
    if not lives:
        return kernel
    if total > target.shared_bytes:
        raise OutOfResources(total, target.shared_bytes, "shared memory")
    offsets = {life.op: life.offset for life in lives}
    return replace(kernel, attrs={**kernel.attrs, "shared_bytes": total}, body=_write(kernel.body, offsets))


def _scratch(kernel: Kernel, needs: dict[Op, int], apart: bool) -> list[Life]:
    """Scratch lives while its op runs; `apart` until the next op with scratch has run."""
    numbers = {op: life for life in _lifetimes(kernel, set(needs)) for op in [life.op] if op in needs}
    lives = [replace(numbers[op], size=needs[op]) for op in needs]
    for life, following in pairwise(lives):
        life.end = following.start if apart else life.end
    return lives


def _lifetimes(kernel: Kernel, also: set[Op]) -> list[Life]:
    """From a buffer's making to its last use; one used inside a loop that it is made before lives through the loop.
    The ops in `also` live while they run."""
    lives: dict[Value, Life] = {}
    moments: list[Life] = []
    count = 0

    def block(inside: Block) -> None:
        nonlocal count
        made_before = set(lives)
        used: set[Value] = set()
        for op in inside.ops:
            count += 1
            for value in op.operands:
                if value is not None and value in lives:
                    lives[value].end = count
                    used.add(value)
            if op in also:
                moments.append(Life(op, 0, count, count))
            for region in op.regions:
                block(region)
            if op.kind == "shared_alloc":
                type = op.result.type
                assert isinstance(type, Shared)
                lives[op.result] = Life(op, -(-type.nbytes // BUFFER_ALIGN) * BUFFER_ALIGN, count, count)
        count += 1
        for value in made_before:
            if any(value in o.operands for o in walk(inside)):
                lives[value].end = count

    block(kernel.body)
    return [*lives.values(), *moments]


def _place(lives: list[Life]) -> int:
    """First fit, the largest first; the end of the highest buffer."""
    placed: list[Life] = []
    for life in sorted(lives, key=lambda x: -x.size):
        busy = sorted(
            (o.offset, o.offset + o.size) for o in placed if o.start <= life.end and life.start <= o.end
        )
        at = 0
        for first, end in busy:
            if at + life.size <= first:
                break
            at = max(at, end)
        life.offset = at
        placed.append(life)
    return max((x.offset + x.size for x in placed), default=0)


def _write(block: Block, offsets: dict[Op, int]) -> Block:
    ops: list[Op] = []
    for op in block.ops:
        regions = tuple(_write(r, offsets) for r in op.regions)
        attrs = op.attrs
        if op in offsets:
            attrs = {**attrs, "offset" if op.kind == "shared_alloc" else "scratch": offsets[op]}
        ops.append(op if attrs is op.attrs and regions == op.regions else replace(op, attrs=attrs, regions=regions))
    return Block(block.params, tuple(ops))
