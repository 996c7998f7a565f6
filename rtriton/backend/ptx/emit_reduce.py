"""Reductions with any combine region: registers fold in pairs, lanes shuffle, warps meet in shared memory.

Every lane and warp ends with the result. Combine functions commute, but for rounding, NaNs and ties: those that are
more than one commutative op may come out otherwise in each lane, so all take what one of them has.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import prod

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_convert import FULL, shuffle
from rtriton.backend.ptx.emit_elementwise import select
from rtriton.backend.ptx.emit_shared import Reads, itemsize_of, store_shared
from rtriton.backend.ptx.operands import Reg
from rtriton.ir import Block, Op
from rtriton.language.table import OPS
from rtriton.layout import Layout
from rtriton.layout.exchange import meeting, parted
from rtriton.passes.analysis.scratch import aligned
from rtriton.types import Scalar, element_of, float32

CHAINS = 4  # sums that run side by side, since each addition waits for the one before
MANY = 16  # parts of as many warps are read by a lane each, fewer by every thread: vectors that all lanes share
REDUX = {"add": "add.{}32", "minimum": "min.{}32", "maximum": "max.{}32", "and": "and.b32", "or": "or.b32",
         "xor": "xor.b32"}  # fmt: skip
Item = tuple[Reg, ...]  # one register for each operand


def combine(e: Emitter, region: Block, left: Item, right: Item) -> Item:
    """The region applied to two items."""
    for param, reg in zip(region.params, (*left, *right), strict=True):
        e.values[param] = [reg]
    e.block(region)
    return tuple(e.one(v) for v in region.yielded)


def combine_if(
    e: Emitter, region: Block, types: list[Scalar], where: Reg, pair: tuple[Item, Item], otherwise: Item
) -> Item:
    """The region applied to a pair where `where` holds, else `otherwise`. One with effects runs nowhere else."""
    if all(op.kind in ("const", "yield") or OPS[op.kind].elementwise for op in region.ops):
        made = combine(e, region, *pair)
        return tuple(select(e, t, where, a, b) for t, a, b in zip(types, made, otherwise, strict=True))
    owned = [e.m(f"mov.{r.type}", r) for r in otherwise]
    end = e.m.label("endif")
    e.m.bra(end, pred=~where)
    with e.scope():
        for into, value in zip(owned, combine(e, region, *pair), strict=True):
            e.m(f"mov.{into.type}", value, dst=into)
    e.m.place(end)
    return tuple(owned)


def commutes(region: Block) -> bool:
    """Whether the region is one commutative op."""
    return len(region.ops) == 2 and OPS[region.ops[0].kind].commutative


@lowering("map")
def _map(e: Emitter, op: Op) -> None:
    """Each thread runs the region on each of its elements; threads may branch apart in it."""
    (region,) = op.regions
    items: list[Item] = []
    for args in zip(*(e.regs(v) for v in op.operands), strict=True):
        for param, reg in zip(region.params, args, strict=True):
            e.values[param] = [reg]
        e.block(region)
        items.append(tuple(e.one(v) for v in region.yielded))
    e.put(op, *([item[i] for item in items] for i in range(len(op.results))))


@lowering("reduce")
def _reduce(e: Emitter, op: Op) -> None:
    layout, axis = e.layout(op.operands[0]), op.attrs["axis"]
    (region,) = op.regions
    types = [element_of(v.type) for v in op.operands if v is not None]
    plan = L.reduction_plan(layout, axis)
    items = list(zip(*(e.regs(v) for v in op.operands), strict=True))
    factors = _factors(e, op)
    kept = [k for k in range(len(layout["register"])) if k not in plan.register]
    found: list[Item] = []
    for j in range(1 << len(kept)):
        first = sum(1 << kept[k] for k in L.bits(j))
        places = [first | _spread(plan.register, i) for i in range(1 << len(plan.register))]
        if factors is None:
            item = _fold(e, region, [items[r] for r in places])
        else:
            item = (_sum_of_products(e, [factors[r] for r in places]),)
        found.append(_across_lanes(e, region, types, item, plan.lane, everywhere=not plan.warp))
    if plan.warp:
        found = _across_warps(e, op, region, types, found, layout, plan.warp)
    e.put(op, *([item[i] for item in found] for i in range(len(types))))


def _factors(e: Emitter, op: Op) -> list[Item] | None:
    """Of a sum of products, which nobody else reads, the factors: the hardware multiplies and adds at once."""
    value = op.operands[0]
    assert value is not None
    product = e.made.get(value)
    (region,) = op.regions
    fuses = region.ops[0].kind == "add" and commutes(region) and e.kernel.attrs.get("fp_fusion", True)
    if not fuses or product is None or product.kind != "mul" or len(e.used[value]) > 1:
        return None
    if element_of(value.type) != float32:
        return None
    return list(zip(*(e.regs(v) for v in product.operands), strict=True))


def _sum_of_products(e: Emitter, items: list[Item]) -> Reg:
    chains = _chains(items)
    sums: list[Reg] = []
    for chain in chains:
        total = e.pure("mul.f32", *chain[0])
        for factors in chain[1:]:
            total = e.pure("fma.rn.f32", *factors, total)
        sums.append(total)
    while len(sums) > 1:
        sums = [e.pure("add.f32", sums[i], sums[i + 1]) for i in range(0, len(sums), 2)]
    return sums[0]


def _chains(items: list[Item]) -> list[list[Item]]:
    """What is added up side by side."""
    count = min(CHAINS, max(1, len(items) // CHAINS))
    return [items[i::count] for i in range(count)]


def _spread(bits: Sequence[int], index: int) -> int:
    return sum(1 << bits[k] for k in L.bits(index))


def _fold(e: Emitter, region: Block, items: list[Item]) -> Item:
    """All items as one. Where the order is free a few chains, which hold few registers and into which ptxas takes up
    products, else neighbours first."""
    if commutes(region):
        items = [_chain(e, region, chain) for chain in _chains(items)]
    while len(items) > 1:
        items = [combine(e, region, items[i], items[i + 1]) for i in range(0, len(items), 2)]
    return items[0]


def _chain(e: Emitter, region: Block, items: list[Item]) -> Item:
    total = items[0]
    for item in items[1:]:
        total = combine(e, region, total, item)
    return total


def _shuffled(e: Emitter, types: list[Scalar], item: Item, how: str, lane: Reg | int) -> Item:
    return tuple(shuffle(e, how, r, lane, t) for r, t in zip(item, types, strict=True))


def _of_a_warp(region: Block, types: list[Scalar], bits: Sequence[int]) -> str | None:
    """The instruction that combines the 32-bit integers of all lanes at once."""
    (type, *others), kind = types, region.ops[0].kind
    if len(bits) < 5 or others or type.bits != 32 or type.kind not in "iu" or not commutes(region):
        return None
    return f"redux.sync.{REDUX[kind].format('s' if type.kind == 'i' else 'u')}" if kind in REDUX else None


def _across_lanes(
    e: Emitter, region: Block, types: list[Scalar], item: Item, bits: Sequence[int], everywhere: bool
) -> Item:
    """The items of the lanes that differ in these bits as one: in the first of them, or `everywhere`."""
    at_once = _of_a_warp(region, types, bits)
    if at_once:
        return (e.m(at_once, item[0], FULL),)
    for bit in bits:
        item = combine(e, region, item, _shuffled(e, types, item, "bfly", 1 << bit))
    if bits and everywhere and not commutes(region):
        first = e.pure("and.b32", e.lane, 31 & ~sum(1 << bit for bit in bits))
        item = _shuffled(e, types, item, "idx", first)
    return item


def _across_warps(
    e: Emitter, op: Op, region: Block, types: list[Scalar], found: list[Item], layout: Layout, warps: tuple[int, ...]
) -> list[Item]:
    """One lane of each warp writes its part, then every thread folds the parts of all warps; of MANY parts of results
    that a warp's lanes share each lane reads one, and they go by shuffles as before."""
    held = L.drop(layout, op.attrs["axis"])
    wanted = e.layout(op.results[0]) if held.shape else held
    parts, numbers = 1 << len(warps), range(len(warps))
    spread = parts >= MANY and not any(wanted["lane"])
    writer = parted(held, parts, warp=dict(zip(warps, numbers, strict=True)))
    lanes = {n: n for n in numbers} if spread else {}
    reader = parted(wanted, parts, () if spread else numbers, lane=lanes)
    reads: list[Reads] = []
    for i, (type, start) in enumerate(zip(types, _areas(op, types, parts * prod(held.shape)), strict=True)):
        shared = meeting(reader, itemsize_of(type))
        store_shared(e, [item[i] for item in found], type, writer, shared, e.shared, start)
        reads.append(Reads(e, type, reader, shared, e.shared, start))
    e.barrier()
    out: list[Item] = []
    for j in range(wanted.registers):
        places = [j] if spread else [j | part << len(wanted["register"]) for part in range(parts)]
        item = _fold(e, region, [tuple(r.at(place) for r in reads) for place in places])
        out.append(_across_lanes(e, region, types, item, numbers, everywhere=True) if spread else item)
    return out


def _areas(op: Op, types: list[Scalar], items: int) -> list[int]:
    """Where each operand's part of the scratch begins."""
    sizes = [aligned(items * itemsize_of(t)) for t in types]
    return [int(op.attrs["scratch"]) + sum(sizes[:i]) for i in range(len(types))]
