"""`kernel.compile_for(...)`: a kernel with its arguments, for launches that differ in little but the grid.

    step = add.compile_for(x, y, out, n, BLOCK=64)      # compiled and loaded; nothing is launched
    step[(16,)]()                                       # costs the driver's call, and packing nothing
    step[(16,)](n=900, x=other)                         # other values for this launch, of the kind compiled for

The values of captured globals are those at compile_for: later launches do not look at them again.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rtriton import knobs
from rtriton.arguments import Argument, run_time, shown
from rtriton.compiled import CompiledKernel, Grid, grid_sizes
from rtriton.knobs import touched
from rtriton.recording import announces, observers

if TYPE_CHECKING:
    from rtriton.jit import JITFunction

ENTER, LEAVE = knobs.launch_hooks
none_set, WATCHED = knobs.LAUNCH.none_set, knobs.LAUNCH.keys


class BoundKernel:
    """A compiled kernel and its arguments, which it keeps alive. `compiled` is the CompiledKernel."""

    def __init__(self, fn: JITFunction, compiled: CompiledKernel, values: Sequence[Any],
                 arguments: Sequence[Argument]) -> None:
        self.fn, self.compiled, self.values, self.arguments = fn, compiled, tuple(values), tuple(arguments)
        compiled.load()
        numbers, objects = run_time(arguments, values)
        prepared = getattr(compiled.executable, "prepared", None)       # where packing them once is worth it
        self._packed: tuple[Any, ...] = prepared(numbers) if prepared is not None else (numbers, objects)

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        """What launches over a grid: call it, with new values for this launch by name."""
        if callable(grid):
            grid = grid(dict(zip(self.fn.arg_names, self.values, strict=True)))
        return partial(self._run, self.compiled.executable.launch, grid_sizes(grid))

    def _run(self, launch: Callable[..., None], sizes: Grid, /, **new: Any) -> None:
        calm = none_set(WATCHED) and not (observers or touched or ENTER.calls or LEAVE.calls)  # sooner than announces()
        if not new and (calm or not announces()):
            launch(sizes, *self._packed)
            return
        values, arguments = self._with(new)
        self.compiled.start(sizes, sizes, *run_time(arguments, values), values)

    def _with(self, new: Mapping[str, Any]) -> tuple[list[Any], list[Argument]]:
        """All values and how they specialise. ValueError for one that the kernel is not compiled for."""
        values, arguments = list(self.values), list(self.arguments)
        for name, value in new.items():
            if name not in self.fn.arg_names:
                raise TypeError(f"{self.fn.__name__}() has no argument {name!r}")
            i = self.fn.arg_names.index(name)
            made, before = self.fn.argument(i, value), arguments[i]
            if (made.key, made.divisible, made.constant, made.device) != (before.key, before.divisible, before.constant,
                                                                          before.device):
                raise ValueError(f"{self.fn.__name__}(): {name} is {shown(made)} and was bound as {shown(before)}, for "
                                 "which the kernel was compiled: compile_for these arguments (with do_not_specialize "
                                 "a kernel takes all integers)")
            values[i], arguments[i] = value, made
        return values, arguments
