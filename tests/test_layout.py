"""Layouts against brute force: fragment tables of the PTX ISA, enumerated conversions, counted bank conflicts."""
import subprocess
import sys
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtriton import layout as L
from rtriton.layout import Layout, LayoutError, Place
from rtriton.layout.exchange import cost, meeting, parted, route, through_shared
from rtriton.layout.lanes import exchanges
from rtriton.layout.matrix import matrices_of

settings.register_profile("layouts", deadline=None, max_examples=40)  # a busy machine is no failure
settings.load_profile("layouts")

SHAPES = [(64,), (8, 16), (32, 4), (2, 4, 8), (128, 2), (1, 64)]


@st.composite
def distributed(draw, shapes=tuple(SHAPES), warps=4):
    """A random distributed layout: each element bit goes to one place at random, the rest are copies."""
    shape = draw(st.sampled_from(shapes))
    return shape, draw(_layout_of(shape, warps))


@st.composite
def _layout_of(draw, shape, warps=4):
    order = draw(st.permutations([1 << k for k in range(L.log2(prod(shape)))]))
    slots = draw(st.permutations(["lane"] * 5 + ["warp"] * L.log2(warps) + ["register"] * len(order)))
    dims = {"register": [], "lane": [], "warp": []}
    for b, dim in zip(order, slots, strict=False):
        dims[dim].append(b)
    for dim, size in (("lane", 5), ("warp", L.log2(warps))):
        while len(dims[dim]) < size:
            dims[dim].insert(draw(st.integers(0, len(dims[dim]))), 0)
    return L.make(shape, dims["register"], dims["lane"], dims["warp"])


def places(layout):
    return product(*(range(layout.size(d)) for d in ("register", "lane", "warp")))


@given(distributed())
def test_find_undoes_at_for_every_element(case):
    shape, layout = case
    for element in range(prod(shape)):
        assert layout.flat(**layout.find(element)) == element


@given(distributed())
def test_text_of_a_layout_parses_back_to_it(case):
    _, layout = case
    assert Layout.parse(str(layout)) == layout


@given(distributed())
def test_the_owner_of_each_element_is_one_place(case):
    shape, layout = case
    owners = [
        layout.flat(register=r, lane=lane, warp=w)
        for r, lane, w in places(layout)
        if not lane & layout.copies("lane") and not w & layout.copies("warp")
    ]
    assert sorted(owners) == list(range(prod(shape)))


@st.composite
def two_layouts(draw):
    shape = draw(st.sampled_from(SHAPES))
    return draw(_layout_of(shape)), draw(_layout_of(shape))


@given(two_layouts())
def test_a_conversion_finds_every_element_where_the_source_holds_it(pair):
    src, dst = pair
    plan = L.conversion(src, dst)
    for r, lane, w in places(dst):
        place = plan.source(r, lane, w)
        held = src.flat(register=place.register, lane=place.lane, warp=place.warp)
        assert held == dst.flat(register=r, lane=lane, warp=w)
        if plan.kind == "nothing":
            assert place == Place(r, lane, w)
        if plan.kind == "registers":
            assert (place.lane, place.warp) == (lane, w) and place.register == plan.source(r).register
        if plan.kind == "lanes":
            assert place.warp == w


@given(two_layouts(), st.sampled_from([1, 2, 4, 8]))
def test_a_scratch_layout_gives_each_element_one_offset(pair, itemsize):
    src, dst = pair
    scratch = L.scratch(src, dst, itemsize)
    assert scratch.is_surjective and scratch.is_injective
    assert sorted(L.xor_of(scratch.offsets, e) for e in range(prod(src.shape))) == list(range(prod(src.shape)))


def test_mma_fragments_are_those_of_the_ptx_manual():
    for itemsize, k in ((1, 32), (2, 16), (4, 8)):
        word = 4 // itemsize
        a, b = L.mma_operand((16, k), "a", itemsize), L.mma_operand((k, 8), "b", itemsize)
        for lane, i in product(range(32), range(a.registers)):
            group, thread = lane >> 2, lane & 3
            register, part = divmod(i, word)
            row = group + 8 * (register & 1)
            column = thread * word + part + 4 * word * (register >> 1)
            assert a.at(register=i, lane=lane) == (row, column)
        for lane, i in product(range(32), range(b.registers)):
            register, part = divmod(i, word)
            assert b.at(register=i, lane=lane) == ((lane & 3) * word + part + 4 * word * register, lane >> 2)
    acc = L.mma_acc((16, 8))
    for lane, i in product(range(32), range(4)):
        assert acc.at(register=i, lane=lane) == ((lane >> 2) + 8 * (i >> 1), 2 * (lane & 3) + (i & 1))


