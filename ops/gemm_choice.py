"""Which way a dense product runs on a GPU: rtriton's kernel or cuBLASLt. Decided by measurement, remembered, and shown.

The first product of a shape class runs both ways and keeps the faster; the choice, with both times as its reason, is
written to `gemm-<device>.json` in the cache folder and read by the next process. A class is (m rounded up to a power
of two, n, k, dtype, precision). Nothing is measured while launches are being recorded, nor where there is no
cuBLASLt: then the kernel runs.

    for choice in gemm_choice.remembered("NVIDIA H200"): print(choice)

The other way is `rtriton.backend.cuda.cublas`, which offers `available() -> bool`, `supports(a_dtype, b_dtype,
out_dtype) -> bool` and `gemm(a, b, out, m, n, k, a_strides, b_strides, out_row, dtype, out_dtype, precision) ->
None`, with arrays as a kernel takes them and strides in elements.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from ops.arrays import Arg
from ops.device import power_of_two

KERNEL, CUBLAS = "rtriton", "cublaslt"


@dataclass(frozen=True)
class Choice:
    """One remembered decision and its reason."""

    device: str
    m: int
    n: int
    k: int
    dtype: str
    precision: str
    chosen: str
    microseconds: dict[str, float]

    @property
    def key(self) -> tuple[int, int, int, str, str]:
        return self.m, self.n, self.k, self.dtype, self.precision


_memory: dict[str, dict[tuple[int, int, int, str, str], Choice]] = {}


def run(a: Arg, b: Arg, out: Arg, precision: str, kernel: Callable[[], None]) -> None:
    """Compute `out = a @ b` the way that is faster here."""
    cublas = _cublas(a, b, out)
    if cublas is None:
        kernel()
        return

    def other() -> None:
        cublas.gemm(
            a.launch, b.launch, out.launch, a.shape[0], b.shape[1], a.shape[1], a.strides, b.strides, out.strides[0],
            a.dtype, out.dtype, precision,
        )  # fmt: skip

    choice = choose(_device_name(), _key(a, b, precision), {KERNEL: kernel, CUBLAS: other}, _time, _recording())
    (kernel if choice == KERNEL else other)()


def choose(
    device: str,
    key: tuple[int, int, int, str, str],
    ways: dict[str, Callable[[], None]],
    time: Callable[[Callable[[], None]], float],
    recording: bool,
) -> str:
    """The remembered way, else the one that `time` (microseconds) finds faster. While recording, measures nothing."""
    known = _load(device)
    if key in known:
        return known[key].chosen
    if recording:
        return KERNEL
    times = {name: time(way) for name, way in ways.items()}
    choice = Choice(device, *key, chosen=min(times, key=lambda name: times[name]), microseconds=times)
    known[key] = choice
    _save(device)
    return choice.chosen


def remembered(device: str) -> list[Choice]:
    """Every decision for a device, with its reason."""
    return list(_load(device).values())


def forget(device: str) -> None:
    """Measure again from now on."""
    _memory[device] = {}
    _path(device).unlink(missing_ok=True)


def _key(a: Arg, b: Arg, precision: str) -> tuple[int, int, int, str, str]:
    return power_of_two(a.shape[0], 1 << 20), b.shape[1], a.shape[1], a.dtype, precision


def _load(device: str) -> dict[tuple[int, int, int, str, str], Choice]:
    if device not in _memory:
        try:
            rows = json.loads(_path(device).read_text())
        except OSError:
            rows = []
        _memory[device] = {choice.key: choice for choice in (Choice(**row) for row in rows)}
    return _memory[device]


def _save(device: str) -> None:
    """Written aside and renamed, so that a reader never sees half a file. A folder that cannot be written only costs
    the next process its measurements.
    """
    path = _path(device)
    aside = path.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside.write_text(json.dumps([asdict(choice) for choice in _memory[device].values()], indent=1))
        aside.replace(path)


def _path(device: str) -> Path:
    from rtriton import knobs

    return knobs.cache_dir() / f"gemm-{device.replace(' ', '-').replace('/', '-')}.json"


# ---- the GPU side; nothing below runs without one -----------------------------------------------------


def _cublas(a: Arg, b: Arg, out: Arg) -> ModuleType | None:
    from rtriton import knobs

    if not a.device.startswith("cuda") or knobs.backend() not in ("", "cuda"):
        return None
    if find_spec("rtriton.backend.cuda") is None or find_spec("rtriton.backend.cuda.cublas") is None:
        return None
    module = import_module("rtriton.backend.cuda.cublas")
    return module if module.available() and module.supports(a.dtype, b.dtype, out.dtype) else None


def _device_name() -> str:
    return import_module("rtriton.backend.cuda.driver").device_name()


def _recording() -> bool:
    return import_module("rtriton.backend.cuda.driver").is_capturing()


def _time(way: Callable[[], None]) -> float:
    from rtriton.testing import do_bench

    return 1000 * do_bench(way, warmup=5, rep=20)
