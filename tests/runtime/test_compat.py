"""Programs that say `import triton` run on rtriton, in fresh processes, since one process has one `triton`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import rtriton.language as tl

PROGRAM = """
import sys
import numpy as np
import triton
import triton.language as tl
from triton.language.core import constexpr
from triton.runtime.jit import JITFunction

@triton.jit
def double(x, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(x + at, 2 * tl.load(x + at, at < n), at < n)

x = np.arange(5, dtype=np.float32)
double[(triton.cdiv(5, 8),)](x, 5, BLOCK=8)
print(x.tolist(), isinstance(double, JITFunction), constexpr is tl.constexpr, triton.__version__, sys.argv[1:],
      __name__)
"""
SAYS = "[0.0, 2.0, 4.0, 6.0, 8.0] True True 3.6.0 ['--steps', '10'] __main__"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from rtriton.compat import main; main()", *arguments]
    root = str(Path(__file__).parents[2])
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env={"PYTHONPATH": root, "HOME": "/tmp"})


def test_a_script_that_imports_triton_runs_unchanged(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = run(tmp_path, "program.py", "--steps", "10")
    assert (done.stdout.strip(), done.returncode) == (SAYS, 0), done.stderr


def test_a_module_runs_as_under_python_m(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = run(tmp_path, "-m", "program", "--steps", "10")
    assert (done.stdout.strip(), done.returncode) == (SAYS, 0), done.stderr


def test_pytest_runs_tests_of_triton_kernels(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import triton\n\ndef test_it():\n    assert triton.next_power_of_2(5) == 8\n")
    done = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_module_that_rtriton_has_not_is_named(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import triton.experimental.gluon\n")
    done = run(tmp_path, "program.py")
    assert done.returncode == 1 and "rtriton has no counterpart of the module triton.experimental" in done.stderr


def test_a_missing_script_is_one_sentence(tmp_path: Path) -> None:
    done = run(tmp_path, "absent.py")
    assert done.returncode == 1 and done.stderr.strip() == "rtriton-run: there is no file absent.py"


def test_install_after_triton_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "triton.py").write_text("")
    lines = "import triton, rtriton.compat\ntry:\n    rtriton.compat.install()\nexcept RuntimeError as e:\n    print(e)"
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, cwd=tmp_path,
                          env={"PYTHONPATH": f"{tmp_path}:{root}"})
    assert "triton was imported already" in done.stdout, done.stderr


def test_types_call_themselves_by_the_package_that_the_program_imported(tmp_path: Path) -> None:
    names = "int1 uint8 float8e4nv float8e5b16 float16 bfloat16 float64".split()
    (tmp_path / "program.py").write_text(
        f"import triton\nimport triton.language as tl\nfor name in {names}:\n    print(repr(getattr(tl, name)))\n"
        "    assert eval(repr(getattr(tl, name))) is getattr(tl, name)\n")
    done = run(tmp_path, "program.py")
    assert done.stdout.split() == [f"triton.language.{n}" for n in names], done.stderr
    assert repr(tl.int8) == "rtriton.language.int8"
