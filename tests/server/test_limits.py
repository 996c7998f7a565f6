"""How much a key may ask for: buckets and quotas over a clock of the test's own, and what clients see of them."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from server.access import access_for
from server.errors import ApiError
from server.keys import BadKeys, Key, read_ring
from server.limits import DAY, Limiter, Limits, duration
from server.record import Record
from server.usage import BadUsage, keep, read_usage
from tests.docs.pages import blocks
from tests.server.conftest import ROOT, Running, start
from tests.server.test_life import within

KEYS = """
# the team
sk-plain-0000000001
sk-alice-0000000002 name=alice rpm=2 tpm=none
sk-batch-0000000003   name=batch tpd=100 concurrent=1 rpm=none
"""
NOON = 20_000 * DAY + DAY / 2
COMPLETION = {"model": "tiny", "prompt": "once", "max_tokens": 4, "temperature": 0, "ignore_eos": True}


class Clock:
    """A time that the test moves."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def key(name: str, **limits: int | None) -> Key:
    return Key(name.encode(), name, tuple(limits.items()))


def let_in(limiter: Limiter, who: Key | None = None, prompt: int = 0, output: int = 0, leave: bool = True) -> Record:
    """A request that is let in, or the `ApiError` that says why not."""
    record = Record()
    record.key = who
    limiter.enter(record)
    try:
        limiter.read(record, prompt)
        record.output_tokens = output
    finally:
        if leave:
            limiter.leave(record)
    return record


def refused(limiter: Limiter, who: Key | None = None, prompt: int = 0) -> ApiError:
    with pytest.raises(ApiError) as caught:
        let_in(limiter, who, prompt)
    assert caught.value.status == 429
    return caught.value


# ---- buckets -----------------------------------------------------------------------------------------


def test_a_minutes_worth_comes_at_once_and_then_at_the_rate() -> None:
    clock = Clock()
    limiter = Limiter(Limits(rpm=6), clock)
    for _ in range(6):
        let_in(limiter)
    error = refused(limiter)
    assert (error.code, error.kind, error.retry_after) == ("rate_limit_exceeded", "requests", 10)
    clock.now += 9.9
    assert refused(limiter).headers() == {"Retry-After": "1"}
    clock.now += 0.1
    let_in(limiter)
    refused(limiter)
    clock.now += 3600
    assert sum(1 for _ in range(6) if let_in(limiter)) == 6, "an hour saves up no more than a minute's worth"
    refused(limiter)


def test_no_more_is_let_in_than_a_count_by_hand_allows() -> None:
    """Against the definition: in any span of t seconds at most size + t * rate are let in, and no needless refusal."""
    clock, rng, times = Clock(), random.Random(5), []
    limiter = Limiter(Limits(rpm=30), clock)
    for _ in range(600):
        clock.now += rng.expovariate(1.0)
        before = len(times)
        try:
            let_in(limiter)
            times.append(clock.now)
        except ApiError:
            pass
        spans = [(len(times) - i) - (30 + (clock.now - times[i]) * 0.5) for i in range(len(times))]
        assert max(spans, default=0) <= 1e-6
        if len(times) == before:  # refused: one more would have been too many in some span
            assert max(spans) > -1
    assert 300 < len(times) < 400


def test_tokens_of_answers_are_made_up_for() -> None:
    clock = Clock()
    limiter = Limiter(Limits(tpm=600), clock)
    let_in(limiter, prompt=100, output=1100)  # nobody knew that it would be so long
    error = refused(limiter)
    assert (error.code, error.kind) == ("rate_limit_exceeded", "tokens")
    assert error.retry_after == pytest.approx(60.1), "600 too many at 10 a second, and one to begin with"
    clock.now += 60.2
    let_in(limiter)
    assert "the prompt has 300" in refused(limiter, prompt=300).message
    clock.now += 60
    let_in(limiter, prompt=5000)  # more than a bucket ever holds: it waits for a full one
    assert refused(limiter).retry_after == pytest.approx(440.1)


def test_tokens_count_while_they_are_generated() -> None:
    clock = Clock()
    limiter = Limiter(Limits(tpm=60), clock)
    record = let_in(limiter, prompt=10, leave=False)
    record.output_tokens = 49
    let_in(limiter)
    record.output_tokens = 80
    assert refused(limiter).kind == "tokens"
    limiter.leave(record)
    assert refused(limiter).retry_after == pytest.approx(31)
    clock.now += 31
    let_in(limiter)


def test_open_requests_are_counted_until_they_end_however_they_end() -> None:
    limiter = Limiter(Limits(concurrent=2), Clock())
    records = [let_in(limiter, leave=False) for _ in range(2)]
    error = refused(limiter)
    assert (error.code, error.retry_after) == ("rate_limit_exceeded", 1) and "2 requests" in error.message
    limiter.leave(records[0])
    limiter.leave(records[0])
    records[0] = let_in(limiter, leave=False)
    refused(limiter)
    for record in records:
        limiter.leave(record)
    let_in(limiter)


