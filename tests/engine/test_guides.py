"""Grammars beside everything else: compiled in threads, given up by aborts, and ended as the request says."""

import threading
from typing import Any

import pytest

pytest.importorskip("llguidance")

from engine import grammar
from engine.guides import COMPILERS, Vocabulary
from engine.messages import RequestFailed, StepOutput, Submit
from tests.engine.drive import Got, collect, engine, greedy, run
from tests.engine.fake_runner import expected

PROMPT = [5, 6, 7]


def test_a_tokenizer_that_cannot_be_read_fails_the_grammars_request_alone():
    it = engine()

    def vocabulary() -> Vocabulary:
        raise OSError("the model file is gone")

    it.guides._vocabulary = vocabulary
    bad = Submit("bad", PROMPT, greedy(5, grammar=grammar.regex("1 ")))
    got = run(it, [(0, Submit("good", PROMPT, greedy(5, ignore_eos=True))), (0, bad)])
    failure = got["bad"].failure
    assert failure is not None and (failure.code, failure.status) == ("failed", 500)
    assert "could not be compiled: OSError: the model file is gone" in failure.message
    assert got["good"].tokens == expected(PROMPT, greedy(5, ignore_eos=True), 5)
    assert it.stats().failed == 1


def test_a_grammar_whose_request_was_aborted_is_not_compiled():
    it, go, compiled = engine(), threading.Event(), []

    def compile(text: str) -> Any:
        compiled.append(text)
        go.wait(10)
        raise ValueError("not today")

    it.guides._compiled = compile  # type: ignore[assignment]
    for index in range(COMPILERS + 2):
        it.submit(Submit(f"r{index}", PROMPT, greedy(5, grammar=f"g{index}")))
    it.abort(f"r{COMPILERS}")
    go.set()
    got: dict[str, Got] = {}
    while it.busy:
        collect(it, got, 0)
    assert set(compiled) == {"g0", "g1", f"g{COMPILERS + 1}"}
    assert len(got) == COMPILERS + 1 and all(mine.failure for mine in got.values())


def test_prompts_whose_grammar_is_being_compiled_are_in_the_queue():
    it, go = engine(max_waiting_tokens=20), threading.Event()
    it.guides._compiled = lambda _: go.wait(10)  # type: ignore[assignment]
    for name in "ab":
        it.submit(Submit(name, [5] * 15, greedy(5, grammar="g")))
    [failed, output] = it.step()
    go.set()
    assert isinstance(failed, RequestFailed) and (failed.request_id, failed.code) == ("b", "overloaded")
    assert isinstance(output, StepOutput) and (output.stats.waiting, output.stats.waiting_tokens) == (1, 15)
    it.close()


def test_a_stop_token_of_the_request_ends_an_answer_by_a_grammar_that_ignores_the_models_own_ends():
    params = {"grammar": grammar.lark('start: ("5 " | "17 ")+'), "ignore_eos": True}
    free = run(engine(), [(0, Submit("a", PROMPT, greedy(20, **params)))])["a"].tokens
    assert set(free) == {5, 17}, "the end may come anywhere, and does not"
    got = run(engine(), [(0, Submit("a", PROMPT, greedy(20, stop_token_ids=(17,), **params)))])["a"]
    assert got.reason == "stop"
    assert got.tokens == free[: free.index(17) + 1]
