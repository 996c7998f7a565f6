"""cuBLASLt, called through ctypes: the other way to multiply dense matrices on a GPU.

    gemm(a, b, out, m, n, k, (k, 1), (n, 1), n, "bf16", "bf16", "ieee")      out[m, n] = a[m, k] @ b[k, n]

cuBLASLt thinks in column-major, so out is computed as its transpose: outT[n, m] = bT[n, k] @ aT[k, m]; a row-major
array is already its column-major transpose. The library comes from wherever cuda-pathfinder finds it (the nvidia-cublas
wheels, a CUDA installation, torch's). Enum values are those of cublasLt.h and library_types.h, CUDA 12 and 13.
"""
from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from rtriton.arrays import need_array
from rtriton.backend.cuda import current, driver
from rtriton.errors import LaunchError

DATA_TYPES = {"fp32": 0, "fp16": 2, "bf16": 14}
COMPUTE_32F, COMPUTE_32F_TF32 = 68, 77
DESC_TRANSA, DESC_TRANSB = 3, 4
PREFERENCE_WORKSPACE = 1
WORKSPACE_BYTES = 32 << 20


class _Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = [("algo", ctypes.c_uint64 * 8), ("workspace", ctypes.c_size_t), ("state", ctypes.c_int),
                ("waves", ctypes.c_float), ("reserved", ctypes.c_int * 4)]


@dataclass(frozen=True)
class _Plan:
    """What a call needs that does not change: descriptors, and the algorithm the heuristic chose."""

    desc: ctypes.c_void_p
    layouts: tuple[ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    found: _Heuristic


@cache
def library_path() -> str:
    """Where cuBLASLt is, or "" when there is none."""
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError:
        return ""
    try:
        return str(load_nvidia_dynamic_lib("cublasLt").abs_path or "")
    except (RuntimeError, OSError):  # nothing found (pathfinder's own classes are RuntimeErrors), or it does not load
        return ""


@cache
def _library() -> Any:
    return ctypes.CDLL(library_path())


def available() -> bool:
    """Is there a cuBLASLt to call?"""
    return bool(library_path())


def supports(a: str, b: str, out: str) -> bool:
    """One input type, fp32, fp16 or bf16; the result in the same or in fp32."""
    return a == b and a in DATA_TYPES and out in (a, "fp32")


def _call(name: str, *args: Any) -> None:
    status = getattr(_library(), name)(*args)
    if status != 0:
        raise LaunchError(f"cuBLASLt: {name} failed with status {status}")


@cache
def _handle() -> ctypes.c_void_p:
    driver.ensure_context()
    handle = ctypes.c_void_p()
    _call("cublasLtCreate", ctypes.byref(handle))
    return handle


@cache
def _workspace() -> int:
    return driver.allocate(WORKSPACE_BYTES)


def _layout(type: str, rows: int, columns: int, stride: int) -> ctypes.c_void_p:
    made = ctypes.c_void_p()
    _call("cublasLtMatrixLayoutCreate", ctypes.byref(made), DATA_TYPES[type], ctypes.c_uint64(rows),
          ctypes.c_uint64(columns), ctypes.c_int64(stride))
    return made


def _operand(type: str, rows: int, columns: int, strides: tuple[int, int], what: str) -> tuple[ctypes.c_void_p, int]:
    """The column-major layout of a (rows x columns) array's transpose, and whether to transpose it once more."""
    if strides[1] == 1 and (strides[0] >= columns or rows == 1):
        return _layout(type, columns, rows, max(strides[0], columns)), 0
    if strides[0] == 1 and (strides[1] >= rows or columns == 1):
        return _layout(type, rows, columns, max(strides[1], rows)), 1
    raise ValueError(f"cuBLASLt needs one axis of {what} to be contiguous, got strides {strides}")


@cache
def _plan(m: int, n: int, k: int, a_strides: tuple[int, int], b_strides: tuple[int, int], out_row: int, dtype: str,
          out_dtype: str, precision: str) -> _Plan:
    desc, preference = ctypes.c_void_p(), ctypes.c_void_p()
    compute = COMPUTE_32F_TF32 if dtype == "fp32" and precision == "tf32" else COMPUTE_32F
    _call("cublasLtMatmulDescCreate", ctypes.byref(desc), compute, DATA_TYPES["fp32"])
    first, flip_first = _operand(dtype, k, n, b_strides, "b")
    second, flip_second = _operand(dtype, m, k, a_strides, "a")
    for attribute, flip in ((DESC_TRANSA, flip_first), (DESC_TRANSB, flip_second)):
        value = ctypes.c_int32(flip)
        _call("cublasLtMatmulDescSetAttribute", desc, attribute, ctypes.byref(value), ctypes.c_size_t(4))
    result = _layout(out_dtype, n, m, out_row)
    _call("cublasLtMatmulPreferenceCreate", ctypes.byref(preference))
    size = ctypes.c_size_t(WORKSPACE_BYTES)
    _call("cublasLtMatmulPreferenceSetAttribute", preference, PREFERENCE_WORKSPACE, ctypes.byref(size),
          ctypes.c_size_t(8))
    found, count = _Heuristic(), ctypes.c_int()
    _call("cublasLtMatmulAlgoGetHeuristic", _handle(), desc, first, second, result, result, preference, 1,
          ctypes.byref(found), ctypes.byref(count))
    _call("cublasLtMatmulPreferenceDestroy", preference)
    if count.value < 1 or found.state != 0:
        raise LaunchError(f"cuBLASLt has no algorithm for {m}x{n}x{k} {dtype}")
    return _Plan(desc, (first, second, result), found)


def gemm(a: Any, b: Any, out: Any, m: int, n: int, k: int, a_strides: Sequence[int], b_strides: Sequence[int],
         out_row: int, dtype: str, out_dtype: str, precision: str) -> None:
    """out[m, n] = a[m, k] @ b[k, n] on the current stream, summed in fp32 (fp32 inputs as tf32 if `precision` says so).

    Arrays as a kernel takes them; strides in elements, one of each pair 1; out row-major, `out_row` elements a row."""
    plan = _plan(m, n, k, (a_strides[0], a_strides[1]), (b_strides[0], b_strides[1]), out_row, dtype, out_dtype,
                 precision)
    one, zero = ctypes.c_float(1.0), ctypes.c_float(0.0)
    first, second, result = plan.layouts
    target = ctypes.c_void_p(need_array(out).address)
    _call("cublasLtMatmul", _handle(), plan.desc, ctypes.byref(one), ctypes.c_void_p(need_array(b).address), first,
          ctypes.c_void_p(need_array(a).address), second, ctypes.byref(zero), target, result, target, result,
          ctypes.byref(plan.found.algo), ctypes.c_void_p(_workspace()), ctypes.c_size_t(WORKSPACE_BYTES),
          ctypes.c_void_p(current.stream()))
