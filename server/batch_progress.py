"""How far a batch is: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from server.batch_file import Output

SECONDS = 10.0
"""Between two lines where there is no terminal."""


@contextmanager
def progress(console: Console, output: Output, total: int, seconds: float = SECONDS) -> Iterator[Callable[[], None]]:
    """What to call when a line has been written."""
    if console.is_terminal:
        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("answering", total=total, completed=len(output.done))

            def show() -> None:
                said = f"answering, {output.failed} with errors" if output.failed else "answering"
                bar.update(task, completed=len(output.done), description=said)

            yield show
        return
    last = time.monotonic()

    def tell() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            console.print(f"{len(output.done)} of {total} lines, {output.failed} with errors")

    yield tell