def test_a_quota_is_of_a_day_and_the_request_that_passes_it_is_finished() -> None:
    clock = Clock()
    limiter = Limiter(Limits(tpd=100), clock)
    let_in(limiter, prompt=50, output=49)
    let_in(limiter, prompt=10, output=500)
    error = refused(limiter)
    assert (error.code, error.kind, error.retry_after) == ("insufficient_quota", "insufficient_quota", DAY / 2)
    assert error.headers() == {"Retry-After": "43200", "x-should-retry": "false"}
    clock.now += DAY / 2
    let_in(limiter, prompt=50, output=50)
    refused(limiter)


def test_a_key_has_its_own_limits_and_no_other_key_notices() -> None:
    clock = Clock()
    limiter = Limiter(Limits(rpm=5, concurrent=1), clock)
    alice, bob, free = key("alice", rpm=1), key("bob"), key("free", rpm=None, concurrent=None)
    let_in(limiter, alice, leave=False)
    for _ in range(20):
        refused(limiter, alice)
    for _ in range(5):
        let_in(limiter, bob)
    assert refused(limiter, bob).retry_after == 12
    for _ in range(100):
        let_in(limiter, free, leave=False)


def test_refused_requests_use_nothing_up() -> None:
    clock = Clock()
    limiter = Limiter(Limits(rpm=2, tpm=100), clock)
    let_in(limiter, prompt=90)
    for _ in range(50):
        with pytest.raises(ApiError):
            limiter.read(Record(), 95)
    clock.now += 30
    let_in(limiter, prompt=60)


def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing() -> None:
    clock = Clock()
    limiter = Limiter(Limits(rpm=2), clock)
    let_in(limiter)
    clock.now -= 3000
    let_in(limiter)
    refused(limiter)
    clock.now += 30
    let_in(limiter)


def test_headers_are_those_that_openai_sends() -> None:
    clock = Clock()
    limiter = Limiter(Limits(rpm=60, tpm=6000), clock)
    told = {name.decode(): value.decode() for name, value in let_in(limiter, prompt=3000).headers.items()}
    assert told == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "3000",
        "x-ratelimit-reset-tokens": "30s",
    }
    assert let_in(Limiter(Limits(tpd=5), clock)).headers == {}, "nothing is said of limits that there are not"


def test_durations_are_written_as_openai_writes_them_and_never_too_short() -> None:
    written = {0.0: "0ms", 0.0121: "13ms", 1: "1s", 1.51: "1.6s", 59.99: "60s", 60: "1m0s", 360: "6m0s", 3601: "1h0m1s"}
    assert {seconds: duration(seconds) for seconds in written} == written


# ---- where keys and their use are kept ---------------------------------------------------------------


def test_a_key_file_gives_names_and_limits_and_one_key_a_line_is_still_one(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEYS)
    plain, alice, batch = read_ring(file, {})
    assert (plain.given, plain.limits) == (None, ())
    assert (alice.given, dict(alice.limits)) == ("alice", {"rpm": 2, "tpm": None})
    assert dict(batch.limits) == {"tpd": 100, "concurrent": 1, "rpm": None}
    assert "sk-" not in repr([plain, alice, batch])


def test_the_key_file_of_the_page_is_one(tmp_path: Path) -> None:
    [block] = [block for block in blocks(ROOT / "docs" / "operations.md") if block.language == "text"]
    file = tmp_path / "keys"
    file.write_text(block.text)
    told = {key.given: dict(key.limits) for key in read_ring(file, {})}
    batch = {"tpd": 5_000_000, "concurrent": 4, "rpm": None}
    assert told == {None: {}, "alice": {"rpm": 60, "tpm": 20_000}, "batch": batch}


@pytest.mark.parametrize(
    "text",
    [
        "sk-1 secret-rest", "sk-1 rpm=0", "sk-1 rpm=-5", "sk-1 rpm=1.5", "sk-1 rpm=", "sk-1 rpm=1 rpm=2", "sk-1 rps=1",
        "sk-1 name=", "sk-1 name=a/b", "sk-1 name=1", "sk-1\nsk-1", "sk-1 name=a\nsk-2 name=a", "rpm=5 sk-1",
        "sk-1 rpm=1e3", "sk-1 rpm=１", "sk-1 =5", "sk-1 name=secret-rest\u00e9",
    ],
)  # fmt: skip
def test_a_key_file_that_is_wrong_is_one_sentence_without_the_key(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadKeys, match="API key") as caught:
        read_ring(file, {})
    assert "sk-" not in str(caught.value) and "secret-rest" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_day_is_kept_in_a_file_and_a_new_day_is_a_new_one(tmp_path: Path) -> None:
    file, clock = tmp_path / "used.json", Clock()
    alice = key("alice", tpd=100)
    limiter = Limiter(now=clock, used=read_usage(file, 20_000))

    async def serve() -> None:
        turns = 0

        async def sleep(seconds: float) -> None:
            nonlocal turns
            turns += 1
            if turns == 1:
                let_in(limiter, alice, prompt=30, output=30)
                let_in(limiter, key("bob"), prompt=7)
            elif turns == 3:
                assert json.loads(file.read_text()) == {"day": 20_000, "tokens": {"alice": 60}}
                let_in(limiter, alice, prompt=50)
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await keep(file, limiter, sleep)

    asyncio.run(serve())
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["used.json"], "no half-written file is left"
    again = Limiter(now=clock, used=read_usage(file, 20_000))
    assert refused(again, alice).code == "insufficient_quota"
    assert read_usage(file, 20_001) == {}


