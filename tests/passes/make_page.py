"""Makes docs/rtriton-opt.md: `rtriton-opt` on a real kernel, with what each pass changes.

    python -m tests.passes.make_page        # writes docs/column-sums.tir and docs/rtriton-opt.md

The kernel adds up two buffers column by column (the last kernel of layer norm's backward pass). Its values are given
names first, so that a diff shows what a pass did and not that numbers moved.
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
from rtriton.text import show
from tests.kernels import examples, tutorials

DOCS = Path(__file__).parents[2] / "docs"
KERNEL = DOCS / "column-sums.tir"
PAGE = DOCS / "rtriton-opt.md"


def named_kernel() -> str:
    """The kernel's tile IR as the front end makes it, numbered values renamed %12 -> %v12."""
    text = show(examples.layer_norm_backward_weights().kernel, spans=False)
    return re.sub(r"%(\d+)\b", r"%v\1", text)


def ran(*arguments: str) -> str:
    """What `rtriton-opt` prints."""
    said = io.StringIO()
    with redirect_stdout(said):
        status = main(list(arguments))
    assert status in (0, None), said.getvalue()
    return said.getvalue().rstrip()


def page() -> str:
    parts = [
        "# rtriton-opt on a real kernel",
        "`rtriton-opt` reads tile IR, runs passes and prints what they made. Below it runs the pipeline that every "
        "backend begins with, on the kernel that adds up layer norm's weight gradients column by column. A test makes "
        "this page anew and compares; [Passes](passes.md) says what each pass is for.",
        "The source:",
        "```text\n" + inspect.getsource(tutorials.layer_norm_weights_kernel.fn).rstrip() + "\n```",
        "What the front end makes of it (`RTRITON_DUMP=dir` writes it as `00-frontend.tir`; this one is "
        "[column-sums.tir](column-sums.tir)):",
        "```text\n" + named_kernel().rstrip() + "\n```",
        "Pass by pass, `rtriton-opt FILE -p NAME --print-each --diff`, each on what the one before made:",
    ]
    before = named_kernel()
    for step in PIPELINES["tile"]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "before.tir"
            file.write_text(before)
            changes = ran(str(file), "-p", step.name, "--print-each", "--diff")
            before = re.sub(r"%(\d+)\b", r"%n\1", only_kernel(ran(str(file), "-p", step.name)))
        parts.append(f"## {step.name}\n\n{step.reason[0].upper()}{step.reason[1:]}.")
        body = "\n".join(line for line in changes.splitlines() if line.startswith(("+", "-", " ", "@@")))
        diff = body.split("\nkernel @")[0]
        changed = re.search(r"^[+-]", diff, re.MULTILINE) is not None
        parts.append(f"```diff\n{diff}\n```" if changed else "Nothing is left to do here.")
    parts += ["## In the end", "```text\n" + before.rstrip() + "\n```",
              "`rtriton-opt docs/column-sums.tir --pipeline tile --check` says that it still means the same, and "
              "`--target sm_90a --emulate` that its PTX does."]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def only_kernel(text: str) -> str:
    return text[text.index("kernel @") :]


if __name__ == "__main__":
    KERNEL.write_text(named_kernel())
    PAGE.write_text(page())
