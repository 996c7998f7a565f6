"""What launches say of their kernels' arguments: a script runs, and compilations are listened to.

    with listening() as launched:
        run(Path("softmax.py"), ["--size", "4096"])
    launched["softmax"]          # the signature of the last specialisation that a launch compiled
"""
from __future__ import annotations

import runpy
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rtriton import knobs
from rtriton.ahead import ASTSource
from rtriton.explain.kernels import Signature, is_for_triton
from rtriton.options import DEFAULTS

SAID_ELSEWHERE = ("arch", "ir_override", "debug", "ptx_options")
"""Options that say nothing of how a kernel is made for the target that is asked about."""


@contextmanager
def listening() -> Generator[dict[str, Signature]]:
    """The signatures of what is compiled inside, by kernel."""
    found: dict[str, Signature] = {}
    before = knobs.compilation.listener

    def listen(*, src: Any, metadata: Mapping[str, Any], **rest: Any) -> None:
        if isinstance(src, ASTSource):
            found[src.fn.__name__] = _signature(src, metadata)
        if before is not None:
            before(src=src, metadata=metadata, **rest)

    knobs.compilation.listener = listen
    try:
        yield found
    finally:
        knobs.compilation.listener = before


def run(script: Path, arguments: Sequence[str] = ()) -> None:
    """Run a script as `python` does, `import triton` giving rtriton."""
    if is_for_triton(script):
        from rtriton import compat

        compat.install()
    argv, path = sys.argv, sys.path
    sys.argv, sys.path = [str(script), *arguments], [str(script.resolve().parent), *sys.path]
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv, sys.path = argv, path


def _signature(src: ASTSource, metadata: Mapping[str, Any]) -> Signature:
    names = src.fn.arg_names
    types = {n: t for n, t in src.signature.items() if t != "constexpr"}
    known: dict[tuple[int, ...], Any] = src.constants
    constants = {names[path[0]]: value for path, value in known.items() if len(path) == 1}
    divisible = frozenset(names[path[0]] for path in src.attrs if len(path) == 1)
    options = {n: metadata[n] for n in DEFAULTS if n not in SAID_ELSEWHERE and metadata.get(n) != DEFAULTS[n]}
    return Signature(types, constants, divisible, options, "its last launch", src)
