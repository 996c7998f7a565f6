"""Every environment variable that rtriton reads. The only file that touches os.environ, read at each use.

    from rtriton import knobs
    if knobs.interpret(): ...
"""
from __future__ import annotations

import os
from pathlib import Path

BACKENDS = ("", "interpret", "cpu", "emulate", "cuda")


def _flag(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "on", "yes")


def backend() -> str:
    """RTRITON_BACKEND: interpret, cpu, emulate or cuda for every kernel; "" (default) picks by where the arrays are."""
    chosen = "interpret" if _flag("RTRITON_INTERPRET") else os.environ.get("RTRITON_BACKEND", "")
    if chosen not in BACKENDS:
        raise ValueError(f"RTRITON_BACKEND is one of interpret, cpu, emulate, cuda, got {chosen!r}")
    return chosen


def dump_dir() -> Path | None:
    """RTRITON_DUMP: a folder to write every stage of every compiled kernel into."""
    return _path("RTRITON_DUMP")


def override_dir() -> Path | None:
    """RTRITON_OVERRIDE: a folder to read edited stages from instead."""
    return _path("RTRITON_OVERRIDE")


def _path(name: str) -> Path | None:
    text = os.environ.get(name, "")
    return Path(text) if text else None


def skipped_passes() -> frozenset[str]:
    """RTRITON_SKIP: comma-separated passes to leave out (for ablations)."""
    return frozenset(p.strip() for p in os.environ.get("RTRITON_SKIP", "").split(",") if p.strip())


def verify_each_pass() -> bool:
    """RTRITON_VERIFY=1: verify the IR after every pass, not only at the end."""
    return _flag("RTRITON_VERIFY")


def always_compile() -> bool:
    """RTRITON_ALWAYS_COMPILE=1: do not read the disk cache."""
    return _flag("RTRITON_ALWAYS_COMPILE")


def cache_dir() -> Path:
    """RTRITON_CACHE_DIR, else $XDG_CACHE_HOME/rtriton, else ~/.cache/rtriton."""
    chosen = os.environ.get("RTRITON_CACHE_DIR", "")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "rtriton"


def num_threads() -> int:
    """RTRITON_NUM_THREADS, else the processors this process may run on."""
    text = os.environ.get("RTRITON_NUM_THREADS", "")
    if text:
        if not text.isdigit() or int(text) < 1:
            raise ValueError(f"RTRITON_NUM_THREADS is a positive number, got {text!r}")
        return int(text)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def ptxas() -> str:
    """RTRITON_PTXAS: the path of ptxas to use before any other that is found."""
    return os.environ.get("RTRITON_PTXAS", "")


def f32_default_precision() -> str:
    """TRITON_F32_DEFAULT: the precision of a float32 `dot` that names none (default tf32)."""
    return os.environ.get("TRITON_F32_DEFAULT", "tf32")


def launch_trace() -> bool:
    """RTRITON_TRACE=1: print each launch (kernel, grid) to standard error."""
    return _flag("RTRITON_TRACE")


def target() -> str:
    """RTRITON_TARGET: the GPU architecture that code is made for where no GPU says (default sm_90a)."""
    return os.environ.get("RTRITON_TARGET", "") or "sm_90a"
