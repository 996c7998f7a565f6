"""The kernels of Triton's own tutorials, from their own source: only the two import lines are ours.

The sources are not in this repository. Put python/tutorials/0*.py of Triton (3.6's branch point is commit
acd81049917c62aa156fff2669ae25664048ac77) into .peers/tutorials/, which git ignores; without them these tests skip.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rtriton.backend.cpu.launch import compile_cpu
from rtriton.backend.ptx.emit import lower_to_ptx
from rtriton.backend.ptx.emulate import emulate
from rtriton.interpret import interpret
from rtriton.passes import run_pipeline
from rtriton.target import Target
from tests.kernels import examples

FOLDER = Path(__file__).parents[2] / ".peers" / "tutorials"
IMPORTS = "import rtriton as triton\nimport rtriton.language as tl\n"
KERNELS: dict[str, tuple[str, Callable[..., examples.Example]]] = {
    "add_kernel": ("01-vector-add.py", examples.add),
    "softmax_kernel": ("02-fused-softmax.py", examples.softmax),
    "matmul_kernel": ("03-matrix-multiplication.py", examples.matmul),
    "_seeded_dropout": ("04-low-memory-dropout.py", examples.dropout),
    "_layer_norm_fwd_fused": ("05-layer-norm.py", examples.layer_norm_forward),
    "_layer_norm_bwd_dx_fused": ("05-layer-norm.py", examples.layer_norm_backward),
    "_layer_norm_bwd_dwdb": ("05-layer-norm.py", examples.layer_norm_backward_weights),
}


@cache
def kernels_of(file: str, folder: Path) -> ModuleType:
    """The @triton.jit functions of a tutorial as a module, each as it is written there but for its autotuning."""
    text = (FOLDER / file).read_text()
    lines = text.splitlines(keepends=True)
    jitted = [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and any("jit" in ast.unparse(d) for d in node.decorator_list)
    ]
    cut = ["@triton.jit\n" + "".join(lines[node.lineno - 1 : node.end_lineno]) for node in jitted]
    path = folder / f"tutorial_{file[:2]}.py"
    path.write_text(IMPORTS + "\n\n" + "\n\n".join(cut))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorials")


def on_interpreter(example: examples.Example) -> None:
    interpret(example.kernel, example.grid, example.args)


def on_cpu(example: examples.Example) -> None:
    values = [a.ctypes.data if hasattr(a, "ctypes") else a for a in example.args]
    compile_cpu(run_pipeline(example.kernel, None, "tile")).launch((*example.grid, 1, 1)[:3], values)


def on_emulator(example: examples.Example) -> None:
    kernel = run_pipeline(example.kernel, None, "tile")
    emulate(lower_to_ptx(kernel, Target.of("sm_90a")), kernel.name, (*example.grid, 1, 1)[:3], example.args)


@pytest.mark.parametrize("run", [on_interpreter, on_cpu, on_emulator], ids=["interpret", "cpu", "emulate"])
@pytest.mark.parametrize("name", KERNELS)
def test_a_tutorial_kernel_from_its_own_source_gives_right_numbers(
    name: str, run: Callable[[Any], None], folder: Path
) -> None:
    file, make = KERNELS[name]
    if not (FOLDER / file).exists():
        pytest.skip(f"{file} has not been put into {FOLDER.parent.name}/tutorials")
    example = make(getattr(kernels_of(file, folder), name))
    run(example)
    example.check()
