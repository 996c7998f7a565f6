"""Linear layouts over GF(2): where each element of a tile lives.

core: the class and its algebra;  construct: constructors;  transform: what shape ops do to a layout;
plan: vector widths, reductions, conversions, shared scratch;  lanes: conversions inside warps;
exchange: which way a conversion goes and what it costs;  matrix: ldmatrix and stmatrix;  draw: pictures.
"""
from rtriton.layout.construct import (
    blocked,
    fma_operand,
    linear_shared,
    make,
    mma_acc,
    mma_operand,
    row_blocked,
    swizzled,
    wgmma_acc,
)
from rtriton.layout.core import DISTRIBUTED, Coord, Layout, LayoutError, bits, log2, pack, solve, tile, unpack, xor_of
from rtriton.layout.plan import (
    Conversion,
    Place,
    Reduction,
    axis_of,
    bank_conflicts,
    contiguous,
    contiguous_bits,
    conversion,
    reduction_plan,
    scratch,
    shared_vector,
)
from rtriton.layout.transform import (
    broadcast_source,
    drop,
    expand,
    join,
    reshape,
    split,
    split_source,
    squash,
    transpose,
    widen,
)

__all__ = [
    "DISTRIBUTED", "Conversion", "Coord", "Layout", "LayoutError", "Place", "Reduction", "axis_of", "bank_conflicts",
    "bits", "blocked", "broadcast_source", "contiguous", "contiguous_bits", "conversion", "drop", "expand",
    "fma_operand", "join", "linear_shared", "log2", "make", "mma_acc", "mma_operand", "pack", "reduction_plan",
    "reshape", "row_blocked", "scratch", "shared_vector", "solve", "split", "split_source", "squash", "swizzled",
    "tile", "transpose", "unpack", "wgmma_acc", "widen", "xor_of",
]  # fmt: skip
