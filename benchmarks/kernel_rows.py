"""The rows of benchmarks/kernels.py: per kernel its arguments and launch, the bytes that must move, what must come out.

Launch options are those at which Triton was fastest on an H200, among a few.
A row's arguments are specifications (`In`, `Out`, numbers), so that one table serves the GPU, compiling without one,
and tests at small sizes. `reference(xp, *inputs)` is written for numpy and torch alike, and gets floats as float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

BYTES = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2, "i32": 4, "i64": 8}


@dataclass(frozen=True)
class In:
    """An array that is read: normal floats, or whole numbers below `below`."""

    shape: tuple[int, ...]
    dtype: str
    below: int = 0
    positive: bool = False


@dataclass(frozen=True)
class Out:
    """An array that is written, every element of it."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Row:
    """One kernel at one size. `torch` is the same work by torch's own operators, where it has them."""

    name: str
    size: str
    kernel: str
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    constants: dict[str, Any]
    reference: Callable[..., tuple[Any, ...]]
    torch: Callable[..., Any] | None = None
    warps: int = 4
    stages: int = 3
    tolerance: float = 1e-6
    flops: float = 0.0  # of a product, whose figure is TFLOP/s; the others' is GB/s

    @property
    def arrays(self) -> list[In | Out]:
        return [a for a in self.arguments if isinstance(a, (In, Out))]

    @property
    def bytes(self) -> int:
        """Each array read or written once."""
        return self.written + sum(prod(a.shape) * BYTES[a.dtype] for a in self.arrays if isinstance(a, In))

    @property
    def written(self) -> int:
        return sum(prod(a.shape) * BYTES[a.dtype] for a in self.arrays if isinstance(a, Out))

    @property
    def unit(self) -> str:
        return "TFLOP/s" if self.flops else "GB/s"

    @property
    def work(self) -> float:
        """Of a launch: what its figure is per second."""
        return self.flops / 1e12 if self.flops else self.bytes / 1e9

    @property
    def label(self) -> str:
        return f"{self.name} {self.size}"


