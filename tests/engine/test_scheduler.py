"""What the scheduler puts into a step, without a model."""

import itertools
import random
from typing import Any

import pytest

from engine.blocks import BlockPool
from engine.messages import PoolingParams, SamplingParams
from engine.scheduler import Plan, Scheduler
from engine.sequence import Key, Sequence
from engine.waiting import Waiting


arrivals = itertools.count()


def sequence(
    name: str,
    length: int,
    tokens: list[int] | None = None,
    params: SamplingParams = SamplingParams(),
    **options: Any,
) -> Sequence:
    tokens = tokens or [1000 * ord(name[0]) + i for i in range(length)]
    return Sequence(Key(name, 0), tokens, len(tokens), params, 0, 1000, frozenset(), arrival=next(arrivals), **options)


def scheduler(blocks: int = 100, rows: int = 4, tokens: int = 16, slots: int = 0, cache: bool = True) -> Scheduler:
    return Scheduler(BlockPool(blocks), 4, rows, tokens, BlockPool(slots), cache)


def commit(it: Scheduler, plan: Plan) -> None:
    for row in plan.rows:
        it.advance(row)
        if row.samples:
            row.sequence.tokens.append(7)


def turn(it: Scheduler) -> list[tuple[str, int, int]]:
    plan = it.schedule()
    commit(it, plan)
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
    commit(it, first)
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
    assert next(iter(it.waiting)).computed == 0
    assert not next(iter(it.waiting)).blocks
    assert it.counters.preemptions == 1
    it.finish(it.running[0])
    assert turn(it)[0] == ("b", 4, 4), "its first block could still be found"


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


def names(it: Scheduler) -> list[str]:
    return [row[0] for row in turn(it)]


def test_a_lower_priority_number_goes_first_and_gives_way_last():
    it = scheduler(blocks=4, rows=2)
    it.add(sequence("late", 7, priority=5))
    it.add(sequence("urgent", 7, priority=-1))
    it.add(sequence("soon", 4))
    assert names(it) == ["urgent", "soon"]
    it = scheduler(blocks=4)
    it.add(sequence("late", 8, priority=5))
    it.add(sequence("urgent", 8, priority=-1))
    turn(it)
    assert turn(it) == [("urgent", 8, 1)]
    assert [s.key.request_id for s in it.waiting] == ["late"]


def test_accounts_take_turns_whatever_each_has_queued():
    it = scheduler(rows=1)
    for index in range(6):
        it.add(sequence(f"many{index}", 4, account="busy"))
    for index in range(2):
        it.add(sequence(f"few{index}", 4, account="calm"))
    order = []
    for _ in range(8):
        order += names(it)
        it.finish(it.running[0])
    assert order == ["many0", "few0", "many1", "few1", "many2", "many3", "many4", "many5"]


def test_an_account_that_was_away_has_saved_nothing_up():
    it = scheduler(rows=1)
    it.add(sequence("a", 4, account="x"))
    for _ in range(10):
        turn(it)
    for index in range(3):
        it.add(sequence(f"b{index}", 4, account="y"))
    it.add(sequence("c", 4, account="x"))
    it.finish(it.running[0])
    order = []
    for _ in range(4):
        order += names(it)
        it.finish(it.running[0])
    assert order == ["b0", "c", "b1", "b2"]


def test_a_prompt_that_began_like_another_is_computed_from_where_they_part():
    it = scheduler()
    it.add(sequence("a", 0, tokens=[*range(10), 50]))
    turn(it)
    it.finish(it.running[0])
    it.add(sequence("b", 0, tokens=[*range(10), 60]))
    assert turn(it) == [("b", 8, 3)]
    assert it.running[0].cached == 8
    assert (it.counters.prefix_queries, it.counters.prefix_hits) == (22, 8)


