"""Makes a page, in a process of its own: `python -m rtriton.explore.worker '{"file": "softmax.py", ...}'` prints JSON.

    request   file, kernel ("": the first), sig, target, run (arguments of the script, null: it is not run)
    answer    kernels: name, line, the signature it would get or what is missing;  chosen;
              page, or error: message and place
"""
from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtriton.errors import KernelError, RtritonError
from rtriton.explain import kernels, launches
from rtriton.explain.build import build
from rtriton.explain.kernels import ExplainError, Found, Signature
from rtriton.explain.report import explain
from rtriton.explore.page import page
from rtriton.target import TARGETS, Target


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the page asks for; errors of the user's code are part of the answer."""
    file = Path(request["file"])
    shown: dict[str, Any] = {"kernels": [], "targets": list(TARGETS), "chosen": None, "page": None, "error": None}
    try:
        with launches.listening() as launched:
            module = kernels.load(file)
            if request["run"] is not None:
                launches.run(file, request["run"])
        found = kernels.kernels_of(module)
        shown["kernels"] = [_listed(kernel, launched) for kernel in found.values()]
        chosen = found.get(request["kernel"]) or next((k for k in found.values() if not k.called), None)
        if chosen is None:
            raise ExplainError(f"{file} defines no kernel: no function with @jit")
        shown["chosen"] = chosen.name
        signature = kernels.signature_of(chosen, request["sig"], launched.get(chosen.fn.__name__))
        built = build(signature.source(chosen.fn), Target.of(request["target"]), signature.options)
        shown["page"] = page(built, explain(built, signature.text(chosen.fn), signature.origin))
    except (Exception, SystemExit) as error:  # noqa: BLE001  a user's file may raise anything, and the page says what
        shown["error"] = _error(error)
    return shown


def _listed(kernel: Found, launched: Mapping[str, Signature]) -> dict[str, Any]:
    try:
        signature, problem = kernels.signature_of(kernel, "", launched.get(kernel.fn.__name__)).text(kernel.fn), ""
    except RtritonError as missing:
        signature, problem = "", str(missing)
    return {"name": kernel.name, "line": kernel.line, "called": kernel.called, "signature": signature,
            "problem": problem, "arguments": kernel.fn.arg_names}  # fmt: skip


def _error(error: BaseException) -> dict[str, Any]:
    """The message, and the place in the user's file that it is about, if any."""
    if isinstance(error, KernelError) and error.span.file:
        return {"message": str(error), "file": error.span.file, "line": error.span.line}
    if isinstance(error, SyntaxError):
        return {"message": f"{error.msg}: {error.text or ''}".strip(), "file": error.filename, "line": error.lineno}
    if isinstance(error, (RtritonError, ValueError)):
        return {"message": str(error), "file": None, "line": None}
    last = traceback.extract_tb(error.__traceback__)[-1]
    return {"message": f"{type(error).__name__}: {error}", "file": last.filename, "line": last.lineno}


def main() -> None:
    # what the user's file prints, from Python or below it, must not stand in the answer
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        json.dump(answer(json.loads(sys.argv[1])), out)


if __name__ == "__main__":
    main()
