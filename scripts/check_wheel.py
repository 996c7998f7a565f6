"""Use the built wheel as a stranger would: a new environment, outside the checkout, only what the wheel brings.

    python scripts/check_wheel.py dist /path/of/the/checkout

Asks that all four packages are imported from the wheel, that every data file of the checkout's packages is in it, that
torch is not, and that a kernel compiles and runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGES = ("rtriton", "ops", "engine", "server")
PROGRAM = """
import importlib, importlib.util, sys
for name in ("rtriton", "ops", "engine", "server"):
    module = importlib.import_module(name)
    assert sys.argv[1] in module.__file__, f"{name} comes from {module.__file__}, not from the wheel"
assert importlib.util.find_spec("torch") is None, "torch came along"
import numpy as np
import rtriton
import rtriton.language as tl

@rtriton.jit
def add(x, y, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < n
    tl.store(out + at, tl.load(x + at, mask=mask) + tl.load(y + at, mask=mask), mask=mask)

n = 1000
x, y = np.arange(n, dtype=np.float32), np.full(n, 0.5, np.float32)
out = np.zeros(n, np.float32)
add[(rtriton.cdiv(n, 256),)](x, y, out, n, BLOCK=256)
assert (out == x + y).all(), "the kernel gave wrong sums"
print("a kernel of the installed wheel ran and is right")
"""


def main(dist: str, checkout: str) -> int:
    """0 if the wheel is whole and works."""
    (wheel,) = Path(dist).glob("*.whl")
    missing = missing_files(wheel, Path(checkout))
    if missing:
        print(f"the wheel lacks {len(missing)} files of the checkout: {', '.join(missing[:10])}")
        return 1
    with tempfile.TemporaryDirectory(prefix="rtriton-wheel-") as folder:
        return use(wheel, Path(folder))


def missing_files(wheel: Path, checkout: Path) -> list[str]:
    """Tracked files of the packages that are not in the wheel."""
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=checkout, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    return [name for name in listed.stdout.splitlines() if name not in inside]


def use(wheel: Path, folder: Path) -> int:
    """Install the wheel into a new environment and run a program there."""
    python = folder / "env" / "bin" / "python"
    uv = shutil.which("uv")
    if uv:
        commands = [[uv, "venv", "--quiet", "--python", sys.executable, str(folder / "env")]]
        commands += [[uv, "pip", "install", "--quiet", "--python", str(python), f"{wheel}[serve]"]]
    else:
        commands = [[sys.executable, "-m", "venv", str(folder / "env")]]
        commands += [[str(python), "-m", "pip", "install", "--quiet", "--no-compile", f"{wheel}[serve]"]]
    (folder / "program.py").write_text(PROGRAM)
    commands += [[str(python), "program.py", str(folder)]]
    commands += [[str(folder / "env" / "bin" / "rtriton"), "--help"]]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in commands:
        quiet = subprocess.DEVNULL if command[-1] == "--help" else None
        status = subprocess.run(command, cwd=folder, env=environment, stdout=quiet, check=False).returncode
        if status:
            print(f"status {status} from {' '.join(command)}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
