"""Prompts that are embedded take part in everything and their vectors depend on nothing but themselves: first on the
fake model, whose hidden states are hashes of what lies in the cache, then on a Llama with the real kernels.
"""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from engine.config import EngineConfig
from engine.engine import Engine
from engine.memory import HostMemory
from engine.messages import PoolingParams, SamplingParams, StepOutput, Submit
from engine.model_runner import ModelRunner, build
from tests.engine.drive import Got, engine, greedy, run
from tests.engine.fake_runner import NAN_TOKEN, POISON_TOKEN, expected, expected_embedding
from tests.engine.tiny_model import CONFIG, random_weights, reference_hidden

MEAN, LAST = PoolingParams("mean"), PoolingParams("last")
KINDS = [MEAN, LAST, PoolingParams("mean", normalize=False), PoolingParams("last", normalize=False)]


def embed(name: str, tokens: list[int], pooling: PoolingParams = MEAN, **fields: object) -> Submit:
    return Submit(name, tokens, pooling=pooling, **fields)  # type: ignore[arg-type]


def mixed(rng: random.Random, count: int) -> list[Submit]:
    """Prompts that are alike for a while, most of them to be embedded."""
    stems = [[rng.randrange(1, 900) for _ in range(40)] for _ in range(2)]
    requests: list[Submit] = []
    for index in range(count):
        tokens = rng.choice(stems)[: rng.randint(1, 40)] + [rng.randrange(1, 900) for _ in range(rng.randint(0, 8))]
        if rng.random() < 0.05:
            tokens.append(rng.choice([POISON_TOKEN, NAN_TOKEN]))
        common = {"priority": rng.choice([0, 0, 1]), "account": rng.choice("xy"), "cache_salt": rng.choice(["", "s"])}
        if rng.random() < 0.4:
            params = SamplingParams(temperature=0.0, max_tokens=rng.randint(1, 40), ignore_eos=True)
            requests.append(Submit(f"r{index}", tokens, params, **common))  # type: ignore[arg-type]
        else:
            requests.append(embed(f"r{index}", tokens, rng.choice(KINDS), **common))
    return requests


def check(request: Submit, got: Got, aborted: bool) -> None:
    if {POISON_TOKEN, NAN_TOKEN} & set(request.token_ids):
        assert got.embedding is None and got.tokens == [] and (got.failure is not None or aborted)
    elif request.pooling is None:
        count = request.params.max_tokens or 0
        truth = expected(request.token_ids, request.params, count)
        assert got.tokens == (truth[: len(got.tokens)] if aborted else truth)
    elif not (aborted and got.embedding is None):
        assert got.embedding == expected_embedding(request.token_ids, request.pooling).tolist()
        assert got.reason == "stop" and got.tokens == [] and len(got.steps) == 1


class Seen:
    """What happened to sequences that were pooled, over all seeds of the test below."""

    recomputed = swapped = chunked = hits = 0


@pytest.mark.parametrize("seed", range(12))
def test_everything_at_once(seed: int) -> None:
    """Small pools, chunks, salts, priorities, accounts, swapping, aborts, prompts that are alike, rows that raise."""
    rng = random.Random(seed)
    requests = mixed(rng, 30)
    it = engine(
        num_blocks=rng.randint(23, 30),
        max_batched_tokens=rng.choice([8, 16]),
        swap_bytes=rng.choice([0, 40]),
        prefix_cache=rng.random() < 0.8,
    )
    aborts = [(rng.randint(0, 60), request.request_id) for request in requests if rng.random() < 0.2]
    arrivals = [(rng.randint(0, 30), request) for request in requests]

    def look() -> None:
        for sequence in it.scheduler.waiting:
            if sequence.pooled:
                Seen.recomputed += not sequence.slots
                Seen.swapped += bool(sequence.slots)
        Seen.chunked += any(sequence.pooled for sequence in it.scheduler.running)

    got, doomed = run(it, arrivals, aborts, look), {name for _, name in aborts}
    assert it.pool.used == it.store.used == 0
    for request in requests:
        mine = got.get(request.request_id, Got())
        check(request, mine, request.request_id in doomed)
        if request.pooling is not None and mine.cached:
            assert request.pooling.pooling == "last"
            Seen.hits += 1


