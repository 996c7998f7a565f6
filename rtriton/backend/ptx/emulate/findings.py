"""What the emulator finds: faults and warnings, each line of the kernel told once, until the launch ends.

A fault after which the kernel can go on (a wrong address, an unwritten register, a race) is noted: a wrong load gives
zeros, a wrong store writes nothing. At the end of the launch, or once `limit` places are wrong, an `EmulatorError`
tells them all. A deadlock, a trap or a broken instruction ends the launch at once, with what was found before.
Warnings (programs that race in global memory) never stop a kernel: they are Python warnings.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rtriton.errors import EmulatorError, EmulatorWarning, outside, render
from rtriton.ir import NO_SPAN, Span

LIMIT = 20  # places that are wrong before the launch is ended
Ends = Mapping[tuple[str, int, int], tuple[int, int]]  # by file, line and column, where the expression there ends


@dataclass(frozen=True)
class Finding:
    """One place where a kernel is wrong: what is wrong, the user's line, and who stood there (thread, PTX line)."""

    problem: str
    span: Span
    notes: tuple[str, ...]
    times: int = 1

    def __str__(self) -> str:
        more = (f"(found {self.times} times)",) if self.times > 1 else ()
        return render(self.problem, self.span, (*self.notes, *more))


@dataclass
class Findings:
    """The findings of one launch of `kernel`. `ends` lets carets stand under whole expressions."""

    kernel: str
    ends: Ends = field(default_factory=dict[tuple[str, int, int], tuple[int, int]])
    limit: int = LIMIT
    faults: dict[object, Finding] = field(default_factory=dict[object, Finding])
    doubts: dict[object, Finding] = field(default_factory=dict[object, Finding])

    def add(self, problem: str, span: Span, notes: tuple[str, ...], place: object) -> None:
        """Note a fault at a place: the user's line, or the PTX line where there is none."""
        self._note(self.faults, problem, span, notes, place)
        if len(self.faults) >= self.limit:
            raise self.error()

    def doubt(self, problem: str, span: Span, notes: tuple[str, ...], place: object) -> None:
        """Note a warning."""
        self._note(self.doubts, problem, span, notes, place)

    def _note(self, found: dict[object, Finding], problem: str, span: Span, notes: tuple[str, ...],
              place: object) -> None:
        key = problem.split(":")[0], place if span == NO_SPAN else span
        before = found.get(key)
        found[key] = replace(before, times=before.times + 1) if before else Finding(problem, self._shown(span), notes)

    def _shown(self, span: Span) -> Span:
        """The user's place, with the end of its expression."""
        span = outside(span)
        line, column = self.ends.get((span.file, span.line, span.column), (0, 0))
        return replace(span, end_line=line, end_column=column)

    def error(self) -> EmulatorError:
        """All faults as one error."""
        found = tuple(self.faults.values())
        more = " or more" if len(found) >= self.limit else ""
        head = f"kernel {self.kernel} is wrong in {len(found)}{more} places:"
        return EmulatorError("\n\n".join([*([head] if len(found) > 1 else []), *map(str, found)]), found)

    def finish(self) -> None:
        """The launch has ended: warn, and raise if there were faults."""
        for doubt in self.doubts.values():
            warnings.warn_explicit(f"kernel {self.kernel}: {doubt}", EmulatorWarning, doubt.span.file, doubt.span.line)
        self.doubts = {}
        if self.faults:
            raise self.error()
