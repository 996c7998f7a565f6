"""`rtriton explain`: what it says of kernels whose costs are known, and how it is called."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from rtriton.explain import kernels
from rtriton.explain.access import request
from rtriton.explain.build import Built, build
from rtriton.explain.report import Finding, Report, describe, explain
from rtriton.explain.shared import use_of
from rtriton.ir import walk
from rtriton.layout import Layout
from rtriton.layout.construct import row_blocked
from rtriton.passes.analysis.axis_info import AxisInfo
from rtriton.target import Target

HERE = Path(__file__).parent
FILE = HERE / "kernels.py"


@cache
def built(name: str, signature: str, target: str = "sm_90a") -> Built:
    found = kernels.kernels_of(kernels.load(FILE))[name]
    said = kernels.signature_of(found, signature)
    return build(said.source(found.fn), Target.of(target), said.options)


def report(name: str, signature: str = "", target: str = "sm_90a") -> Report:
    return explain(built(name, signature, target), signature)


def findings(said: Report, op: str) -> list[Finding]:
    return [finding for line in said.lines for finding in line.findings if finding.op == op]


def line_of(text: str) -> int:
    return next(n for n, line in enumerate(FILE.read_text().splitlines(), 1) if text in line)


# -- global memory ---------------------------------------------------------------------------------------------------


def test_an_access_that_may_be_wide_is_16_bytes_and_needs_no_hint() -> None:
    (load,) = findings(report("rows", "width=i32:16"), "load")
    assert (load.bytes, load.width, load.instructions) == (4096, 16, 2)
    assert (load.sectors, load.ideal, load.hints) == (16, 16, ())


def test_a_narrow_access_names_the_argument_that_makes_it_so() -> None:
    said = report("rows")
    (load,) = findings(said, "load")
    assert (load.bytes, load.width, load.instructions) == (4096, 4, 8)
    assert (load.sectors, load.ideal) == (5, 4)         # a row of any width may begin within a sector
    (hint,) = load.hints
    assert hint == ("this load is 4 bytes wide: addresses are not known to be divisible by 16 and the mask is not "
                    "constant over 4 elements; width is not known to be divisible by 16")  # fmt: skip
    line = next(line for line in said.lines if load in line.findings)
    assert line.line == line_of("tl.load(x + at, mask=columns < width") and "tl.load" in line.source


def test_a_stride_that_is_not_known_touches_a_sector_a_lane() -> None:
    (load,) = findings(report("strided", "out=*f32,x=*f32,step=i32,BLOCK=1024"), "load")
    assert (load.width, load.sectors, load.ideal) == (4, 32, 4)
    assert "step is not known to be 1" in load.hints[0]
    assert load.hints[1].startswith("128 of the 1024 bytes that a request moves are wanted")
    (load,) = findings(report("strided", "out=*f32,x=*f32,step=1,BLOCK=1024"), "load")
    assert (load.width, load.sectors, load.ideal, load.hints) == (16, 16, 16, ())


def test_a_tile_with_few_elements_says_so() -> None:
    (load,) = findings(report("strided", "out=*f32,x=*f32,step=1,BLOCK=256"), "load")
    assert load.width == 8 and "the tile has 256 elements for 128 threads" in load.hints[0]


@pytest.mark.parametrize("seed", range(20))
def test_sectors_are_those_of_the_addresses_that_the_lanes_have(seed: int) -> None:
    """Against addresses written out: rows far from each other, each aligned."""
    rng = np.random.default_rng(seed)
    shape = (1 << int(rng.integers(2, 6)), 1 << int(rng.integers(2, 7)))
    size, order = int(rng.choice([2, 4])), ((1, 0), (0, 1))[int(rng.integers(2))]
    vector = min(1 << int(rng.integers(0, 3)), shape[order[0]])
    layout: Layout = row_blocked(shape, 4, vector, order)
    run = [1, 1]
    run[order[0]] = shape[order[0]]
    info = AxisInfo(tuple(run), (64, 64), (1, 1))
    touched, wanted = set(), set()
    for lane in range(32):
        coordinates = layout.at(register=0, lane=lane, warp=0)
        start = coordinates[order[1]] * (1 << 20) + coordinates[order[0]] * size
        touched |= {byte // 32 for byte in range(start, start + vector * size)}
        wanted |= set(range(start, start + vector * size))
    assert request(layout, info, size, vector, once=False) == (len(touched), -(-len(wanted) // 32))


def test_traffic_is_counted_where_it_is_known_how_often() -> None:
    known = report("products", "out=*f32,a=*f16,b=*f16,turns=i32,a_step=i32:16,B=64,TURNS=8,STEP=True")
    assert (known.traffic.read, known.traffic.written) == (8 * 2 * 64 * 64 * 2, 64 * 64 * 4)
    open_ = report("products", "out=*f32,a=*f16,b=*f16,turns=i32,a_step=i32:16,B=64,TURNS=8,STEP=False")
    assert open_.traffic.per_turn == {line_of("for turn in range"): 2 * 64 * 64 * 2}
    assert (open_.traffic.read, open_.traffic.written) == (0, 64 * 64 * 4)


# -- shared memory, loops, resources ----------------------------------------------------------------------------------


def test_a_loop_over_products_is_pipelined_and_reads_without_bank_conflicts() -> None:
    said = report("products", "out=*f32,a=*f16,b=*f16,turns=i32,a_step=i32:16,B=64,TURNS=8,STEP=False,num_stages=3")
    (loop,) = said.loops
    assert (loop.line, loop.turns, loop.stages, loop.reason) == (line_of("for turn in range"), None, 3, "")
    reads = findings(said, "shared_load")
    assert len(reads) == 2 and all(f.conflicts == 1 and f.shared_bytes == 64 * 64 * 2 for f in reads)
    assert sum(f.width == 16 for f in findings(said, "async_copy")) == 2


def test_a_loop_that_is_not_pipelined_says_why() -> None:
    def reason(signature: str) -> str:
        (loop,) = report("products", f"out=*f32,b=*f16,turns=i32,B=64,TURNS=8,STEP=False,{signature}").loops
        assert loop.stages == 0
        return loop.reason

    assert reason("a=*f16,a_step=i32:16,num_stages=1") == "num_stages is 1"
    assert "narrower" in report("products", "out=*f32,a=*f16:1,b=*f16:1,turns=i32,a_step=i32,B=64,TURNS=8,STEP=False"
                                ).loops[0].reason  # fmt: skip


LOOPS = """
import rtriton
import rtriton.language as tl

