"""How long things may take: a generation, its wait in the queue, an engine's silence, a server's end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import openai
import pytest

from engine.batch import BatchShape
from engine.engine import Engine, Policy
from engine.messages import ModelInfo, RequestFailed, SamplingParams, Submit
from server.link import EngineLink
from tests.engine.fake_runner import VOCAB, FakeRunner
from tests.server.conftest import ROOT, Running, start
from tests.server.test_cli import SERVE
from tests.server.test_life import within
from tests.server.test_stream import FakeCore

LONG = {"model": "tiny", "prompt": "once", "max_tokens": 200, "temperature": 0, "ignore_eos": True}


@pytest.fixture(scope="module")
def hurried() -> Iterator[Running]:
    """A generation has a second; a step takes 20 ms."""
    running, stop = start(app_options={"request_seconds": 1.0}, extra={"step_seconds": 0.02})
    yield running
    stop()


@pytest.mark.parametrize("stream", [False, True])
def test_a_generation_that_takes_too_long_ends_and_frees_its_blocks(hurried: Running, stream: bool) -> None:
    before, texts = hurried.metric("rtriton_requests_total"), []
    client = openai.OpenAI(base_url=f"{hurried.url}/v1", api_key="unused", max_retries=3)
    started = time.monotonic()
    with pytest.raises(openai.APIError, match="not finished within") as caught:
        answer = client.completions.create(
            model="tiny", prompt="once", max_tokens=200, stream=stream, extra_body={"ignore_eos": True}
        )
        texts += [choice.text for chunk in answer for choice in chunk.choices]
    assert time.monotonic() - started > 0.9
    assert caught.value.code == "request_timeout" and caught.value.type == "timeout_error" and len(texts) < 200
    refused = isinstance(caught.value, openai.APIStatusError)
    assert refused or stream, "a stream that has begun says it in an event"
    if refused:
        assert caught.value.status_code == 408 and caught.value.response.headers["x-should-retry"] == "false"
    assert within(30, lambda: hurried.metric("rtriton_kv_blocks_used") == 0)
    row = hurried.rows()[-1]
    assert (row["outcome"], row["code"], row["status"]) == ("timed_out", "request_timeout", 408 if refused else 200)
    assert hurried.metric("rtriton_requests_total") == before + 1, "the client does not ask again by itself"


def test_other_requests_do_not_notice_that_one_took_too_long(hurried: Running) -> None:
    body = {"model": "tiny", "prompt": "short", "max_tokens": 2, "temperature": 0, "ignore_eos": True}
    alone = hurried.post("/v1/completions", body).json()["choices"]
    answers: list[httpx.Response] = []
    slow = threading.Thread(target=lambda: answers.append(hurried.post("/v1/completions", LONG)))
    slow.start()
    while slow.is_alive():
        assert hurried.post("/v1/completions", body).json()["choices"] == alone
    assert answers[0].status_code == 408
    assert hurried.post("/v1/completions", body).json()["choices"] == alone


def test_what_waits_too_long_for_its_first_step_is_given_up_and_what_has_begun_goes_on() -> None:
    running, stop = start(queue_seconds=0.3, max_num_seqs=1)
    try:
        answers: list[httpx.Response] = []
        first = threading.Thread(target=lambda: answers.append(running.post("/v1/completions", LONG)))
        with running.paced(0.05):
            first.start()
            assert within(30, lambda: running.metric("vllm:num_requests_running") == 1)
            late = running.post("/v1/completions", LONG)
        assert late.status_code == 429 and late.headers["retry-after"] == "1"
        assert late.json()["error"]["code"] == "queue_timeout"
        first.join(30)
        assert answers[0].json()["usage"]["completion_tokens"] == 200
        assert {row["outcome"] for row in running.rows()} == {"timed_out", "length"}
        assert running.chat().status_code == 200
    finally:
        stop()


def test_a_wait_ends_by_its_own_start_whatever_came_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("engine.engine.time", SimpleNamespace(perf_counter=lambda: now))
    info, shape = ModelInfo("fake", VOCAB, 256, 4, 64, "cpu"), BatchShape(16, 1, 64, 4)
    engine = Engine(FakeRunner(info, shape), Policy(queue_seconds=5.0))
    params = SamplingParams(max_tokens=60, ignore_eos=True)
    for name in ("running", "dropped", "late"):
        engine.submit(Submit(name, [3, 4, 5], params))
    engine.step()
    engine.abort("dropped")
    now += 5.1
    engine.submit(Submit("young", [3, 4, 5], params))
    failed = [event for event in engine.step() if isinstance(event, RequestFailed)]
    assert [(event.request_id, event.code, event.status) for event in failed] == [("late", "expired", 429)]
    assert engine.stats().waiting == 1 and engine.stats().running == 1


def test_an_engine_that_hangs_with_work_is_started_anew() -> None:
    running, stop = start(app_options={"hang_seconds": 2.0}, extra={"step_seconds": 0.02})
    try:
        stream = running.openai().completions.create(
            model="tiny", prompt="once", max_tokens=200, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        os.kill(running.core.pid, signal.SIGSTOP)
        with pytest.raises(openai.APIError, match="engine has stopped"):
            list(stream)
        assert within(30, lambda: httpx.get(f"{running.url}/health").status_code == 200)
        assert running.chat().status_code == 200 and running.metric("rtriton_engine_restarts_total") == 1
    finally:
        stop()


class SilentCore(FakeCore):
    """It can be ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = asyncio.Event()

    def kill(self) -> None:
        self.ended.set()


