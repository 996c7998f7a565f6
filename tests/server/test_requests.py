"""Every request has one record: its line in the log, its row for the page, its count."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from engine.logs import REQUEST_ID, JsonLines, TextLines
from server.access import access_for
from server.ended import Ended
from server.journal import said
from server.keys import Key
from server.record import Record, make_id
from tests.server.conftest import Running, serving, start
from tests.server.test_life import within

KEY, OTHER = "sk-right-0123456789", "sk-other-9876543210"
COMPLETION = {"model": "tiny", "prompt": "once", "max_tokens": 4, "temperature": 0, "ignore_eos": True}
SECRET = "a prompt that is nobody's business"


class Lines(logging.Handler):
    """The facts of every line about a request."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.facts: list[dict[str, Any]] = []
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.facts.append(record.facts)
        self.texts.append(record.getMessage())

    def of(self, request_id: str, wait: float = 30.0) -> dict[str, Any]:
        """The one line of a request."""
        assert within(wait, lambda: any(facts["request_id"] == request_id for facts in self.facts)), request_id
        time.sleep(0.02)  # a second line would be wrong, and would come at once
        [facts] = [facts for facts in self.facts if facts["request_id"] == request_id]
        return facts


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("rtriton.requests")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture(scope="module")
def keyed() -> Iterator[Running]:
    running, stop = start(access=access_for("127.0.0.1", [KEY, OTHER]))
    yield running
    stop()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def ask(running: Running, name: str, path: str = "/v1/completions", **fields: Any) -> httpx.Response:
    """A request of this id."""
    headers = {"x-request-id": name}
    return httpx.post(running.url + path, json=COMPLETION | fields, headers=headers, timeout=30)


def test_an_answer_is_one_line_with_its_tokens_and_times(server: Running, lines: Lines) -> None:
    answer = ask(server, "one-answer", user="u1")
    assert answer.headers["x-request-id"] == "one-answer"
    facts = lines.of("one-answer")
    usage = answer.json()["usage"]
    expected = {"route": "/v1/completions", "method": "POST", "status": 200, "outcome": "length", "code": None}
    expected |= {"prompt_tokens": usage["prompt_tokens"], "output_tokens": 4, "user": "u1", "stream": False}
    assert {name: facts[name] for name in expected} == expected
    assert facts["answer"] == answer.json()["id"] != "one-answer"
    assert 0 <= facts["queue_ms"] <= facts["ttft_ms"] <= facts["total_ms"] < 30_000


def test_a_stream_and_several_choices_are_one_line(server: Running, lines: Lines) -> None:
    options: Any = {"base_url": f"{server.url}/v1", "api_key": "x", "default_headers": {"X-Request-Id": "streamed"}}
    with openai.OpenAI(**options) as client:
        stream = client.completions.create(**COMPLETION_ARGUMENTS, n=3, stream=True)
        assert sum(len(chunk.choices) for chunk in stream) >= 3
    facts = lines.of("streamed")
    assert (facts["outcome"], facts["output_tokens"], facts["stream"], facts["status"]) == ("length", 12, True, 200)
    stop = server.openai().completions.create(model="tiny", prompt="once", max_tokens=4, stop=["w"], temperature=0)
    assert stop.choices[0].finish_reason in ("stop", "length")


COMPLETION_ARGUMENTS: Any = {name: COMPLETION[name] for name in ("model", "prompt", "max_tokens", "temperature")} | {
    "extra_body": {"ignore_eos": True}
}


@pytest.mark.parametrize(
    ("name", "path", "fields", "status", "outcome", "code"),
    [
        ("r-field", "/v1/completions", {"n": 0}, 400, "refused", "invalid_value"),
        ("r-unknown", "/v1/completions", {"nonsense": 1}, 400, "refused", "unknown_field"),
        ("r-model", "/v1/completions", {"model": "/etc/passwd"}, 404, "refused", "model_not_found"),
        ("r-long", "/v1/completions", {"prompt": [5] * 999}, 400, "refused", "context_length_exceeded"),
        ("r-large", "/v1/completions", {"prompt": "x" * (5 << 20)}, 413, "refused", None),
        ("r-path", "/v1/%2e%2e/secret-path", {}, 404, "refused", "not_found"),
    ],
)
def test_a_refusal_is_one_line_with_its_code(
    server: Running, lines: Lines, name: str, path: str, fields: dict[str, Any], status: int, outcome: str, code: str
) -> None:
    with suppress(httpx.WriteError):
        answer = ask(server, name, path, **fields)
        assert answer.status_code == status and answer.headers["x-request-id"] == name
        assert answer.json()["error"]["request_id"] == name
    facts = lines.of(name)
    assert (facts["status"], facts["outcome"], facts["code"]) == (status, outcome, code)
    assert facts["route"] == ("/v1/completions" if path == "/v1/completions" else "other")
    assert "secret-path" not in str(lines.texts)


