"""convert_layout, by the plan that `layout.conversion` makes: nothing, other registers, lane shuffles, or shared
memory."""
from __future__ import annotations

from itertools import product

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_elementwise import select
from rtriton.backend.ptx.emit_pack import pack_words, unpack_words
from rtriton.backend.ptx.emit_shared import load_shared, store_shared, stores_matrices
from rtriton.backend.ptx.operands import Reg
from rtriton.ir import Op
from rtriton.layout import Conversion, Layout
from rtriton.layout.exchange import route, through_shared
from rtriton.layout.lanes import exchanges, of_words, word_bases
from rtriton.types import BY_SHORT, Scalar, element_of

FULL = -1  # every lane takes part


@lowering("convert_layout")
def _convert(e: Emitter, op: Op) -> None:
    (source,) = op.operands
    type = element_of(op.result.type)
    e.put(op, convert(e, e.regs(source), type, e.layout(source), e.layout(op.result), op.attrs.get("scratch")))


def convert(e: Emitter, regs: list[Reg], type: Scalar, src: Layout, dst: Layout, scratch: int | None) -> list[Reg]:
    """The registers of a tile in another layout."""
    plan, size = L.conversion(src, dst), max(8, type.bits) // 8
    way = route(src, dst, size)
    if way in ("nothing", "registers"):
        return [regs[plan.source(r).register] for r in range(dst.registers)]
    if way == "lanes":
        return _by_words(e, regs, type, src, dst)
    if scratch is None:
        raise ValueError("a conversion through shared memory needs scratch: the pass allocate has not run")
    shared = through_shared(src, dst, size, stores_matrices(e) and type.kind != "b")
    store_shared(e, regs, type, src, shared, e.shared, scratch)
    e.barrier()
    return load_shared(e, type, dst, shared, e.shared, scratch)


def _by_words(e: Emitter, regs: list[Reg], type: Scalar, src: Layout, dst: Layout) -> list[Reg]:
    """Inside warps, by words of what both sides hold in registers."""
    inside = word_bases(src, dst, max(8, type.bits) // 8)
    if not inside:
        return _by_lanes(e, regs, type, src, dst)
    count, word = 1 << len(inside), WORDS[type.bits if type.bits > 8 else 8, len(inside)]
    gathered = [pack_words(e, type, [regs[r] for r in group], count)[0] for group in _grouped(src, inside)]
    moved = _by_lanes(e, gathered, word, of_words(src, inside), of_words(dst, inside))
    out: dict[int, Reg] = {}
    for group, reg in zip(_grouped(dst, inside), moved, strict=True):
        out.update(zip(group, unpack_words(e, type, [reg], count), strict=True))
    return [out[r] for r in range(dst.registers)]


WORDS = {(16, 1): BY_SHORT["u32"], (8, 2): BY_SHORT["u32"], (8, 1): BY_SHORT["u16"]}  # by bits, and bits of an index


def _grouped(layout: Layout, inside: list[int]) -> list[list[int]]:
    """The registers of each word, words by their registers' other bits."""
    own = [layout["register"].index(b) for b in inside]
    rest = [k for k in range(len(layout["register"])) if k not in own]
    return [[_spread(rest, i) | _spread(own, j) for j in range(1 << len(own))] for i in range(1 << len(rest))]


def _spread(positions: list[int], index: int) -> int:
    return sum(1 << positions[k] for k in L.bits(index))


def _by_lanes(e: Emitter, regs: list[Reg], type: Scalar, src: Layout, dst: Layout) -> list[Reg]:
    plan = exchanges(src, dst)
    if plan is None:
        return _fetched(e, regs, type, L.conversion(src, dst), dst)
    now = list(regs)
    for register, lane in plan.pairs:
        now = _exchanged(e, now, type, 1 << register, 1 << lane)
    if plan.lanes is not None:
        source = e.mapped(e.lane, [1 << k for k in plan.lanes])
        assert source is not None
        now = [shuffle(e, "idx", reg, source, type) for reg in now]
    return [now[_spread(list(plan.registers), r)] for r in range(len(now))]


def _exchanged(e: Emitter, regs: list[Reg], type: Scalar, register: int, lane: int) -> list[Reg]:
    """A register bit and a lane bit change places: of two registers each lane keeps the one whose register bit is its
    own lane bit, and gets its partner's."""
    upper = e.pure("setp.ne.u32", e.pure("and.b32", e.lane, lane), 0)
    out = list(regs)
    for r in range(len(regs)):
        if not r & register:
            low, high = regs[r], regs[r | register]
            got = shuffle(e, "bfly", select(e, type, upper, low, high), lane, type)
            out[r], out[r | register] = select(e, type, upper, got, low), select(e, type, upper, high, got)
    return out


def _fetched(e: Emitter, regs: list[Reg], type: Scalar, plan: Conversion, dst: Layout) -> list[Reg]:
    """Each lane reads another; where the register wanted depends on the lane, all candidates are fetched and one
    is selected."""
    picks = plan.lane_picks
    stays = all(p.lane == 1 << k for k, p in enumerate(plan.moves["lane"]))
    stays = stays and not any(p.lane for d in ("register", "warp") for p in plan.moves[d])
    out: list[Reg] = []
    for r in range(dst.registers):
        base = plan.source(r)
        lane = None if stays else _lane(e, plan, base.lane)
        candidates: list[Reg] = []
        for choice in product((0, 1), repeat=len(picks)):
            register = base.register
            for bit, taken in zip(picks, choice, strict=True):
                register ^= plan.moves["lane"][bit].register if taken else 0
            candidates.append(regs[register] if lane is None else shuffle(e, "idx", regs[register], lane, type))
        for bit in reversed(picks):
            taken = e.pure("setp.ne.u32", e.pure("and.b32", e.lane, 1 << bit), 0)
            pairs = zip(candidates[::2], candidates[1::2], strict=True)
            candidates = [select(e, type, taken, upper, lower) for lower, upper in pairs]
        out.append(candidates[0])
    return out


def _lane(e: Emitter, plan: Conversion, constant: int) -> Reg:
    """The lane to read from."""
    moves = {dim: [p.lane for p in plan.moves[dim]] for dim in ("lane", "warp")}
    lane = e.linear(moves)
    if lane is None:
        return e.pure("mov.u32", constant)
    return e.pure("xor.b32", lane, constant) if constant else lane


def shuffle(e: Emitter, how: str, reg: Reg, lane: Reg | int, type: Scalar, clamp: int = 31) -> Reg:
    """shfl.sync of an element of any width."""
    if type.kind == "b":
        moved = shuffle32(e, how, e.pure("selp.b32", 1, 0, reg), lane, clamp)
        return e.pure("setp.ne.u32", moved, 0)
    if type.bits <= 16:
        wide = shuffle32(e, how, e.pure("cvt.u32.u16", reg), lane, clamp)
        return e.pure("cvt.u16.u32", wide)
    if type.bits == 32:
        return shuffle32(e, how, reg, lane, clamp)
    low, high = e.m.unpack(reg, 2)
    return e.pure("mov.b64", (shuffle32(e, how, low, lane, clamp), shuffle32(e, how, high, lane, clamp)))


def shuffle32(e: Emitter, how: str, reg: Reg, lane: Reg | int, clamp: int) -> Reg:
    return e.m(f"shfl.sync.{how}.b32", reg, lane, clamp, FULL)
