"""Buffers in shared memory and copies into them that run beside the computation (cp.async)."""
from __future__ import annotations

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter, lowering
from rtriton.backend.ptx.emit_memory import groups
from rtriton.backend.ptx.emit_shared import addresses, load_shared, store_shared
from rtriton.backend.ptx.operands import Argument, Reg
from rtriton.ir import Op, Value
from rtriton.types import Shared, Tile


def buffer_of(value: Value | None) -> Shared:
    assert value is not None and isinstance(value.type, Shared)
    return value.type


@lowering("shared_alloc")
def _alloc(e: Emitter, op: Op) -> None:
    e.put(op, [e.pure("add.u32", e.shared, op.attrs["offset"])])


def stage_base(e: Emitter, buffer: Value | None, stage: Value | None) -> Reg:
    """The address of a buffer's stage."""
    base = e.one(buffer)
    if stage is None:
        return base
    size = buffer_of(buffer).nbytes // buffer_of(buffer).stages
    return e.pure("mad.lo.s32", e.one(stage), size, base)


@lowering("shared_store")
def _store(e: Emitter, op: Op) -> None:
    buffer, value, stage = (*op.operands, None)[:3]
    type = buffer_of(buffer)
    assert type.layout is not None
    store_shared(e, e.regs(value), type.element, e.layout(value), type.layout, stage_base(e, buffer, stage), 0)


@lowering("shared_load")
def _load(e: Emitter, op: Op) -> None:
    buffer, stage = (*op.operands, None)[:2]
    type = buffer_of(buffer)
    assert type.layout is not None
    e.put(op, load_shared(e, type.element, e.layout(op.result), type.layout, stage_base(e, buffer, stage), 0))


@lowering("async_copy")
def _copy(e: Emitter, op: Op) -> None:
    """One cp.async for each vector; where the mask is false it reads nothing and writes zeros."""
    buffer, pointer, mask, stage, turn = (*op.operands, None, None, None)[:5]
    type, tile = buffer_of(buffer), e.layout(pointer)
    assert type.layout is not None and pointer is not None and isinstance(pointer.type, Tile)
    size, width = type.element.itemsize, op.attrs["vector"]
    vector = L.shared_vector(tile, type.layout, size)[: L.log2(width)]
    where = addresses(e, tile, type.layout, size, stage_base(e, buffer, stage), 0)
    guard = e.both(e.owner(tile), e.one(turn) if turn is not None else None)
    cache = "cg" if width * size == 16 else "ca"
    for group in groups(tile.registers, vector):
        to = where.at(L.xor_of(type.layout.offsets, tile.flat(register=group[0])) * size)
        args: list[Argument] = [to, e.address(e.regs(pointer)[group[0]]), width * size]
        if mask is not None:
            args.append(e.pure("selp.b32", width * size, 0, e.regs(mask)[group[0]]))
        e.m.do(f"cp.async.{cache}.shared.global", *args, pred=guard)


@lowering("async_commit")
def _commit(e: Emitter, op: Op) -> None:
    e.m.do("cp.async.commit_group")


@lowering("async_wait")
def _wait(e: Emitter, op: Op) -> None:
    e.m.do("cp.async.wait_group", op.attrs["pending"])
