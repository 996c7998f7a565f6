"""Tokens never depend on how the work was batched: laws over random schedules, each from a seed.

The fake model's tokens are a hash of what is read through the block tables, so equality with `expected` (which has no
engine, blocks or batches) is equality of everything that lay in the cache.
"""

import random

import msgspec
import pytest

from engine.messages import PoolingParams, SamplingParams, StepOutput, Submit
from tests.engine.drive import Got, alone, engine, greedy, run
from tests.engine.fake_runner import POISON_TOKEN, expected


def random_request(rng: random.Random, name: str, longest: int = 40) -> Submit:
    prompt = [rng.randrange(1, 900) for _ in range(rng.randint(1, longest))]
    temperature = rng.choice([0.0, 0.8])
    seed = rng.randrange(1 << 63)
    params = SamplingParams(temperature=temperature, seed=seed, max_tokens=rng.randint(1, 30), ignore_eos=True)
    return Submit(name, prompt, params)


def truth(request: Submit) -> list[int]:
    assert request.params.max_tokens is not None
    return expected(request.token_ids, request.params, request.params.max_tokens, seed=request.params.seed or 0)


@pytest.mark.parametrize("seed", range(8))
def test_batched_is_alone(seed: int):
    rng = random.Random(seed)
    requests = [random_request(rng, f"r{i}") for i in range(12)]
    got = run(engine(), [(rng.randint(0, 20), request) for request in requests])
    for request in requests:
        assert got[request.request_id].tokens == truth(request) == alone(request)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 64])
def test_chunked_is_whole(width: int):
    request = Submit("a", list(range(1, 60)), greedy(15, ignore_eos=True))
    assert alone(request, max_num_seqs=1, max_batched_tokens=width) == truth(request)


