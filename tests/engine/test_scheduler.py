"""What the scheduler puts into a step, without a model."""

import pytest

from engine.blocks import BlockPool
from engine.messages import SamplingParams
from engine.scheduler import Plan, Scheduler
from engine.sequence import Key, Sequence


def sequence(name: str, length: int) -> Sequence:
    return Sequence(Key(name, 0), list(range(length)), length, SamplingParams(), 0, 1000, frozenset())


def scheduler(blocks: int = 100, rows: int = 4, tokens: int = 16) -> Scheduler:
    return Scheduler(BlockPool(blocks), block_size=4, max_num_seqs=rows, max_batched_tokens=tokens)


def commit(plan: Plan) -> None:
    for row in plan.rows:
        row.sequence.computed = row.start + row.count
        if row.samples:
            row.sequence.tokens.append(7)


def turn(it: Scheduler) -> list[tuple[str, int, int]]:
    plan = it.schedule()
    commit(plan)
    it.retire()
    return [(row.sequence.key.request_id, row.start, row.count) for row in plan.rows]


def test_a_long_prompt_is_computed_in_chunks_while_others_decode():
    it = scheduler()
    it.add(sequence("a", 3))
    assert turn(it) == [("a", 0, 3)]
    it.add(sequence("b", 40))
    assert turn(it) == [("a", 3, 1), ("b", 0, 15)]
    assert turn(it) == [("a", 4, 1), ("b", 15, 15)]
    assert turn(it) == [("a", 5, 1), ("b", 30, 10)]
    assert turn(it) == [("a", 6, 1), ("b", 40, 1)]


def test_only_the_row_that_reaches_the_end_samples():
    it = scheduler()
    it.add(sequence("a", 20))
    first = it.schedule()
    commit(first)
    it.retire()
    second = it.schedule()
    assert [row.samples for row in first.rows + second.rows] == [False, True]
    assert not second.mixed


def test_a_plan_knows_when_it_mixes_prefill_and_decode():
    it = scheduler()
    it.add(sequence("a", 3))
    turn(it)
    it.add(sequence("b", 3))
    assert it.schedule().mixed


def test_rows_and_tokens_of_a_step_are_bounded():
    it = scheduler(rows=2, tokens=4)
    for name in "abc":
        it.add(sequence(name, 3))
    assert turn(it) == [("a", 0, 3), ("b", 0, 1)]
    assert turn(it) == [("a", 3, 1), ("b", 1, 2)]
    assert [row[0] for row in turn(it)] == ["a", "b"]


def test_nobody_overtakes_a_prompt_that_does_not_fit_yet():
    it = scheduler(blocks=4)
    it.add(sequence("a", 8))
    turn(it)
    it.add(sequence("long", 12))
    it.add(sequence("short", 1))
    assert turn(it) == [("a", 8, 1)]
    it.finish(it.running[0])
    assert [row[0] for row in turn(it)] == ["long", "short"]


def test_the_youngest_gives_way_and_starts_over_at_the_front_of_the_queue():
    it = scheduler(blocks=4)
    it.add(sequence("a", 8))
    it.add(sequence("b", 7))
    it.add(sequence("c", 4))
    assert turn(it) == [("a", 0, 8), ("b", 0, 7)]
    assert turn(it) == [("a", 8, 1)]
    assert [s.key.request_id for s in it.waiting] == ["b", "c"]
    assert it.waiting[0].computed == 0
    assert not it.waiting[0].blocks
    assert it.preemptions == 1
    it.finish(it.running[0])
    assert turn(it)[0] == ("b", 0, 8)


def test_a_sequence_that_is_itself_the_youngest_gives_way():
    it = scheduler(blocks=3)
    it.add(sequence("a", 3))
    it.add(sequence("b", 8))
    turn(it)
    assert turn(it) == [("a", 3, 1)]
    assert [s.key.request_id for s in it.waiting] == ["b"]


def test_blocks_given_up_during_a_step_are_free_only_after_it():
    it = scheduler(blocks=4)
    it.add(sequence("a", 8))
    plan = it.schedule()
    it.finish(plan.rows[0].sequence)
    it.finish(plan.rows[0].sequence)
    assert it.pool.used == 2
    it.retire()
    assert it.pool.used == 0


def test_a_step_cannot_be_scheduled_over_one_in_flight():
    it = scheduler()
    it.add(sequence("a", 8))
    it.schedule()
    with pytest.raises(RuntimeError, match="not been retired"):
        it.schedule()
