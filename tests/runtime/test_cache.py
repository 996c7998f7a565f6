"""The disk cache: found again when nothing changed, never when something did."""
from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rtriton import cache
from rtriton.compiler import ASTSource, compile
from rtriton.devices import GPUTarget

KERNELS = '''
import rtriton
import rtriton.language as tl

FACTOR = tl.constexpr({factor})

@rtriton.jit
def helper(x):
    return x {op} FACTOR

@rtriton.jit
def kernel(x, out, BLOCK: tl.constexpr):
    offsets = tl.arange(0, BLOCK)
    tl.store(out + offsets, helper(tl.load(x + offsets)))
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    return tmp_path


def load(folder: Path, op: str = "*", factor: str = "3") -> ModuleType:
    path = folder / "kernels_under_test.py"
    folder.mkdir(exist_ok=True)
    path.write_text(KERNELS.format(op=op, factor=factor))
    import linecache

    linecache.checkcache()
    spec = importlib.util.spec_from_file_location("kernels_under_test", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(module: ModuleType) -> float:
    x, out = np.full(16, 4, np.float32), np.zeros(16, np.float32)
    module.kernel[1,](x, out, BLOCK=16)
    assert (out == out[0]).all()
    return float(out[0])


def test_where_the_folder_cannot_be_made_kernels_are_compiled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    assert run(load(tmp_path)) == 12 and (tmp_path / "file").read_text() == "not a folder"


def entries(folder: Path) -> list[Path]:
    return sorted(p for p in (folder / "cache" / "kernels").rglob("*") if p.is_file())


def test_the_same_kernel_is_found_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(load(folder)) == 12
    (entry,) = entries(folder)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(sys.modules["rtriton.compile"], "_front", refuse)
    module = load(folder)
    assert run(module) == 12
    (compiled,) = module.kernel.cache.values()
    assert "mul" in compiled.asm["tir"] and compiled.kernel.name == "kernel"
    assert entries(folder) == [entry]


def test_an_edited_helper_or_a_changed_global_is_a_new_entry(folder: Path) -> None:
    assert run(load(folder)) == 12
    assert run(load(folder, op="+")) == 7
    assert run(load(folder, factor="5")) == 20
    assert len(entries(folder)) == 3


def test_what_a_moved_program_compiles_to_names_its_new_place(folder: Path) -> None:
    x = ASTSource(load(folder / "before").kernel, {"x": "*fp32", "out": "*fp32"}, {"BLOCK": 128})
    y = ASTSource(load(folder / "after").kernel, {"x": "*fp32", "out": "*fp32"}, {"BLOCK": 128})
    before, after = (compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"] for source in (x, y))
    assert f'"{folder / "before" / "kernels_under_test.py"}"' in before
    assert f'"{folder / "after" / "kernels_under_test.py"}"' in after
    assert before.replace("before", "after") == after


def test_a_restored_kernel_still_watches_its_globals(folder: Path) -> None:
    run(load(folder))
    module = load(folder)
    run(module)
    module.FACTOR = module.tl.constexpr(9)
    with pytest.raises(RuntimeError, match="Global variable FACTOR has changed"):
        run(module)


def test_a_damaged_entry_is_compiled_again(folder: Path) -> None:
    run(load(folder))
    (entry,) = entries(folder)
    raw = entry.read_bytes()
    for damaged in (raw[:-7], raw.replace(b"fmul", b"fadd"), b""):
        entry.write_bytes(damaged)
        assert run(load(folder)) == 12


def test_a_folder_that_cannot_be_written_costs_only_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(folder / "file" / "below"))
    cache.write("ab" * 32, {"tir": ""})
    assert cache.read("ab" * 32) is None


def test_the_cache_belongs_to_its_user_alone(folder: Path) -> None:
    run(load(folder))
    assert (folder / "cache" / "kernels").stat().st_mode & 0o077 == 0


def test_processes_that_compile_at_once_both_get_it_right(folder: Path) -> None:
    load(folder)
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n" + """
import numpy as np, kernels_under_test as k
x, out = np.full(16, 4, np.float32), np.zeros(16, np.float32)
k.kernel[1,](x, out, BLOCK=16)
assert (out == 12).all()
"""
    running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [p.wait(60) for p in running] == [0, 0, 0]
    assert len(entries(folder)) == 1
