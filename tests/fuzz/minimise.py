"""The shortest input that still makes the same mistake: `minimised(target, data, mark)`.

Pieces are taken out, first large, then small, as long as the finding keeps its mark. It stops when no byte can go, or
when it has taken `SECONDS` of the processor: hangs are slow to try.
"""

from __future__ import annotations

import time

from tests.fuzz.limits import Finding, check
from tests.fuzz.target import Target

SECONDS = 15.0


def minimised(target: Target, data: bytes, mark: str, seconds: float = SECONDS) -> bytes:
    """Of `data`, what is needed."""
    end = time.process_time() + seconds
    size = max(1, len(data) // 2)
    while size and time.process_time() < end:
        at, shorter = 0, False
        while at < len(data) and time.process_time() < end:
            rest = data[:at] + data[at + size :]
            if _mark(target, rest) == mark:
                data, shorter = rest, True
            else:
                at += size
        size = size if shorter and size == 1 else size // 2
    return data


def _mark(target: Target, data: bytes) -> str | None:
    try:
        check(target, data)
    except Finding as finding:
        return finding.mark
    return None