def test_a_silence_is_not_the_engines_while_it_has_no_work_or_the_server_itself_stands_still() -> None:
    async def run() -> None:
        core = SilentCore()
        link = EngineLink(core, hang_seconds=0.2)
        await asyncio.sleep(0.3)
        with link.open([Submit("r", [1, 2], SamplingParams())]):
            await asyncio.sleep(0.01)
            assert not core.ended.is_set(), "an engine without work may be silent"
            time.sleep(0.5)  # as all processes of a container do while it is paused
            await asyncio.sleep(0.06)
            assert not core.ended.is_set(), "nobody could have heard it"
            await asyncio.wait_for(core.ended.wait(), 30)

    asyncio.run(run())


@contextmanager
def told_to_stop(pace: Path) -> Iterator[tuple[str, subprocess.Popen[str], Iterator[str]]]:
    """A server that has had a SIGTERM, its address, and the lines of a stream that was open then. Its steps take what
    the file says, long at first. It has to end with status 0.
    """
    pace.write_text("0.3")
    script = SERVE.replace("drain_seconds=10", "drain_seconds=60")
    script = script.replace("extra={", f"extra={{'pace': {str(pace)!r}, ")
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        body = LONG | {"max_tokens": 60, "stream": True}
        try:
            with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=30) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                assert within(30, lambda: httpx.get(f"{url}/ready").status_code == 503)
                yield url, process, filter(None, lines)
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_from_the_signal_on_nothing_more_is_taken_and_the_listener_says_so(tmp_path: Path) -> None:
    with told_to_stop(tmp_path / "pace") as (url, _, lines):
        ready, health = httpx.get(f"{url}/ready"), httpx.get(f"{url}/health")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert "shutting down" in ready.json()["reason"] and health.status_code == 200
        refused = httpx.post(f"{url}/v1/completions", json=LONG)
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "shutting_down"
        assert int(refused.headers["retry-after"]) >= 1
        (tmp_path / "pace").write_text("0")
        rest = list(lines)
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"


def test_a_second_signal_does_not_wait_for_what_is_open(tmp_path: Path) -> None:
    with told_to_stop(tmp_path / "pace") as (_, process, lines):
        process.send_signal(signal.SIGTERM)
        last = list(lines)[-1]
    assert "shutting down" in json.loads(last.removeprefix("data: "))["error"]["message"], "it did not come to its end"
