"""Runs a kernel on the NumPy interpreter and as native code, for any target this machine can run."""

from __future__ import annotations

import numpy as np

from rtriton import numerics
from rtriton.backend.cpu.launch import CpuOptions, compile_cpu
from rtriton.backend.cpu.target import named, runs_here
from rtriton.interpret import interpret
from rtriton.ir import Kernel
from rtriton.passes import run_pipeline
from rtriton.text import parse
from rtriton.types import DType, Pointer, element_of

TARGETS = [name for name in ("host", "x86-64", "avx2", "avx512") if runs_here(named(name))]


def kernel_of(text: str) -> Kernel:
    return parse(text)


def native(kernel: Kernel, target: str = "host"):
    return compile_cpu(kernel, CpuOptions(target))


def run_native(kernel: Kernel, grid: tuple[int, ...], args, target: str = "host") -> list:
    """Copies of the arguments after the kernel ran on them."""
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    values = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in copies]
    native(kernel, target).launch((*grid, 1, 1)[:3], values, copies)
    return copies


def run_interpreted(kernel: Kernel, grid: tuple[int, ...], args) -> list:
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    interpret(kernel, grid, copies)
    return copies


def agree(
    kernel: Kernel, grid: tuple[int, ...], args, target: str = "host", ulp: float = 0, optimise: bool = True
) -> None:
    """Native and interpreted results are equal, or for floats within `ulp` units in the last place."""
    if optimise:
        kernel = run_pipeline(kernel, None, "tile")
    types = [element_of(p.type).element if isinstance(p.type, Pointer) else p.type for p in kernel.params]
    wanted = decoded(run_interpreted(kernel, grid, args), types)
    got = decoded(run_native(kernel, grid, args, target), types)
    for w, g in zip(wanted, got, strict=True):
        if isinstance(w, np.ndarray):
            close(g, w, ulp)


def decoded(args: list, types: list[DType]) -> list:
    """Arrays of narrow floats as the numbers they hold (NaNs may differ in their bits)."""
    return [numerics.decode(a, t) if isinstance(a, np.ndarray) else a for a, t in zip(args, types, strict=True)]


def close(got: np.ndarray, wanted: np.ndarray, ulp: float = 0) -> None:
    if ulp == 0 or wanted.dtype.kind != "f":
        same = (got == wanted) | ((got != got) & (wanted != wanted))
        assert same.all(), f"{(~same).sum()} differ, first {got[~same].ravel()[:4]} for {wanted[~same].ravel()[:4]}"
        return
    finite = np.isfinite(wanted)
    assert (np.isfinite(got) == finite).all()
    error = np.abs(got[finite].astype(np.float64) - wanted[finite]) / np.spacing(np.abs(wanted[finite]))
    assert error.size == 0 or error.max() <= ulp, f"off by {error.max()} ulp"


def samples(dtype: DType, count: int, seed: int = 0) -> np.ndarray:
    """Numbers of a type as memory holds them: small ones, large ones, edges."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, count).astype(np.uint8)
    if dtype.kind in "iu":
        numbers = rng.integers(-20 if dtype.kind == "i" else 0, 21, count).astype(object)
        edges = [dtype.get_int_min_value(), dtype.get_int_max_value(), 0, 1]
        large = [int(rng.integers(0, 1 << 62)) % (dtype.get_int_max_value() + 1) for _ in range(count // 4)]
        numbers[: len(edges)] = edges
        numbers[len(edges) : len(edges) + len(large)] = large
        rng.shuffle(numbers)
        return numbers.astype(dtype.storage)
    values = np.concatenate([rng.normal(size=count // 2) * 3, np.exp(rng.normal(size=count - count // 2) * 4)])
    values[:6] = [0.0, -0.0, 1.0, -1.5, np.inf, np.nan]
    rng.shuffle(values)
    return np.ascontiguousarray(numerics.encode(numerics.round_to(values.astype(np.float64), dtype), dtype))
