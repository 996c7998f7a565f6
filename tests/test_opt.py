"""rtriton-opt as a user calls it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from rtriton.opt import find_target, main
from rtriton.text import parse, show

TEXT = """kernel @scale(%out: *f32, %x: *f32, %n: i32) {num_warps = 4} {
  %pid: i32 = program_id {axis = 0}  @ scale.py:4:11
  %b: i32 = const {value = 64, type = type(i32)}
  %s: i32 = mul %b, %pid
  %t: 64xi32 = splat %s {shape = (64,)}
  %r: 64xi32 = arange {start = 0, end = 64}
  %o: 64xi32 = add %t, %r
  %ns: 64xi32 = splat %n {shape = (64,)}
  %m: 64xi1 = lt %o, %ns
  %xs: 64x*f32 = splat %x {shape = (64,)}
  %xp: 64x*f32 = addptr %xs, %o
  %v: 64xf32 = load %xp, %m, _
  %w: 64xf32 = add %v, %v
  %os: 64x*f32 = splat %out {shape = (64,)}
  %op: 64x*f32 = addptr %os, %o
  store %op, %w, %m
}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "scale.tir"
    path.write_text(TEXT)
    return str(path)


def test_without_passes_the_kernel_is_printed_as_it_is(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file, "--spans"]) == 0
    assert capsys.readouterr().out == show(parse(TEXT)) == TEXT


def test_passes_run_in_the_order_given(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file, "-p", "canonicalize,combine,dce", "--verify"]) == 0
    out = capsys.readouterr().out
    assert "%s: i32 = shl %pid" in out and "@ scale.py" not in out and show(parse(out)) == out


def test_print_each_shows_the_kernel_after_each_pass_that_changed_it(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([file, "-p", "canonicalize,licm", "--print-each"]) == 0
    out = capsys.readouterr().out
    assert "// canonicalize:\n kernel @scale" in out and "// licm: nothing to do" in out
    assert "\n-  %s: i32 = mul %b, %pid\n+  %s: i32 = mul %pid, %b\n" in out and "\n   %pid: i32" in out


def test_lines_that_changed_are_coloured_where_that_is_wished(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file, "-p", "canonicalize", "--print-each", "--color", "always"]) == 0
    out = capsys.readouterr().out
    assert "\x1b[31m-  %s: i32 = mul %b, %pid\x1b[0m\n\x1b[32m+  %s: i32 = mul %pid, %b\x1b[0m\n   %t" in out


def test_values_keep_their_names_from_pass_to_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "numbers.tir"
    path.write_text(re.sub(r"%(pid|s|r)\b", lambda m: {"pid": "%0", "s": "%1", "r": "%2"}[m[1]], TEXT))
    assert main([str(path), "-p", "canonicalize,combine", "--print-each", "--diff"]) == 0
    first, second = capsys.readouterr().out.split("// combine:")
    assert "-  %v1: i32 = mul %b, %v0\n+  %v1: i32 = mul %v0, %b" in first
    assert "-  %v1: i32 = mul %v0, %b\n" in second and "+  %v1: i32 = shl %v0, " in second
    assert "%v2" not in second            # the arange: nothing changed about it


def test_diff_shows_only_what_changed(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file, "-p", "canonicalize", "--print-each", "--diff"]) == 0
    out = capsys.readouterr().out
    assert "-  %s: i32 = mul %b, %pid\n+  %s: i32 = mul %pid, %b" in out and "store" not in out


def test_check_compares_the_meaning(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file, "--pipeline", "tile", "--check", "--grid", "2"]) == 0
    assert "the interpreter gives the same" in capsys.readouterr().out


def test_emulate_runs_the_ptx_and_compares(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file, "--pipeline", "tile", "--target", "sm_80", "--emulate"]) == 0
    assert "PTX for sm_80, gives what the interpreter gives" in capsys.readouterr().out


@pytest.mark.parametrize("pipeline", ["tile", "gpu"])
def test_emulate_gives_a_kernel_its_shared_memory(pipeline: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).parents[1] / "docs" / "column-sums.tir"
    assert main([str(file), "--pipeline", pipeline, "--target", "sm_90a", "--emulate", "--grid", "1"]) == 0
    assert "PTX for sm_90a, gives what the interpreter gives" in capsys.readouterr().out


def test_standard_input_is_read_for_a_dash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(TEXT))
    assert main(["-"]) == 0
    assert capsys.readouterr().out.startswith("kernel @scale")


def test_list_names_every_pass_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert "  cse            Replace an op by an equal one above it." in out and "pipeline tile:" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "inline"], "there is no pass 'inline'"),
        (["--target", "sm_70"], "there is no target 'sm_70'"),
        (["--target", "z80"], "no CPU target 'z80'"),
        (["--emulate"], "--emulate needs a GPU"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(
    file: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([file, *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rtriton-opt: ") and message in error and error.count("\n") == 1


def test_a_missing_file_and_text_that_is_no_kernel_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "none.tir")]) == 1
    (tmp_path / "bad.tir").write_text("kernel @k( {}")
    assert main([str(tmp_path / "bad.tir")]) == 1
    assert "line 1" in capsys.readouterr().err


def test_targets_are_found_by_name() -> None:
    assert find_target("") is None
    assert find_target("sm_90a").name == "sm_90a" and find_target("avx2").has_fma
