"""Attacks by who may ask, and asks for too much; by who would write the log; by who waits for ever.

One for each guard of docs/security.md; it fails when its guard is taken away.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from engine.logs import JsonLines, TextLines
from server.access import access_for
from server.ended import KEPT
from server.journal import said
from server.keys import Key, hashed
from server.limits import Limiter, Limits
from tests.server.conftest import Running, start
from tests.server.refused import refused
from tests.server.test_life import within

COMPLETION = {"model": "tiny", "prompt": "once", "max_tokens": 4, "temperature": 0, "ignore_eos": True}
GREEDY, OTHER = "sk-greedy-000000001", "sk-other-0000000002"
NOON = 20_000.5 * 86_400


@pytest.fixture(scope="module")
def limited() -> Iterator[Running]:
    """One key has 20 requests a minute, three open ones and 2000 tokens a day, over a clock that stands still."""
    limits = {"rpm": 20, "concurrent": 3, "tpd": 2000}
    keys = [Key(hashed(GREEDY), "greedy", tuple(limits.items())), Key(hashed(OTHER))]
    options = {"limiter": Limiter(Limits(), lambda: NOON), "request_seconds": 4.0}
    running, stop = start(
        access=access_for("127.0.0.1", keys), app_options=options, num_blocks=512, extra={"step_seconds": 0.01}
    )
    yield running
    stop()


def ask(running: Running, key: str, path: str = "/v1/completions", **fields: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(running.url + path, json=COMPLETION | fields, headers=headers, timeout=30)


def test_a_key_that_opens_many_requests_has_few_and_keeps_nobody_waiting(limited: Running) -> None:
    answers: list[httpx.Response] = []
    many = [
        threading.Thread(target=lambda: answers.append(ask(limited, GREEDY, max_tokens=150, n=2))) for _ in range(10)
    ]
    with limited.paced(0.05):
        for thread in many:
            thread.start()
        for _ in range(3):
            assert ask(limited, OTHER, max_tokens=1).status_code == 200
        assert within(30, lambda: len(answers) >= 7)
    for thread in many:
        thread.join(30)
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(429) >= 7 and set(statuses) <= {200, 408, 429}
    assert {refused(answer, 429)["code"] for answer in answers if answer.status_code == 429} == {"rate_limit_exceeded"}


def test_a_key_that_floods_is_refused_before_its_bodies_are_read_and_others_go_on(limited: Running) -> None:
    answers: list[int] = []

    def flood() -> None:
        with httpx.Client(headers={"authorization": f"Bearer {GREEDY}"}, timeout=30) as client:
            for _ in range(10):
                body = COMPLETION | {"prompt": "x" * (1 << 17), "max_tokens": 1}
                answers.append(client.post(f"{limited.url}/v1/completions", json=body).status_code)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        assert ask(limited, OTHER, max_tokens=1).status_code == 200
    for thread in threads:
        thread.join(60)
    assert set(answers) == {400, 429} and answers.count(400) <= 20, "those that were read fit no context"
    for path in ("/tokenize", "/detokenize", "/v1/chat/completions", "/v1/embeddings", "/nowhere"):
        assert ask(limited, GREEDY, path).status_code == 429, path
    spelt = httpx.post(f"{limited.url}/v1/completions", json=COMPLETION, headers={"authorization": f"bEARER {GREEDY}"})
    assert spelt.status_code == 429, "it is one key however it is written"


def test_a_refused_body_that_never_ends_does_not_hold_its_connection(limited: Running) -> None:
    while ask(limited, GREEDY, "/tokenize").status_code != 429:
        pass  # until its minute's worth is used up
    with socket.create_connection(("127.0.0.1", int(limited.url.rsplit(":", 1)[1]))) as slow:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {GREEDY}\r\n"
        slow.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{{".encode())
        slow.settimeout(30)
        assert slow.recv(4096).startswith(b"HTTP/1.1 429 ")
    assert within(30, lambda: not [r for r in rows(limited, GREEDY) if r["state"] != "done"])


def rows(running: Running, key: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{running.url}/requests", headers={"authorization": f"Bearer {key}"}, timeout=30)
    return answer.json()["requests"]


def test_a_key_that_floods_pushes_no_other_keys_rows_out(limited: Running) -> None:
    name = "theirs-stays"
    with httpx.Client(base_url=limited.url, headers={"authorization": f"Bearer {OTHER}"}) as other:
        other.post("/nowhere", headers={"x-request-id": name})
        with httpx.Client(base_url=limited.url, headers={"authorization": f"Bearer {GREEDY}"}) as flooding:
            for _ in range(KEPT + 1):
                assert flooding.post("/nowhere").status_code in (404, 429)
            assert len(flooding.get("/requests", params={"limit": KEPT}).json()["requests"]) == KEPT
        rows = other.get("/requests", params={"limit": KEPT}).json()["requests"]
    assert [row["id"] for row in rows].count(name) == 1


def test_a_generation_that_would_hold_its_place_for_ever_has_an_end(limited: Running) -> None:
    with httpx.stream(
        "POST",
        f"{limited.url}/v1/completions",
        json=COMPLETION | {"prompt": [5] * 20, "max_tokens": 230, "n": 32, "stream": True},
        headers={"authorization": f"Bearer {OTHER}"},
        timeout=30,
    ) as answer:
        last = [line for line in answer.iter_lines() if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "request_timeout"
    assert within(30, lambda: all(row["state"] == "done" for row in rows(limited, OTHER)))


def test_without_keys_all_are_one_account_whatever_they_say_they_are() -> None:
    running, stop = start(app_options={"limiter": Limiter(Limits(rpm=3), lambda: NOON)})
    try:
        got = [ask(running, f"anyone-{i}", max_tokens=1).status_code for i in range(6)]
        assert got == [200, 200, 200, 429, 429, 429]
        assert httpx.get(f"{running.url}/v1/models").status_code == 200
    finally:
        stop()


def test_what_a_client_sends_cannot_begin_a_line_of_the_log_or_a_label(server: Running) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("rtriton.requests")
    logger.addHandler(handler)
    forged = '\n2026-12-01 12:00:00,000 INFO POST /v1/completions 200 stop\r\n{"level": "info"}'
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        httpx.post(f"{server.url}/v1/completions", json=COMPLETION | {"user": forged}, timeout=30)
        httpx.request("TRACE", f"{server.url}/v1/completions")
        httpx.post(f"{server.url}/v1/%0a%0d{forged[:5].strip()}", json={}, headers={"x-request-id": "a b"})
        assert within(30, lambda: len(records) >= 3)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    for record in records:
        for form in (TextLines("server"), JsonLines("server")):
            assert len(form.format(record).splitlines()) == 1
    for user in ("me outcome=stop", 'me" outcome=stop', "me' outcome=stop", "a=b", ""):
        line = said({"method": "POST", "route": "/", "status": 200, "outcome": "ok", "user": user})
        assert line == f"POST / 200 ok user={user!r}", "what could be read as another fact stands in quotes"
    methods = [record.facts["method"] for record in records]  # type: ignore[attr-defined]
    assert sorted(methods) == ["OTHER", "POST", "POST"]
    assert [record.facts["route"] for record in records][-1] == "other"  # type: ignore[attr-defined]
    page = httpx.get(f"{server.url}/metrics").text
    assert "%0a" not in page and "a b" not in page
