"""What a request may ask of the draw: penalties, biases, bounds, masks and log probabilities, against float64 logits.

And the law of batching for all of them together: tokens and log probabilities of a request, to the last bit, are those
that it gets alone.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from engine import grammar
from engine.config import EngineConfig
from engine.engine import Engine
from engine.memory import HostMemory
from engine.messages import Logprob, RequestFailed, SamplingParams, Submit, TokenOut
from engine.model_runner import ModelRunner, build
from tests.engine.tiny_model import TEXT, random_weights, reference_logits, text_vocabulary

WEIGHTS = random_weights(TEXT)
PROMPT = [5, 100, 200, 100, 7]
VOCABULARY = text_vocabulary()


def engine(**options: Any) -> Engine:
    defaults: dict[str, Any] = {"model": "tiny", "num_blocks": 32, "max_num_seqs": 4, "max_batched_tokens": 32}
    config = EngineConfig(**{**defaults, **options})
    return Engine(build(config, TEXT, WEIGHTS, HostMemory(), text_vocabulary))


def serve(it: Engine, *requests: Submit) -> dict[str, list[TokenOut]]:
    """The outputs of each request; one that fails is an error here."""
    for request in requests:
        it.submit(request)
    found: dict[str, list[TokenOut]] = {request.request_id: [] for request in requests}
    for _ in range(2000):
        for event in it.step() if it.busy else ():
            assert not isinstance(event, RequestFailed), event.message
            for out in event.tokens:
                found[out.request_id].append(out)
    assert not it.busy
    assert it.pool.used == 0
    return found


def tokens(outs: list[TokenOut]) -> list[int]:
    return [token for out in outs for token in out.token_ids]


def ask(prompt: list[int] = PROMPT, **params: Any) -> list[TokenOut]:
    defaults = {"temperature": 0.0, "max_tokens": 10, "ignore_eos": True}
    return serve(engine(), Submit("a", prompt, SamplingParams(**{**defaults, **params})))["a"]


def model(sequence: list[int]) -> np.ndarray:
    """Float64 logits of the token after the sequence."""
    return reference_logits(TEXT, WEIGHTS, sequence)[-1]


def logprobs_of(logits: np.ndarray) -> np.ndarray:
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


def assert_logprob(got: Logprob | None, logits: np.ndarray, token: int, count: int) -> None:
    assert got is not None
    want = logprobs_of(logits)
    order = np.argsort(-want, kind="stable")
    assert got.rank == 1 + (logits > logits[token]).sum()
    np.testing.assert_allclose(got.logprob, want[token], atol=1e-4)
    assert [id for id, _ in got.top] == order[:count].tolist()
    np.testing.assert_allclose([chance for _, chance in got.top], want[order[:count]], atol=1e-4)


@pytest.mark.parametrize(
    "params",
    [
        {"presence_penalty": 1.7},
        {"frequency_penalty": 0.9},
        {"repetition_penalty": 1.8},
        {"repetition_penalty": 0.6, "frequency_penalty": 0.8, "presence_penalty": -0.4},
    ],
)
def test_penalties_and_biases_are_those_of_the_definition(params: dict[str, Any]):
    bias = {20: 7.0, 33: 7.0, 100: 6.5, 50: -3.0}  # so that tokens come again, and the penalties matter
    it = SamplingParams(**params, logit_bias=bias)
    sequence, answer, margin = list(PROMPT), [], np.inf
    for _ in range(10):
        logits = model(sequence)
        for token, added in it.logit_bias.items():
            logits[token] += added
        seen = sorted({*sequence})
        factor = it.repetition_penalty
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / factor, logits[seen] * factor)
        for token in set(answer):
            logits[token] -= it.frequency_penalty * answer.count(token) + it.presence_penalty
        second, best = np.sort(logits)[-2:]
        margin = min(margin, best - second)
        answer.append(int(logits.argmax()))
        sequence.append(answer[-1])
    assert margin > 1e-3
    assert tokens(ask(**params, logit_bias=bias)) == answer
    assert tokens(ask(logit_bias=bias)) != answer


def test_a_bias_of_a_hundred_chooses_and_one_of_minus_a_hundred_forbids():
    assert tokens(ask(logit_bias={33: 100.0})) == [33] * 10
    usual = tokens(ask())
    assert not set(usual) & set(tokens(ask(logit_bias=dict.fromkeys(set(usual), -100.0))))


def test_every_bias_at_once_leaves_a_choice():
    answer = tokens(ask(temperature=1.5, seed=3, logit_bias=dict.fromkeys(range(TEXT.vocab_size), -100.0)))
    assert len(answer) == 10


def test_min_tokens_keeps_stop_tokens_away_until_then():
    outs = ask(min_tokens=4, max_tokens=20, ignore_eos=False, stop_token_ids=(33,), logit_bias={0: 100.0, 33: 99.0})
    assert len(tokens(outs)) == 4
    assert (outs[-1].finish_reason, outs[-1].stop_token) == ("stop", 0)


def test_logprobs_are_the_models_own_with_ranks_and_alternatives():
    outs = ask(logprobs=5, temperature=1.5, seed=9, presence_penalty=1.0)
    sequence = list(PROMPT)
    for out in outs:
        assert out.logprobs is not None
        assert_logprob(out.logprobs[0], model(sequence), out.token_ids[0], 5)
        sequence += out.token_ids


@pytest.mark.parametrize("width", [4, 32])
def test_prompt_logprobs_come_with_the_first_output(width: int):
    prompt = [int(t) for t in np.random.default_rng(3).integers(0, 320, 30)]
    params = SamplingParams(temperature=0.0, max_tokens=2, ignore_eos=True, prompt_logprobs=3)
    outs = serve(engine(max_batched_tokens=width, max_num_seqs=4), Submit("a", prompt, params))["a"]
    scores = outs[0].prompt_logprobs
    assert scores is not None and scores[0] is None and len(scores) == len(prompt)
    logits = reference_logits(TEXT, WEIGHTS, prompt)
    for at in range(1, len(prompt)):
        assert_logprob(scores[at], logits[at - 1], prompt[at], 3)
    assert outs[1].prompt_logprobs is None


def test_a_prompt_is_scored_once_also_if_its_sequence_is_preempted_later():
    it = engine(num_blocks=3)
    seen: list[int] = []
    schedule = it.scheduler.schedule

    def watched():  # type: ignore[no-untyped-def]
        plan = schedule()
        seen.extend(row.scores for row in plan.rows)
        return plan

    it.scheduler.schedule = watched  # type: ignore[method-assign]
    params = SamplingParams(max_tokens=30, ignore_eos=True, seed=1, prompt_logprobs=1)
    serve(it, *(Submit(name, [ord(name), *range(60, 73)], params) for name in "ab"))
    assert it.stats().preemptions > 0
    assert sum(seen) == 2 * 13


def test_a_prompt_can_be_scored_without_an_answer():
    [out] = ask([7] * TEXT.context_length, max_tokens=0, prompt_logprobs=0)
    assert (out.token_ids, out.stop_token, out.finish_reason) == ([], None, "length")
    assert out.prompt_logprobs is not None and len(out.prompt_logprobs) == TEXT.context_length


def test_a_choice_grammar_gives_one_of_its_texts_and_ends():
    pytest.importorskip("llguidance")
    outs = ask(temperature=1.5, seed=4, max_tokens=30, grammar=grammar.choice(["abba", "dada"]), ignore_eos=False)
    text = b"".join(VOCABULARY.tokens[token] for token in tokens(outs))
    assert text in (b"abba", b"dada")
    assert outs[-1].finish_reason == "stop"


def test_a_grammar_that_is_wrong_is_that_requests_error_alone():
    pytest.importorskip("llguidance")
    it = engine()
    it.submit(Submit("bad", PROMPT, SamplingParams(grammar="nonsense")))
    it.submit(Submit("good", PROMPT, SamplingParams(max_tokens=3, ignore_eos=True)))
    failed, good = [], []
    while it.busy:
        for event in it.step():
            if isinstance(event, RequestFailed):
                failed.append(event)
            else:
                good += event.tokens
    assert [(event.request_id, event.code, event.param) for event in failed] == [("bad", "invalid", "grammar")]
    assert len(good) == 3


def test_a_request_whose_grammar_is_being_compiled_can_be_aborted():
    pytest.importorskip("llguidance")
    it = engine()
    it.submit(Submit("a", PROMPT, SamplingParams(grammar=grammar.json_object())))
    it.abort("a")
    it.step()
    assert not it.busy


def test_a_model_without_a_tokenizer_refuses_grammars():
    pytest.importorskip("llguidance")
    it = Engine(build(EngineConfig(model="tiny", num_blocks=8), TEXT, WEIGHTS, HostMemory()))
    it.submit(Submit("a", PROMPT, SamplingParams(grammar=grammar.json_object())))
    events = []
    while it.busy:
        events += it.step()
    assert [event.message for event in events if isinstance(event, RequestFailed)] == [
        "this model has no tokenizer, which a grammar needs"
    ]


COMMON = list(range(40, 80))


def random_request(rng: random.Random, name: str) -> Submit:
    prompt = [*COMMON[: rng.choice([0, 0, 18])], *(rng.randrange(3, 320) for _ in range(rng.randint(1, 10)))]

    def sometimes(chance: float, value: Any, otherwise: Any) -> Any:
        return value if rng.random() < chance else otherwise

    most = rng.randint(6, 18)
    params = SamplingParams(
        temperature=rng.choice([0.0, 0.7, 1.5]),
        top_k=sometimes(0.3, rng.randint(1, 50), 0),
        top_p=sometimes(0.3, rng.uniform(0.3, 1), 1.0),
        min_p=sometimes(0.3, rng.uniform(0, 0.2), 0.0),
        seed=rng.randrange(1 << 63),
        presence_penalty=sometimes(0.3, rng.uniform(-2, 2), 0.0),
        frequency_penalty=sometimes(0.3, rng.uniform(-2, 2), 0.0),
        repetition_penalty=sometimes(0.3, rng.uniform(0.5, 2), 1.0),
        logit_bias=sometimes(0.3, {rng.randrange(320): rng.uniform(-100, 100) for _ in range(5)}, {}),
        min_tokens=sometimes(0.3, rng.randint(1, most), 0),
        max_tokens=most,
        stop_token_ids=sometimes(0.3, tuple(rng.randrange(320) for _ in range(40)), ()),
        ignore_eos=rng.random() < 0.5,
        logprobs=sometimes(0.4, rng.randint(0, 4), None),
        prompt_logprobs=sometimes(0.3, rng.randint(0, 2), None),
        grammar=sometimes(0.3, rng.choice(GRAMMARS), None),
    )
    return Submit(name, prompt, params, choice=rng.randrange(3))


try:
    GRAMMARS = [grammar.json_object(), grammar.regex("[a-d]{2,9}"), grammar.choice(["abc", "a", "{}"])]
except ModuleNotFoundError:
    GRAMMARS = [None]


@pytest.mark.parametrize("seed", range(4))
def test_batched_chunked_and_preempted_is_alone_whatever_is_asked_for(seed: int):
    rng = random.Random(seed)
    requests = [random_request(rng, f"r{index}") for index in range(8)]
    # two that begin with a block each and need three: one of them gives way
    for index in range(2):
        prompt = [rng.randrange(3, 320) for _ in range(14)]
        params = SamplingParams(seed=index, max_tokens=30, ignore_eos=True, frequency_penalty=0.5, logprobs=1)
        requests.insert(index, Submit(f"long{index}", prompt, params))
    alone = {r.request_id: _told(serve(engine(), r)[r.request_id]) for r in requests}
    cached = engine(max_batched_tokens=64)
    swapping = {"num_blocks": 3, "max_batched_tokens": 4, "swap_bytes": 1 << 20}
    small = [engine(num_blocks=3, max_batched_tokens=4, prefix_cache=False), engine(**swapping)]
    for it in (cached, cached, engine(max_batched_tokens=5), *small):
        together = serve(it, *requests)
        assert {name: _told(outs) for name, outs in together.items()} == alone
    assert all(it.stats().preemptions for it in small)
    assert small[1].stats().swapped_in


def _told(outs: list[TokenOut]) -> list[tuple[Any, ...]]:
    return [(out.token_ids, out.finish_reason, out.stop_token, out.logprobs, out.prompt_logprobs) for out in outs]


def test_plain_steps_run_nothing_that_only_others_need():
    it = engine()
    serve(it, Submit("a", PROMPT, SamplingParams(max_tokens=5, seed=1)))
    runner = it.runner
    assert isinstance(runner, ModelRunner)
    assert list(runner.sample.recordings) == [1]
    assert [launch.kernel for launch in runner.sample.recordings[1].launches] == [
        "chunk_best_kernel",
        "levels_kernel",
        "pick_kernel",
    ]


def test_masks_are_written_between_the_forward_pass_and_the_draw(monkeypatch: pytest.MonkeyPatch):
    it = engine()
    runner, told = it.runner, []
    assert isinstance(runner, ModelRunner)
    for part in ("forward", "sample"):
        run = getattr(runner, part).run
        monkeypatch.setattr(getattr(runner, part), "run", lambda *a, run=run, part=part: (told.append(part), run(*a)))
    fill = it.guides.fill
    monkeypatch.setattr(it.guides, "fill", lambda *a: (told.append(f"masks of {len(a[0])}"), fill(*a))[1])
    params = SamplingParams(max_tokens=3, min_tokens=2, stop_token_ids=(7,))
    serve(it, Submit("a", PROMPT, params), Submit("b", PROMPT[1:], SamplingParams(max_tokens=3, ignore_eos=True)))
    assert told[:6] == ["forward", "masks of 1", "sample"] * 2
    assert told[6:] == ["forward", "sample"], "once nothing is masked nobody waits for a mask"


def test_a_row_whose_grammar_breaks_fails_alone(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("llguidance")
    it = engine()
    fill = it.guides.fill

    def broken(sequences, allowed):  # type: ignore[no-untyped-def]
        return {**fill(sequences, allowed), **{i: "too complex" for i, s in enumerate(sequences) if "bad" in s.key}}

    monkeypatch.setattr(it.guides, "fill", broken)
    params = SamplingParams(max_tokens=30, temperature=0.0, grammar=grammar.choice(["abc", "xyz"]))
    it.submit(Submit("bad", PROMPT, params))
    it.submit(Submit("good", PROMPT[1:], params))
    failed, text = [], b""
    while it.busy:
        for event in it.step():
            if isinstance(event, RequestFailed):
                failed.append((event.request_id, event.code, event.message))
                continue
            text += b"".join(VOCABULARY.tokens[token] for out in event.tokens for token in out.token_ids)
    assert failed == [("bad", "invalid", "too complex")]
    assert text in (b"abc", b"xyz")
    assert it.pool.used == 0


class Panic(BaseException):
    """What a panic of a Rust library looks like."""


@pytest.mark.parametrize("where", ["compile", "mask"])
def test_a_panic_of_the_grammar_library_is_one_requests_error(where: str, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("llguidance")
    it = engine()
    if where == "compile":
        monkeypatch.setattr(it.guides, "_compiled", lambda text: (_ for _ in ()).throw(Panic("boom")))
    else:
        executor = type("Executor", (), {"unsafe_compute_mask_ptr": lambda *a: (_ for _ in ()).throw(Panic("boom"))})
        it.guides.__dict__["_executor"] = executor()
    it.submit(Submit("bad", PROMPT, SamplingParams(max_tokens=3, grammar=grammar.choice(["abc"]))))
    it.submit(Submit("good", PROMPT[1:], SamplingParams(max_tokens=3, ignore_eos=True)))
    failed, good = [], 0
    while it.busy:
        for event in it.step():
            if isinstance(event, RequestFailed):
                failed.append(event)
            else:
                good += sum(len(out.token_ids) for out in event.tokens)
    assert [event.request_id for event in failed] == ["bad"]
    assert "boom" in failed[0].message
    assert failed[0].code == {"compile": "invalid", "mask": "failed"}[where]
    assert good == 3


def test_an_interrupt_while_masks_are_made_is_no_error_of_a_grammar():
    pytest.importorskip("llguidance")
    it = engine()
    executor = type("Executor", (), {"unsafe_compute_mask_ptr": lambda *a: (_ for _ in ()).throw(KeyboardInterrupt())})
    it.guides.__dict__["_executor"] = executor()
    it.submit(Submit("one", PROMPT, SamplingParams(max_tokens=3, grammar=grammar.choice(["abc"]))))
    with pytest.raises(KeyboardInterrupt):
        while it.busy:
            it.step()
