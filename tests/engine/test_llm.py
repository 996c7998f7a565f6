"""The offline door, on the fake model and a tokenizer of words."""

from collections.abc import Sequence

import pytest

from engine.config import EngineConfig
from engine.llm import LLM, GenerationFailed
from engine.messages import Logprob, PoolingParams, SamplingParams
from tests.engine.drive import greedy
from tests.engine.fake_runner import expected, expected_embedding


class WordStream:
    def feed(self, ids: Sequence[int]) -> str:
        return "".join(f"{token} " for token in ids)

    def finish(self) -> str:
        return "."


class WordCodec:
    """Token 7 is the text "7 "."""

    def encode_prompt(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def encode_document(self, text: str) -> list[int]:
        return [*self.encode_prompt(text), 99]

    def stream(self) -> WordStream:
        return WordStream()


@pytest.fixture
def llm():
    config = EngineConfig(model="fake", runner="tests.engine.fake_runner:load", block_size=4, num_blocks=32)
    with LLM(config, WordCodec()) as llm:
        yield llm


def words(tokens: list[int]) -> str:
    return "".join(f"{token} " for token in tokens)


def test_texts_and_token_ids_are_completed_in_order(llm: LLM):
    first, second = llm.generate(["5 6", [7, 8]], [greedy(4, ignore_eos=True), greedy(7, ignore_eos=True)])
    assert first.token_ids == expected([5, 6], greedy(4, ignore_eos=True), 4)
    assert second.token_ids == expected([7, 8], greedy(7, ignore_eos=True), 7)
    assert first.text == words(first.token_ids) + "."
    assert (first.finish_reason, second.finish_reason) == ("length", "length")
    assert first.prompt_token_ids == [5, 6]


def test_a_stop_string_ends_the_text_and_the_work(llm: LLM):
    tokens = expected([5, 6], greedy(9, ignore_eos=True), 9)
    [answer] = llm.generate(["5 6"], greedy(200, ignore_eos=True), stop=[f" {tokens[4]} "])
    assert answer.text == words(tokens[:4]).rstrip()
    assert answer.finish_reason == "stop"
    assert llm.engine.pool.used == 0
    assert llm.engine.stats().decode_tokens < 10


def test_a_prompt_that_cannot_be_served_says_which_and_leaves_nothing_behind(llm: LLM):
    with pytest.raises(GenerationFailed, match="prompt 1: the prompt has no tokens"):
        llm.generate(["5 6", ""], greedy(4))
    assert llm.engine.pool.used == 0
    assert len(llm.generate(["5 6"], greedy(4, ignore_eos=True))[0].token_ids) == 4


def test_parameters_must_match_the_prompts(llm: LLM):
    with pytest.raises(ValueError, match="got 1 prompts and 2 sampling parameters"):
        llm.generate(["5"], [greedy(1), greedy(1)])


def test_one_text_is_one_prompt_and_one_stop_string_is_one(llm: LLM):
    tokens = expected([5, 6], greedy(9, ignore_eos=True), 9)
    [answer] = llm.generate("5 6", greedy(9, ignore_eos=True), stop=f" {tokens[4]} ")
    assert answer.prompt_token_ids == [5, 6]
    assert answer.text == words(tokens[:4]).rstrip()
    assert [vector.tolist() for vector in llm.embed("5 6")] == [vector.tolist() for vector in llm.embed(["5 6"])]
    with pytest.raises(TypeError, match="prompts must be texts or lists of token ids, got the number 5"):
        llm.generate([5, 6], greedy(1))  # type: ignore[list-item]


def test_after_ctrl_c_in_a_step_the_next_prompt_is_answered(llm: LLM, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(llm.engine.runner, "run", interrupted)
        llm.generate(["5 6"], greedy(4))
    assert llm.engine.pool.used == 0
    [answer] = llm.generate(["5 6"], greedy(4, ignore_eos=True))
    assert answer.token_ids == expected([5, 6], greedy(4, ignore_eos=True), 4)


def test_logprobs_come_when_asked_for(llm: LLM):
    [answer] = llm.generate(["5"], SamplingParams(temperature=0.0, max_tokens=3, logprobs=0, ignore_eos=True))
    assert answer.logprobs == [Logprob(-token, token + 1) for token in answer.token_ids]


def test_texts_and_token_ids_are_embedded_in_order(llm: LLM):
    for pooling in (PoolingParams("mean"), PoolingParams("last", normalize=False)):
        vectors = llm.embed(["5 6", [7, 8, 9]], pooling)
        for prompt, vector in zip(([5, 6, 99], [7, 8, 9]), vectors, strict=True):
            assert vector.tolist() == expected_embedding(prompt, pooling).tolist()
    with pytest.raises(GenerationFailed, match="prompt 1: the prompt has no tokens"):
        llm.embed(["5", []])


def test_closing_closes_the_runner(llm: LLM):
    llm.close()
    assert llm.engine.runner.closed  # type: ignore[attr-defined]
