"""Passes: which there are, in which order they run, and what happens when one breaks the IR.

A pass is a function `kernel, target -> kernel` in the file of its name, marked `@register`; it returns the kernel it
got when there was nothing to do. A pass's file is imported when the pass is first asked for, so that importing
rtriton stays light.

    from rtriton.passes import PIPELINES, run_pipeline
    optimised = run_pipeline(kernel, target, "tile")

RTRITON_SKIP=licm leaves passes out (for one whose work is needed, something plain takes its place); RTRITON_VERIFY=1
verifies after each pass, not only at the end.
"""

from __future__ import annotations

import pkgutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rtriton import knobs
from rtriton.errors import KernelError, RtritonError
from rtriton.ir import Kernel
from rtriton.verify import verify

Pass = Callable[[Kernel, Any], Kernel]
Hook = Callable[[str, Kernel, Kernel], None]

_registered: dict[str, Pass] = {}
_plain: dict[str, Pass] = {}


class _Passes(Mapping[str, Pass]):
    """Name -> pass, each file imported when its pass is first looked up."""

    def __getitem__(self, name: str) -> Pass:
        if name not in _registered and name in _files():
            import_module(f"{__name__}.{name}")
        return _registered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_files())

    def __len__(self) -> int:
        return len(_files())


PASSES: Mapping[str, Pass] = _Passes()


def _files() -> list[str]:
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg and not m.name.startswith("_"))


def register(function: Pass) -> Pass:
    """Mark the pass of a file; both bear one name."""
    _registered[function.__name__] = function
    return function


def instead_of(name: str) -> Callable[[Pass], Pass]:
    """Mark the plainest pass that does what is needed of `name`, in the file of that: it runs when `name` is skipped,
    so that passes whose work cannot be left out are measured too."""

    def mark(function: Pass) -> Pass:
        _plain[name] = function
        return function

    return mark


class PassError(RtritonError):
    """A pass made IR that breaks a rule: a fault of rtriton, not of the kernel."""


@dataclass(frozen=True)
class Step:
    """One entry of a pipeline: the pass, why it stands there, and the stage of verify.py that holds after it."""

    name: str
    reason: str
    stage: str = "tile"


TILE = (
    Step("unroll", "first: the copies of a turn are then simplified and shared like all other code"),
    Step("canonicalize", "early: shorter code with one spelling per meaning lets the others see equal things as equal"),
    Step("cse", "after canonicalize, which brings equal expressions to one spelling"),
    Step("licm", "after cse, so that one copy moves instead of several"),
    Step("bounds", "after licm and before combine and canonicalize, which make use of masks that always hold"),
    Step("dce", "before combine, which looks at how often a value is used"),
    Step("combine", "after licm: an invariant product must leave the loop before it is fused into an fma"),
    Step("canonicalize", "again: what was hoisted or combined may now fold"),
    Step("cse", "again: hoisted copies of sibling loops meet in one block"),
    Step("dce", "last: what the others left without users goes"),
)
GPU = (
    *TILE,
    Step("mma", "before layouts enter: which dots go to the tensor cores decides the layouts of their neighbours"),
    Step("coalesce", "layouts enter here, from the order in which memory is touched", "layout"),
    Step("accumulate", "after coalesce: layouts say what of a reduction each thread can do alone", "layout"),
    Step("layouts", "after every op has its layout: moves and deletes the conversions between them", "layout"),
    Step("reorder", "after layouts: which conversions are left, and so what threads wait for, is known", "layout"),
    Step("pipeline", "after layouts: conversions that are left say which loads go through shared memory", "layout"),
    Step("dce", "before allocate: what conversions and copies made useless needs no shared memory", "layout"),
    Step("allocate", "after layouts: only conversions that are left need shared memory", "gpu"),
    Step("barriers", "after allocate: an offset is needed to know which accesses overlap", "gpu"),
)
CPU = (
    *TILE,
    Step("fuse", "after dce: what becomes one loop must be what is really used"),
    Step("vectorize", "after fuse: a loop's axis for the lanes is chosen for all its ops at once"),
)
PIPELINES: dict[str, tuple[Step, ...]] = {"tile": TILE, "gpu": GPU, "cpu": CPU}


