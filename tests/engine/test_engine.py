"""One request at a time: limits, stops, failures, aborts, seeds."""

import pytest

from engine.messages import Logprob, PoolingParams, SamplingParams, StepOutput, Submit
from tests.engine.drive import Got, collect, engine, fake, greedy, run
from tests.engine.fake_runner import EOS, NAN_TOKEN, POISON_TOKEN, expected

PROMPT = [5, 6, 7, 8, 9]


def stopping_prompt() -> tuple[list[int], int]:
    """A prompt whose greedy answer ends by itself, and how many tokens it takes."""
    for first in range(1, 900):
        answer = expected([first, 2], greedy(60), 60)
        if answer[-1] == EOS:
            return [first, 2], len(answer)
    raise AssertionError("no such prompt")


def test_the_tokens_are_those_of_the_model():
    got = run(engine(), [(0, Submit("a", PROMPT, greedy(20)))])["a"]
    assert got.tokens == expected(PROMPT, greedy(20), 20)
    assert got.reason == "length"


def test_one_token_arrives_per_step():
    got = run(engine(), [(0, Submit("a", PROMPT, greedy(6)))])["a"]
    assert got.steps == [0, 1, 2, 3, 4, 5]


def test_end_of_sequence_stops_and_is_not_shown():
    prompt, length = stopping_prompt()
    it = engine()
    it.submit(Submit("a", prompt, greedy(100)))
    outs = []
    while it.busy:
        outs += [out for event in it.step() if isinstance(event, StepOutput) for out in event.tokens]
    assert len(outs) == length
    assert outs[-1].finish_reason == "stop"
    assert (outs[-1].token_ids, outs[-1].stop_token) == ([], EOS)
    assert all(out.finish_reason is None for out in outs[:-1])


def test_ignore_eos_goes_on():
    prompt, length = stopping_prompt()
    got = run(engine(), [(0, Submit("a", prompt, greedy(length + 5, ignore_eos=True)))])["a"]
    assert len(got.tokens) == length + 5
    assert got.reason == "length"


def test_a_stop_token_of_the_request_stops():
    stop = expected(PROMPT, greedy(9), 9)[4]
    got = run(engine(), [(0, Submit("a", PROMPT, greedy(20, stop_token_ids=(stop,))))])["a"]
    assert got.tokens == expected(PROMPT, greedy(5), 5)
    assert got.reason == "stop"


def test_without_max_tokens_the_answer_ends_with_the_context():
    params = SamplingParams(temperature=0.0, ignore_eos=True)
    got = run(engine(context_length=40), [(0, Submit("a", PROMPT, params))])["a"]
    assert len(got.tokens) == 40 - len(PROMPT)
    assert got.reason == "length"


def test_the_pool_bounds_an_answer_like_the_context_does():
    params = SamplingParams(temperature=0.0, ignore_eos=True)
    it = engine(num_blocks=5)
    assert len(run(it, [(0, Submit("a", PROMPT, params))])["a"].tokens) == 20 - len(PROMPT)
    assert it.pool.used == 0


@pytest.mark.parametrize(
    ("tokens", "params", "complaint"),
    [
        ([], {}, "no tokens"),
        ([1] * 256, {}, "prompt has 256 tokens, the context holds 256"),
        ([1, 997], {}, "token id 997 is not in the vocabulary"),
        ([1, -1], {}, "token id -1 is not"),
        ([1], {"temperature": -1.0}, "temperature must"),
        ([1], {"temperature": float("nan")}, "temperature must"),
        ([1], {"top_p": 0.0}, "top_p must"),
        ([1], {"top_p": 1.5}, "top_p must"),
        ([1], {"min_p": -0.1}, "min_p must"),
        ([1], {"top_k": -1}, "top_k must"),
        ([1], {"max_tokens": 0}, "max_tokens must"),
        ([1], {"max_tokens": 3, "min_tokens": 4}, "min_tokens must be at most max_tokens=3"),
        ([1], {"presence_penalty": 2.5}, "presence_penalty must"),
        ([1], {"repetition_penalty": 0.0}, "repetition_penalty must"),
        ([1], {"logprobs": 21}, "logprobs must be from 0 to 20"),
        ([1], {"logit_bias": {997: 1.0}}, "logit_bias: token id 997 is not in the vocabulary"),
        ([1], {"logit_bias": {5: float("nan")}}, "logit_bias must be from -100 to 100"),
        ([1], {"stop_token_ids": (-1,)}, "stop_token_ids: token id -1"),
    ],
)
def test_a_request_that_cannot_be_served_fails_alone(tokens: list[int], params: dict[str, object], complaint: str):
    it = engine()
    good = Submit("good", PROMPT, greedy(5))
    got = run(it, [(0, good), (0, Submit("bad", tokens, SamplingParams(**params)))])  # type: ignore[arg-type]
    failure = got["bad"].failure
    assert failure is not None and failure.status == 400
    assert complaint in failure.message
    assert got["good"].tokens == expected(PROMPT, greedy(5), 5)


