"""The registry and the pipelines: order, skipping, hooks, and what a broken pass leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rtriton import passes
from rtriton.errors import RtritonError
from rtriton.ir import Kernel, Op, Value
from rtriton.interpret import interpret
from rtriton.opt import find_target
from rtriton.passes import PASSES, PIPELINES, PassError, run_pipeline
from rtriton.text import parse, show
from rtriton.types import int32
from tests.kernels.examples import EXAMPLES

TEXT = """kernel @k(%out: *i32, %n: i32) {} {
  %one: i32 = const {value = 1, type = type(i32)}
  %a: i32 = mul %n, %one
  %b: i32 = add %a, %a
  %c: i32 = add %a, %a
  %d: i32 = sub %b, %c
  store %out, %b
}
"""


def test_importing_the_registry_imports_no_pass() -> None:
    code = "import sys, rtriton.passes; print([m for m in sys.modules if m.startswith('rtriton.passes.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_step_names_a_pass_and_gives_a_reason() -> None:
    for steps in PIPELINES.values():
        assert all(step.name in PASSES and len(step.reason) > 20 for step in steps)


def test_every_pass_shows_its_rewrite() -> None:
    for name in ("canonicalize", "cse", "dce", "licm", "combine"):
        doc = PASSES[name].__doc__ or ""
        assert "before:" in doc and "after:" in doc, name


def test_the_hook_sees_each_pass_with_its_input_and_output() -> None:
    seen: list[tuple[str, bool]] = []
    run_pipeline(parse(TEXT), None, ["canonicalize", "cse", "cse"], lambda name, a, b: seen.append((name, a is b)))
    assert seen == [("canonicalize", False), ("cse", False), ("cse", True)]


def test_skipped_passes_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_SKIP", "canonicalize, cse")
    after = run_pipeline(parse(TEXT), None, "tile")
    assert "mul" in show(after) or "shl" in show(after)
    monkeypatch.delenv("RTRITON_SKIP")
    assert "mul" not in show(run_pipeline(parse(TEXT), None, "tile"))


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(RtritonError, match=r"there is no pass 'inline'; there are .*canonicalize"):
        run_pipeline(parse(TEXT), None, ["inline"])
    with pytest.raises(RtritonError, match=r"there is no pipeline 'fast'; there are tile, gpu, cpu"):
        run_pipeline(parse(TEXT), None, "fast")


def _broken(kernel: Kernel, target: object) -> Kernel:
    loose = Op("neg", (Value(int32, "loose"),), {}, (), (Value(int32, "x"),))
    return Kernel(kernel.name, type(kernel.body)(kernel.body.params, (*kernel.body.ops, loose)))


def _crashing(kernel: Kernel, target: object) -> Kernel:
    raise ZeroDivisionError("a fault of the pass")


@pytest.mark.parametrize("verify_each", [False, True])
def test_a_pass_that_breaks_the_ir_is_named_with_its_input_and_a_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verify_each: bool
) -> None:
    monkeypatch.setitem(passes._registered, "cse", _broken)
    monkeypatch.setenv("RTRITON_DUMP", str(tmp_path))
    with pytest.raises(PassError, match="pass cse broke kernel k: neg uses") as caught:
        run_pipeline(parse(TEXT), None, ["canonicalize", "cse"], verify_each=verify_each)
    path = tmp_path / "k-before-cse.tir"
    assert f"rtriton-opt {path} -p cse --verify" in str(caught.value)
    assert "mul" not in path.read_text(), "the input of the pass at fault, after those before it"
    assert show(parse(path.read_text())) == path.read_text()


def test_where_nobody_says_where_to_an_input_is_left_in_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(passes._registered, "cse", _crashing)
    monkeypatch.delenv("RTRITON_DUMP", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "k-before-cse.tir").symlink_to(tmp_path / "victim")
    with pytest.raises(ZeroDivisionError):
        run_pipeline(parse(TEXT), None, ["cse"])
    assert (tmp_path / "victim").read_text() == "precious"
    [left] = tmp_path.glob("*/k-before-cse.tir")
    assert left.parent.stat().st_mode & 0o077 == 0 and "mul" in left.read_text()


def test_a_pass_that_crashes_leaves_its_input_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(passes._registered, "cse", _crashing)
    monkeypatch.setenv("RTRITON_DUMP", str(tmp_path))
    with pytest.raises(ZeroDivisionError) as caught:
        run_pipeline(parse(TEXT), None, ["cse"])
    assert "rtriton-opt" in caught.value.__notes__[0] and (tmp_path / "k-before-cse.tir").exists()


@pytest.mark.parametrize(("pipeline", "target"), [("gpu", "sm_80"), ("gpu", "sm_90a"), ("cpu", "avx2")])
@pytest.mark.parametrize("make", EXAMPLES, ids=lambda m: m.__name__)
def test_tutorial_kernels_keep_their_meaning_through_every_pipeline(make, pipeline: str, target: str) -> None:
    example = make()
    after = run_pipeline(example.kernel, find_target(target), pipeline, verify_each=True)
    assert show(parse(show(after))) == show(after)
    interpret(after, example.grid, example.args)
    example.check()