def run_pipeline(
    kernel: Kernel,
    target: Any,
    pipeline: str | Sequence[Step | str],
    each: Hook | None = None,
    verify_each: bool | None = None,
) -> Kernel:
    """The kernel after the passes of a pipeline (a name in PIPELINES, or steps or pass names in order).

    `each(name, before, after)` is called after every pass. Skipped passes are those that RTRITON_SKIP names.
    """
    steps = list(_steps(pipeline))
    verify_each = knobs.verify_each_pass() if verify_each is None else verify_each
    now = _run(kernel, target, steps, each, verify_each)
    if not verify_each and steps and now is not kernel:
        _verify_end(kernel, now, target, steps)
    return now


def _steps(pipeline: str | Sequence[Step | str]) -> Iterable[tuple[Step, Pass]]:
    """The steps that are not skipped, with what each runs."""
    if isinstance(pipeline, str):
        if pipeline not in PIPELINES:
            raise RtritonError(f"there is no pipeline {pipeline!r}; there are {', '.join(PIPELINES)}")
        pipeline = PIPELINES[pipeline]
    skipped = knobs.skipped_passes()
    for entry in pipeline:
        step = entry if isinstance(entry, Step) else Step(entry, "asked for", _stage(entry))
        if step.name not in PASSES:
            raise RtritonError(f"there is no pass {step.name!r}; there are {', '.join(PASSES)}")
        function = PASSES[step.name]            # its file says whether something stands in for it
        if step.name in skipped:
            function = _plain.get(step.name)
        if function is not None:
            yield step, function


def _stage(name: str) -> str:
    """The stage after a pass that was asked for by name alone: `any` for those that run at several."""
    stages = {s.stage for steps in PIPELINES.values() for s in steps if s.name == name}
    return stages.pop() if len(stages) == 1 and stages != {"tile"} else "any"


def _run(
    kernel: Kernel, target: Any, steps: Sequence[tuple[Step, Pass]], each: Hook | None, verify_each: bool
) -> Kernel:
    now = kernel
    for step, function in steps:
        before = now
        try:
            now = function(before, target)
        except RtritonError:
            raise
        except Exception as error:
            error.add_note(_how_to_reproduce(step.name, before, target))
            raise
        if verify_each and now is not before:
            _verify(step, before, now, target)
        if each is not None:
            each(step.name, before, now)
    return now


def _verify(step: Step, before: Kernel, after: Kernel, target: Any) -> None:
    try:
        verify(after, step.stage)
    except KernelError as error:
        raise PassError(
            f"pass {step.name} broke kernel {before.name}: {error}\n{_how_to_reproduce(step.name, before, target)}"
        ) from error


def _verify_end(kernel: Kernel, now: Kernel, target: Any, steps: Sequence[tuple[Step, Pass]]) -> None:
    """Verify once; if that fails run again with verification after each pass, which names the one at fault."""
    try:
        verify(now, steps[-1][0].stage)
    except KernelError:
        _run(kernel, target, steps, None, True)
        raise


def _how_to_reproduce(name: str, before: Kernel, target: Any) -> str:
    """Write the exact input of a pass to a file; the command that runs the pass on it."""
    from rtriton.text import show

    # its name can be guessed: in a folder of all somebody else may have laid a link there
    folder = knobs.dump_dir() or Path(tempfile.mkdtemp(prefix="rtriton-"))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{before.name}-before-{name}.tir"
    path.write_text(show(before))
    where = f" --target {target.name}" if target is not None else ""
    return f"its input is in {path}; reproduce with: rtriton-opt {path} -p {name}{where} --verify"