def test_a_prompt_that_the_pool_can_never_hold_is_refused():
    failure = run(engine(num_blocks=3), [(0, Submit("a", [1] * 12, greedy(1)))])["a"].failure
    assert failure is not None
    assert "the KV cache holds 12 including at least one to generate" in failure.message


def test_the_same_choice_twice_is_refused_and_the_first_goes_on():
    it = engine()
    it.submit(Submit("a", PROMPT, greedy(5)))
    got: dict[str, Got] = {}
    collect(it, got, 0)
    it.submit(Submit("a", PROMPT, greedy(5)))
    while it.busy:
        collect(it, got, 1)
    assert "already running" in getattr(got["a"].failure, "message", "")
    assert got["a"].tokens == expected(PROMPT, greedy(5), 5)


@pytest.mark.parametrize(("token", "complaint"), [(POISON_TOKEN, "poisoned token"), (NAN_TOKEN, "no finite logits")])
def test_a_row_that_raises_fails_alone(token: int, complaint: str):
    it = engine()
    good = [Submit(name, [*PROMPT, ord(name)], greedy(8)) for name in "ab"]
    got = run(it, [(0, good[0]), (0, Submit("bad", [1, 2, token], greedy(5))), (0, good[1])])
    assert complaint in getattr(got["bad"].failure, "message", "")
    assert got["bad"].tokens == []
    for request in good:
        assert got[request.request_id].tokens == expected(request.token_ids, greedy(8), 8)
    assert it.pool.used == 0


def test_a_batch_that_is_full_and_ends_with_its_step_is_seen_to_run_while_others_wait():
    it = engine(max_num_seqs=4, max_batched_tokens=64)
    for index in range(10):
        it.submit(Submit(f"r{index}", [5 + index, 6, 7], pooling=PoolingParams("last")))
    seen = [(output.stats.running, output.stats.waiting) for output in (it.step()[-1] for _ in range(3))]
    assert seen == [(4, 6), (4, 2), (0, 0)]


def test_an_abort_frees_the_blocks_at_once_and_may_be_repeated():
    it = engine()
    it.submit(Submit("a", PROMPT, greedy(50)))
    it.submit(Submit("a", PROMPT, greedy(50), choice=1))
    it.step()
    assert it.pool.used > 0
    it.abort("a")
    it.abort("a")
    it.abort("never seen")
    assert it.pool.used == 0
    [output] = it.step()
    assert isinstance(output, StepOutput)
    assert (output.tokens, output.stats.running, output.stats.blocks_used) == ([], 0, 0)
    assert not it.busy


def test_an_abort_during_prefill_frees_the_blocks():
    it = engine()
    it.submit(Submit("a", [1] * 200, greedy(5)))
    it.step()
    assert it.pool.used == 50
    it.abort("a")
    assert it.pool.used == 0


def test_an_aborted_request_may_be_submitted_again():
    it = engine()
    it.submit(Submit("a", PROMPT, greedy(50)))
    it.step()
    it.abort("a")
    assert run(it, [(0, Submit("a", PROMPT, greedy(5)))])["a"].tokens == expected(PROMPT, greedy(5), 5)


def test_a_seed_fixes_the_tokens_and_choices_differ():
    params = SamplingParams(temperature=0.7, seed=11, max_tokens=12, ignore_eos=True)
    answers = {}
    for choice in (0, 1):
        it = engine()
        it.submit(Submit("a", PROMPT, params, choice=choice))
        events = [event for _ in range(12) for event in it.step() if isinstance(event, StepOutput)]
        answers[choice] = [token for event in events for token in event.tokens[0].token_ids]
        assert answers[choice] == expected(PROMPT, params, 12, choice=choice, seed=11)
    assert answers[0] != answers[1]


def test_without_a_seed_each_request_draws_its_own():
    params = SamplingParams(temperature=0.7, max_tokens=12, ignore_eos=True)
    got = run(engine(), [(0, Submit(name, PROMPT, params)) for name in "ab"])
    assert got["a"].tokens != got["b"].tokens


def test_seeds_of_any_sign_and_size_up_to_64_bits_are_taken():
    for seed in (-1, -(1 << 63), (1 << 64) - 1):
        params = SamplingParams(temperature=0.7, seed=seed, max_tokens=5, ignore_eos=True)
        got = run(engine(), [(0, Submit("a", PROMPT, params))])["a"]
        assert got.tokens == expected(PROMPT, params, 5, seed=seed % (1 << 64))


