"""The collector around a start: off while everything is made, on afterwards, for what is new alone."""

from __future__ import annotations

import gc
import weakref

from engine import heap


class Node:
    other: Node


def cycle() -> weakref.ref[Node]:
    one = Node()
    one.other = one
    return weakref.ref(one)


def test_the_collector_rests_while_a_process_starts_and_then_leaves_alone_what_is_there() -> None:
    try:
        heap.growing()
        made_at_start = cycle()
        assert not gc.isenabled()
        heap.grown()
        made_later = cycle()
        gc.collect()
        assert gc.isenabled() and gc.get_freeze_count() > 0
        assert made_at_start() is not None and made_later() is None
    finally:
        gc.enable()
        gc.unfreeze()
        gc.collect()
