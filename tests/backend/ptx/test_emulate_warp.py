"""Exchanges between lanes, atomics of every type, and the shapes of memory accesses, in the emulator."""

import ml_dtypes
import numpy as np
import pytest

from rtriton.backend.ptx.emulate import emulate
from rtriton.backend.ptx.module import Mem, Module, Param, Reg, Special
from tests.backend.ptx import ptx_kernels as kernels


def lanes(build, *inputs: np.ndarray, out: str = "u4", threads: int = 32, target: str = "sm_90a") -> np.ndarray:
    """What each thread makes of its elements of the inputs."""
    result = np.zeros(threads, out)
    m = Module("k", target, [Param(f"a{i}", "u64") for i in range(len(inputs) + 1)], num_warps=threads // 32)
    tid = m("mov.u32", Special("tid.x"))
    values = [m(f"ld.global.b{8 * x.itemsize}", m("mad.wide.u32", tid, x.itemsize, m.load_param(f"a{i}")))
              for i, x in enumerate(inputs)]
    value: Reg = build(m, tid, *values)
    size = result.itemsize
    m.do(f"st.global.b{8 * size}", m("mad.wide.u32", tid, size, m.load_param(f"a{len(inputs)}")), value)
    m.do("ret")
    emulate(m, "k", 1, [*inputs, result])
    return result


X = np.random.default_rng(0).integers(0, 1 << 32, 64).astype(np.uint32)


def by_hand(mode: str, b: int, c: int, x: np.ndarray) -> tuple[list[int], list[int]]:
    """shfl.sync as the PTX ISA's pseudocode has it."""
    got, inside = [], []
    for lane in range(32):
        mask, clamp = c >> 8 & 31, c & 31
        most, least = lane & mask | clamp & ~mask & 31, lane & mask
        source = {"up": lane - b, "down": lane + b, "bfly": lane ^ b, "idx": least | b & ~mask}[mode]
        valid = source >= most if mode == "up" else source <= most
        got.append(int(x[source if valid else lane]))
        inside.append(int(valid))
    return got, inside


@pytest.mark.parametrize("c", [31, 0, 0x1C1F, 0x181F, 0x1000, 0x1C03])
@pytest.mark.parametrize("mode", ["up", "down", "bfly", "idx"])
def test_shuffles_follow_the_pseudocode(mode: str, c: int) -> None:
    for b in (0, 1, 3, 8, 17, 31):
        values, inside = by_hand(mode, b, c, X)
        got = lanes(lambda m, tid, x, b=b: m(f"shfl.sync.{mode}.b32", x, b, c, -1), X[:32])
        assert got.tolist() == values
        opcode = f"shfl.sync.{mode}.b32"
        flags = lanes(lambda m, tid, x, b=b, op=opcode: m("selp.b32", 1, 0, m.many(op, x, b, c, -1)[1]), X[:32])
        assert flags.tolist() == inside


def test_votes_count_all_lanes_of_each_warp() -> None:
    def odd(m: Module, x: Reg) -> Reg:
        return m("setp.ne.b32", m("and.b32", x, 1), 0)

    ballots = [sum(int(x & 1) << i for i, x in enumerate(part)) for part in (X[:32], X[32:])]
    got = lanes(lambda m, tid, x: m("vote.sync.ballot.b32", odd(m, x), -1), X, threads=64)
    assert got.tolist() == [ballots[0]] * 32 + [ballots[1]] * 32
    same = np.repeat(np.asarray([1, 2], np.uint32), 32)
    for mode, want in (("all", [1, 0]), ("any", [1, 0]), ("uni", [1, 1])):
        op = f"vote.sync.{mode}.pred"
        answer = lanes(lambda m, tid, x, op=op: m("selp.b32", 1, 0, m(op, odd(m, x), -1)), same, threads=64)
        assert answer.tolist() == np.repeat(want, 32).tolist()
    opposite = lanes(lambda m, tid, x: m("vote.sync.ballot.b32", ~odd(m, x), -1), X[:32])
    assert opposite[0] == ballots[0] ^ 0xFFFFFFFF


def test_matches_and_reductions() -> None:
    x = (X[:32] % 5).astype(np.uint32)
    masks = [sum(int(y == mine) << i for i, y in enumerate(x)) for mine in x]
    assert lanes(lambda m, tid, v: m("match.any.sync.b32", v, -1), x).tolist() == masks
    assert lanes(lambda m, tid, v: m("match.all.sync.b32", v, -1), x).tolist() == [0] * 32
    assert lanes(lambda m, tid, v: m("match.all.sync.b32", 7, -1), x).tolist() == [0xFFFFFFFF] * 32
    signed = X[:32].view(np.int32)
    reductions = {"add.u32": X[:32].sum(dtype=np.uint32), "max.u32": X[:32].max(), "min.u32": X[:32].min(),
                  "max.s32": signed.max(), "min.s32": signed.min(), "and.b32": np.bitwise_and.reduce(X[:32]),
                  "or.b32": np.bitwise_or.reduce(X[:32]), "xor.b32": np.bitwise_xor.reduce(X[:32])}
    for name, want in reductions.items():
        got = lanes(lambda m, tid, v, op=f"redux.sync.{name}": m(op, v, -1), X[:32])
        assert (got == np.asarray(want).view(np.uint32)).all()


def test_one_lane_is_elected() -> None:
    got = lanes(lambda m, tid, x: m("selp.b32", 1, 0, m.many("elect.sync", -1)[1]), X, threads=64)
    assert got.reshape(2, 32).sum(1).tolist() == [1, 1]


def test_lanes_with_their_own_masks_meet_apart() -> None:
    """Half of a warp shuffles within itself on one side of a branch, the other half on the other."""
    def build(m: Module, tid: Reg, x: Reg) -> Reg:
        result, low = m.reg("b32"), m("setp.lt.u32", tid, 16)
        other, end = m.label("other"), m.label("end")
        m.bra(other, ~low)
        m("shfl.sync.idx.b32", x, 3, 31, 0x0000FFFF, dst=result)
        m.bra(end)
        m.place(other)
        m("shfl.sync.idx.b32", x, 20, 31, 0xFFFF0000, dst=result)
        m.place(end)
        return result

    assert lanes(build, X[:32]).tolist() == [int(X[3])] * 16 + [int(X[20])] * 16


ATOMICS = {"add.u32": np.add, "min.u32": np.minimum, "max.u32": np.maximum, "min.s32": np.minimum,
           "max.s32": np.maximum,
           "and.b32": np.bitwise_and, "or.b32": np.bitwise_or, "xor.b32": np.bitwise_xor, "add.u64": np.add,
           "max.s64": np.maximum, "add.f32": np.add, "add.f64": np.add}


@pytest.mark.parametrize("space", ["global", "shared"])
@pytest.mark.parametrize("name", list(ATOMICS))
def test_atomics_leave_the_total_and_give_a_history(name: str, space: str) -> None:
    type = name.split(".")[1]
    dtype = np.dtype({"s": "i", "u": "u", "b": "u", "f": "f"}[type[0]] + str(int(type[1:]) // 8))
    x = np.random.default_rng(1).integers(0, 100, 64).astype(dtype)
    cells = np.full(4, 50, dtype)
    old = np.zeros(64, dtype)
    m = Module("k", "sm_80", [Param(p, "u64") for p in ("x", "cells", "old")], shared_bytes=64, num_warps=2)
    tid, size = m("mov.u32", Special("tid.x")), dtype.itemsize
    value = m(f"ld.global.b{8 * size}", m("mad.wide.u32", tid, size, m.load_param("x")))
    which = m("and.b32", tid, 3)
    cell = m("mad.wide.u32", which, size, m.load_param("cells"))
    if space == "shared":
        first, place = m("setp.lt.u32", tid, 4), m("mad.lo.u32", which, size, m("mov.u32", m.shared))
        start = m(f"mov.b{8 * size}", 0)
        m(f"ld.global.b{8 * size}", cell, pred=first, dst=start)
        m.do(f"st.shared.b{8 * size}", place, start, pred=first)
        m.do("bar.sync", 0)
        found = m(f"atom.shared.{name}", place, value)
        m.do("bar.sync", 0)
        m.do(f"st.global.b{8 * size}", cell, m(f"ld.shared.b{8 * size}", place), pred=first)
    else:
        found = m(f"atom.global.{name}", cell, value)
    m.do(f"st.global.b{8 * size}", m("mad.wide.u32", tid, size, m.load_param("old")), found)
    m.do("ret")
    emulate(m, "k", 1, [x, cells, old])
    for i in range(4):
        mine = x[i::4]
        state = np.concatenate([np.full(1, 50, dtype), mine])
        history = ATOMICS[name].accumulate(state)
        assert np.array_equal(old[i::4], history[:-1]) and cells[i] == history[-1]


@pytest.mark.parametrize("type", ["f16", "bf16", "f16x2", "bf16x2"])
def test_short_float_atomics_round_after_each_addition(type: str) -> None:
    dtype = np.dtype(np.float16 if type.startswith("f16") else ml_dtypes.bfloat16)
    parts = 2 if type.endswith("x2") else 1
    x = np.random.default_rng(2).standard_normal((32, parts)).astype(dtype)
    total = np.zeros(parts, dtype)
    m = Module("k", "sm_90", [Param("x", "u64"), Param("total", "u64")], num_warps=1)
    bits = 16 * parts
    value = m(f"ld.global.b{bits}", m("mad.wide.u32", m("mov.u32", Special("tid.x")), bits // 8, m.load_param("x")))
    m.do(f"red.global.add.noftz.{type}", m.load_param("total"), value)
    m.do("ret")
    emulate(m, "k", 1, [x.view(np.uint16), total.view(np.uint16)])
    want = np.zeros(parts, dtype)
    for row in x:
        want = (want.astype(np.float64) + row.astype(np.float64)).astype(dtype)
    assert np.array_equal(total, want)


def test_exchange_and_compare_and_swap_go_in_thread_order() -> None:
    cell = np.asarray([100], np.uint32)

    m = Module("k", "sm_80", [Param("cell", "u64"), Param("old", "u64")], num_warps=1)
    tid = m("mov.u32", Special("tid.x"))
    old = m("atom.global.exch.b32", m.load_param("cell"), tid)
    m.do("st.global.b32", m("mad.wide.u32", tid, 4, m.load_param("old")), old)
    m.do("ret")
    got = np.zeros(32, np.uint32)
    emulate(m, "k", 1, [cell, got])
    assert got.tolist() == [100, *range(31)] and cell[0] == 31
    cell[0] = 0
    wins = lanes_cas(cell)
    assert wins.tolist() == [1] + [0] * 31 and cell[0] == 5


def lanes_cas(cell: np.ndarray) -> np.ndarray:
    """Which lanes find 0 and put 5."""
    m = Module("k", "sm_80", [Param("cell", "u64"), Param("won", "u64")], num_warps=1)
    old = m("atom.global.cas.b32", m.load_param("cell"), 0, 5)
    won = m("selp.b32", 1, 0, m("setp.eq.u32", old, 0))
    m.do("st.global.b32", m("mad.wide.u32", m("mov.u32", Special("tid.x")), 4, m.load_param("won")), won)
    m.do("ret")
    result = np.zeros(32, np.uint32)
    emulate(m, "k", 1, [cell, result])
    return result


def test_counting_atomics_wrap_at_their_limit() -> None:
    cells = np.asarray([6, 1], np.uint32)
    m = Module("k", "sm_80", [Param("cells", "u64")], num_warps=1)
    cell = m.load_param("cells")
    m.do("red.global.inc.u32", cell, 7)
    m.do("red.global.dec.u32", Mem(cell, 4), 7)
    m.do("ret")
    emulate(m, "k", 1, [cells])
    assert cells.tolist() == [(6 + 32) % 8, (1 - 32) % 8]


def test_narrow_loads_extend_and_narrow_stores_cut() -> None:
    x = np.arange(-16, 16, dtype=np.int8)
    m = Module("k", "sm_80", [Param("x", "u64"), Param("out", "u64")], num_warps=1)
    tid = m("mov.u32", Special("tid.x"))
    address = m("add.u64", m.load_param("x"), m("cvt.u64.u32", tid))
    wide, plain = m.reg("b32"), m.reg("b64")
    m("ld.global.s8", address, dst=wide)
    m("ld.global.u8", address, dst=plain)
    m.do("st.global.b32", m("mad.wide.u32", tid, 4, m.load_param("out")), wide)
    m.do("st.global.u8", address, m("add.u32", m("cvt.u32.u64", plain), 256))
    m.do("ret")
    out, before = np.zeros(32, np.int32), x.copy()
    emulate(m, "k", 1, [x, out])
    assert np.array_equal(out, before) and np.array_equal(x, before)


@pytest.mark.parametrize("type,count", [("b8", 4), ("b16", 2), ("b32", 4), ("b64", 2)])
def test_generic_vector_accesses_reach_global_and_shared_memory(type: str, count: int) -> None:
    size = int(type[1:]) // 8
    x = np.random.default_rng(3).integers(0, 256, 32 * count * size).astype(np.uint8)
    out = np.zeros_like(x)
    m = Module("k", "sm_80", [Param("x", "u64"), Param("out", "u64")], shared_bytes=len(x), num_warps=1)
    tid, step = m("mov.u32", Special("tid.x")), count * size
    offset = m("mul.wide.u32", tid, step)
    here = m("add.u64", m("cvta.shared.u64", m.shared), offset)
    values = m.many(f"ld.v{count}.{type}", m("add.u64", m.load_param("x"), offset))
    m.do(f"st.v{count}.{type}", here, values)
    back = m.many(f"ld.v{count}.{type}", here)
    m.do(f"st.v{count}.{type}", m("add.u64", m.load_param("out"), offset), back)
    m.do("ret")
    emulate(m, "k", 1, [x, out])
    assert np.array_equal(x, out)


def test_special_registers_of_a_grid_of_three_axes() -> None:
    names = ("tid.x", "tid.y", "tid.z", "ctaid.x", "ctaid.y", "ctaid.z", "ntid.y", "nctaid.z", "laneid")
    stores = "".join(f"mov.u32 %r1, %{name};\nst.global.u32 [%rd2+{4 * i}], %r1;\n" for i, name in enumerate(names))
    kernel = kernels.Kernel("k", (".u64 out",), 1, f"""
        ld.param.u64 %rd1, [out];
        mov.u32 %r2, %ctaid.z; mov.u32 %r3, %nctaid.y; mov.u32 %r4, %ctaid.y; mad.lo.u32 %r2, %r2, %r3, %r4;
        mov.u32 %r3, %nctaid.x; mov.u32 %r4, %ctaid.x; mad.lo.u32 %r2, %r2, %r3, %r4;
        mov.u32 %r3, %ntid.z; mov.u32 %r4, %tid.z; mad.lo.u32 %r2, %r2, %r3, %r4;
        mov.u32 %r3, %ntid.y; mov.u32 %r4, %tid.y; mad.lo.u32 %r2, %r2, %r3, %r4;
        mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x; mad.lo.u32 %r2, %r2, %r3, %r4;
        mad.wide.u32 %rd2, %r2, {4 * len(names)}, %rd1;
        {stores} ret;""")
    block, grid = (5, 2, 3), (2, 3, 2)
    out = np.zeros((*grid[::-1], *block[::-1], len(names)), np.uint32)
    emulate(kernel.text(), "k", grid, [out], block=block)
    where = np.indices(out.shape[:-1])
    for i, axis in enumerate((5, 4, 3, 2, 1, 0)):
        assert np.array_equal(out[..., i], where[axis])
    assert (out[..., 6] == 2).all() and (out[..., 7] == 2).all()
    assert np.array_equal(out[..., 8], (where[5] + 5 * (where[4] + 2 * where[3])) % 32)