TILES = [((64, 64), (2, 2)), ((16, 8), (1, 1)), ((8, 4), (2, 1)), ((2, 32, 16), (2, 1))]


@pytest.mark.parametrize("shape,warps", TILES)
def test_mma_layouts_cover_tiles_of_all_sizes(shape, warps):
    *batch, m, n = shape
    assert L.mma_acc(shape, warps).is_surjective
    assert L.mma_operand((*batch, m, 64), "a", 2, warps).is_surjective
    assert L.mma_operand((*batch, 64, n), "b", 2, warps).is_surjective
    assert L.mma_operand((*batch, m, 64), "a", 2, warps).size("warp") == prod(warps)


def test_each_warp_holds_the_operand_rows_of_its_own_accumulators():
    acc, a = L.mma_acc((64, 64), (2, 2)), L.mma_operand((64, 16), "a", 2, (2, 2))
    b = L.mma_operand((16, 64), "b", 2, (2, 2))
    for w in range(4):
        def held(layout, axis, w=w):
            here = product(range(layout.registers), range(32))
            return {layout.at(register=r, lane=lane, warp=w)[axis] for r, lane in here}

        assert held(acc, 0) == held(a, 0) and held(acc, 1) == held(b, 1)


def test_an_accumulator_becomes_an_operand_without_moving_anything():
    acc = L.mma_acc((64, 32), (4, 1))
    assert L.conversion(acc, L.mma_operand((64, 32), "a", 2, (4, 1))).kind == "nothing"


def test_a_conversion_takes_the_cheapest_road():
    one = L.blocked((32, 4), (1, 4), (32, 1), (4, 1))
    assert L.conversion(one, one).kind == "nothing"
    renamed = L.blocked((32, 4), (1, 4), (32, 1), (4, 1), order=(0, 1))
    assert L.conversion(one, renamed).kind == "nothing"
    swapped = L.make((32, 4), (2, 1), one["lane"], one["warp"])
    assert L.conversion(one, swapped).kind == "registers"
    turned = L.make((32, 4), (1, 2), (8, 4, *one["lane"][2:]), one["warp"])
    assert L.conversion(one, turned).kind == "lanes"
    rows, columns = L.row_blocked((128, 4), 4), L.row_blocked((128, 4), 4, order=(0, 1))
    assert L.conversion(rows, columns).kind == "shared"


def test_a_reader_of_copies_stays_in_its_own_lane():
    tile = L.blocked((64,), (2,), (32,), (1,))
    everywhere = L.make((64,), (1, 2, 4, 8, 16, 32), (0,) * 5, ())
    plan = L.conversion(everywhere, tile)
    assert all(plan.source(r, lane).lane == lane for r in range(2) for lane in range(32))


def test_vector_width_is_asked_along_an_axis():
    columns = L.blocked((64, 64), (4, 1), (16, 2), (1, 4), order=(0, 1))
    assert (L.contiguous(columns, 0), L.contiguous(columns, 1)) == (4, 1)
    rows = L.blocked((64, 64), (1, 8), (4, 8), (4, 1))
    assert (L.contiguous(rows, 0), L.contiguous(rows, 1)) == (1, 8)


def test_a_reduction_plan_splits_an_axis_over_the_hardware():
    plan = L.reduction_plan(L.blocked((4, 1024), (1, 4), (1, 32), (1, 4)), 1)
    assert (len(plan.register), plan.lane, plan.warp) == (3, (0, 1, 2, 3, 4), (0, 1))
    tile = L.drop(L.blocked((4, 1024), (1, 4), (1, 32), (1, 4)), 1)
    assert tile.copies("lane") == 31 and tile.copies("warp") == 3 and tile.registers == 4


def test_wgmma_warps_along_n_stand_at_the_column_of_their_instruction():
    acc = L.wgmma_acc((64, 256), (4, 2), 64)
    assert acc["warp"] == (16 * 256, 32 * 256, 64)
    assert acc.is_surjective and acc.is_injective