def test_what_should_have_happened_above_has() -> None:
    assert Seen.recomputed and Seen.swapped and Seen.chunked and Seen.hits, vars(Seen)


@pytest.mark.parametrize("order", [(MEAN, LAST), (LAST, MEAN)])
def test_a_mean_takes_nothing_from_the_prefix_cache_and_a_last_token_may(order: tuple[PoolingParams, ...]) -> None:
    it = engine(max_batched_tokens=64)
    tokens = list(range(1, 30))
    run(it, [(0, Submit("first", tokens, greedy(1)))])
    for index, pooling in enumerate([*order, *order]):
        got = run(it, [(0, embed(f"{index}", tokens, pooling))])[f"{index}"]
        assert got.embedding == expected_embedding(tokens, pooling).tolist()
        assert got.cached == (28 if pooling is LAST else 0)


def test_an_embedded_prompt_is_found_by_who_comes_after_it() -> None:
    it = engine(max_batched_tokens=64)
    run(it, [(0, embed("a", list(range(1, 30))))])
    assert run(it, [(0, Submit("b", list(range(1, 30)), greedy(1)))])["b"].cached == 28


def test_its_blocks_are_free_with_its_last_step() -> None:
    it = engine(max_batched_tokens=64)
    it.submit(embed("a", list(range(1, 60))))
    [output] = it.step()
    assert isinstance(output, StepOutput) and output.stats.blocks_used == 0 and output.stats.finished["stop"] == 1


def test_a_step_of_pooled_rows_alone_asks_for_no_logits() -> None:
    it = engine(max_batched_tokens=64)
    inner, asked = it.runner.run, []

    def look(batch, *rest):  # type: ignore[no-untyped-def]
        asked.append(len(batch.logits_rows))
        return inner(batch, *rest)

    it.runner.run = look  # type: ignore[method-assign]
    run(it, [(0, embed("a", [1, 2, 3])), (0, embed("b", [4, 5], LAST))])
    assert asked == [0]


def test_accounts_take_turns_whatever_they_ask_for() -> None:
    it = engine(max_num_seqs=1, max_batched_tokens=64)
    requests = [embed(f"a{i}", list(range(1, 40)), account="a") for i in range(8)]
    requests.append(Submit("b", list(range(41, 60)), greedy(1), account="b"))
    got = run(it, [(0, request) for request in requests])
    assert got["b"].steps[0] <= 2