def up(count: int, by: int) -> int:
    return -(-count // by)


def power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


def add(count: int, dtype: str = "fp32") -> Row:
    a = (count,)
    return Row("vector add", f"{count} {dtype}", "add_kernel", (up(count, 1024),),
               (In(a, dtype), In(a, dtype), Out(a, dtype), count), {"BLOCK": 1024},
               lambda xp, x, y: (x + y,), lambda t, x, y: x + y,
               tolerance=1e-6 if dtype == "fp32" else 4e-3)


def _softmax(xp: Any, x: Any) -> tuple[Any]:
    e = xp.exp(x - xp.amax(x, axis=1, keepdims=True))
    return (e / xp.sum(e, axis=1, keepdims=True),)


def _torch_softmax(t: Any, x: Any) -> Any:
    return t.softmax(x, 1)


def softmax(height: int, width: int) -> Row:
    a = (height, width)
    return Row("softmax", f"{height}x{width} fp32", "softmax_kernel", (height,),
               (In(a, "fp32"), Out(a, "fp32"), width, width), {"BLOCK": power_of_two(width)}, _softmax, _torch_softmax,
               warps=min(max(power_of_two(width) // 512, 4), 16))


def softmax_persistent(height: int, width: int, programs: int) -> Row:
    a = (height, width)
    return Row("softmax persistent", f"{height}x{width} fp32", "softmax_persistent_kernel", (min(programs, height),),
               (In(a, "fp32"), Out(a, "fp32"), width, height, width), {"BLOCK": power_of_two(width), "STAGES": 2},
               _softmax, _torch_softmax, warps=8)


def softmax_online(height: int, width: int, block: int = 8192) -> Row:
    a = (height, width)
    return Row("softmax online", f"{height}x{width} fp32", "softmax_online_kernel", (height,),
               (In(a, "fp32"), Out(a, "fp32"), width, width), {"BLOCK": block}, _softmax, _torch_softmax, warps=16)


def _layer_norm(xp: Any, x: Any, w: Any, b: Any) -> tuple[Any, ...]:
    mean = xp.mean(x, axis=1, keepdims=True)
    rstd = 1 / xp.sqrt(xp.mean((x - mean) ** 2, axis=1, keepdims=True) + 1e-5)
    return (x - mean) * rstd * w + b, mean[:, 0], rstd[:, 0]


def layer_norm(height: int, width: int) -> Row:
    a, w, block = (height, width), (width,), power_of_two(width)
    return Row("layer norm", f"{height}x{width} fp16", "layer_norm_kernel", (height,),
               (In(a, "fp16"), Out(a, "fp16"), In(w, "fp16"), In(w, "fp16"), Out((height,), "fp32"),
                Out((height,), "fp32"), width, width, 1e-5), {"BLOCK": block}, _layer_norm,
               lambda t, x, w, b: t.nn.functional.layer_norm(x, (width,), w, b),
               warps=min(max(block // 1024, 1), 8), tolerance=1e-3)


def layer_norm_backward(height: int, width: int, programs: int = 132 * 8) -> Row:
    a, part, block = (height, width), (programs, width), power_of_two(width)

    def reference(xp: Any, dy: Any, x: Any, w: Any, mean: Any, rstd: Any) -> tuple[Any, ...]:
        normal, grad = (x - mean[:, None]) * rstd[:, None], dy * w
        along, level = (xp.mean(v, axis=1, keepdims=True) for v in (normal * grad, grad))

        def parts(v: Any) -> Any:               # row r is of program r % programs
            return xp.sum(v.reshape(height // programs, programs, width), axis=0)

        return (grad - normal * along - level) * rstd[:, None], parts(dy * normal), parts(dy)

    return Row("layer norm backward", f"{height}x{width} fp16", "layer_norm_backward_kernel", (programs,),
               (Out(a, "fp16"), Out(part, "fp32"), Out(part, "fp32"), In(a, "fp16"), In(a, "fp16"),
                In((width,), "fp16"), In((height,), "fp32"), In((height,), "fp32"), width, height, width),
               {"BLOCK": block}, reference, warps=min(max(block // 256, 1), 8), tolerance=1e-3)


def layer_norm_weights(height: int, width: int) -> Row:
    a = (height, width)
    return Row("layer norm weights", f"{height}x{width} fp32", "layer_norm_weights_kernel", (up(width, 32),),
               (In(a, "fp32"), In(a, "fp32"), Out((width,), "fp32"), Out((width,), "fp32"), height, width),
               {"BM": 32, "BN": 32}, lambda xp, w, b: (xp.sum(w, axis=0), xp.sum(b, axis=0)),
               lambda t, w, b: (t.sum(w, 0), t.sum(b, 0)))


def _uniform(xp: Any, seed: int, here: Any) -> Any:
    """tl.rand: Philox 4x32 of ten rounds over the offset, its first word as a float below one."""
    low = 0xFFFFFFFF
    c0, c1, c2, c3, k0, k1 = here, 0 * here, 0 * here, 0 * here, seed & low, seed >> 32
    for _ in range(10):
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # the products wrap around as unsigned ones do
        c0, c1, c2, c3 = ((b >> 32) & low) ^ c1 ^ k0, b & low, ((a >> 32) & low) ^ c3 ^ k1, a & low
        k0, k1 = (k0 + 0x9E3779B9) & low, (k1 + 0xBB67AE85) & low
    signed = xp.where(c0 >= 1 << 31, c0 - (1 << 32), c0)
    return xp.where(signed < 0, -signed - 1, signed) * 4.6566127342e-10


def dropout(count: int) -> Row:
    a = (count,)

    def reference(xp: Any, x: Any) -> tuple[Any]:
        kept = _uniform(xp, 123, xp.cumsum(xp.ones_like(x, dtype=xp.int64), axis=0) - 1) > 0.5
        return (xp.where(kept, x * 2.0, x * 0.0),)

    return Row("dropout", f"{count} fp32", "dropout_kernel", (up(count, 1024),),
               (In(a, "fp32"), Out(a, "fp32"), count, 0.5, 123), {"BLOCK": 1024},
               reference, lambda t, x: t.nn.functional.dropout(x, 0.5))


def cross_entropy(height: int, width: int, dtype: str = "bf16", block: int = 8192) -> Row:
    def reference(xp: Any, x: Any, labels: Any) -> tuple[Any]:
        top = xp.amax(x, axis=1)
        total = xp.sum(xp.exp(x - top[:, None]), axis=1)
        return (xp.log(total) + top - x[xp.arange(height), labels],)

    return Row("cross entropy", f"{height}x{width} {dtype}", "cross_entropy_kernel", (height,),
               (In((height, width), dtype), In((height,), "i64", below=width), Out((height,), "fp32"), width, width),
               {"BLOCK": block}, reference,
               lambda t, x, labels: t.nn.functional.cross_entropy(x, labels, reduction="none"),
               warps=4, tolerance=1e-5)


def rms_norm(height: int, width: int) -> Row:
    a, block = (height, width), power_of_two(width)

    def reference(xp: Any, x: Any, r: Any, w: Any) -> tuple[Any, Any]:
        h = x + r
        return h, h / xp.sqrt(xp.mean(h * h, axis=1, keepdims=True) + 1e-6) * w

    def by_torch(t: Any, x: Any, r: Any, w: Any) -> Any:
        h = x + r
        return h, t.nn.functional.rms_norm(h, (width,), w, 1e-6)

    return Row("RMS norm + residual", f"{height}x{width} bf16", "rms_norm_kernel", (height,),
               (In(a, "bf16"), In(a, "bf16"), Out(a, "bf16"), Out(a, "bf16"), In((width,), "bf16"), width, width, 1e-6),
               {"BLOCK": block}, reference, by_torch, warps=min(max(block // 1024, 1), 8), tolerance=4e-3)


def rope(tokens: int, heads: int, half: int = 64) -> Row:
    a, angles = (tokens, heads, 2 * half), (tokens, half)

    def reference(xp: Any, x: Any, c: Any, s: Any) -> tuple[Any]:
        c, s, low, high = c[:, None], s[:, None], x[..., :half], x[..., half:]
        return (xp.concatenate([low * c - high * s, high * c + low * s], axis=-1),)

    return Row("RoPE", f"{tokens}x{heads}x{2 * half} bf16", "rope_kernel", (tokens,),
               (In(a, "bf16"), In(angles, "fp32"), In(angles, "fp32"), Out(a, "bf16"), heads * 2 * half),
               {"HEADS": heads, "HALF": half}, reference, tolerance=4e-3)


def cumsum(height: int, width: int) -> Row:
    a = (height, width)
    return Row("cumsum", f"{height}x{width} fp32", "cumsum_kernel", (height,),
               (In(a, "fp32"), Out(a, "fp32"), width, width), {"BLOCK": power_of_two(width)},
               lambda xp, x: (xp.cumsum(x, axis=1),), lambda t, x: t.cumsum(x, 1), tolerance=1e-5)


def argmax(height: int, width: int) -> Row:
    def reference(xp: Any, x: Any) -> tuple[Any, Any]:
        return xp.amax(x, axis=1), xp.argmax(x, axis=1)

    return Row("argmax", f"{height}x{width} fp32", "argmax_kernel", (height,),
               (In((height, width), "fp32"), Out((height,), "fp32"), Out((height,), "i32"), width, width),
               {"BLOCK": power_of_two(width)}, reference, lambda t, x: t.max(x, 1), tolerance=0.0)


def topk(height: int, width: int, k: int, rows: int = 1, warps: int = 1) -> Row:
    def reference(xp: Any, x: Any) -> tuple[Any]:
        up = xp.sort(x, axis=1)
        up = up if xp.__name__ == "numpy" else up.values
        return (up[:, [*range(width - 1, width - k - 1, -1)]],)

    return Row("top-k", f"{height}x{width} fp32, k={k}", "topk_kernel", (height // rows,),
               (In((height, width), "fp32"), Out((height, k), "fp32"), width), {"BM": rows, "WIDTH": width, "K": k},
               reference, lambda t, x: t.topk(x, k), warps=warps, tolerance=0.0)


def transpose(height: int, width: int, dtype: str, bm: int = 64, bn: int = 64) -> Row:
    return Row("transpose", f"{height}x{width} {dtype}", "transpose_kernel", (up(height, bm), up(width, bn)),
               (In((height, width), dtype), Out((width, height), dtype), height, width), {"BM": bm, "BN": bn},
               lambda xp, x: (x.T,), lambda t, x: x.T.contiguous(), warps=8, tolerance=0.0)


def row_sum(height: int, width: int, bm: int = 1, bn: int = 4096) -> Row:
    return Row("row sum", f"{height}x{width} fp32", "row_sum_kernel", (up(height, bm),),
               (In((height, width), "fp32"), Out((height,), "fp32"), height, width), {"BM": bm, "BN": bn},
               lambda xp, x: (xp.sum(x, axis=1),), lambda t, x: t.sum(x, 1), tolerance=1e-5)


def column_sum(height: int, width: int, chunk: int = 1024, bm: int = 32, bn: int = 64) -> Row:
    parts = up(height, chunk)
    return Row("column sum", f"{height}x{width} fp32", "column_sum_kernel", (up(width, bn), parts),
               (In((height, width), "fp32"), Out((parts, width), "fp32"), height, width, chunk), {"BM": bm, "BN": bn},
               lambda xp, x: (xp.sum(x.reshape(parts, chunk, width), axis=1),),
               lambda t, x: t.sum(x.view(parts, chunk, width), 1), tolerance=1e-5)


def histogram(count: int, bins: int, programs: int = 132 * 8, block: int = 4096) -> Row:
    def reference(xp: Any, x: Any) -> tuple[Any]:
        place = xp.cumsum(xp.ones_like(x, dtype=xp.int64), axis=0) - 1
        where = (place // block) % programs * bins + x
        return (xp.bincount(where, minlength=programs * bins).reshape(programs, bins),)

    return Row("histogram", f"{count} i32, {bins} bins", "histogram_kernel", (programs,),
               (In((count,), "i32", below=bins), Out((programs, bins), "i32"), count), {"BINS": bins, "BLOCK": block},
               reference, lambda t, x: t.histc(x, bins, 0, bins), warps=8, tolerance=0.0)


def matmul(size: int, bm: int, bn: int, bk: int, warps: int, stages: int) -> Row:
    a = (size, size)
    return Row("matmul", f"{size}^3 fp16, {bm}x{bn}x{bk}", "matmul_kernel", (up(size, bm) * up(size, bn),),
               (In(a, "fp16"), In(a, "fp16"), Out(a, "fp16"), size, size, size),
               {"BM": bm, "BN": bn, "BK": bk, "GROUP": 8}, lambda xp, a, b: (a @ b,), lambda t, a, b: a @ b,
               warps=warps, stages=stages, tolerance=1e-3, flops=2.0 * size**3)


ROWS = (
    add(1 << 27), add(1 << 26, "bf16"),
    softmax(16384, 1024), softmax(16384, 4096), softmax(16384, 12288),
    softmax_persistent(16384, 1024, 132 * 16), softmax_persistent(16384, 4096, 132 * 4),
    softmax_persistent(16384, 12288, 132 * 2),
    softmax_online(16384, 12288),
    layer_norm(8192, 1024), layer_norm(8192, 4096), layer_norm(8192, 15872),
    layer_norm_backward(132 * 64, 1024), layer_norm_backward(132 * 64, 4096), layer_norm_weights(264, 4096),
    dropout(1 << 26),
    cross_entropy(4096, 128256), cross_entropy(2048, 128256, "fp32"),
    rms_norm(16384, 4096), rope(16384, 32),
    cumsum(16384, 4096), argmax(16384, 4096), topk(16384, 1024, 8),
    transpose(8192, 8192, "fp32"), transpose(8192, 8192, "fp16", 128, 128),
    row_sum(16384, 4096), column_sum(16384, 4096), histogram(1 << 27, 256),
)

# Sizes that fill no GPU, and sizes that no 16 divides: launches, masks, tails, and rows that begin anywhere.
SIZES = (
    add(1 << 20), add((1 << 27) - 3), softmax(512, 1024), softmax(16384, 4095), layer_norm(512, 1024),
    layer_norm(8192, 4095), cross_entropy(4096, 128255), rms_norm(16384, 4095), argmax(16384, 4095),
    transpose(8191, 8191, "fp32"), row_sum(16384, 4095), column_sum(16384, 4095), dropout((1 << 26) - 3),
)

PRODUCTS = (matmul(4096, 128, 128, 64, 4, 4), matmul(4096, 128, 256, 64, 8, 3), matmul(8192, 128, 256, 64, 8, 3))

GROUPS = {"memory": ROWS, "sizes": SIZES, "products": PRODUCTS}

# The same kernels at sizes for tests: odd widths, where a mask decides.
SMALL = (
    add(1500), add(1500, "bf16"), softmax(3, 300), softmax_persistent(5, 300, 2), softmax_online(3, 300, 128),
    layer_norm(3, 300), layer_norm_backward(6, 300, 3), layer_norm_weights(70, 40), dropout(1500),
    cross_entropy(3, 300, "bf16", 128), rms_norm(3, 300), rope(3, 4, 16), cumsum(3, 300), argmax(3, 300),
    topk(8, 64, 8, 4, 4), transpose(70, 50, "fp32", 32, 32), row_sum(10, 300, 4, 128), column_sum(64, 40, 32, 16, 32),
    histogram(2000, 32, 3, 256), matmul(96, 32, 32, 16, 4, 3),
)
