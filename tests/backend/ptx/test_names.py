"""Names with letters outside ASCII, which the assembler refuses wherever they stand, reach it in other letters."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtriton.backend.ptx.disassemble import DisassembleError, disassemble
from rtriton.backend.ptx.emit import lower_to_ptx
from rtriton.backend.ptx.emulate import emulate
from rtriton.backend.ptx.names import file_string, path_of, symbol
from rtriton.backend.ptx.ptxas import AssembleError, assemble
from rtriton.errors import EmulatorError
from rtriton.frontend.lower import lower
from rtriton.passes import run_pipeline
from rtriton.target import Target
from rtriton.types import Pointer, float32, int32

TEXT = """
import rtriton, rtriton.language as tl

@rtriton.jit
def erhöht(x, größe):
    return x + größe

@rtriton.jit
def größer(x, größe):
    i = tl.arange(0, 32)
    tl.store(x + i, erhöht(i, größe) * 1.0)
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Any:
    """Optimised tile IR of a kernel with such a name, in a file with such a name."""
    file = tmp_path / "josé 100%" / "größe.py"
    file.parent.mkdir()
    file.write_text(TEXT, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("kernels_of_josé", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    low = lower(module.größer, {"x": Pointer(float32), "größe": int32}, {})
    return run_pipeline(low.kernel, None, "tile")


def test_the_text_is_ascii_and_runs_under_the_kernels_own_name(kernel: Any) -> None:
    module = lower_to_ptx(kernel, Target.of("sm_80"))
    assert str(module).isascii()
    x = np.zeros(32, np.float32)
    emulate(str(module), "größer", 1, [x, 5])
    assert x.tolist() == [i + 5 for i in range(32)]


def test_a_fault_is_told_with_the_line_of_the_users_file(kernel: Any) -> None:
    text = str(lower_to_ptx(kernel, Target.of("sm_80")))
    with pytest.raises(EmulatorError, match=r"josé 100%.größe\.py:11:5: (?s:.*)11 \|     tl\.store"):
        emulate(text, "größer", 1, [np.zeros(31, np.float32), 5])


@pytest.mark.parametrize("target", ["sm_80", "sm_90a"])
def test_the_assembler_takes_it_and_machine_code_names_the_users_file(kernel: Any, target: str) -> None:
    text = str(lower_to_ptx(kernel, Target.of(target)))
    try:
        cubin = assemble(text, target).cubin
        lines = disassemble(cubin).lines
    except (AssembleError, DisassembleError) as problem:
        if "refused" in str(problem):
            raise
        pytest.skip(str(problem))
    assert symbol("größer").encode() in cubin
    assert any(file.endswith("größe.py") and number == 11 for line in lines for file, number in line.places)


def test_each_name_of_python_is_one_of_ptx() -> None:
    names = ["k", "größer", "grösser", "_", "__", "WARP_SZ", "名", "名1", "_k"]
    made = [symbol(name) for name in names]
    assert len(set(made)) == len(names) and made[0] == "k" and made[-1] == "_k"
    assert all(re.fullmatch(r"[a-zA-Z][\w$]*|[_$%][\w$]+", name, re.ASCII) for name in made)


@pytest.mark.parametrize("path", ["/a/b.py", "/é/b.py", "/100%/b.py", "/é 100%/ü.py", 'C:\\x\\"y".py', "/%41.py"])
def test_a_path_is_read_back(path: str) -> None:
    assert file_string(path).isascii() and path_of(file_string(path)) == path