@pytest.mark.parametrize(
    ("request_", "param", "said"),
    [
        (embed("a", []), "token_ids", "no tokens"),
        (embed("a", [1] * 257), "token_ids", "257 tokens, the context holds 256"),
        (embed("a", [1, 5000]), "token_ids", "5000 is not in the vocabulary"),
        (Submit("a", [1], greedy(3), pooling=MEAN), "params", "nothing is sampled"),
        (embed("a", [1], PoolingParams("max")), "pooling", "one of mean, last, got 'max'"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_embedded_is_said(request_: Submit, param: str, said: str) -> None:
    failure = run(engine(), [(0, request_)])["a"].failure
    assert failure is not None and failure.code == "invalid" and failure.param == param and said in failure.message


def test_a_prompt_may_fill_the_whole_context() -> None:
    tokens = [1 + i % 900 for i in range(256)]
    got = run(engine(max_batched_tokens=64), [(0, embed("a", tokens))])["a"]
    assert got.embedding == expected_embedding(tokens, MEAN).tolist()


def test_a_message_with_another_pooling_is_no_message() -> None:
    raw = msgspec.to_builtins(embed("a", [1]))
    raw["pooling"]["pooling"] = "max"
    with pytest.raises(msgspec.ValidationError, match="max"):
        msgspec.convert(raw, Submit)


# ---- the real kernels --------------------------------------------------------------------------------

WEIGHTS = random_weights()
PROMPTS = [[int(t) for t in np.random.default_rng(seed).integers(1, 96, 1 + 9 * seed)] for seed in range(6)]


def llama(**options: object) -> Engine:
    defaults: dict[str, object] = {"model": "tiny", "num_blocks": 32, "max_num_seqs": 8, "max_batched_tokens": 64}
    return Engine(build(EngineConfig(**{**defaults, **options}), CONFIG, WEIGHTS, HostMemory()))  # type: ignore[arg-type]


def vectors(it: Engine, pooling: PoolingParams, *others: Submit) -> list[list[float] | None]:
    names = [f"e{index}" for index in range(len(PROMPTS))]
    asked = [embed(name, prompt, pooling) for name, prompt in zip(names, PROMPTS, strict=True)]
    got = run(it, [(0, request) for request in [*others, *asked]])
    return [got[name].embedding for name in names]


@pytest.mark.parametrize("pooling", KINDS)
def test_vectors_are_those_of_the_float64_model(pooling: PoolingParams) -> None:
    for prompt, got in zip(PROMPTS, vectors(llama(), pooling), strict=True):
        hidden = reference_hidden(CONFIG, WEIGHTS, prompt)
        want = hidden.mean(0) if pooling.pooling == "mean" else hidden[-1]
        if pooling.normalize:
            want = want / np.linalg.norm(want)
            assert np.linalg.norm(got) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max(), rtol=1e-4)


@pytest.mark.parametrize("pooling", [MEAN, LAST])
def test_vectors_are_the_same_to_the_last_bit_however_they_are_made(pooling: PoolingParams) -> None:
    alone = [run(llama(), [(0, embed("a", prompt, pooling))])["a"].embedding for prompt in PROMPTS]
    beside = [Submit(f"g{i}", prompt[::-1], greedy(12, ignore_eos=True)) for i, prompt in enumerate(PROMPTS[:3])]
    assert vectors(llama(), pooling) == alone
    assert vectors(llama(), pooling, *beside) == alone
    assert vectors(llama(max_num_seqs=2, max_batched_tokens=3), pooling) == alone
    assert vectors(llama(capture=False, max_batched_tokens=8), pooling, *beside) == alone
    cached = llama()
    run(cached, [(i, Submit(f"g{i}", prompt, greedy(2, ignore_eos=True))) for i, prompt in enumerate(PROMPTS)])
    assert vectors(cached, pooling) == alone
    assert (cached.stats().prefix_hits > 0) == (pooling is LAST)
    small = llama(num_blocks=4, max_batched_tokens=8)
    assert vectors(small, pooling, *beside) == alone


def test_generation_beside_it_is_as_without_it() -> None:
    asked = [Submit(f"g{i}", prompt, greedy(10, ignore_eos=True)) for i, prompt in enumerate(PROMPTS)]
    plain = run(llama(), [(i, request) for i, request in enumerate(asked)])
    beside = [(i % 5, embed(f"e{i}", prompt, KINDS[i % 4])) for i, prompt in enumerate(PROMPTS)]
    got = run(llama(max_batched_tokens=16), [*((i, request) for i, request in enumerate(asked)), *beside])
    assert {name: got[name].tokens for name in plain} == {name: it.tokens for name, it in plain.items()}


def test_pooling_is_recorded_apart_and_computes_nothing_in_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    it = llama()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a forward operation ran in NumPy")

    for name in ("matmul", "dot", "einsum", "mean", "add", "divide"):
        monkeypatch.setattr(np, name, refuse)
    assert all(vector is not None for vector in vectors(it, MEAN))
    runner = it.runner
    assert isinstance(runner, ModelRunner)
    for recording in runner.pool.recordings.values():
        assert [launch.kernel for launch in recording.launches] == ["segment_sum_kernel", "unit_length_kernel"]


def test_hidden_states_that_are_not_finite_fail_their_row_alone() -> None:
    broken = random_weights()
    broken.embedding.scale[0, :, 5] = np.inf  # the embedding of token 5
    config = EngineConfig(model="tiny", num_blocks=32, max_num_seqs=4, max_batched_tokens=32)
    it = Engine(build(config, CONFIG, broken, HostMemory()))
    got = run(it, [(0, embed("bad", [7, 5, 7])), (0, embed("good", [7, 8]))])
    failure = got["bad"].failure
    assert failure is not None and failure.code == "failed" and "no finite hidden states" in failure.message
    assert got["good"].embedding is not None
