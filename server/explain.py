"""The command `rtriton explain`: server/cli.py mounts it. The compiler is imported when it is called."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

Kernel = Annotated[str, typer.Argument(help="FILE.py::KERNEL; the name may be left out where a file has one kernel.")]
Sig = Annotated[str, typer.Option(help='"x=*f32,n=i32:16,BLOCK=1024,num_warps=8"; :16 says divisible by 16.')]
TargetName = Annotated[str, typer.Option(help="sm_80, sm_89, sm_90 or sm_90a.")]
Run = Annotated[bool, typer.Option("--run", help="Run the file as a script: its launches say the arguments.")]
Grid = Annotated[int, typer.Option(min=0, help="Programs, for the bytes that all of them move.")]
Json = Annotated[bool, typer.Option("--json", help="Print data instead of text.")]
Rest = Annotated[list[str] | None, typer.Argument(help="With --run: arguments of the script.")]


def explain(
    kernel: Kernel,
    arguments: Rest = None,
    sig: Sig = "",
    target: TargetName = "sm_90a",
    run: Run = False,
    grid: Grid = 0,
    as_json: Json = False,
) -> None:
    """Say what a kernel costs, line by line, and why."""
    from rtriton.errors import RtritonError
    from rtriton.explain import kernels, launches, show
    from rtriton.explain.build import build
    from rtriton.explain.report import explain as explained
    from rtriton.target import Target

    file, _, name = kernel.partition("::")
    path = Path(file)
    try:
        gpu = Target.of(target)
        with launches.listening() as launched:
            module = kernels.load(path)
            if run:
                launches.run(path, arguments or ())
        found = kernels.choose(kernels.kernels_of(module), name, path)
        signature = kernels.signature_of(found, sig, launched.get(found.fn.__name__))
        built = build(signature.source(found.fn), gpu, signature.options)
        report = explained(built, signature.text(found.fn), signature.origin)
    except (RtritonError, ValueError, OSError) as error:
        raise refused("explain", error) from None
    except Exception as error:  # noqa: BLE001  the file's own code may raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise refused("explain", f"{last.filename}:{last.lineno}: {type(error).__name__}: {error}") from None
    if as_json:
        print(json.dumps({**asdict(report), "grid": grid}, indent=1))
    else:
        show.print_report(report, grid)


def refused(command: str, why: object) -> typer.Exit:
    """One sentence, and the end."""
    print(f"rtriton {command}: {why}", file=sys.stderr)
    return typer.Exit(1)
