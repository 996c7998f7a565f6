"""Machine code as text: SASS by NVIDIA's nvdisasm, with the line of the user's program that each instruction came from.

    program = disassemble(cubin)
    program.text                    one line per instruction; a comment with the place where that changes
    program.lines[k].places         [(file, line), ...] of line k of the text: innermost first, then the calls around it

nvdisasm comes from TRITON_NVDISASM_PATH, NVIDIA's Python packages, PATH, an installed CUDA toolkit, or Triton's own
package.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rtriton import knobs
from rtriton.backend.ptx.names import path_of
from rtriton.backend.ptx.ptxas import TOOLKITS, packaged_tool
from rtriton.errors import RtritonError

TIMEOUT_SECONDS = 60.0
Place = tuple[str, int]


class DisassembleError(RtritonError):
    """There is no disassembler, or it refused the machine code."""


@dataclass(frozen=True)
class Line:
    """A line of the text and where in the user's program it comes from."""

    text: str
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Program:
    """Disassembled machine code."""

    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        return "".join(line.text + "\n" for line in self.lines)


def disassemble(cubin: bytes) -> Program:
    """The SASS of all kernels in a cubin. DisassembleError where no nvdisasm is found or it refuses."""
    program = find_nvdisasm()
    with tempfile.TemporaryDirectory(prefix="rtriton-nvdisasm-") as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(cubin)
        command = [program, "--print-code", "--print-line-info-inline", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    if done.returncode != 0:
        raise DisassembleError(f"{program} refused the machine code: {(done.stderr or done.stdout).strip()}")
    return Program(tuple(_read(done.stdout)))


def find_nvdisasm() -> str:
    """The nvdisasm to run, or an error that says where it was sought and how to get it."""
    chosen = knobs.disassembler()
    if chosen:
        if not Path(chosen).is_file():
            raise DisassembleError(f"TRITON_NVDISASM_PATH names {chosen}, which is not a file")
        return chosen
    found = packaged_tool("nvdisasm")
    if not found:
        raise DisassembleError(
            f"no nvdisasm: not in TRITON_NVDISASM_PATH, NVIDIA's Python packages, PATH, {', '.join(TOOLKITS)} or "
            "Triton's package; `pip install nvidia-cuda-nvdisasm` provides one")
    return found


_PLACE = re.compile(r'\s*//## File "([^"]*)", line (\d+)( inlined at .*)?')
_CODE = re.compile(r"\s*/\*([0-9a-f]{4,})\*/\s+(.*)")
_LABEL = re.compile(r"(\.L\w+):")


def _read(said: str) -> Iterator[Line]:
    """The instructions of nvdisasm's output, without directives."""
    places: tuple[Place, ...] = ()
    pending: list[Place] = []
    for line in said.splitlines():
        if found := _PLACE.match(line):
            pending.append((path_of(found[1]), int(found[2])))
        elif found := _CODE.match(line):
            if pending and tuple(pending) != places:
                places = tuple(pending)
                yield Line("        // " + " < ".join(f"{Path(f).name}:{n}" for f, n in places), places)
            pending = []
            yield Line(f"/*{found[1]}*/ {_tidy(found[2])}", places)
        elif found := _LABEL.match(line):
            yield Line(f"{found[1]}:", places)


def _tidy(instruction: str) -> str:
    """The guard in a column of its own."""
    text = instruction.rstrip().removesuffix(";").rstrip()
    guard, rest = re.match(r"(@!?U?P\w+)?\s*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return f"{guard or '':6} {rest}"
