"""Tokens never depend on how the work was batched: laws over random schedules, each from a seed.

The fake model's tokens are a hash of what is read through the block tables, so equality with `expected` (which has no
engine, blocks or batches) is equality of everything that lay in the cache.
"""

import random

import pytest

from engine.messages import SamplingParams, StepOutput, Submit
from tests.engine.drive import Got, alone, collect, engine, greedy, run
from tests.engine.fake_runner import expected


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


@pytest.mark.parametrize("seed", range(8))
def test_preempted_is_uninterrupted(seed: int):
    rng = random.Random(seed)
    requests = [random_request(rng, f"r{i}", longest=20) for i in range(10)]
    it = engine(num_blocks=14, max_batched_tokens=32)
    got = run(it, [(rng.randint(0, 10), request) for request in requests])
    assert it.scheduler.preemptions > 0
    assert it.pool.used == 0
    for request in requests:
        assert got[request.request_id].tokens == truth(request)


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
    doomed = {request.request_id: rng.randint(0, 25) for request in requests if rng.random() < 0.5}
    it = engine(num_blocks=24, max_batched_tokens=16)
    got: dict[str, Got] = {}
    for request in requests:
        it.submit(request)
    for step in range(5000):
        for name in [name for name, at in doomed.items() if at == step]:
            it.abort(name)
            it.abort(name)
        if it.busy:
            collect(it, got, step)
    assert not it.busy
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

    def run_and_abort(batch):  # type: ignore[no-untyped-def]
        used = it.pool.used
        if rng.random() < 0.3 and victims:
            it.abort(victims.pop())
            assert it.pool.used <= used
        return inner(batch)

    it.runner.run = run_and_abort  # type: ignore[method-assign]
    got = run(it, [(0, request) for request in requests])
    assert it.pool.free == it.pool.total
    for request in requests:
        tokens = got.get(request.request_id, Got()).tokens
        assert tokens == truth(request)[: len(tokens)]


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
