"""What axis info says of the numbers in a tile, and what holds of two such tiles at once.

    contiguity[d]    runs of this many elements along d rise by one
    divisibility[d]  divides the first element of each such run (a pointer: in bytes)
    constancy[d]     runs of this many elements along d are equal
    value            the number itself where it is one constant
    positive         never negative (so that C's truncating division is floor)

A scalar has one axis of size 1.  Pointers count contiguity in elements.  Facts hold if the 32-bit arithmetic of
offsets does not wrap, which a kernel's author owes, and divisors are taken to be positive.
"""
from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from rtriton.ir import Value
from rtriton.types import Type, shape_of

MOST = 1 << 30
"""What 0 is divisible by: more than anyone asks."""


@dataclass(frozen=True)
class AxisInfo:
    contiguity: tuple[int, ...]
    divisibility: tuple[int, ...]
    constancy: tuple[int, ...]
    value: int | None = None
    positive: bool = False

    @property
    def rank(self) -> int:
        return len(self.contiguity)

    def divides(self, axis: int) -> int:
        """What every element along `axis` is divisible by, not only the first of each run."""
        return self.divisibility[axis] if self.contiguity[axis] == 1 else 1

    @property
    def divides_all(self) -> int:
        return max(self.divides(d) for d in range(self.rank))


Table = dict[Value, AxisInfo]


def shape_at(type: Type) -> tuple[int, ...]:
    return shape_of(type) or (1,)


def unknown(type: Type) -> AxisInfo:
    ones = (1,) * len(shape_at(type))
    return AxisInfo(ones, ones, ones)


def divisor(n: int) -> int:
    """The largest power of two that divides n, at most MOST."""
    return min(n & -n, MOST) if n else MOST


def constant(value: int, shape: tuple[int, ...]) -> AxisInfo:
    return AxisInfo((1,) * len(shape), (divisor(value),) * len(shape), shape, value, value >= 0)


def meet(a: AxisInfo, b: AxisInfo) -> AxisInfo:
    """What holds of both."""
    contiguity = tuple(map(gcd, a.contiguity, b.contiguity))
    return AxisInfo(
        contiguity,
        tuple(gcd(starts(a, d, c), starts(b, d, c)) for d, c in enumerate(contiguity)),
        tuple(map(gcd, a.constancy, b.constancy)),
        a.value if a.value == b.value else None,
        a.positive and b.positive,
    )


def starts(info: AxisInfo, axis: int, run: int) -> int:
    """What divides the first elements of runs of `run`, shorter than the known ones."""
    known = info.contiguity[axis]
    return info.divisibility[axis] if known == run or known == 1 else gcd(info.divisibility[axis], run)
