"""Assemble PTX text into a cubin with NVIDIA's ptxas, and read what it says about resources.

ptxas comes from the knob RTRITON_PTXAS, else from the PyPI package nvidia-cuda-nvcc, else from PATH. On a machine with
a GPU the driver's own assembler is used instead; this one serves tests, resource reports and ahead-of-time builds.
A C75xx warning (ptxas serialises wgmma) is a defect of the generated code, so it is an error here.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rtriton import knobs
from rtriton.errors import PTXASError

TIMEOUT_SECONDS = 300.0


class AssembleError(PTXASError):
    """ptxas refused a module; the message shows each complaint beside the line it is about."""


@dataclass(frozen=True)
class Usage:
    """What an assembled kernel occupies: registers per thread, static shared bytes, spilled bytes per thread."""

    registers: int
    shared: int
    spills: int


@dataclass(frozen=True)
class Assembled:
    """A cubin, what it uses, and what ptxas had to say."""

    cubin: bytes
    usage: Usage
    warnings: tuple[str, ...]


def assemble(text: str, target: str, line_info: bool = True, options: tuple[str, ...] = ()) -> Assembled:
    """Assemble PTX text for `target` (such as sm_90a); complaints become an AssembleError with the lines they name."""
    program = find_ptxas()
    with tempfile.TemporaryDirectory(prefix="rtriton-ptxas-") as folder:
        source, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(text)
        command = [program, "-v", f"--gpu-name={target}", *(["-lineinfo"] if line_info else []),
                   *_wished(), *options, str(source), "-o", str(cubin)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
        said = (done.stdout + done.stderr).replace(str(source), "kernel.ptx")
        if knobs.nvidia.dump_ptxas_log:
            print(said)
        if done.returncode != 0:
            raise AssembleError(_explain(said, text, target, program))
        warnings = tuple(line.strip() for line in said.splitlines() if "warning" in line)
        serialised = [line for line in warnings if re.search(r"C75\d\d", line)]
        if serialised:
            raise AssembleError(f"ptxas for {target} cannot keep wgmma asynchronous:\n" + "\n".join(serialised))
        return Assembled(cubin.read_bytes(), read_usage(said), warnings)


def _wished() -> list[str]:
    """What the environment adds to every call: PTXAS_OPTIONS, and DISABLE_PTXAS_OPT=1 for code without optimisation."""
    return [*shlex.split(knobs.nvidia.ptxas_options or ""), *(["-O0"] if knobs.nvidia.disable_ptxas_opt else [])]


def read_usage(said: str) -> Usage:
    """Resources from the output of `ptxas -v`; with several kernels, the most that any takes."""
    def most(pattern: str) -> int:
        return max((int(found) for found in re.findall(pattern, said)), default=0)

    if "Used" not in said:
        raise AssembleError(f"ptxas reported no resource use; it said: {said.strip() or 'nothing'}")
    return Usage(most(r"Used (\d+) registers"), most(r"(\d+) bytes smem"), most(r"(\d+) bytes spill stores"))


def find_ptxas() -> str:
    """The ptxas to run, or an error that says where it was sought and how to get it."""
    chosen = knobs.ptxas()
    if chosen:
        if not Path(chosen).is_file():
            raise AssembleError(f"RTRITON_PTXAS names {chosen}, which is not a file")
        return chosen
    found = packaged_tool("ptxas")
    if not found:
        raise AssembleError("no ptxas: not in RTRITON_PTXAS, the Python packages or PATH; "
                            "`pip install nvidia-cuda-nvcc` provides one")
    return found


TOOLKITS = ("/usr/local/cuda/bin", "/opt/cuda/bin")
TRITONS = "triton/backends/nvidia/bin"


def packaged_tool(name: str) -> str | None:
    """The path of a program of the CUDA toolkit: the newest among NVIDIA's Python packages, else the one on PATH, in an
    installed toolkit, or in Triton's package."""
    packaged = [found for place in sys.path if place for found in Path(place).glob(f"nvidia/*/bin/{name}")]
    if packaged:
        return str(max(packaged, key=_number))
    others = [*(Path(folder, name) for folder in TOOLKITS), *(Path(p, TRITONS, name) for p in sys.path if p)]
    return shutil.which(name) or next((str(path) for path in others if path.is_file()), None)


@cache
def version(program: str) -> str:
    """The release of an assembler, for cache keys and reports."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    match = re.search(r"V([\d.]+)", said)
    return match[1] if match else said.strip().splitlines()[-1]


def _number(path: Path) -> tuple[int, ...]:
    """Order packaged copies by CUDA release: nvidia/cu13/bin/ptxas before nvidia/cuda_nvcc/bin/ptxas."""
    return tuple(int(part) for part in re.findall(r"\d+", path.parent.parent.name))


def _explain(said: str, text: str, target: str, program: str) -> str:
    lines = text.splitlines()
    shown = [f"ptxas ({program}) refused the module for {target}:"]
    for complaint in said.splitlines():
        shown.append(complaint.replace("ptxas kernel.ptx, ", "").strip())
        match = re.search(r"line (\d+)", complaint)
        if match and 0 < int(match[1]) <= len(lines):
            shown.append(f"{match[1]:>6} | {lines[int(match[1]) - 1].strip()}")
    return "\n".join(shown)