@pytest.mark.parametrize(
    ("cache", "asked", "counted"),
    [
        (True, {}, 10),
        (True, {"pooling": PoolingParams("last")}, 10),
        (True, {"pooling": PoolingParams("mean")}, 0),
        (True, {"params": SamplingParams(prompt_logprobs=0)}, 0),
        (False, {}, 0),
    ],
)
def test_a_prompt_that_is_not_looked_up_is_no_query_of_the_prefix_cache(
    cache: bool, asked: dict[str, Any], counted: int
):
    it = scheduler(cache=cache)
    it.add(sequence("a", 10, **asked))
    it.schedule()
    assert (it.counters.prefix_queries, it.counters.prefix_hits) == (counted, 0)


def test_the_last_token_is_always_computed():
    it = scheduler()
    for name in "ab":
        it.add(sequence(name, 0, tokens=list(range(8))))
        turn(it)
        it.finish(it.running[0])
    assert it.counters.prefix_hits == 4


def test_a_twin_waits_for_what_is_being_computed_and_others_do_not_wait_for_it():
    it = scheduler(tokens=10)
    for name in "ab":
        it.add(sequence(name, 0, tokens=list(range(28))))
    it.add(sequence("c", 3))
    assert turn(it) == [("a", 0, 10)]
    assert turn(it) == [("a", 10, 10)]
    assert turn(it) == [("a", 20, 8), ("c", 0, 2)]
    assert turn(it) == [("a", 28, 1), ("c", 2, 1), ("b", 24, 4)]


def test_nothing_is_found_before_its_step_has_run_or_under_another_salt_or_without_a_cache():
    it = scheduler()
    it.add(sequence("a", 0, tokens=list(range(9))))
    it.schedule()
    assert it.pool.find(it.running[0].chain) == []
    it.retire()
    for root, cache in ((b"salt", True), (b"", False)):
        it = scheduler(cache=cache)
        it.add(sequence("a", 0, tokens=list(range(9))))
        turn(it)
        it.add(sequence("b", 0, tokens=list(range(9)), root=root))
        assert turn(it)[-1] == ("b", 0, 9)


def test_a_victim_is_kept_by_the_host_where_there_is_room_and_goes_on_where_it_was():
    it = scheduler(blocks=4, slots=2)
    it.add(sequence("a", 8))
    it.add(sequence("b", 7))
    turn(it)
    plan = it.schedule()
    assert [(row.sequence.key.request_id, row.count) for row in plan.rows] == [("a", 1)]
    assert plan.swaps.out == list(zip([3, 4], next(iter(it.waiting)).slots, strict=True))
    commit(it, plan)
    it.retire()
    it.finish(it.running[0])
    plan = it.schedule()
    assert [(row.sequence.key.request_id, row.start, row.count) for row in plan.rows] == [("b", 7, 1)]
    assert len(plan.swaps.back) == 1, "its first block could still be found"
    assert it.store.used == 0


def test_an_aborted_victim_leaves_the_hosts_memory():
    it = scheduler(blocks=4, slots=2)
    it.add(sequence("a", 8))
    it.add(sequence("b", 8))
    turn(it)
    turn(it)
    assert it.store.used == 2
    it.finish(next(iter(it.waiting)))
    assert it.store.used == 0


def test_who_is_next_is_found_among_lanes_as_among_all():
    rng = random.Random(5)
    queue = Waiting()
    for _ in range(300):
        it = sequence("x", 1, priority=rng.randint(0, 2), account=rng.choice("abc"), begun=rng.random() < 0.3)
        queue.enter(it)
        queue.serve(it, rng.randint(0, 5))
    order = list(queue)
    while order:
        ready = {it for it in order if rng.random() < 0.5}
        assert queue.best(ready.__contains__) is next((it for it in order if it in ready), None)
        gone = order.pop(rng.randrange(len(order)))
        queue.take(gone)
        queue.leave(gone)
    assert (len(queue), queue.tokens) == (0, 0)
    assert queue.best(lambda it: True) is None
