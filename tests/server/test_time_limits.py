"""How long things may take: a generation, its wait in the queue, an engine's silence, a server's end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from engine.batch import BatchShape
from engine.engine import Engine, Policy
from engine.messages import ModelInfo, RequestFailed, SamplingParams, Submit
from tests.engine.fake_runner import VOCAB, FakeRunner
from tests.server.conftest import ROOT, Running, start
from tests.server.test_cli import SERVE
from tests.server.test_life import within

LONG = {"model": "tiny", "prompt": "once", "max_tokens": 200, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def hurried() -> Iterator[Running]:
    """A generation has half a second; a step takes 20 ms."""
    running, stop = start(app_options={"request_seconds": 0.5}, extra={"step_seconds": 0.02})
    yield running
    stop()


@pytest.mark.parametrize("stream", [False, True])
def test_a_generation_that_takes_too_long_ends_and_frees_its_blocks(hurried: Running, stream: bool) -> None:
    started = time.monotonic()
    with pytest.raises(openai.APIError, match="not finished within") as caught:
        answer = hurried.openai().completions.create(
            model="tiny", prompt="once", max_tokens=200, stream=stream, extra_body={"ignore_eos": True}
        )
        assert sum(len(chunk.choices) for chunk in answer) >= 1
    assert 0.4 < time.monotonic() - started < 5
    assert caught.value.code == "request_timeout" and caught.value.type == "timeout_error"
    if not stream:
        assert isinstance(caught.value, openai.APIStatusError) and caught.value.status_code == 408
        assert caught.value.response.headers["x-should-retry"] == "false"
    assert within(1.0, lambda: hurried.metric("rtriton_kv_blocks_used") == 0)
    row = httpx.get(f"{hurried.url}/requests").json()["requests"][-1]
    assert (row["outcome"], row["code"], row["status"]) == ("timed_out", "request_timeout", 200 if stream else 408)


def test_clients_do_not_ask_again_by_themselves_for_what_took_too_long(hurried: Running) -> None:
    before = hurried.metric("rtriton_requests_total")
    client = openai.OpenAI(base_url=f"{hurried.url}/v1", api_key="unused", max_retries=3)
    with pytest.raises(openai.APIStatusError):
        client.completions.create(model="tiny", prompt="once", max_tokens=200, extra_body={"ignore_eos": True})
    assert hurried.metric("rtriton_requests_total") == before + 1


def test_other_requests_do_not_notice_that_one_took_too_long(hurried: Running) -> None:
    body = {"model": "tiny", "prompt": "short", "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    alone = hurried.post("/v1/completions", body).json()["choices"]
    slow = threading.Thread(target=lambda: hurried.post("/v1/completions", LONG))
    slow.start()
    try:
        for _ in range(4):
            assert hurried.post("/v1/completions", body).json()["choices"] == alone
    finally:
        slow.join(30)


def test_what_waits_too_long_for_its_first_step_is_given_up_and_what_has_begun_goes_on() -> None:
    running, stop = start(queue_seconds=0.3, max_num_seqs=1, extra={"step_seconds": 0.01})
    try:
        answers: list[httpx.Response] = []
        first = threading.Thread(
            target=lambda: answers.append(running.post("/v1/completions", LONG | {"max_tokens": 100}))
        )
        first.start()
        assert within(10, lambda: running.metric("vllm:num_requests_running") == 1)
        late = running.post("/v1/completions", LONG)
        assert late.status_code == 429 and late.headers["retry-after"] == "1"
        assert late.json()["error"]["code"] == "queue_timeout"
        first.join(30)
        assert answers[0].json()["usage"]["completion_tokens"] == 100
        rows = {row["outcome"] for row in httpx.get(f"{running.url}/requests").json()["requests"]}
        assert rows == {"timed_out", "length"}
        assert running.chat().status_code == 200
    finally:
        stop()


def test_a_wait_ends_by_its_own_start_whatever_came_before_it() -> None:
    info, shape = ModelInfo("fake", VOCAB, 256, 4, 64, "cpu"), BatchShape(16, 1, 64, 4)
    engine = Engine(FakeRunner(info, shape), Policy(queue_seconds=0.05))
    params = SamplingParams(max_tokens=60, ignore_eos=True)
    for name in ("running", "dropped", "late"):
        engine.submit(Submit(name, [3, 4, 5], params))
    engine.step()
    engine.abort("dropped")
    time.sleep(0.06)
    engine.submit(Submit("young", [3, 4, 5], params))
    failed = [event for event in engine.step() if isinstance(event, RequestFailed)]
    assert [(event.request_id, event.code, event.status) for event in failed] == [("late", "expired", 429)]
    assert engine.stats().waiting == 1 and engine.stats().running == 1


def test_an_engine_that_hangs_with_work_is_started_anew() -> None:
    running, stop = start(app_options={"hang_seconds": 1.0}, extra={"step_seconds": 0.02})
    try:
        assert running.chat().status_code == 200
        time.sleep(1.5)
        assert running.metric("rtriton_engine_restarts_total") == 0, "an engine without work may be silent"
        stream = running.openai().completions.create(
            model="tiny", prompt="once", max_tokens=200, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        os.kill(running.core.pid, signal.SIGSTOP)
        with pytest.raises(openai.APIError, match="engine has stopped"):
            list(stream)
        assert within(20, lambda: httpx.get(f"{running.url}/health").status_code == 200)
        assert running.chat().status_code == 200 and running.metric("rtriton_engine_restarts_total") == 1
    finally:
        stop()


def drain(script: str, ask: Any, *signals: int) -> tuple[list[str], float]:
    """The lines of a stream that was open when the first signal came, and how long the server then took to end."""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        body = LONG | {"max_tokens": 60, "stream": True}
        try:
            with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=30) as answer:
                lines = answer.iter_lines()
                next(lines)
                for number in signals:
                    process.send_signal(number)
                    time.sleep(0.2)
                started = time.monotonic()
                ask(url)
                rest = [line for line in lines if line]
            assert process.wait(20) == 0
            return rest, time.monotonic() - started
        finally:
            process.kill()


def test_from_the_signal_on_nothing_more_is_taken_and_the_listener_says_so() -> None:
    def ask(url: str) -> None:
        ready, health = httpx.get(f"{url}/ready"), httpx.get(f"{url}/health")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert "shutting down" in ready.json()["reason"] and health.status_code == 200
        refused = httpx.post(f"{url}/v1/completions", json=LONG)
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "shutting_down"
        assert int(refused.headers["retry-after"]) >= 1

    rest, _ = drain(SERVE, ask, signal.SIGTERM)
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"


def test_a_second_signal_does_not_wait_for_what_is_open() -> None:
    rest, seconds = drain(SERVE.replace("0.02", "0.15"), lambda url: None, signal.SIGTERM, signal.SIGTERM)
    assert "shutting down" in json.loads(rest[-1].removeprefix("data: "))["error"]["message"]
    assert seconds < 5, "9 seconds were left of the answer"
