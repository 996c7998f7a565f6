"""What a start took, said when the server is ready: a table for whoever started it, a line each for the log.

    start = Start()                                     # counts from the start of the process
    with start.watch.phase("finding the model"): ...
    with start.beside("reading the vocabulary"): ...    # in a thread, while the main one waits
    print(table(start.breakdowns(info.startup)))

The engine's process measures its own part (`engine/startup.py`), which comes with `ModelInfo`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from engine.messages import Breakdown, ModelInfo
from engine.sizing import GIB
from engine.startup import Stopwatch

SERVER = "server process"
BESIDE = "in it, while the engine starts"


class Start:
    """The watch of the main thread, and that of the thread that works while the engine starts."""

    def __init__(self) -> None:
        self.watch = Stopwatch.of_process()
        self._beside: Breakdown | None = None

    @contextmanager
    def beside(self) -> Iterator[Stopwatch]:
        """The watch of a thread, for as long as it runs."""
        watch = Stopwatch()
        yield watch
        self._beside = watch.breakdown(BESIDE)

    def breakdowns(self, engine: Iterable[Breakdown]) -> list[Breakdown]:
        """The server's and the engine's, as they are now."""
        seconds = [self.watch.breakdown(SERVER)] + ([] if self._beside is None else [self._beside])
        return [*seconds, *engine]


def lines(it: Breakdown) -> list[tuple[str, str]]:
    """Name and amount of each part, of what they do not explain, and the total."""
    rows = [*it.parts] + ([("other", it.other)] if it.total else [])
    shown = [(name, _amount(it.unit, amount)) for name, amount in rows]
    return [*shown, ("total", _amount(it.unit, it.total) if it.total else "not known on this system")]


def table(breakdowns: Iterable[Breakdown]) -> str:
    """For people."""
    parts: list[str] = []
    for it in breakdowns:
        parts.append(f"{it.of}, {'seconds' if it.unit == 's' else 'GiB'}")
        parts += [f"  {name:<48}{amount:>9}" for name, amount in lines(it)]
    return "\n".join(parts)


def line(it: Breakdown) -> str:
    """For the log."""
    *parts, (_, total) = lines(it)
    unit = "s" if it.unit == "s" else "GiB"
    return f"start-up: {it.of}: {total} {unit}: {', '.join(f'{name} {amount}' for name, amount in parts)}"


def context(info: ModelInfo) -> str:
    """What the KV cache allows, in tokens."""
    tokens = info.num_blocks * info.block_size
    each = min(tokens, info.context_length)
    why = "the model's context" if each == info.context_length else "what the cache holds"
    fit = "1 such fits" if tokens // each == 1 else f"{tokens // each} such fit"
    return f"The KV cache holds {tokens} tokens; one request may have {each}, {why}; {fit} at once."


def _amount(unit: str, amount: float) -> str:
    return f"{amount:.2f}" if unit == "s" else f"{amount / GIB:.3f}"
