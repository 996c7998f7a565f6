"""rtriton-opt: run passes on a kernel in text form and look at what each does.

    rtriton-opt add.tir -p canonicalize,cse --print-each
    rtriton-opt add.tir --pipeline tile --check
    rtriton-opt add.tir --pipeline tile --target sm_90a --emulate

Reads standard input for "-". --check runs the kernel before and after on random arguments with the interpreter;
--emulate runs what comes out as PTX in the emulator and compares that. Exit status 1 and one message on any error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rtriton.differences import hunks, marked, shown
from rtriton.errors import RtritonError
from rtriton.ir import Kernel
from rtriton.passes import PASSES, PIPELINES, Step, run_pipeline
from rtriton.text import Names, named, parse, show
from rtriton.verify import verify


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.list:
            print(listing())
        else:
            _run(options)
    except (RtritonError, OSError, ValueError) as error:
        print(f"rtriton-opt: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("rtriton-opt", description="Run passes on a kernel in tile IR.")
    parser.add_argument("file", nargs="?", default="-", help="a .tir file; - reads standard input")
    parser.add_argument("-p", "--passes", default="", help="passes to run, separated by commas")
    parser.add_argument("--pipeline", choices=sorted(PIPELINES), help="run a whole pipeline instead")
    parser.add_argument(
        "--target", default="", help="sm_80, sm_89, sm_90, sm_90a, or a CPU: host, x86-64, avx2, avx512, arm64"
    )
    parser.add_argument(
        "--print-each", action="store_true", help="print the kernel after each pass, marking the lines that changed"
    )
    parser.add_argument("--diff", action="store_true", help="with --print-each: print only the lines that changed")
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="colour what changed; auto: on a terminal"
    )
    parser.add_argument("--spans", action="store_true", help="print source places")
    parser.add_argument("--verify", action="store_true", help="verify after each pass")
    parser.add_argument(
        "--check", action="store_true", help="compare the meaning before and after, on random arguments"
    )
    parser.add_argument(
        "--emulate", action="store_true", help="compare with PTX in the emulator (needs --target sm_..)"
    )
    parser.add_argument("--grid", default="3", help="the grid of --check and --emulate: 3 or 3,2,1")
    parser.add_argument("--list", action="store_true", help="list passes and pipelines and stop")
    return parser


def _run(options: argparse.Namespace) -> None:
    kernel = parse(sys.stdin.read() if options.file == "-" else Path(options.file).read_text())
    verify(kernel, "any")
    target = find_target(options.target)
    steps: Any = options.pipeline or [name.strip() for name in options.passes.split(",") if name.strip()]
    printer = None
    if options.print_each:
        kernel = named(kernel)
        colour = options.color == "always" or (options.color == "auto" and sys.stdout.isatty())
        printer = _Printer(kernel, options.spans, options.diff, colour)
    after = run_pipeline(kernel, target, steps, printer, verify_each=options.verify or None)
    if printer is None or not steps:
        print(show(after, options.spans), end="")
    grid = tuple(int(n) for n in options.grid.split(","))
    if options.check:
        from rtriton.interpret.compare import check_same

        check_same(kernel, after, grid)
        print("// the interpreter gives the same before and after")
    if options.emulate:
        _emulate(kernel, after, target, grid)


class _Printer:
    """Prints the kernel after each pass that changed it, with marks on the lines that did."""

    def __init__(self, kernel: Kernel, spans: bool, diff: bool, colour: bool) -> None:
        self.spans, self.diff, self.colour = spans, diff, colour
        self.names = Names()
        self.text = show(kernel, spans, self.names)

    def __call__(self, name: str, before: Kernel, after: Kernel) -> None:
        if after is before:
            print(f"// {name}: nothing to do")
            return
        print(f"// {name}:")
        old, self.text = self.text, show(after, self.spans, self.names)
        print(shown((hunks if self.diff else marked)(old, self.text), self.colour))


def find_target(name: str) -> Any:
    """The target that a name means; None for no name."""
    if not name:
        return None
    if name.startswith("sm_"):
        from rtriton.target import Target

        return Target.of(name)
    from rtriton.backend.cpu.target import named

    return named(name)


def _emulate(kernel: Kernel, after: Kernel, target: Any, grid: tuple[int, ...]) -> None:
    from rtriton.backend.ptx.emit import lower_to_ptx
    from rtriton.backend.ptx.emulate import emulate
    from rtriton.interpret.compare import check_same
    from rtriton.target import Target

    if not isinstance(target, Target):
        raise RtritonError("--emulate needs a GPU: --target sm_80, sm_89, sm_90 or sm_90a")
    module = lower_to_ptx(after, target)
    ptx, shared = str(module), module.shared_bytes
    check_same(kernel, after, grid, run=lambda k, g, args: emulate(ptx, k.name, (*g, 1, 1)[:3], args, shared=shared))
    print(f"// the emulator, running PTX for {target.name}, gives what the interpreter gives")


def listing() -> str:
    """Every pass with the first line of its documentation, every pipeline with its reasons."""
    lines = ["passes:"]
    for name in PASSES:
        lines.append(f"  {name:14} {(PASSES[name].__doc__ or '').strip().splitlines()[0]}")
    for name, steps in PIPELINES.items():
        lines.append(f"pipeline {name}:")
        lines += [f"  {step.name:14} {step.reason}" for step in _known(steps)]
    return "\n".join(lines)


def _known(steps: tuple[Step, ...]) -> list[Step]:
    return [step for step in steps if step.name in PASSES]


if __name__ == "__main__":
    sys.exit(main())
