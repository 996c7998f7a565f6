"""Clients that leave, engines that die, servers that stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import httpx
import openai
import pytest

from tests.server.conftest import Running, start

LONG = {"model": "tiny", "prompt": "once", "max_tokens": 200, "temperature": 0, "ignore_eos": True}


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_blocks(slow_server: Running, stream: bool) -> None:
    def ask() -> None:
        body, timeout = LONG | {"stream": stream}, httpx.Timeout(30, read=30 if stream else 0.3)
        with httpx.stream("POST", f"{slow_server.url}/v1/completions", json=body, timeout=timeout) as it:
            for count, _ in enumerate(it.iter_lines()):
                if count > 4:
                    return

    before = slow_server.metric("rtriton_engine_decode_tokens_total")
    with slow_server.paced(0.1):
        if stream:
            ask()
        else:
            with pytest.raises(httpx.ReadTimeout):
                ask()
        assert within(30, lambda: slow_server.metric("rtriton_kv_blocks_used") == 0)
        assert within(30, lambda: slow_server.metric("vllm:num_requests_running") == 0)
    assert slow_server.metric("rtriton_engine_decode_tokens_total") < before + 190, "it did not come to its end"


def test_a_client_that_leaves_during_prefill_frees_its_blocks(slow_server: Running) -> None:
    # 230 tokens in chunks of 16 at 0.3 s each: more than four seconds before the first token. No other test has them,
    # so none are in the prefix cache
    before = slow_server.metric("rtriton_engine_decode_tokens_total")
    body = LONG | {"prompt": [*range(100, 330)], "max_tokens": 8, "stream": True}
    with slow_server.paced(0.3):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{slow_server.url}/v1/completions", json=body, timeout=httpx.Timeout(30, read=0.1))
        assert within(30, lambda: slow_server.rows()[-1]["outcome"] == "client_left")
        assert within(30, lambda: slow_server.metric("rtriton_kv_blocks_used") == 0)
    assert slow_server.metric("rtriton_engine_decode_tokens_total") == before, "it left before its first token"


def test_health_is_a_round_trip_through_the_engine(server: Running) -> None:
    answer = httpx.get(f"{server.url}/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok" and answer.json()["device"] == "cpu" and answer.json()["heartbeat_ms"] > 0


def test_models_are_listed(server: Running) -> None:
    assert [m.id for m in server.openai().models.list()] == ["tiny"]
    assert server.openai().models.retrieve("tiny").id == "tiny"


def test_metrics_count_requests_tokens_and_times(server: Running) -> None:
    names = ["vllm:generation_tokens_total", "vllm:prompt_tokens_total"]
    names += ["vllm:time_to_first_token_seconds_count"]
    before = [server.metric(name) for name in names]
    prompt = server.chat(temperature=0, ignore_eos=True).json()["usage"]["prompt_tokens"]
    after = [server.metric(name) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [8, prompt, 1]
    assert server.metric("vllm:inter_token_latency_seconds_count") >= 7
    assert server.metric("rtriton_kv_blocks") == 64
    requests = server.metric("rtriton_requests_total")
    assert server.chat(n=0).status_code == 400 and server.chat(model="other").status_code == 404
    assert server.chat(max_tokens=1).status_code == 200
    assert server.metric("rtriton_requests_total") == requests + 3, "refusals count too"


def test_when_the_engine_dies_open_requests_end_with_an_error_and_another_engine_is_started() -> None:
    running, stop = start(extra={"step_seconds": 0.02})
    try:
        stream = running.openai().completions.create(
            model="tiny", prompt="once", max_tokens=200, temperature=0, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        with running.paced(60):  # no other engine is there before that was looked at
            os.kill(running.core.pid, signal.SIGKILL)
            with pytest.raises(openai.APIError, match="engine has stopped"):
                list(stream)
            assert httpx.get(f"{running.url}/ready").json()["status"] == "unavailable"
        assert within(30, lambda: httpx.get(f"{running.url}/health").status_code == 200)
        assert running.chat().status_code == 200
        assert running.failures == [] and running.metric("rtriton_engine_restarts_total") == 1
        assert httpx.get(f"{running.url}/ready").status_code == 200
    finally:
        stop()


def test_stopping_lets_open_requests_finish() -> None:
    running, stop = start(extra={"step_seconds": 0.01})
    answers: list[httpx.Response] = []
    asker = threading.Thread(target=lambda: answers.append(running.post("/v1/completions", LONG | {"max_tokens": 60})))
    with running.paced(0.1):
        asker.start()
        assert within(30, lambda: running.metric("vllm:num_requests_running") == 1)
    stop()
    asker.join(30)
    assert answers[0].status_code == 200 and answers[0].json()["usage"]["completion_tokens"] == 60


def test_many_clients_at_once_each_get_what_they_get_alone(server: Running) -> None:
    def ask(i: int) -> str:
        body = {"model": "tiny", "prompt": f"number {i}", "max_tokens": 20, "temperature": 1.0, "seed": i}
        return server.post("/v1/completions", body).json()["choices"][0]["text"]

    together: dict[int, str] = {}
    threads = [threading.Thread(target=lambda i=i: together.update({i: ask(i)})) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert together == {i: ask(i) for i in range(16)}
