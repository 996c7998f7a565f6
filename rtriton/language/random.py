"""Counter-based random numbers: Philox-4x32 and 4x64 with ten rounds, written in the kernel language.

Philox is from Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); the constants are
the paper's. `rand(seed, offset)` gives the first of the four numbers of counter (offset, 0, 0, 0), as Triton does.
"""
from __future__ import annotations

from rtriton.language.math import PUBLIC, add, mul, umulhi, where
from rtriton.language.values import constexpr, constexpr_function, derived, static_range
from rtriton.types import DType, Pointer, float32, int32, int64, uint32, uint64

cos, log, sin, sqrt, maximum = (PUBLIC[n] for n in ("cos", "log", "sin", "sqrt", "maximum"))
to_tensor, static_assert = PUBLIC["to_tensor"], PUBLIC["static_assert"]


@constexpr_function
def _round_constant(dtype: DType, which: int) -> int:
    narrow = (0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85)
    wide = (0xD2E7470EE14C6C93, 0xCA5A826395121157, 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
    return (narrow if dtype == uint32 else wide)[which]


@constexpr_function
def _signed(dtype: DType) -> bool:
    return dtype in (int32, int64)


@constexpr_function
def _is_int(dtype: DType | Pointer) -> bool:
    return dtype.is_int()


@derived()
def philox_impl(c0, c1, c2, c3, k0, k1, n_rounds: constexpr = 10):
    """`n_rounds` rounds on counter (c0, c1, c2, c3) with key (k0, k1), all uint32 or all uint64."""
    for _ in static_range(n_rounds):
        before0, before2 = c0, c2
        c0 = umulhi(_round_constant(c0.dtype, 1), before2) ^ c1 ^ k0
        c2 = umulhi(_round_constant(c0.dtype, 0), before0) ^ c3 ^ k1
        c1 = mul(before2, _round_constant(c0.dtype, 1), sanitize_overflow=False)
        c3 = mul(before0, _round_constant(c0.dtype, 0), sanitize_overflow=False)
        k0 = add(k0, _round_constant(c0.dtype, 2), sanitize_overflow=False)
        k1 = add(k1, _round_constant(c0.dtype, 3), sanitize_overflow=False)
    return c0, c1, c2, c3


@derived()
def philox(seed, c0, c1, c2, c3, n_rounds: constexpr = 10):
    """Four random uint32 (uint64 for 64-bit counters) for a 64-bit seed and a counter."""
    key = to_tensor(seed)
    static_assert(_is_int(key.dtype), "the seed of random numbers is an integer")
    key = key.to(uint64)
    c0, c1, c2, c3 = to_tensor(c0), to_tensor(c1), to_tensor(c2), to_tensor(c3)
    if c0.dtype.primitive_bitwidth == 32:
        return philox_impl(c0.to(uint32, bitcast=True), c1.to(uint32, bitcast=True), c2.to(uint32, bitcast=True),
                           c3.to(uint32, bitcast=True), (key & 0xFFFFFFFF).to(uint32),
                           ((key >> 32) & 0xFFFFFFFF).to(uint32), n_rounds)
    else:
        return philox_impl(c0.to(uint64, bitcast=True), c1.to(uint64, bitcast=True), c2.to(uint64, bitcast=True),
                           c3.to(uint64, bitcast=True), key, key * 0, n_rounds)


@derived()
def randint4x(seed, offset, n_rounds: constexpr = 10):
    """Four tiles of random uint32 for one seed and a tile of offsets, of which up to 64 bits count."""
    offset = to_tensor(offset)
    low = offset.to(uint32)
    zero = low * 0
    if offset.dtype.primitive_bitwidth > 32:
        return philox(seed, low, (offset >> 32).to(uint32), zero, zero, n_rounds)
    else:
        return philox(seed, low, zero, zero, zero, n_rounds)


@derived()
def randint(seed, offset, n_rounds: constexpr = 10):
    """A tile of random uint32."""
    return randint4x(seed, offset, n_rounds)[0]


@derived()
def uint_to_uniform_float(x):
    """Random integers as floats in [0, 1)."""
    if x.dtype.primitive_bitwidth == 32:
        signed = x.to(int32, bitcast=True)
        return where(signed < 0, -signed - 1, signed).to(float32) * 4.6566127342e-10
    else:
        wide = x.to(int64, bitcast=True)
        return where(wide < 0, -wide - 1, wide).to(float32) * 1.0842020432385337e-19


@derived()
def rand(seed, offset, n_rounds: constexpr = 10):
    """Floats uniform in [0, 1)."""
    return uint_to_uniform_float(randint(seed, offset, n_rounds))


@derived()
def rand4x(seed, offset, n_rounds: constexpr = 10):
    """Four tiles of floats uniform in [0, 1)."""
    i0, i1, i2, i3 = randint4x(seed, offset, n_rounds)
    return uint_to_uniform_float(i0), uint_to_uniform_float(i1), uint_to_uniform_float(i2), uint_to_uniform_float(i3)


@derived()
def pair_uniform_to_normal(u1, u2):
    """Two standard normals from two uniforms (Box-Muller)."""
    radius = sqrt(-2.0 * log(maximum(1.0e-7, u1)))
    angle = 6.283185307179586 * u2
    return radius * cos(angle), radius * sin(angle)


@derived()
def randn(seed, offset, n_rounds: constexpr = 10):
    """Standard normals."""
    i0, i1, _, _ = randint4x(seed, offset, n_rounds)
    return pair_uniform_to_normal(uint_to_uniform_float(i0), uint_to_uniform_float(i1))[0]


@derived()
def randn4x(seed, offset, n_rounds: constexpr = 10):
    """Four tiles of standard normals."""
    u0, u1, u2, u3 = rand4x(seed, offset, n_rounds)
    n0, n1 = pair_uniform_to_normal(u0, u1)
    n2, n3 = pair_uniform_to_normal(u2, u3)
    return n0, n1, n2, n3


