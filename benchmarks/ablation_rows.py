"""The kernel that shows each pass of the GPU pipeline, its size and what must come out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from benchmarks import ablation_sources, kernel_rows, kernel_sources
from benchmarks.kernel_rows import In, Out, Row, power_of_two


@dataclass(frozen=True)
class Ablation:
    """A pass, the kernel that shows it, and what the pass does there, in the words of the table."""

    name: str
    row: Row
    what: str
    sources: ModuleType = ablation_sources


def normalise(height: int, width: int, warps: int = 4) -> Row:
    def reference(xp: Any, x: Any) -> tuple[Any]:
        away = x - xp.mean(x, axis=1, keepdims=True)
        return (away / xp.sqrt(xp.mean(away * away, axis=1, keepdims=True) + 1e-5),)

    a = (height, width)
    return Row("normalise", f"{height}x{width} fp16", "normalise_kernel", (height,),
               (In(a, "fp16"), Out(a, "fp16"), width),
               {"WIDTH": width, "BLOCK": power_of_two(width)}, reference,
               warps=warps, tolerance=1e-3)


def known_width(height: int, width: int, block: int = 2048) -> Row:
    def reference(xp: Any, x: Any) -> tuple[Any]:
        powers = xp.exp(x)
        return (powers / xp.sum(powers, axis=1, keepdims=True),)

    a = (height, width)
    return Row("softmax of known width", f"{height}x{width} fp32", "known_width_kernel", (height,),
               (In(a, "fp32"), Out(a, "fp32")), {"WIDTH": width, "BLOCK": block}, reference, tolerance=1e-5)


def scaled(height: int, width: int) -> Row:
    def reference(xp: Any, x: Any, w: Any) -> tuple[Any]:
        return (x / xp.sqrt(xp.mean(x * x, axis=1, keepdims=True) + 1e-5) * w,)

    a = (height, width)
    return Row("root mean square norm", f"{height}x{width} bf16", "scaled_kernel", (height,),
               (In(a, "bf16"), In((width,), "bf16"), Out(a, "bf16"), width, width),
               {"BLOCK": power_of_two(width)}, reference, warps=8, tolerance=2e-2)


def mean(height: int, width: int, block: int = 1024) -> Row:
    return Row("row means", f"{height}x{width} fp32", "mean_kernel", (height,),
               (In((height, width), "fp32"), Out((height,), "fp32"), width), {"BLOCK": block},
               lambda xp, x: (xp.mean(x, axis=1),), tolerance=1e-4)


def energy(height: int, width: int, turns: int = 1, chunk: int = 256, block: int = 1024) -> Row:
    parts, columns = height // chunk, (width,)

    def reference(xp: Any, x: Any, means: Any, scales: Any, weights: Any) -> tuple[Any]:
        blocks = x.reshape(height, width // block, block)
        x = (blocks / xp.sqrt(xp.mean(blocks * blocks, axis=2, keepdims=True) + 1e-5)).reshape(height, width)
        y = (x - means) * scales * weights
        return (xp.sum((y * y).reshape(parts, chunk, width), axis=1),)

    return Row("column energy", f"{height}x{width} fp16", "energy_kernel", (width // block, parts),
               (In((height, width), "fp16"), *[In(columns, "fp32")] * 3, Out((parts, width), "fp32"), width),
               {"CHUNK": chunk, "BLOCK": block, "TURNS": turns}, reference, tolerance=1e-5)


def transposes(size: int, block: int) -> Row:
    a = (size, size)
    return Row("three transposes", f"{size}x{size} fp32", "transposes_kernel", (size // block, size // block),
               (*[In(a, "fp32")] * 3, *[Out(a, "fp32")] * 3, size), {"B": block},
               lambda xp, a, b, c: (a.T, b.T, c.T), warps=8, tolerance=0.0)


def product(size: int, block: int = 128, inner: int = 32) -> Row:
    a = (size, size)
    return Row("matrix product", f"{size}^3 fp16", "product_kernel", (size // block, size // block),
               (In(a, "fp16"), In(a, "fp16"), Out(a, "fp32"), size, size), {"BM": block, "BN": block, "BK": inner},
               lambda xp, a, b: (a @ b,), warps=8, tolerance=1e-5)


ABLATIONS = (
    Ablation("unroll", energy(16384, 8192, 4), "four rows are loaded at once, not one after the other"),
    Ablation("canonicalize", normalise(4096, 16384, 8), "loops of one turn are none, and the row is read once"),
    Ablation("cse", normalise(4096, 16384, 8), "the row is read once, not three times"),
    Ablation("licm", energy(16384, 8192), "what belongs to a column is read once a program, not once a row"),
    Ablation("bounds", known_width(16384, 8192), "no masks where all columns are inside"),
    Ablation("dce", mean(264, 1 << 20), "no largest and smallest, for which nobody asked"),
    Ablation("combine", product(2048), "tensor cores add to the sum themselves"),
    Ablation("mma", product(2048), "tensor cores, not multiply-adds"),
    Ablation("coalesce", kernel_rows.add(1 << 26, "bf16"), "16 bytes an access, not 2", kernel_sources),
    Ablation("accumulate", replace(kernel_rows.cross_entropy(4096, 128256), warps=8),
             "one reduction a turn, not two", kernel_sources),
    Ablation("layouts", kernel_rows.transpose(8192, 8192, "fp16"), "a tile is turned, then laid out anew",
             kernel_sources),
    Ablation("reorder", scaled(8192, 4096), "the weights are on their way while the row is summed up"),
    Ablation("pipeline", kernel_rows.softmax_persistent(16384, 1024, 528),
             "the next row is on its way", kernel_sources),
    Ablation("allocate", transposes(8192, 128), "three conversions through one piece of shared memory"),
    Ablation("barriers", replace(kernel_rows.softmax_persistent(16384, 1024, 264), warps=32),
             "two barriers a turn, not four", kernel_sources),
)

SMALL = (
    normalise(3, 300), scaled(3, 300), known_width(3, 512, 256), mean(3, 256, 128),
    energy(16, 64, 1, 8, 32), energy(16, 64, 4, 8, 32), transposes(64, 32), product(64, 32, 32),
)
"""The same kernels at sizes for tests."""