@rtriton.jit
def walked(x, n, KIND: tl.constexpr):
    at = x + tl.arange(0, 128)
    if KIND == "while":
        i = 0
        while i < n:
            tl.store(at, tl.load(at) + 1.0)
            i += 1
    for i in tl.range(0, n if KIND != "while" else 0, num_stages=3):
        if KIND == "loop":
            for _ in range(n):
                tl.store(at + i * 128, tl.load(at + i * 128) + 1.0)
        elif KIND == "branch":
            value = tl.load(at + i * 128)
            if i != 3:
                tl.store(at + i * 128, value + 1.0)
        else:
            tl.store(at + i * 128, 1.0)
"""


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("while", "a while loop: which turns come is not known ahead"),
        ("loop", "there is a loop inside: only innermost loops without branches are"),
        ("branch", "there is a branch inside: only innermost loops without branches are"),
        ("store", "it loads no tiles"),
    ],
)
def test_the_pass_itself_says_why_it_leaves_a_loop(kind: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "loops.py").write_text(LOOPS)
    found = kernels.kernels_of(kernels.load(tmp_path / "loops.py"))["walked"]
    said = kernels.signature_of(found, f"x=*f32,n=i32,KIND='{kind}'")
    loop, *_ = explain(build(said.source(found.fn), Target.of("sm_90a"), said.options), "").loops
    assert (loop.stages, loop.reason) == (0, why)


def test_a_loop_is_not_pipelined_where_the_pass_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    signature = "out=*f32,a=*f16,b=*f16,turns=i32,a_step=i32:16,B=64,TURNS=8,STEP=False,num_stages=3"
    monkeypatch.setenv("RTRITON_SKIP", "pipeline")
    (loop,) = explain(built.__wrapped__("products", signature), signature).loops
    assert (loop.stages, loop.reason) == (0, "the pass pipeline was left out")


def test_bank_conflicts_are_those_of_the_addresses_that_the_lanes_have() -> None:
    """A conversion through shared memory, its stores and loads looked at lane by lane."""
    from rtriton import layout as L
    from rtriton.layout.exchange import through_shared
    from rtriton.passes.analysis.scratch import layout_of

    made = built("transposed", "out=*f32,x=*f32,stride=i32:16,M=64,N=64")
    (op,) = [op for op in walk(made.kernel.body) if op.kind == "convert_layout" and use_of(op, made.target).bytes]
    use = use_of(op, made.target)
    src, dst = layout_of(op.operands[0]), layout_of(op.result)
    shared = through_shared(src, dst, 4, True)
    for side, told in ((src, use.write), (dst, use.read)):
        vector = 1 << len(L.shared_vector(side, shared, 4))
        lanes = 128 // (vector * 4)
        worst = 1
        for first in range(0, 32, lanes):
            rows: dict[int, set[int]] = {}
            for lane in range(first, first + lanes):
                word = L.xor_of(shared.offsets, side.flat(register=0, lane=lane, warp=0))
                for w in range(word, word + vector):
                    rows.setdefault(w % 32, set()).add(w)
            worst = max(worst, *map(len, rows.values()))
        assert told == worst


def test_barriers_registers_and_instructions_are_those_of_the_machine_code() -> None:
    made = built("rows", "width=i32:16")
    if made.problems:
        pytest.skip(made.problems[0])
    said = explain(made).resources
    sass = next(stage for stage in made.stages if stage.name == "sass").text
    assert said.barriers == sass.count("BAR.SYNC") == 1
    assert said.registers == made.assembled.usage.registers and said.spills == 0
    assert said.instructions == sass.count("/*") - sass.count(" NOP")


def test_without_ptxas_the_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_PTXAS", "/none/ptxas")
    built.cache_clear()
    said = report("rows", "width=i32:16")
    assert said.resources.registers is None and "/none/ptxas" in said.problems[0]
    assert findings(said, "load")[0].width == 16
    built.cache_clear()


def test_layouts_are_described_along_their_axes() -> None:
    assert describe(row_blocked((64, 64), 4, 4, (1, 0))) == (
        "64x64: thread 8x4 in runs of 4 along axis 1, lanes 2x16, warps 4x1")  # fmt: skip
    assert describe(Layout.of((4,), register=[], lane=[(1,), (2,), (0,), (0,), (0,)], warp=[(0,)])) == (
        "4: thread 1, lanes 4, warps 1, copies in lanes and warps")  # fmt: skip


TUTORIALS = {
    "add_kernel": "left=*f32,right=*f32,total=*f32,count=i32,BLOCK=1024",
    "softmax_kernel": "out=*f32,source=*f32,source_step=i32,out_step=i32,height=i32,width=i32,BLOCK=1024,STAGES=2",
    "matmul_kernel": "a=*f16,b=*f16,c=*f16,M=i32,N=i32,K=i32,a_row=i32:16,a_column=1,b_row=i32:16,b_column=1,"
    "c_row=i32,c_column=1,BM=64,BN=64,BK=32,GROUP=8,ACTIVATION='leaky_relu'",
    "dropout_kernel": "source=*f32,out=*f32,count=i32,probability=f32,seed=i32,BLOCK=1024",
    "layer_norm_forward_kernel": "x=*f16,y=*f16,weight=*f16,bias=*f16,means=*f32,rstds=*f32,step=i32:16,width=i32,"
    "eps=f32,BLOCK=1024",
    "layer_norm_backward_kernel": "dx=*f16,dy=*f16,dweight=*f32,dbias=*f32,x=*f16,weight=*f16,means=*f32,rstds=*f32,"
    "locks=*i32,step=i32:16,width=i32,GROUPS=64,BLOCK=1024",
    "layer_norm_weights_kernel": "dweight=*f32,dbias=*f32,total_weight=*f32,total_bias=*f32,height=i32,width=i32,"
    "BM=32,BN=128",
    "attention_kernel": "queries=*f16,keys=*f16,values=*f16,out=*f16,scale=f32,length=i32,head_step=i32:16,"
    "row_step=i32:16,CAUSAL=True,BM=64,BN=64,D=64",
}


@pytest.mark.parametrize("target", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("name", TUTORIALS)
def test_every_tutorial_kernel_is_explained(name: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_PTXAS", "/none/ptxas")     # what is not looked at here takes the most time
    file = HERE.parent / "kernels" / "tutorials.py"
    found = kernels.kernels_of(kernels.load(file))[name]
    said = kernels.signature_of(found, TUTORIALS[name])
    made = build(said.source(found.fn), Target.of(target), said.options)
    told = explain(made, TUTORIALS[name])
    memory = [f for line in told.lines for f in line.findings if f.width]
    ptx = next(stage for stage in made.stages if stage.name == "ptx").text
    accesses = len(re.findall(r"^\s+(?:@\S+ )?(?:ld|st|atom|red|cp\.async\.c[ag])\.\S*global", ptx, re.MULTILINE))
    counted = sum(f.instructions * f.copies for f in memory)
    pipelined = any(loop.stages for loop in told.loops)     # the copies before a loop are not counted beside its own
    assert 0 < counted < accesses if pipelined else counted == accesses
    assert all(f.width in (1, 2, 4, 8, 16) and 0 < f.ideal <= f.sectors <= 32 for f in memory)
    assert len(told.loops) == sum(op.kind in ("for", "while") for op in walk(made.kernel.body))


# -- places ----------------------------------------------------------------------------------------------------------


def test_every_line_of_every_stage_knows_its_places() -> None:
    made = built("rows", "")
    here, call, inner = str(FILE), line_of("value = halved("), line_of("return x * 0.5")
    for name, text in (("frontend", " = mul "), ("barriers", " = mul "), ("ptx", "mul.f32"), ("sass", "FMUL")):
        stage = next((stage for stage in made.stages if stage.name == name), None)
        if stage is None:
            pytest.skip(f"no {name}: {made.problems}")
        places = {p for line, p in stage.lines if text in line}
        assert ((here, inner), (here, call)) in places, name


# -- signatures ------------------------------------------------------------------------------------------------------


def test_a_signature_is_read_as_it_is_printed() -> None:
    found = kernels.kernels_of(kernels.load(FILE))["products"]
    text = "out=*fp32,a=*fp16:1,b=*kfp16,turns=i64,a_step=i32:16,B=64,TURNS=8,STEP=True"
    assert kernels.signature_of(found, text).text(found.fn) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("out=*f32", "say what x, width, BLOCK are"),
        ("out", "wanted NAME=TYPE or NAME=VALUE, got 'out'"),
        ("y=*f32", "rows has no argument 'y'; it has out, x, width, BLOCK"),
        ("width=i33", "width=i33 is neither a type, a literal nor a name"),
        ("width=i32:a", "width is divisible by a number, got 'a'"),
    ],
)
def test_what_is_wrong_with_a_signature_is_said(text: str, message: str) -> None:
    found = kernels.kernels_of(kernels.load(FILE))["rows"]
    bare = kernels.Found(found.name, found.fn, found.line)
    with pytest.raises(kernels.ExplainError, match=message):
        kernels.signature_of(bare, text)


def test_kernels_are_told_from_functions_that_they_call() -> None:
    found = kernels.kernels_of(kernels.load(FILE))
    assert [name for name, one in found.items() if not one.called] == ["rows", "transposed", "strided", "products"]
    assert found["halved"].called
    with pytest.raises(kernels.ExplainError, match=r"several kernels: say which; there are kernels.py::halved"):
        kernels.choose(found, "", FILE)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def command():
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from server.cli import app

    return lambda *arguments: CliRunner().invoke(app, ["explain", *arguments])


def test_the_command_prints_text_and_data(command) -> None:
    text = command(f"{FILE}::rows", "--grid", "1000")
    assert text.exit_code == 0, text.output
    assert "loads 1024xf32, 4 KiB by 8 x 4 bytes a thread" in text.output
    assert "! this load is 4 bytes wide" in text.output
    assert "1,000 programs read 3.906 MiB" in text.output and "\x1b" not in text.output
    data = json.loads(command(f"{FILE}::rows", "--json").output)
    assert data["kernel"] == "rows" and data["origin"] == "SIGNATURES"
    said = json.loads(json.dumps(asdict(report("rows"))))
    assert data["lines"] == said["lines"] and data["traffic"] == said["traffic"]


def test_the_launches_of_a_script_say_the_arguments(command, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nimport numpy as np\nimport triton\nimport triton.language as tl\n"
                      "@triton.jit\ndef double(x, n, BLOCK: tl.constexpr):\n    at = tl.arange(0, BLOCK)\n"
                      "    tl.store(x + at, 2 * tl.load(x + at, mask=at < n), mask=at < n)\n"
                      "if __name__ == '__main__':\n    n = int(sys.argv[1])\n"
                      "    double[1,](np.zeros(n, np.float32), n, BLOCK=512, num_warps=2)\n")  # fmt: skip
    refused = command(str(script))
    assert refused.exit_code == 1 and "say what x, n, BLOCK are" in refused.output
    said = json.loads(command(str(script), "--run", "--json", "--", "48").output)
    assert said["signature"] == "x=*fp32,n=i32:16,BLOCK=512" and said["options"]["num_warps"] == 2
    assert said["lines"][1]["findings"][0]["width"] == 16


def test_a_launch_with_a_tuple_and_none_is_explained_as_it_was_compiled(command, tmp_path: Path) -> None:
    script = tmp_path / "tuples.py"
    script.write_text("import numpy as np\nimport rtriton\nimport rtriton.language as tl\n@rtriton.jit\n"
                      "def kernel(x, pair, bias):\n    if bias is None:\n"
                      "        tl.store(x + tl.arange(0, 512), pair[0] * 1.0 + pair[1])\n"
                      "kernel[1,](np.zeros(512, np.float32), (2, 2.5), None)\n")  # fmt: skip
    said = json.loads(command(str(script), "--run", "--json").output)
    assert said["origin"] == "its last launch" and said["lines"][-1]["findings"][0]["width"] == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.py"], "there is no file"),
        ([f"{FILE}::nothing"], "has no kernel 'nothing'; there are kernels.py::halved"),
        ([f"{FILE}::rows", "--target", "sm_70"], "there is no target 'sm_70'"),
        ([f"{FILE}::rows", "--sig", "x=i32"], "tl.load needs a pointer"),
    ],
)
def test_what_cannot_be_explained_is_an_error(command, arguments: list[str], message: str) -> None:
    said = command(*arguments)
    assert said.exit_code == 1 and message in said.output


def test_a_file_that_does_not_run_is_named_with_its_line(command, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nx.y\n")
    said = command(str(tmp_path / "broken.py"))
    assert said.exit_code == 1 and "broken.py:2: AttributeError" in said.output