def test_logprobs_come_with_the_tokens_only_when_asked_for():
    it = engine()
    it.submit(Submit("a", PROMPT, greedy(1, logprobs=0)))
    it.submit(Submit("b", PROMPT[1:], greedy(1)))
    [output] = it.step()
    assert isinstance(output, StepOutput)
    token = expected(PROMPT, greedy(1), 1)[0]
    assert [out.logprobs for out in output.tokens] == [[Logprob(-token, token + 1)], None]


def test_padding_never_touches_a_slot_that_a_sequence_owns():
    it = engine(max_batched_tokens=64)
    for name in "abc":
        it.submit(Submit(name, [ord(name)] * 7, greedy(9)))
    while it.busy:
        before = len(fake(it).written)
        it.step()
        for slots in fake(it).written[before:]:
            live = slots[slots >= it.info.block_size]
            assert len(set(live.tolist())) == len(live)
            assert len(slots) & (len(slots) - 1) == 0, "a step has the size of a bucket"


def test_counters_add_up():
    it = engine()
    short = Submit("a", [2] * 3, greedy(4, ignore_eos=True))
    long = Submit("b", [1] * 40, greedy(10, ignore_eos=True))
    run(it, [(0, short), (1, long)])
    stats = it.stats()
    assert stats.prefill_tokens == 43
    assert stats.decode_tokens == 9 + 3
    assert stats.mixed_steps > 0
    assert stats.replays == stats.steps
    assert (stats.running, stats.waiting, stats.blocks_used, stats.preemptions) == (0, 0, 0, 0)
    assert 0 <= stats.kernel_seconds <= stats.step_seconds


def test_batches_are_views_of_one_buffer_whose_addresses_stay():
    it = engine()
    buffers = fake(it).buffers
    start = buffers.host.ctypes.data
    batch = buffers.view(4, 2)
    assert batch.input_ids.ctypes.data == buffers.view(16, 8).input_ids.ctypes.data
    assert batch is buffers.view(4, 2)
    for name in ("input_ids", "seeds", "block_tables"):
        array = getattr(batch, name)
        assert array.ctypes.data % 64 == 0
        assert start <= array.ctypes.data < start + len(buffers.host)


def test_a_full_queue_refuses_with_a_time_and_what_is_in_it_goes_on():
    it = engine(max_waiting=3, max_waiting_tokens=20)
    arrivals = [(0, Submit(name, [*PROMPT, ord(name)], greedy(3, ignore_eos=True))) for name in "abcdefgh"]
    got = run(it, arrivals)
    refused = [name for name in "abcdefgh" if got[name].failure]
    assert refused == list("defgh")
    failure = got["d"].failure
    assert failure is not None
    assert (failure.code, failure.status) == ("overloaded", 429)
    assert failure.retry_after is not None and failure.retry_after >= 1
    assert all(len(got[name].tokens) == 3 for name in "abc")
    assert it.stats().refused == 5
    assert run(it, [(0, Submit("i", PROMPT, greedy(3)))])["i"].failure is None


def test_a_queue_is_bounded_in_tokens_but_an_empty_one_takes_any_prompt():
    it = engine(max_waiting_tokens=20)
    long = Submit("long", [3] * 100, greedy(2, ignore_eos=True))
    got = run(it, [(0, long), (0, Submit("late", [4] * 5, greedy(2)))])
    assert got["long"].failure is None
    assert getattr(got["late"].failure, "code", None) == "overloaded"


def test_the_first_output_says_what_was_cached_and_how_long_it_waited():
    it = engine(max_batched_tokens=64)
    it.submit(Submit("a", [9] * 21, greedy(2, ignore_eos=True)))
    outs = []
    for _ in range(2):
        [output] = it.step()
        assert isinstance(output, StepOutput)
        outs += output.tokens
    assert (outs[0].cached_tokens, outs[1].cached_tokens, outs[1].queue_seconds) == (0, None, None)
    assert outs[0].queue_seconds is not None and 0 <= outs[0].queue_seconds < 1


def test_ends_are_counted_by_their_reason():
    it = engine()
    prompt, _ = stopping_prompt()
    it.submit(Submit("cut", PROMPT, greedy(90, ignore_eos=True)))
    it.step()
    it.abort("cut")
    run(it, [(0, Submit("a", prompt, greedy(100))), (0, Submit("b", PROMPT, greedy(2)))])
    run(it, [(0, Submit("bad", [1, POISON_TOKEN], greedy(2)))])
    assert it.stats().finished == {"stop": 1, "length": 1, "abort": 1}
    assert it.stats().failed == 1
