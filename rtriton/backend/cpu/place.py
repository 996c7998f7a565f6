"""Where in a tile code stands, and the forms in which a tile's elements are held.

Place     indices along each axis; `lanes` neighbouring elements along `axis` (0 lanes: one element)
Buffer    elements in the thread's arena, in register form, with a stride per axis
Pieces    elements in registers: one value per place with known indices
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rtriton.backend.cpu.llvm import V


@dataclass(frozen=True, slots=True)
class Place:
    coords: tuple[V, ...]
    axis: int = -1
    lanes: int = 0
    key: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", f"{self.axis}:{self.lanes}:" + ",".join(c.text for c in self.coords))

    @property
    def first(self) -> Place:
        """The first element alone."""
        return Place(self.coords) if self.lanes else self

    @property
    def known(self) -> tuple[int, ...] | None:
        """The indices, where all are numbers."""
        numbers = tuple(c.const for c in self.coords)
        return None if any(n is None for n in numbers) else tuple(int(n) for n in numbers if n is not None)


@dataclass(frozen=True, slots=True)
class Buffer:
    pointer: V
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements
    element: str  # LLVM's name of an element in memory; i1 is held as i8

    @property
    def itemsize(self) -> int:
        return {"i8": 1, "i16": 2, "i32": 4, "float": 4, "i64": 8, "double": 8}[self.element]


@dataclass(frozen=True, slots=True)
class Pieces:
    axis: int
    lanes: int
    values: dict[tuple[int, ...], V]


def row_major(shape: tuple[int, ...], last: int = -1) -> tuple[int, ...]:
    """Strides with axis `last` contiguous, the others in order."""
    rank = len(shape)
    order = [d for d in range(rank) if d != last % rank] + [last % rank] if rank else []
    strides, step = [0] * rank, 1
    for d in reversed(order):
        strides[d], step = step, step * shape[d]
    return tuple(strides)
