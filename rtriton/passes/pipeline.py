"""Loads of a loop are copied to shared memory several turns ahead, by cp.async: which loads, and how many turns.

    before:  for %i ... (%p):                         after:  copies of turns 0 and 1 start before the loop
               %x = load %p                                   for %i ... (%p, %ahead, %r, %w):
               %a = convert_layout %x                           async_wait;  barrier
               ... mma %a ...                                   async_copy %buffer, %ahead  (turn i + 2, stage w)
               %q = addptr %p, 64                               %a = shared_load %buffer (stage r)
                                                                ... mma %a ...

Loads that feed tensor core products: always.  Others: where the loop asks for it by `tl.range(..., num_stages=)` and
they come before what the body writes (what it writes for later turns is the author's care).  Each thread then copies
just what it reads itself, so that no barrier is needed, and reads it all into registers before the next copy starts, so
that one buffer less does:

    before:  for %i ... (%p):                         after:  the copy of turn 0 starts before the loop
               %x = load %p, %m, %o                           for %i ... (%p, %ahead):
               ... %x ...                                       async_wait
                                                                %b = shared_load %buffer
                                                                async_copy %buffer, %ahead  (turn i + 1)
                                                                %x = where %m, %b, %o
                                                                ... %x ...

What the addresses and masks are made of is made again for the turn ahead, so it must be pure and cheap; a mask also
says whether that turn exists.  Only loops without loops inside, with a step known to be positive.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

from rtriton import layout as L
from rtriton.ir import Block, Kernel, Op, Span, Value, definitions, uses, walk
from rtriton.language.table import BARRIER, WRITES
from rtriton.layout import Layout
from rtriton.layout.matrix import memory_order, operand_shared
from rtriton.passes import register
from rtriton.passes._facts import effects_of, reads_anew
from rtriton.passes._copies import Copy, pipelined, slice_of
from rtriton.passes.analysis.axis_info import Table, axis_info
from rtriton.passes.analysis.scratch import layout_of, operand, scratch_bytes
from rtriton.target import Target
from rtriton.types import Shared, Tile, dtype_of

COPY_BYTES = (4, 8, 16)  # what one cp.async may move
LOOPS = ("for", "while", "if")


@register
def pipeline(kernel: Kernel, target: Target) -> Kernel:
    """Multi-buffer the loads of every loop that allows it."""
    work = _Work(kernel, target)
    body = work.block(kernel.body)
    return replace(kernel, body=body) if work.changed else kernel


def why_not(kernel: Kernel, target: Target) -> dict[Span, str]:
    """Of each loop that stays as it is, by its place: the first thing that keeps its loads from being copied ahead."""
    work = _Work(kernel, target)
    plans = {op.span: work.plan(op) for op in walk(kernel.body) if op.kind in ("for", "while")}
    return {span: plan for span, plan in plans.items() if isinstance(plan, str)}


@dataclass(frozen=True)
class _Plan:
    """What is copied ahead of a loop, over how many turns, and how many stages its buffers have."""

    copies: list[Copy]
    ahead: int
    stages: int


class _Work:
    def __init__(self, kernel: Kernel, target: Target) -> None:
        self.kernel, self.target = kernel, target
        self.made = definitions(kernel.body)
        self.used = uses(kernel.body)
        self.info: Table = axis_info(kernel)
        self.changed = False
        self.reserve = max((scratch_bytes(op) for op in walk(kernel.body)), default=0)

    def block(self, block: Block) -> Block:
        ops: list[Op] = []
        for op in block.ops:
            plan = self.plan(op) if op.kind == "for" else ""
            if isinstance(plan, _Plan):
                self.changed = True
                ops += pipelined(op, plan.copies, plan.ahead, plan.stages)
            elif op.kind in LOOPS:
                ops.append(replace(op, regions=tuple(self.block(r) for r in op.regions)))
            else:
                ops.append(op)
        return Block(block.params, tuple(ops))

    def plan(self, op: Op) -> _Plan | str:
        """What to copy ahead of a loop, or why nothing is."""
        if op.kind == "while":
            return "a while loop: which turns come is not known ahead"
        inside = {inner.kind for inner in walk(op.regions[0])} & {*LOOPS}
        if inside:
            what = "branch" if inside == {"if"} else "loop"
            return f"there is a {what} inside: only innermost loops without branches are"
        loads = [load for load in op.regions[0].ops if load.kind == "load" and isinstance(load.result.type, Tile)]
        if not loads:
            return "it loads no tiles"
        stages = int(op.attrs.get("num_stages") or self.kernel.attrs.get("num_stages") or 3)
        if stages < 2:
            return "num_stages is 1"
        step = self.info[operand(op, 2)]
        if not step.positive or step.value == 0:
            return "its step is not known to be positive"
        found = [c for load in loads if (c := self.copy(load, op)) is not None]
        if not found:
            return self.why_no_copy(loads, op)
        meet = any(c.converts for c in found)
        fits = (self.target.shared_bytes - self.reserve) // sum(c.buffer.nbytes for c in found)
        ahead = min(stages - 1, fits - meet)
        if ahead < 1:
            return f"two stages of its loads do not fit into {self.target.shared_bytes >> 10} KiB of shared memory"
        return _Plan(found, ahead, ahead + meet)

    def why_no_copy(self, loads: list[Op], loop: Op) -> str:
        """Why none of a loop's loads becomes a copy."""
        if not loop.attrs.get("num_stages") and not any(inner.kind == "mma" for inner in walk(loop.regions[0])):
            return ("no load feeds a tensor core product, and the loop does not ask for it by tl.range(..., "
                    "num_stages=): other warps hide the latency of its loads")
        least, *rest = COPY_BYTES
        narrow = [load for load in loads if self.width(load) * dtype_of(load.result.type).itemsize < least]
        if len(narrow) == len(loads):
            lines = ", ".join(dict.fromkeys(str(load.span.line) for load in narrow))
            sizes = f"{least}, {' or '.join(map(str, rest))} bytes"
            return f"a copy ahead moves {sizes} at once, and the loads (line {lines}) are narrower"
        return ("its loads feed more than products, give another value than 0 where masked, have addresses that "
                "depend on what the turn loads, or come after what it stores")

    def copy(self, load: Op, loop: Op) -> Copy | None:
        """The copy that a load may become, if any: of what does not change memory, wide enough."""
        if reads_anew(load) or not isinstance(load.result.type, Tile) or slice_of(loop, [load]) is None:
            return None
        asked = loop.attrs.get("num_stages") and load in _before_writes(loop.regions[0])
        return self.fragments(load, loop) or (self.own(load) if asked else None)

    def fragments(self, load: Op, loop: Op) -> Copy | None:
        """A load used only through conversions into fragments of a product; zero where masked."""
        users = self.used.get(load.result, [])
        inside = set(loop.regions[0].ops)
        if not users or any(u.kind != "convert_layout" or u not in inside for u in users):
            return None
        if not any(self.feeds_mma(u.result) for u in users) or not self.zero_elsewhere(load):
            return None
        tile, size = layout_of(load.result), dtype_of(load.result.type).itemsize
        return self.through(load, operand_shared(tile.shape, size, memory_order(tile)), tuple(users))

    def own(self, load: Op) -> Copy | None:
        """A load of which each thread copies its own elements, in the order in which its accesses touch memory."""
        tile = layout_of(load.result)
        if tile.copies("lane") or tile.copies("warp"):
            return None
        return self.through(load, own_shared(tile, self.width(load)), ())

    def through(self, load: Op, shared: Layout, converts: tuple[Op, ...]) -> Copy | None:
        tile, size = layout_of(load.result), dtype_of(load.result.type).itemsize
        width = min(self.width(load), 1 << len(L.shared_vector(tile, shared, size)))
        if width * size not in COPY_BYTES:
            return None
        buffer = Shared(tile.shape, dtype_of(load.result.type), shared)
        return Copy(load, converts, buffer, width, self.zero_elsewhere(load))

    def feeds_mma(self, value: Value, depth: int = 4) -> bool:
        """Whether a product reads the value, perhaps through casts and renamings."""
        return depth > 0 and any(
            u.kind == "mma" or (u.kind in ("trans", "cast", "mul") and self.feeds_mma(u.result, depth - 1))
            for u in self.used.get(value, [])
        )

    def zero_elsewhere(self, load: Op) -> bool:
        """Whether the load gives zeros (or anything) where it is masked, as copies do."""
        other = (*load.operands, None, None)[2]
        made = None if other is None else self.made.get(other)
        if other is None:
            return True
        while made is not None and made.kind in ("splat", "cast", "broadcast", "expand_dims"):
            made = self.made.get(operand(made, 0))
        return made is not None and made.kind == "const" and made.attrs["value"] == 0

    def width(self, load: Op) -> int:
        """Elements of one copy: consecutive, aligned, held by one thread, under one mask."""
        pointer, mask = (*load.operands, None)[:2]
        assert pointer is not None
        tile, size = layout_of(pointer), dtype_of(load.result.type).itemsize
        axis, info = memory_order(tile)[0], self.info[pointer]
        width = min(gcd(info.contiguity[axis], max(1, info.divisibility[axis] // size)), 16 // size)
        width = min(width, L.contiguous(tile, axis))
        return width if mask is None else gcd(width, self.info[mask].constancy[axis])


def _before_writes(body: Block) -> set[Op]:
    """The loads that come before anything in the body that writes memory or waits: those after may read it."""
    found: set[Op] = set()
    for op in body.ops:
        if op.kind == "load":
            found.add(op)
        elif effects_of(op) & (WRITES | BARRIER):
            break
    return found


def own_shared(tile: Layout, width: int) -> Layout:
    """A buffer in which a warp's accesses of `width` elements lie side by side: the elements of one access, then lanes,
    warps, and last the accesses of a thread."""
    inside = L.contiguous_bits(tile, memory_order(tile)[0])[: L.log2(width)]
    rest = [b for k, b in enumerate(tile["register"]) if b and k not in inside]
    order = [tile["register"][k] for k in inside]
    return Layout(tile.shape, (("offset", (*order, *tile["lane"], *tile["warp"], *rest)),))