def test_who_may_not_ask_is_one_line_and_keys_are_in_none(keyed: Running, lines: Lines) -> None:
    for name, headers, status in (
        ("w-guess", bearer("sk-guessed-wrong"), 401),
        ("w-none", {}, 401),
        ("w-host", {"host": "evil.example", **bearer(KEY)}, 403),
        ("w-right", bearer(KEY), 200),
    ):
        body = COMPLETION | {"prompt": SECRET}
        answer = httpx.post(f"{keyed.url}/v1/completions", json=body, headers={"x-request-id": name} | headers)
        assert answer.status_code == status
        facts = lines.of(name)
        assert (facts["status"], facts["route"]) == (status, "/v1/completions")
        assert (facts["account"] is None) == (status != 200), "who has no key is nobody"
    assert len(facts["account"]) == 12
    everything = str(lines.facts) + str(lines.texts)
    assert not [text for text in (SECRET, KEY, OTHER, "sk-guessed-wrong", KEY[3:]) if text in everything]


def test_a_client_that_leaves_or_sends_half_a_body_is_one_line(slow_server: Running, lines: Lines) -> None:
    headers = {"x-request-id": "left-early"}
    with slow_server.paced(0.1):
        with pytest.raises(httpx.ReadTimeout):
            body = COMPLETION | {"max_tokens": 200}
            timeout = httpx.Timeout(30, read=0.2)
            httpx.post(f"{slow_server.url}/v1/completions", json=body, headers=headers, timeout=timeout)
        facts = lines.of("left-early")
    assert (facts["outcome"], facts["status"]) == ("client_left", None)
    with socket.create_connection(("127.0.0.1", int(slow_server.url.rsplit(":", 1)[1]))) as half:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        half.sendall(f"{head}X-Request-Id: half-a-body\r\nContent-Length: 100\r\n\r\n{{".encode())
        time.sleep(0.1)
    assert lines.of("half-a-body")["outcome"] == "client_left"


def test_when_the_engine_dies_open_requests_and_refused_ones_are_told_apart(lines: Lines) -> None:
    running, stop = start()
    try:
        threads = [
            threading.Thread(target=ask, args=(running, name), kwargs={"max_tokens": 200, "stream": stream})
            for name, stream in (("d-whole", False), ("d-stream", True))
        ]
        with running.paced(0.1):
            for thread in threads:
                thread.start()
            assert within(30, lambda: running.metric("vllm:num_requests_running") == 2)
            os.kill(running.core.pid, signal.SIGKILL)
        for thread in threads:
            thread.join(30)
        ask(running, "d-after")
        found = {name: (lines.of(name)["outcome"], lines.of(name)["status"]) for name in ("d-whole", "d-stream")}
        assert found["d-whole"] == ("engine_died", 503)
        assert found["d-stream"] in (("engine_died", 200), ("engine_died", 503))
        assert lines.of("d-after")["outcome"] in ("unavailable", "length")
    finally:
        stop()