@pytest.mark.parametrize("text", ["", "{", '{"day": "x", "tokens": {}}', '{"day": 1, "tokens": {"a": -0.5}}', "[]"])
def test_a_file_of_used_tokens_that_is_damaged_is_said_at_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "used.json"
    file.write_text(text)
    with pytest.raises(BadUsage, match=r"used\.json cannot be used"):
        read_usage(file, 1)
    assert file.read_text() == text


# ---- over HTTP ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Clock]]:
    """A server over the keys above, whose clock the tests move."""
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(KEYS)
    clock = Clock()
    access = access_for("127.0.0.1", read_ring(file, {}))
    options = {"limiter": Limiter(Limits(rpm=1000, tpm=300), clock)}
    running, stop = start(access=access, app_options=options, extra={"step_seconds": 0.005})
    yield running, clock
    stop()


def ask(running: Running, who: str, path: str = "/v1/completions", **fields: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer sk-{who}"}
    return httpx.post(running.url + path, json=COMPLETION | fields, headers=headers, timeout=30)


def test_the_official_client_sees_a_rate_limit_and_what_is_left(limited: tuple[Running, Clock]) -> None:
    running, clock = limited
    clock.now += 600
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="sk-alice-0000000002", max_retries=0)
    raw = client.completions.with_raw_response.create(model="tiny", prompt="once", max_tokens=2)
    assert raw.headers["x-ratelimit-remaining-requests"] == "1" and raw.headers["x-ratelimit-limit-requests"] == "2"
    stream = client.completions.create(model="tiny", prompt="once", max_tokens=2, stream=True)
    assert list(stream)
    with pytest.raises(openai.RateLimitError) as caught:
        client.completions.create(model="tiny", prompt="once", max_tokens=2)
    error = caught.value
    assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
    assert error.response.headers["retry-after"] == "30" and error.request_id == error.body["request_id"]
    # other keys do not notice, and GETs are not counted
    assert ask(running, "plain-0000000001").status_code == 200
    assert client.models.list().data
    clock.now += 30
    assert ask(running, "alice-0000000002").status_code == 200


def test_tokens_of_a_stream_are_counted_and_a_prompt_that_is_too_much_now_is_refused(
    limited: tuple[Running, Clock],
) -> None:
    running, clock = limited
    clock.now += 600
    answer = ask(running, "plain-0000000001", max_tokens=100, stream=True)
    assert answer.status_code == 200 and answer.headers["x-ratelimit-remaining-tokens"] == "296"
    spare = 300 - 4 - 100
    refused = ask(running, "plain-0000000001", prompt=[5] * (spare + 12))
    assert refused.status_code == 429 and refused.json()["error"]["type"] == "tokens"
    assert int(refused.headers["retry-after"]) == math.ceil(12 / 5)
    assert ask(running, "plain-0000000001", prompt=[5] * (spare - 12)).status_code == 200


def test_a_key_of_one_open_request_has_one_and_its_end_frees_the_place(limited: tuple[Running, Clock]) -> None:
    running, clock = limited
    clock.now += DAY
    url, headers = f"{running.url}/v1/completions", {"authorization": "Bearer sk-batch-0000000003"}
    body = COMPLETION | {"max_tokens": 60, "stream": True}
    with running.paced(0.1), httpx.stream("POST", url, json=body, headers=headers, timeout=30) as open_one:
        lines = open_one.iter_lines()
        next(lines)
        refused = ask(running, "batch-0000000003")
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        assert ask(running, "plain-0000000001", max_tokens=2).status_code == 200
    assert within(30, lambda: ask(running, "batch-0000000003", max_tokens=1).status_code == 200), "it left"
    clock.now += DAY
    assert ask(running, "batch-0000000003", max_tokens=100).status_code == 200
    spent = ask(running, "batch-0000000003")
    assert spent.status_code == 429 and spent.json()["error"]["code"] == "insufficient_quota"
    assert spent.headers["x-should-retry"] == "false"