@pytest.mark.parametrize("size", [1, 2, 8, 64])
def test_the_block_size_does_not_matter(size: int):
    request = Submit("a", list(range(1, 60)), greedy(15, ignore_eos=True))
    assert alone(request, block_size=size, num_blocks=256 // size) == truth(request)


@pytest.mark.parametrize("slots", [0, 5, 40], ids=["recomputed", "either", "swapped"])
@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_preempted_is_uninterrupted(seed: int, cache: bool, slots: int):
    rng = random.Random(seed)
    requests = [random_request(rng, f"r{i}", longest=20) for i in range(10)]
    it = engine(num_blocks=14, max_batched_tokens=32, swap_bytes=slots, prefix_cache=cache)
    got = run(it, [(rng.randint(0, 10), request) for request in requests])
    stats = it.stats()
    assert stats.preemptions > 0
    assert (stats.swapped_out > 0) == (slots > 0)
    assert it.pool.used == it.store.used == 0
    for request in requests:
        assert got[request.request_id].tokens == truth(request)


def family(rng: random.Random, count: int) -> list[Submit]:
    """Requests whose prompts are alike for a while."""
    stems = [[rng.randrange(1, 900) for _ in range(30)] for _ in range(3)]
    requests = []
    for index in range(count):
        it = random_request(rng, f"r{index}", longest=8)
        prompt = rng.choice(stems)[: rng.randint(1, 30)] + it.token_ids[: rng.randint(0, 8)]
        requests.append(msgspec.structs.replace(it, token_ids=prompt))
    return requests


@pytest.mark.parametrize("seed", range(6))
def test_prefix_cached_is_fresh(seed: int):
    rng = random.Random(seed)
    requests = family(rng, 20)
    it = engine(num_blocks=rng.choice([20, 64]))
    got = run(it, [(rng.randint(0, 40), request) for request in requests])
    assert it.stats().prefix_hits > 0
    assert it.pool.used == 0
    for request in requests:
        assert got[request.request_id].tokens == truth(request)


def test_a_conversation_finds_what_was_answered_before():
    it = engine()
    params = greedy(10, ignore_eos=True)
    prompt = list(range(1, 20))
    answer = run(it, [(0, Submit("a", prompt, params))])["a"].tokens
    it.submit(Submit("b", [*prompt, *answer, 5], params))
    [output] = it.step()
    assert isinstance(output, StepOutput)
    assert output.tokens[0].cached_tokens == 28
    assert output.stats.prefix_hits == 28


def test_a_prompt_is_not_found_under_another_salt():
    it = engine(max_batched_tokens=64)
    for salt, found in (("", 0), ("x", 0), ("y", 0), ("x", 16), ("", 16)):
        it.submit(Submit("a", list(range(1, 20)), greedy(1), cache_salt=salt))
        [output] = it.step()
        assert isinstance(output, StepOutput)
        assert output.tokens[0].cached_tokens == found


@pytest.mark.parametrize("seed", range(20))
def test_everything_at_once(seed: int):
    """Small pools, chunks, salts, priorities, accounts, swapping, aborts, prompts that are alike, rows that raise."""
    rng = random.Random(7000 + seed)
    requests = [
        msgspec.structs.replace(
            request,
            priority=rng.choice([0, 0, 1, -1]),
            account=rng.choice("xyz"),
            cache_salt=rng.choice(["", "", "s"]),
            token_ids=[*request.token_ids, POISON_TOKEN] if rng.random() < 0.05 else request.token_ids,
        )
        for request in family(rng, 24)
    ]
    it = engine(
        num_blocks=rng.randint(17, 40),
        max_batched_tokens=rng.choice([8, 16, 64]),
        swap_bytes=rng.choice([0, 4, 40]),
        prefix_cache=rng.random() < 0.8,
    )
    aborts = [(rng.randint(0, 60), request.request_id) for request in requests if rng.random() < 0.3]
    arrivals = [(rng.randint(0, 40), request) for request in requests]
    got, doomed = run(it, arrivals, aborts), {name for _, name in aborts}
    assert it.pool.used == it.store.used == 0
    for request in requests:
        mine = got.get(request.request_id, Got())
        if POISON_TOKEN in request.token_ids:
            assert mine.tokens == []
        elif request.request_id in doomed:
            assert mine.tokens == truth(request)[: len(mine.tokens)]
        else:
            assert mine.tokens == truth(request)


def random_kind(rng: random.Random, request: Submit) -> Submit:
    """The same prompt asked for something else: a vector, its own scores, an end by a token or not before some."""
    if rng.random() < 0.3:
        pooling = PoolingParams(rng.choice(["mean", "last"]))
        return msgspec.structs.replace(request, params=SamplingParams(), pooling=pooling)
    scored = rng.random() < 0.4
    params = msgspec.structs.replace(
        request.params,
        max_tokens=0 if scored and rng.random() < 0.3 else rng.choice([None, 8, 30]),
        prompt_logprobs=rng.randint(0, 2) if scored else None,
        stop_token_ids=tuple(rng.sample(range(900), rng.choice([0, 40]))),
        ignore_eos=rng.random() < 0.5,
    )
    return msgspec.structs.replace(request, params=params)


@pytest.mark.parametrize("seed", range(10))
def test_every_kind_of_request_gets_what_it_gets_alone(seed: int):
    rng = random.Random(9000 + seed)
    requests = [random_kind(rng, request) for request in family(rng, 20)]
    sizes = {"num_blocks": rng.randint(13, 24), "context_length": 80}
    aborts = [(rng.randint(0, 40), request.request_id) for request in requests if rng.random() < 0.2]
    it = engine(**sizes, max_num_seqs=rng.choice([2, 8]), swap_bytes=rng.choice([0, 4, 40]))
    got = run(it, [(rng.randint(0, 30), request) for request in requests], aborts)
    doomed = {name for _, name in aborts}
    for request in requests:
        name = request.request_id
        mine, wanted = got.get(name, Got()), run(engine(**sizes), [(0, request)])[name]
        if name in doomed:
            assert mine.tokens == wanted.tokens[: len(mine.tokens)]
        else:
            assert (mine.tokens, mine.reason, mine.embedding) == (wanted.tokens, wanted.reason, wanted.embedding)
            assert mine.failure == wanted.failure


def test_64_random_arrivals_with_more_tokens_than_blocks():
    rng = random.Random(64)
    requests = [random_request(rng, f"r{i}") for i in range(64)]
    arrivals = [(rng.randint(0, 60), request) for request in requests]
    it = engine(num_blocks=40, max_batched_tokens=24, max_num_seqs=8)
    tokens = sum(len(request.token_ids) + (request.params.max_tokens or 0) for request in requests)
    assert tokens > 40 * 4
    got = run(it, arrivals)
    assert it.stats().mixed_steps > 0
    for request in requests:
        assert got[request.request_id].tokens == truth(request)
    assert it.pool.free == it.pool.total

    order = [request.request_id for _, request in sorted(arrivals, key=lambda pair: pair[0])]
    overtakes = [
        (early, late)
        for at, early in enumerate(order)
        for late in order[at + 1 :]
        if got[late].steps[0] < got[early].steps[-1]
    ]
    assert overtakes, "a late request's first token precedes an early one's last"


@pytest.mark.parametrize("seed", range(12))
def test_aborts_at_random_moments_leave_the_others_alone(seed: int):
    rng = random.Random(1000 + seed)
    requests = [random_request(rng, f"r{i}") for i in range(16)]
    aborts = [(rng.randint(0, 25), request.request_id) for request in requests if rng.random() < 0.5]
    it = engine(num_blocks=24, max_batched_tokens=16)
    arrivals = [(0, request) for request in requests]
    # a second abort of the same is nothing
    got, doomed = run(it, arrivals, [*aborts, *aborts]), {name for _, name in aborts}
    assert it.pool.free == it.pool.total
    for request in requests:
        tokens = got.get(request.request_id, Got()).tokens
        if request.request_id not in doomed:
            assert tokens == truth(request)
        else:
            assert tokens == truth(request)[: len(tokens)]


@pytest.mark.parametrize("seed", range(6))
def test_an_abort_while_the_step_runs_frees_after_it(seed: int):
    """The runner itself aborts, at random, as an overlapping control message would."""
    rng = random.Random(seed)
    requests = [random_request(rng, f"r{i}") for i in range(10)]
    it = engine(num_blocks=20)
    inner = it.runner.run
    victims = {f"r{i}" for i in rng.sample(range(10), 4)}

    aborted = set()

    def run_and_abort(*step):  # type: ignore[no-untyped-def]
        used = it.pool.used
        if rng.random() < 0.3 and victims:
            victim = victims.pop()
            aborted.add(victim)
            it.abort(victim)
            assert it.pool.used <= used
        return inner(*step)

    it.runner.run = run_and_abort  # type: ignore[method-assign]
    got = run(it, [(0, request) for request in requests])
    assert it.pool.free == it.pool.total
    for request in requests:
        tokens = got.get(request.request_id, Got()).tokens
        assert tokens == truth(request)[: len(tokens) if request.request_id in aborted else None]


def test_choices_of_one_request_run_beside_each_other():
    params = SamplingParams(temperature=1.0, seed=3, max_tokens=10, ignore_eos=True)
    it = engine()
    for choice in range(4):
        it.submit(Submit("a", [4, 5, 6], params, choice=choice))
    answers: dict[int, list[int]] = {}
    while it.busy:
        for event in it.step():
            assert isinstance(event, StepOutput)
            for out in event.tokens:
                answers.setdefault(out.choice, []).extend(out.token_ids)
    for choice in range(4):
        assert answers[choice] == expected([4, 5, 6], params, 10, choice=choice, seed=3)
