"""Makes docs/rtriton-opt.md: `rtriton-opt` on a real kernel, with what each pass changes. And what docs/passes.md shows
of the passes for GPUs: the diffs of its examples, and the table of what becomes of the tutorial kernels.

    python -m tests.passes.make_page        # writes docs/column-sums.tir, docs/rtriton-opt.md, parts of docs/passes.md

The kernel adds up two buffers column by column (the last kernel of layer norm's backward pass).
"""

from __future__ import annotations

import inspect
import io
import re
import tempfile
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from rtriton.backend.ptx.emit import emit
from rtriton.backend.ptx.module import Inst
from rtriton.differences import hunks, shown
from rtriton.explain.access import global_bytes
from rtriton.ir import walk
from rtriton.opt import find_target, main
from rtriton.passes import GPU, PIPELINES, TILE, run_pipeline
from rtriton.passes.analysis.scratch import scratch_bytes
from rtriton.target import Target
from rtriton.text import Names, named, parse, show
from rtriton.types import element_of
from tests.kernels import examples, tutorials

DOCS = Path(__file__).parents[2] / "docs"
KERNEL = DOCS / "column-sums.tir"
PAGE = DOCS / "rtriton-opt.md"
PASSES_PAGE = DOCS / "passes.md"
DIFFS = re.compile(r"^```tir-diff (\S+) (\S+)\n(.*?)^// ----\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MADE = "<!-- made by tests/passes/make_page.py -->\n"


def named_kernel() -> str:
    """The kernel's tile IR as the front end makes it."""
    return show(named(examples.layer_norm_backward_weights().kernel), spans=False)


def ran(*arguments: str) -> str:
    """What `rtriton-opt` prints."""
    said = io.StringIO()
    with redirect_stdout(said):
        status = main(list(arguments))
    assert status in (0, None), said.getvalue()
    return said.getvalue().rstrip()


def page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.tir"
        file.write_text(named_kernel())
        changes = ran(str(file), "--pipeline", "tile", "--print-each", "--diff")
        after = ran(str(file), "--pipeline", "tile")
    parts = [
        "# rtriton-opt on a real kernel",
        "`rtriton-opt` reads tile IR, runs passes and prints what they made. Below it runs the pipeline that every "
        "backend begins with, on the kernel that adds up layer norm's weight gradients column by column. A test makes "
        "this page anew and compares; [Passes](passes.md) says what each pass is for.",
        "With `--print-each` it prints the kernel after every pass, whole, `+` and `-` marking the lines that changed "
        "(green and red on a terminal; `--color always` in a pipe); with `--diff` only those lines, as below. Values "
        "keep their names from pass to pass, so that a diff shows what a pass did and not that numbers moved. "
        "`--pipeline gpu --target sm_90a` goes on through layouts, shared memory and barriers, `--list` names every "
        "pass; [`rtriton explore`](explain.md#rtriton-explore) shows the same in a browser, beside machine code.",
        "The source:",
        "```text\n" + inspect.getsource(tutorials.layer_norm_weights_kernel.fn).rstrip() + "\n```",
        "What the front end makes of it (`RTRITON_DUMP=dir` writes it as `00-frontend.tir`; this one is "
        "[column-sums.tir](column-sums.tir), with names in the place of numbers):",
        "```text\n" + named_kernel().rstrip() + "\n```",
        "Pass by pass, `rtriton-opt docs/column-sums.tir --pipeline tile --print-each --diff`:",
    ]
    sections = re.split(r"^// (\w+):(?: nothing to do)?$", changes, flags=re.MULTILINE)[1:]
    for step, name, diff in zip(PIPELINES["tile"], sections[::2], sections[1::2], strict=True):
        assert step.name == name
        parts.append(f"## {name}\n\n{step.reason[0].upper()}{step.reason[1:]}.")
        parts.append(f"```diff\n{diff.strip(chr(10))}\n```" if diff.strip() else "Nothing is left to do here.")
    parts += ["## In the end", "```text\n" + after + "\n```",
              "`rtriton-opt docs/column-sums.tir --pipeline tile --check` says that it still means the same, and "
              "`--target sm_90a --emulate` that its PTX does."]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def diff_of(passes: str, target: str, before: str) -> str:
    """What the last of these passes changes in a kernel that the others were run on."""
    *earlier, last = passes.split(",")
    gpu, names = find_target(target), Names()
    start = run_pipeline(named(parse(before)), gpu, earlier)
    old = show(start, False, names)
    return shown(hunks(old, show(run_pipeline(start, gpu, [last]), False, names)), colour=False) + "\n"


def passes_page() -> str:
    """docs/passes.md with its diffs and its table made anew."""
    page = PASSES_PAGE.read_text()
    page = DIFFS.sub(lambda m: f"```tir-diff {m[1]} {m[2]}\n{m[3]}// ----\n{diff_of(m[1], m[2], m[3])}```", page)
    return page[: page.index(MADE)] + MADE + "\n" + gpu_table()


def gpu_table() -> str:
    """Each tutorial kernel after the GPU passes: which of them changed it, and what it came to."""
    passes = [step.name for step in GPU[len(TILE) :] if step.name != "dce"]
    rows = [["kernel", *passes, "widest access", "conversions through shared memory", "shared memory", "barriers"]]
    for make in examples.EXAMPLES:
        example = make()
        whole = {i: 16 for i, p in enumerate(example.kernel.params) if element_of(p.type).kind in "ip"}
        kernel = replace(example.kernel, attrs={**example.kernel.attrs, "divisible": whole})
        start, target = run_pipeline(kernel, None, "tile"), Target.of("sm_90a")
        said: list[tuple[str, bool]] = []
        last = run_pipeline(start, target, GPU[len(TILE) :], lambda n, a, b, to=said: to.append((n, a is not b)))
        changed = {name for name, did in said if did}
        module = emit(last, target)
        insts = [item for item in module.body if isinstance(item, Inst)]
        converted = [op for op in walk(last.body) if op.kind == "convert_layout" and scratch_bytes(op)]
        rows.append([example.name, *("yes" if name in changed else "" for name in passes),
                     f"{max(map(global_bytes, insts))} bytes", str(len(converted)), f"{module.shared_bytes} bytes",
                     str(sum(inst.opcode.startswith("bar.sync") for inst in insts))])  # fmt: skip
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body]) + "\n"


if __name__ == "__main__":
    KERNEL.write_text(named_kernel())
    PAGE.write_text(page())
    PASSES_PAGE.write_text(passes_page())
