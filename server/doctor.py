"""`rtriton doctor`: what this machine has and what rtriton makes of it, one line each; status 1 if something is broken.

Each line is a `Finding` made by a function of its own, so that one that fails is a line too and hides no other.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console

from server.gpu import Gpu, probe

PTX_OF_CUDA = {
    "12.0": "8.0", "12.1": "8.1", "12.2": "8.2", "12.3": "8.3", "12.4": "8.4", "12.5": "8.5", "12.6": "8.5",
    "12.7": "8.6", "12.8": "8.7", "12.9": "8.8", "13.0": "9.0", "13.1": "9.1",
}  # fmt: skip
"""The PTX version that came with each CUDA version, from the release notes in the PTX ISA."""
PACKAGES = ("numpy", "lark", "llvmlite", "fastapi", "tokenizers", "cuda-python", "nvidia-cublas-cu12", "torch")


@dataclass(frozen=True)
class Finding:
    """One line. `ok` is None for what is merely absent."""

    what: str
    value: str
    ok: bool | None = True


def report(console: Console) -> int:
    """Print every finding."""
    findings = [finding for check in CHECKS for finding in _safely(check)]
    for finding in findings:
        mark = {True: "[green]ok[/green]", False: "[red]!![/red]", None: "[dim]--[/dim]"}[finding.ok]
        console.print(f"{mark}  {finding.what:<16}", end="")
        console.print(finding.value, markup=False)
    return 1 if any(finding.ok is False for finding in findings) else 0


def _safely(check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - the report is about what fails
        return [Finding(check.__name__.strip("_"), f"{type(error).__name__}: {error}", ok=False)]


def _python() -> list[Finding]:
    own = metadata.version("rtriton") if _has("rtriton") else "from a checkout, not installed"
    build = f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.machine()}"
    return [Finding("rtriton", own), Finding("python", build)]


def _packages() -> list[Finding]:
    there = [f"{name} {metadata.version(name)}" for name in PACKAGES if _has(name)]
    return [Finding("packages", ", ".join(there))]


def _has(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _cpu() -> list[Finding]:
    from rtriton import knobs
    from rtriton.backend.cpu.target import host

    target = host()
    facts = {"fma": target.has_fma, "f16c": target.has_f16c, "masked access": target.has_masked}
    with_ = ", ".join(name for name, there in facts.items() if there)
    return [Finding("cpu", f"{target.cpu}: {target.vector_bits}-bit vectors, {with_}; {knobs.num_threads()} threads")]


def _gpu() -> list[Finding]:
    gpu = probe()
    if gpu.state != "usable":
        return [Finding("gpu", gpu.reason, ok=None if gpu.state == "absent" else False)]
    from rtriton.target import Target

    target = Target.for_capability(*gpu.capability)
    size = f"{gpu.memory / 2**30:.0f} GiB"
    return [
        Finding("gpu", f"{gpu.name}, {size}, compute capability {gpu.capability[0]}.{gpu.capability[1]} ({target.sm})"),
        Finding("driver", f"CUDA {gpu.driver}, PTX up to {PTX_OF_CUDA.get(gpu.driver, 'unknown')}"),
        _cuda_python(gpu),
        _cublas(),
    ]


def _cuda_python(gpu: Gpu) -> Finding:
    if not _has("cuda-bindings"):
        return Finding("cuda-python", f"missing, so {gpu.name} cannot be used: pip install 'rtriton[cuda]'", ok=False)
    return Finding("cuda-python", metadata.version("cuda-bindings"))


def _cublas() -> Finding:
    from cuda.pathfinder import load_nvidia_dynamic_lib

    try:
        found = load_nvidia_dynamic_lib("cublasLt")
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else "not found"
        return Finding("cublas", f"none ({reason}); pip install nvidia-cublas-cu12", ok=None)
    return Finding("cublas", str(found.abs_path))


def _assembler() -> list[Finding]:
    from rtriton.backend.ptx.ptxas import find_ptxas

    try:
        return [Finding("ptxas", find_ptxas())]
    except Exception as error:  # noqa: BLE001 - optional: the driver assembles where there is a GPU
        return [Finding("ptxas", f"none, needed only to assemble without a GPU ({error})", ok=None)]


def _caches() -> list[Finding]:
    from rtriton import knobs

    folder = knobs.cache_dir()
    if not folder.exists():
        return [Finding("cache", f"{folder} (not made yet)", ok=None)]
    writable = os.access(folder, os.W_OK)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return [Finding("cache", f"{folder}, {size / 1e6:.0f} MB{'' if writable else ', not writable'}", ok=writable)]


def _model() -> list[Finding]:
    from engine.fetch import DEMO, cached

    path = cached()
    if path is None:
        return [Finding("model", f"{DEMO.file} not fetched yet; `rtriton serve` does it once", ok=None)]
    return [_readable(path)]


def _readable(path: Path) -> Finding:
    from server.text import load_text

    text = load_text(path)
    return Finding("model", f"{text.name}, vocabulary {text.tokenizer.vocab_size}, at {path}")


CHECKS = (_python, _packages, _cpu, _gpu, _assembler, _caches, _model)
