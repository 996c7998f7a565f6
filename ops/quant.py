"""How a weight matrix lies in memory, and the arithmetic that goes there and back.

A weight is `W` of shape (N, K): N output rows, K inputs, so a layer computes `y[n] = sum_k W[n, k] * x[k]`.
The quantized kinds are repacked once at load so that **16 output rows lie in the lanes**: a kernel that
owns rows 16p..16p+15 walks k and reads 16 consecutive bytes per step, straight through memory.

With `p = n // 16`, `l = n % 16`, `g = k // 32`, `j = k % 32`, P = ceil(N / 16), G = K / 32:

| kind | data                                      | scale          | minimum        | W[n, k]                     |
|------|-------------------------------------------|----------------|----------------|-----------------------------|
| int4 | uint8 [P, G, 16, 16], byte [p,g,j%16,l]   | f16 [P, G, 16] | f16 [P, G, 16] | scale[p,g,l]*q + min[p,g,l] |
| int8 | int8 [P, G, 32, 16], q = data[p,g,j,l]    | f16 [P, G, 16] | none           | scale[p,g,l]*q              |
| fp8  | float8_e4m3fn [P, G, 32, 16], same        | f32 [P, 16]    | none           | scale[p,l]*q                |
| bf16, f16, f32 | dense, row-major [N, K]         | none           | none           | data[n,k]                   |

An int4 byte holds q (0..15) of k = j in its low half and of k = j + 16 in its high half, for j < 16.
So byte `((p*G + g)*16 + j%16)*16 + l` of int4, and byte `((p*G + g)*32 + j)*16 + l` of int8 and fp8.
Rows past N (padding up to a multiple of 16) have codes, scales and minima of zero, so they give zero.
All arithmetic above is in float32: `dequantize` does exactly that and is what kernels are tested against.

    weight = quantize(w, "int4")         # or pack_int4(...) from codes a file already holds
    np.abs(dequantize(weight) - w).max()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ops.arrays import DTYPE_NAMES, numpy_dtype

LANES = 16  # output rows side by side in memory
GROUP = 32  # consecutive k that share one scale in int4 and int8
ALIGN = 64  # bytes: a cache line, so that a 512-bit load never straddles two

# by name, because importing the package that has bfloat16 and fp8 takes half a second: only those who use them pay
FP8 = "float8_e4m3fn"
FP8_MAX = 448.0
DENSE = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}
PACKED = ("int4", "int8", "fp8")
KINDS = (*PACKED, *DENSE)


@dataclass(frozen=True, eq=False)
class QuantWeight:
    """One weight matrix as the kernels read it; the module's docstring says where element (n, k) lies."""

    kind: str
    shape: tuple[int, int]  # (N, K), without padding
    data: Any  # numpy array, or a device array after `on_device`
    scale: Any | None
    minimum: Any | None
    group: int  # consecutive k under one scale: 32 for int4 and int8, K for fp8 and dense

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (self.data, self.scale, self.minimum) if array is not None)

    @property
    def tiles(self) -> int:
        """How many blocks of 16 rows there are: P of the index formulas."""
        return -(-self.shape[0] // LANES)


def on_device(weight: QuantWeight, move: Callable[[Any], Any]) -> QuantWeight:
    """The same weight with each of its arrays passed through `move` (say, a copy to the GPU)."""
    scale = None if weight.scale is None else move(weight.scale)
    minimum = None if weight.minimum is None else move(weight.minimum)
    return replace(weight, data=move(weight.data), scale=scale, minimum=minimum)


# ---- from codes that a file already holds ------------------------------------------------------------


def pack_int4(codes: np.ndarray, scale: np.ndarray, minimum: np.ndarray) -> QuantWeight:
    """`codes` uint8 (N, G, 16): byte j of a group holds k = j low, k = j + 16 high; `scale`, `minimum` (N, G)."""
    n, groups, half = codes.shape
    if half != GROUP // 2 or codes.dtype != np.uint8:
        raise ValueError(f"int4 codes need shape (N, K/32, 16) of uint8, got {codes.shape} of {codes.dtype}")
    _same_groups(scale, n, groups)
    _same_groups(minimum, n, groups)
    return QuantWeight("int4", (n, groups * GROUP), _to_lanes(codes), _lanes_f16(scale), _lanes_f16(minimum), GROUP)


def pack_int8(codes: np.ndarray, scale: np.ndarray) -> QuantWeight:
    """`codes` int8 (N, G, 32), `scale` (N, G)."""
    n, groups, width = codes.shape
    if width != GROUP or codes.dtype != np.int8:
        raise ValueError(f"int8 codes need shape (N, K/32, 32) of int8, got {codes.shape} of {codes.dtype}")
    _same_groups(scale, n, groups)
    return QuantWeight("int8", (n, groups * GROUP), _to_lanes(codes), _lanes_f16(scale), None, GROUP)


def pack_fp8(codes: np.ndarray, scale: np.ndarray) -> QuantWeight:
    """`codes` float8_e4m3fn (N, K), `scale` (N,) float32."""
    n, k = codes.shape
    if codes.dtype.name != FP8 or scale.shape != (n,):
        raise ValueError(f"fp8 needs e4m3fn codes (N, K) and a scale (N,), got {codes.dtype} {codes.shape}")
    lanes = _to_lanes(codes.view(np.uint8).reshape(n, _groups(k), GROUP)).view(codes.dtype)
    return QuantWeight("fp8", (n, k), lanes, _to_lanes(scale.astype(np.float32)), None, k)


def dense_dtype(kind: str) -> np.dtype[Any]:
    """Of a kind that is kept as it is."""
    return numpy_dtype(DTYPE_NAMES[DENSE[kind]])


def dense(array: np.ndarray) -> QuantWeight:
    """A matrix kept as it is; its dtype must be one of bf16, f16, f32."""
    for kind, name in DENSE.items():
        if array.dtype.name == name and array.ndim == 2:
            return QuantWeight(kind, (array.shape[0], array.shape[1]), _aligned(array), None, None, array.shape[1])
    raise ValueError(f"a dense weight needs a matrix of bf16, f16 or f32, got {array.ndim} axes of {array.dtype}")


def stacked(parts: Iterable[QuantWeight], rows: int) -> QuantWeight:
    """Packed weights of one kind, one's rows after another's, `rows` in all; each but the last has a multiple of 16.

    The parts are taken one at a time, so that they need not all be there at once.
    """
    whole: QuantWeight | None = None
    at = 0
    for part in parts:
        if whole is None:
            if part.shape[0] == rows:
                return part
            whole = _room_for(part, rows)
        if part.kind != whole.kind or at % LANES or at + part.shape[0] > rows:
            raise ValueError(f"{part.shape[0]} rows of {part.kind} do not fit after {at} of {rows} of {whole.kind}")
        for name in ("data", "scale", "minimum"):
            if (into := getattr(whole, name)) is not None:
                into[at // LANES : at // LANES + part.tiles] = getattr(part, name)
        at += part.shape[0]
    if whole is None or at != rows:
        raise ValueError(f"wanted {rows} rows, got {at}")
    return whole


def _room_for(part: QuantWeight, rows: int) -> QuantWeight:
    """A weight like `part`, with room for `rows` rows."""
    if part.kind not in PACKED:
        raise ValueError(f"only packed weights are stacked, got {part.kind}")

    def room(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else aligned_empty((-(-rows // LANES), *array.shape[1:]), array.dtype)

    return replace(
        part,
        shape=(rows, part.shape[1]),
        data=room(part.data),
        scale=room(part.scale),
        minimum=room(part.minimum),
    )


# ---- from real numbers -------------------------------------------------------------------------------


def quantize(array: np.ndarray, kind: str) -> QuantWeight:
    """Round a real matrix (N, K) to `kind`: nearest code under the scale that just covers its group (fp8: its row)."""
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        got = f"shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"quantize needs a NumPy matrix (N, K), got {got}")
    if kind not in KINDS:
        raise ValueError(f"unknown weight kind {kind!r}; known: {', '.join(KINDS)}")
    if kind in DENSE:
        return dense(_narrowed(array, kind))
    real = array.astype(np.float32, copy=False)
    _groups(real.shape[1])
    if not np.isfinite(real).all():
        raise ValueError(f"cannot quantize to {kind}: the matrix holds values that are not finite")
    return _ROUND[kind](real)


def _narrowed(array: np.ndarray, kind: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        made = array.astype(dense_dtype(kind))
    if (np.isinf(made) & np.isfinite(array)).any():
        raise ValueError(f"cannot keep the matrix as {kind}: it holds values beyond its range")
    return made


def _blocks(real: np.ndarray) -> np.ndarray:
    n, k = real.shape
    return real.reshape(n, k // GROUP, GROUP)


def _round_int4(real: np.ndarray) -> QuantWeight:
    blocks = _blocks(real)
    low, high = blocks.min(axis=2), blocks.max(axis=2)
    minimum = _as_f16(low)
    scale = _as_f16((high - minimum.astype(np.float32)) / 15)
    # codes are chosen against the rounded scale and minimum, the ones a kernel will use
    steps = (blocks - minimum.astype(np.float32)[..., None]) * _inverse(scale)[..., None]
    codes = np.clip(np.rint(steps), 0, 15).astype(np.uint8)
    return pack_int4(codes[..., :16] | codes[..., 16:] << 4, scale, minimum)


def _round_int8(real: np.ndarray) -> QuantWeight:
    blocks = _blocks(real)
    scale = _as_f16(np.abs(blocks).max(axis=2) / 127)
    codes = np.clip(np.rint(blocks * _inverse(scale)[..., None]), -127, 127).astype(np.int8)
    return pack_int8(codes, scale)


def _round_fp8(real: np.ndarray) -> QuantWeight:
    scale = (np.abs(real).max(axis=1, initial=0) / FP8_MAX).astype(np.float32)
    # clipped first: e4m3fn has no infinity, and a quotient a rounding error past 448 would become NaN
    codes = np.clip(real * _inverse(scale)[:, None], -FP8_MAX, FP8_MAX).astype(numpy_dtype(DTYPE_NAMES[FP8]))
    return pack_fp8(codes, scale)


_ROUND: dict[str, Callable[[np.ndarray], QuantWeight]] = {"int4": _round_int4, "int8": _round_int8, "fp8": _round_fp8}


# ---- back to real numbers ----------------------------------------------------------------------------


def dequantize(weight: QuantWeight) -> np.ndarray:
    """W as float32 (N, K): the meaning of the packed data, computed in float32 as the kernels do."""
    n, k = weight.shape
    if weight.kind in DENSE:
        return weight.data.astype(np.float32)
    tiles, groups = weight.data.shape[:2]
    codes = unpack_codes(weight).astype(np.float32)  # P, G, 32, 16
    if weight.kind == "fp8":
        real = codes * weight.scale[:, None, None, :]
    else:
        real = codes * weight.scale.astype(np.float32)[:, :, None, :]
    if weight.minimum is not None:
        real += weight.minimum.astype(np.float32)[:, :, None, :]
    return np.ascontiguousarray(real.transpose(0, 3, 1, 2).reshape(tiles * LANES, groups * GROUP)[:n, :k])


def dequantize_rows(weight: QuantWeight, rows: np.ndarray) -> np.ndarray:
    """float32 (len(rows), K): the given rows only, which is what an embedding looks up."""
    if weight.kind in DENSE:
        return weight.data[rows].astype(np.float32)
    tile, lane = rows // LANES, rows % LANES
    # one row per lane tile: cut the tile out, then the lane, through the same formula as the whole
    picked = replace(
        weight,
        shape=(len(rows) * LANES, weight.shape[1]),
        data=weight.data[tile],
        scale=weight.scale[tile],  # type: ignore[index]  # packed kinds always have a scale
        minimum=None if weight.minimum is None else weight.minimum[tile],
    )
    return dequantize(picked)[np.arange(len(rows)) * LANES + lane]


def unpack_codes(weight: QuantWeight) -> np.ndarray:
    """The codes as [P, G, 32, 16], one element per (tile, group, k in group, lane)."""
    if weight.kind == "int4":
        return np.concatenate([weight.data & 15, weight.data >> 4], axis=2)
    if weight.kind in PACKED:
        return weight.data
    raise ValueError(f"a {weight.kind} weight is dense and has no codes")


# ---- helpers -----------------------------------------------------------------------------------------


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Uninitialised memory that begins on a cache line."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(size + ALIGN, np.uint8)
    start = -raw.ctypes.data % ALIGN
    return raw[start : start + size].view(dtype).reshape(shape)


def _aligned(array: np.ndarray) -> np.ndarray:
    out = aligned_empty(array.shape, array.dtype)
    out[...] = array
    return out


def _to_lanes(rows: np.ndarray) -> np.ndarray:
    """(N, ...) -> [P, ..., 16]: the row index becomes the last axis, zero rows fill the last tile."""
    n = rows.shape[0]
    tiles = -(-n // LANES)
    out = aligned_empty((tiles, *rows.shape[1:], LANES), rows.dtype)
    by_tile = np.moveaxis(out, -1, 1)  # a view [P, 16, ...] to write through
    full = n // LANES
    by_tile[:full] = rows[: full * LANES].reshape(full, LANES, *rows.shape[1:])
    if full < tiles:
        by_tile[full, : n - full * LANES] = rows[full * LANES :]
        by_tile[full, n - full * LANES :] = 0
    return out


def _lanes_f16(values: np.ndarray) -> np.ndarray:
    return _to_lanes(_as_f16(values))


def _as_f16(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.float16:
        return values
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError("a group's scale or minimum is too large for float16; keep this matrix dense or in fp8")
    return half


def _inverse(scale: np.ndarray) -> np.ndarray:
    real = scale.astype(np.float32)
    return np.divide(1, real, out=np.zeros_like(real), where=real != 0)


def _groups(k: int) -> int:
    if k % GROUP:
        raise ValueError(f"a quantized weight needs K to be a multiple of {GROUP}, got {k}")
    return k // GROUP


def _same_groups(array: np.ndarray, n: int, groups: int) -> None:
    if array.shape != (n, groups):
        raise ValueError(f"expected one scale and minimum per group, shape ({n}, {groups}), got {array.shape}")