def test_a_request_that_the_server_fails_on_is_one_line(
    server: Running, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("server.routes.prepare_completion", broken)
    answer = ask(server, "f-500")
    assert answer.status_code == 500 and answer.headers["x-request-id"] == "f-500"
    assert answer.json()["error"]["request_id"] == "f-500"
    assert (lines.of("f-500")["outcome"], lines.of("f-500")["status"]) == ("failed", 500)


def test_an_id_is_taken_if_it_is_well_formed_and_else_made(server: Running) -> None:
    for given in ("a", "0f8fad5b-d9cb-469f-a165-70867728950e", "trace:1.2_3", "x" * 128):
        assert ask(server, given).headers["x-request-id"] == given
    for given in ("", "x" * 129, "a b", "a\tb", "-x", 'a"b', "<b>"):
        made = ask(server, given).headers["x-request-id"]
        assert made.startswith("req_") and len(made) == 28, given
    assert make_id("a\nb").startswith("req_") and make_id("é").startswith("req_")
    first, second = ({ask(server, "a b").headers["x-request-id"]} for _ in range(2))
    assert first != second


def test_requests_are_rows_for_the_page_and_probes_are_not(server: Running) -> None:
    ask(server, "row-1")
    httpx.get(f"{server.url}/health")
    ask(server, "row-2", n=0)
    answer = httpx.get(f"{server.url}/requests").json()
    rows = {row["id"]: row for row in answer["requests"]}
    done, refused = rows["row-1"], rows["row-2"]
    assert done["received"] <= done["submitted"] <= done["scheduled"] <= done["first_token"] <= done["ended"]
    assert done["ended"] <= answer["now"] and abs(answer["now"] - time.time()) < 60
    assert (done["state"], done["outcome"], done["output_tokens"]) == ("done", "length", 4)
    assert refused["submitted"] is None and refused["first_token"] is None and refused["code"] == "invalid_value"
    assert {row["route"] for row in rows.values()}.isdisjoint({"/health", "/requests", "/metrics"})
    assert len(httpx.get(f"{server.url}/requests?limit=1").json()["requests"]) == 1
    for limit in ("0", "513", "x"):
        error = httpx.get(f"{server.url}/requests?limit={limit}").json()["error"]
        assert (error["param"], error["code"]) == ("limit", "invalid_value")


def test_an_open_request_is_a_row_too(slow_server: Running) -> None:
    def row() -> dict[str, Any] | None:
        return next((row for row in slow_server.rows() if row["id"] == "open-1"), None)

    body = COMPLETION | {"max_tokens": 100, "stream": True}
    headers = {"x-request-id": "open-1"}
    url = f"{slow_server.url}/v1/completions"
    with slow_server.paced(0.1):
        with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as answer:
            events = answer.iter_lines()
            next(events)
            now = row()
            assert now is not None and now["state"] == "running" and now["ended"] is None and now["outcome"] is None
        assert within(30, lambda: (row() or {}).get("outcome") == "client_left")


def test_a_key_sees_its_own_requests_alone(keyed: Running) -> None:
    for key, name in ((KEY, "mine"), (OTHER, "theirs")):
        httpx.post(f"{keyed.url}/v1/completions", json=COMPLETION, headers=bearer(key) | {"x-request-id": name})
    for header, seen in (
        (f"Bearer {KEY}", {"mine"}),
        (f"bearer {KEY}", {"mine"}),
        (f"Bearer {OTHER}", {"theirs"}),
    ):
        answer = httpx.get(f"{keyed.url}/requests", headers={"authorization": header})
        assert {row["id"] for row in answer.json()["requests"]} & {"mine", "theirs"} == seen
        assert KEY not in answer.text and OTHER not in answer.text and "account" not in answer.text
    assert httpx.get(f"{keyed.url}/requests").status_code == 401


def test_all_rows_together_are_bounded_and_who_has_the_most_loses_the_oldest() -> None:
    alone = Ended(of_one=2, in_all=100)
    for name in ("a1", "a2", "a3", "b1"):
        alone.add(Record(name, account=name[0], key=Key(name[0].encode())))
    assert len(alone) == 3, "who asks alone keeps no more than anyone may"
    ended = Ended(of_one=4, in_all=6)
    for name in ("a1", "a2", "a3", "a4", "a5", "b1", "b2", "c1", "c2", "c3"):
        ended.add(Record(name, account=name[0], key=Key(name[0].encode())))
    assert [[record.id for record in ended.of(owner)] for owner in "abc"] == [["a4", "a5"], ["b1", "b2"], ["c2", "c3"]]
    assert len(ended) == 6 and ended.of("nobody") == []


def test_without_keys_all_rows_are_one_accounts_whatever_key_was_sent(server: Running) -> None:
    for name in ("free-1", "free-2"):
        httpx.post(f"{server.url}/nowhere", headers=bearer(f"sk-{name}") | {"x-request-id": name})
    rows = httpx.get(f"{server.url}/requests").json()["requests"]
    assert {"free-1", "free-2"} <= {row["id"] for row in rows}


def test_every_ending_is_counted_by_route_status_and_outcome(server: Running) -> None:
    def count(labels: str) -> float:
        start = f"rtriton_requests_total{{{labels}}}"
        page = httpx.get(f"{server.url}/metrics").text.splitlines()
        return sum(float(line.removeprefix(start)) for line in page if line.startswith(start))

    good, bad = 'outcome="length",route="/v1/completions",status="200"', 'outcome="refused",route="other",status="404"'
    before = count(good), count(bad)
    ask(server, "c-1")
    ask(server, "c-2", "/nowhere")
    assert (count(good), count(bad)) == (before[0] + 1, before[1] + 1)


def test_a_line_is_one_object_or_one_line_whatever_is_in_it() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, 'two\nlines "and" %s', ("\r\n2026 INFO forged",), None)
    token = REQUEST_ID.set("req_1")
    try:
        text, line = TextLines("server").format(record), JsonLines("core").format(record)
    finally:
        REQUEST_ID.reset(token)
    assert "\n" not in text and "\r" not in text and text.endswith("[req_1]")
    assert "\n" not in line
    told = json.loads(line)
    assert told["message"] == record.getMessage() and told["request_id"] == "req_1" and told["process"] == "core"
    assert said({"method": "POST", "route": "/x", "status": 200, "outcome": "ok", "user": "a b=c\n", "code": None}) == (
        r"POST /x 200 ok user='a b=c\n'"
    )


def test_with_json_every_line_of_both_processes_is_an_object(model: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as file, serving(model, "--log-format", "json", stderr=file) as url:
        body = {"model": "tiny-chat", "prompt": SECRET, "max_tokens": 2}
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
    text = (tmp_path / "log").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    [line] = [line for line in found if line["logger"] == "rtriton.requests"]
    assert line["request_id"] == answer.headers["x-request-id"] and line["outcome"] in ("length", "stop")
    assert line["level"] == "info" and line["process"] == "server" and line["time"].endswith("Z")
    assert {"queue_ms", "ttft_ms", "total_ms", "account", "prompt_tokens", "output_tokens"} <= line.keys()
    assert SECRET not in text
    assert {line["logger"] for line in found} >= {"uvicorn.error", "rtriton.requests"}
