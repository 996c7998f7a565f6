"""What programs hang into compiling and launching: chains of hooks, and the times that a compilation listener gets."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class HookChain:
    """Functions called in the order they were added, or from the last to the first. Each is in it once."""

    def __init__(self, reversed: bool = False) -> None:
        self.calls: list[Callable[..., Any]] = []
        self.reversed = reversed

    def add(self, func: Callable[..., Any]) -> None:
        """Append a hook; one that is in the chain stays where it is."""
        if func not in self.calls:
            self.calls.append(func)

    def remove(self, func: Callable[..., Any]) -> None:
        """Take a hook out, if it is in."""
        if func in self.calls:
            self.calls.remove(func)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        for call in list(self.calls[::-1] if self.reversed else self.calls):
            call(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self.calls)


@dataclass(frozen=True)
class CompileTimes:
    """Where the time of one compilation went, in microseconds: making the IR (or reading the cache), each stage after
    it in order, and keeping the result."""

    ir_initialization: int
    lowering_stages: list[tuple[str, int]]
    store_results: int

    @property
    def total_lowering(self) -> int:
        return sum(spent for _, spent in self.lowering_stages)

    @property
    def total(self) -> int:
        return self.ir_initialization + self.total_lowering + self.store_results