def test_shape_ops_give_the_layout_numpy_would():
    src = L.blocked((4, 8, 16), (1, 2, 4), (2, 4, 4), (2, 1, 2))
    index = np.arange(prod(src.shape)).reshape(src.shape)
    for layout, moved in (
        (L.transpose(src, (2, 0, 1)), index.transpose(2, 0, 1)),
        (L.reshape(src, (32, 16)), index.reshape(32, 16)),
        (L.expand(src, 1), index[:, None]),
    ):
        assert layout.shape == moved.shape
        for r, lane, w in places(src):
            assert moved[layout.at(register=r, lane=lane, warp=w)] == src.flat(register=r, lane=lane, warp=w)


def test_broadcast_reads_what_it_needs_from_the_squashed_layout():
    wide = L.blocked((8, 64), (1, 4), (2, 16), (4, 1))
    src = L.broadcast_source(wide, (8, 1))
    for r, lane, w in places(wide):
        row, _ = wide.at(register=r, lane=lane, warp=w)
        assert (row, 0) in [src.at(register=s, lane=lane, warp=w) for s in range(src.registers)]
    assert L.widen(src, (8, 64)).is_surjective


def test_join_and_split_only_pick_registers():
    half = L.blocked((64,), (2,), (32,), (1,))
    joined = L.join(half)
    assert joined.at(register=2, lane=3) == (*half.at(lane=3), 1)
    assert L.split(joined) == half
    with pytest.raises(LayoutError, match="last axis of 2"):
        L.split(L.blocked((64, 2), (1, 1), (16, 2), (1, 1)))


def test_a_plain_shared_tile_conflicts_where_a_swizzled_one_does_not():
    columns = L.blocked((32, 32), (1, 1), (32, 1), (1, 32), order=(0, 1))
    assert L.bank_conflicts(columns, L.linear_shared((32, 32)), 4) == 32
    assert L.bank_conflicts(columns, L.swizzled((32, 32), 1, 1, 32), 4) == 1
    wide = L.blocked((64, 64), (1, 8), (8, 4), (1, 1), order=(0, 1))
    assert L.bank_conflicts(wide, L.linear_shared((64, 64)), 2) == 8
    assert L.bank_conflicts(wide, L.swizzled((64, 64), 8, 1, 8), 2) == 1


@pytest.mark.parametrize("itemsize", [1, 2, 4])
def test_scratch_of_common_conversions_has_no_conflicts(itemsize):
    acc = L.mma_acc((64, 64), (4, 1))
    rows = L.blocked((64, 64), (1, 4), (2, 16), (4, 1))
    columns = L.blocked((64, 64), (4, 1), (16, 2), (1, 4), order=(0, 1))
    for src, dst in ((acc, rows), (rows, columns), (columns, rows)):
        scratch = L.scratch(src, dst, itemsize)
        assert L.bank_conflicts(dst, scratch, itemsize) == 1
        if set(dst["register"]) & set(src["register"]):
            assert L.bank_conflicts(src, scratch, itemsize) == 1


@pytest.mark.parametrize("itemsize,cycles", [(2, 2 * 4 * (1 + 4)), (4, 32 * (1 + 1) + 8 * (1 + 4))])
def test_a_transpose_goes_through_the_cheapest_shared_tile(itemsize, cycles):
    """16-bit elements as rows that ldmatrix.trans reads by columns, 32-bit ones one by one and then by fours."""
    wide = 16 // itemsize
    src = L.row_blocked((64, 64), 4, wide)
    dst = L.row_blocked((64, 64), 4, wide, (0, 1))
    shared = through_shared(src, dst, itemsize, True)
    assert shared.is_surjective and shared.is_injective
    assert cost(src, shared, itemsize, None) + cost(dst, shared, itemsize, matrices_of(dst, shared, itemsize)) == cycles
    assert (matrices_of(dst, shared, itemsize) is not None) == (itemsize == 2)


@st.composite
def in_warps(draw):
    """Two layouts without copies whose warps hold the same."""
    bases = draw(st.permutations([1 << k for k in range(10)]))
    warp, rest = bases[:2], bases[2:]
    return tuple(L.make((1024,), order[5:], order[:5], warp) for order in (rest, draw(st.permutations(rest))))


