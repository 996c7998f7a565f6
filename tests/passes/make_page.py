"""Makes docs/rtriton-opt.md: `rtriton-opt` on a real kernel, with what each pass changes.

    python -m tests.passes.make_page        # writes docs/column-sums.tir and docs/rtriton-opt.md

The kernel adds up two buffers column by column (the last kernel of layer norm's backward pass).
"""

from __future__ import annotations

import inspect
import io
import re
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from rtriton.opt import main
from rtriton.passes import PIPELINES
from rtriton.text import named, show
from tests.kernels import examples, tutorials

DOCS = Path(__file__).parents[2] / "docs"
KERNEL = DOCS / "column-sums.tir"
PAGE = DOCS / "rtriton-opt.md"


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
        "pass.",
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


if __name__ == "__main__":
    KERNEL.write_text(named_kernel())
    PAGE.write_text(page())
