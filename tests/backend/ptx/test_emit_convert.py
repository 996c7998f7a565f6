"""Conversions between random layouts move every element to its place, whichever road they take."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtriton import layout as L
from rtriton.backend.ptx.emit import emit
from rtriton.backend.ptx.emulate import emulate
from rtriton.ir import Block, Builder, Kernel, Op, Value
from rtriton.language.table import builder
from rtriton.layout import Layout
from rtriton.layout.exchange import route
from rtriton.passes import run_pipeline
from rtriton.target import Target
from rtriton.types import BY_NAME, DType, Pointer, Tile, int32
from tests.test_layout import _layout_of

N = 512


def addresses(build: Builder, base: Value, layout: Layout) -> Value:
    """base + 0, 1, 2 ... held by `layout`."""
    index = Value(Tile((N,), int32, layout))
    build.append(Op("arange", (), {"start": 0, "end": N}, (), (index,)))
    spread = Value(Tile((N,), base.type, layout))  # type: ignore[arg-type]
    build.append(Op("splat", (base,), {"shape": (N,)}, (), (spread,)))
    return build.one("addptr", spread, index)


def kernel_of(src: Layout, dst: Layout, type: DType, warps: int) -> Kernel:
    """Loads in one layout, stores in another."""
    x, out = Value(Pointer(type), "x"), Value(Pointer(type), "out")
    build = builder()
    held = build.one("load", addresses(build, x, src))
    moved = Value(Tile((N,), type, dst))
    build.append(Op("convert_layout", (held,), {}, (), (moved,)))
    build.op("store", addresses(build, out, dst), moved)
    return Kernel("moves", Block((x, out), tuple(build.ops)), {"num_warps": warps, "divisible": {0: 16, 1: 16}})


@st.composite
def cases(draw: st.DrawFn) -> tuple[Layout, Layout, int]:
    warps = draw(st.sampled_from([1, 2, 4]))
    if draw(st.booleans()):
        return draw(_layout_of((N,), warps)), draw(_layout_of((N,), warps)), warps
    bases = draw(st.permutations([1 << k for k in range(L.log2(N))]))
    warp, rest = bases[: L.log2(warps)], bases[L.log2(warps) :]
    src, dst = (L.make((N,), order[5:], order[:5], warp) for order in (rest, draw(st.permutations(rest))))
    return src, dst, warps  # no copies, and nothing leaves its warp


@pytest.mark.parametrize("name", ["fp32", "fp16", "int8", "fp64", "int1"])
def test_a_conversion_between_any_two_layouts_keeps_every_element(name: str) -> None:
    kinds: set[str] = set()

    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(cases())
    def check(case: tuple[Layout, Layout, int]) -> None:
        src, dst, warps = case
        kinds.add(route(src, dst, BY_NAME[name].itemsize))
        kernel = kernel_of(src, dst, BY_NAME[name], warps)
        module = emit(run_pipeline(kernel, Target.of("sm_90"), ["allocate", "barriers"]), Target.of("sm_90"))
        x = np.random.default_rng(0).integers(0, 2 if name == "int1" else 100, N).astype(BY_NAME[name].storage)
        out = np.zeros_like(x)
        emulate(module, None, (1,), [x, out])
        np.testing.assert_array_equal(out, x)

    check()
    assert {"lanes", "shared"} <= kinds