@given(in_warps())
def test_exchanges_bring_every_element_to_its_place(pair):
    src, dst = pair
    plan = exchanges(src, dst)
    assert plan is not None
    held = {(r, lane): src.flat(register=r, lane=lane) for r, lane in product(range(8), range(32))}
    for register, bit in plan.pairs:
        pick = {(r, lane): (r >> register & 1) != (lane >> bit & 1) for r, lane in held}
        held = {(r, lane): held[r ^ (swap << register), lane ^ (swap << bit)] for (r, lane), swap in pick.items()}
    lanes = plan.lanes or range(5)
    for r, lane in held:
        before = sum(1 << k for j, k in enumerate(plan.registers) if r >> j & 1)
        source = sum(1 << k for j, k in enumerate(lanes) if lane >> j & 1)
        assert held[before, source] == dst.flat(register=r, lane=lane)


@pytest.mark.parametrize("shape", [(32, 128), (128, 64), (8, 1024)])
def test_warps_meet_over_columns_without_bank_conflicts(shape):
    """Each thread has four columns and reads four of each warp's sums at once."""
    held = L.drop(L.row_blocked(shape, 4, 4), 0)
    for warps in ({0: 0}, {1: 0}, {0: 0, 1: 1}):
        left = [0 if k in warps else b for k, b in enumerate(held["warp"])]
        free = L.make(held.shape, held["register"], held["lane"], left)
        parts = 1 << len(warps)
        writer, reader = parted(free, parts, warp=warps), parted(free, parts, range(len(warps)))
        shared = meeting(reader, 4)
        assert L.bank_conflicts(writer, shared, 4) == L.bank_conflicts(reader, shared, 4) == 1
        assert len(L.shared_vector(reader, shared, 4)) == len(L.shared_vector(writer, shared, 4)) == 2


def test_a_conversion_inside_warps_takes_the_cheaper_way():
    """One bit of registers against one of lanes by shuffles, all of them through shared memory."""
    src = L.row_blocked((32, 64), 4, 4)
    near = L.make(src.shape, [16, *src["register"][1:]], [*src["lane"][:2], 1, *src["lane"][3:]], src["warp"])
    assert route(src, near, 4) == "lanes"
    many = L.make((4096,), [1 << k for k in range(5, 10)], [1 << k for k in range(5)], [1024, 2048])
    assert route(many, L.make((4096,), many["lane"], many["register"], many["warp"]), 4) == "shared"


@given(two_layouts(), st.sampled_from([1, 2, 4, 8]), st.booleans())
def test_the_chosen_shared_tile_gives_each_element_one_offset(pair, itemsize, stmatrix):
    shared = through_shared(*pair, itemsize, stmatrix)
    assert shared.is_surjective and shared.is_injective


def test_bad_requests_are_refused_with_a_reason():
    with pytest.raises(LayoutError, match="powers of two, got 48"):
        L.blocked((48,), (1,), (32,), (4,))
    with pytest.raises(LayoutError, match="more than one bit"):
        Layout((8,), (("register", (3,)),))
    with pytest.raises(LayoutError, match="shapes differ"):
        L.conversion(L.row_blocked((8,), 1), L.row_blocked((16,), 1))


def test_the_command_line_draws_a_fragment():
    run = subprocess.run(
        [sys.executable, "-m", "rtriton.layout", "mma_acc((16, 8))"], capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert lines[1].split() == ["0:0", "0:1", "1:0", "1:1", "2:0", "2:1", "3:0", "3:1"]
    assert lines[16].split()[-1] == "31:3"


def test_a_dot_by_multiply_adds_finds_all_of_k_in_its_own_registers():
    acc = L.row_blocked((16, 32), 4)
    a, b = L.fma_operand(acc, "a", 8), L.fma_operand(acc, "b", 8)
    for r, lane, w in places(acc):
        row, column = acc.at(register=r, lane=lane, warp=w)
        rows = {a.at(register=s, lane=lane, warp=w) for s in range(a.registers)}
        columns = {b.at(register=s, lane=lane, warp=w) for s in range(b.registers)}
        assert {(row, k) for k in range(8)} <= rows and {(k, column) for k in range(8)} <= columns
