"""The replay command: the same compiler gives the same record, a changed one is found out, kernel by kernel."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.replay.__main__ import ROOT, main, recorder
from tests.replay.compare import compare, instructions, summary
from tests.replay.record import plain

ADD = "tutorials: add"


def record_of(root: Path, out: Path, only: str = ADD) -> dict:
    assert recorder(root, out, only).wait() == 0
    return json.loads(out.read_text())


def copied(folder: Path) -> Path:
    """The files that a record needs."""
    for name in ("rtriton", "ops", "tests/kernels", "tests/backend"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "test_*"))
    return folder


def test_a_record_depends_on_the_compiler_alone_and_shows_what_it_makes(tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    monkeypatch.setenv("RTRITON_SKIP", "canonicalize")
    here = record_of(ROOT, tmp_path / "here.json")
    assert sorted(here) == ["tutorials: add, sm_80", "tutorials: add, sm_90a"]
    assert all("= load" in made["tir"] and "ld.global" in made["ptx"] and len(made["llvm"]) == 16
               for made in here.values())
    other = copied(tmp_path / "other")
    kernels = other / "tests" / "kernels" / "tutorials.py"
    kernels.write_text("# a line more\n\n" + kernels.read_text())  # lines and paths are no change
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    monkeypatch.delenv("RTRITON_SKIP")
    moved = record_of(other, tmp_path / "moved.json")
    assert moved == here
    passes = other / "rtriton" / "passes" / "canonicalize.py"
    head = "def canonicalize(kernel: Kernel, target: Any) -> Kernel:\n"
    assert head in passes.read_text()
    passes.write_text(passes.read_text().replace(head, f"{head}    return kernel\n"))
    found = compare(here, record_of(other, tmp_path / "changed.json"))
    assert set(found.changed) == set(here) and "tir" in found.changed["tutorials: add, sm_80"]


def test_what_is_changed_new_and_gone_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = {"tir": "kernel\n", "ptx": "{\n    add.f32 a;\n    ret;\n}\n", "llvm": "12"}
    longer = {**one, "ptx": "{\n    add.f32 a;\n    mul.f32 b;\n    ret;\n}\n"}
    files = tmp_path / "a.json", tmp_path / "b.json"
    files[0].write_text(json.dumps({"ops: x": one, "ops: y": one, "ops: old": one}))
    files[1].write_text(json.dumps({"ops: x": one, "ops: y": longer, "ops: young": one}))
    assert main(["diff", *map(str, files), "--show", "ops: y"]) == 1
    told = capsys.readouterr().out
    assert "changed  ops: y\n           ptx, 2 -> 3 instructions" in told
    assert "new      ops: young" in told and "gone     ops: old" in told
    assert "1 identical, 1 changed, 1 new, 1 gone" in told
    assert "+    mul.f32 b;" in told and "--- a: ops: y ptx" in told
    assert main(["diff", str(files[0]), str(files[0])]) == 0
    assert capsys.readouterr().out == "3 identical, 0 changed, 0 new, 0 gone\n"


def test_a_commit_is_recorded_by_this_recorder(capsys: pytest.CaptureFixture[str]) -> None:
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("no git repository")
    assert main(["diff", "HEAD", "HEAD", "--only", ADD]) == 0
    assert "2 identical" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="nosuchcommit is no commit of this repository"):
        main(["diff", "nosuchcommit", "."])


def test_places_are_left_out_of_ptx() -> None:
    text = ('.loc 1 2 3, function_name inlined_0, inlined_at 1 4 5\n    ret;\n.file 1 "/a/b.py"\n'
            '.section .debug_str\n{\ninlined_0:\n.b8 1, 2\n}\n.global .align 1 .b8 text_0[3] = {1, 2, 3};\n')
    assert plain(text) == "    ret;\n.global .align 1 .b8 text_0\n"
    assert instructions("    ret;\n    .reg .b32 %r<2>;\n    // no\nlabel:\n") == 1
    assert list(summary({}, {}, compare({}, {}))) == ["0 identical, 0 changed, 0 new, 0 gone"]
