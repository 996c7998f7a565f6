"""Python's collector of reference cycles around the start of a process.

What is made while a process starts stays until its end. Looking through it for garbage while it grows is a sixth of
the time that a server takes to be ready; doing so again in each full collection would hold up every stream, and at
exit takes a third of a second.

    heap.growing()
    try:
        start()
        heap.grown()            # ready: from here on only what is new is looked through
        serve()
    finally:
        heap.grown()            # harmless the second time
"""

from __future__ import annotations

import gc


def growing() -> None:
    """Nothing is collected until `grown`."""
    gc.disable()


def grown() -> None:
    """What there is now is left alone for good, and the collector works again."""
    gc.freeze()
    gc.enable()
