"""`rtriton bench serve` against a scripted server and against the real server over the tiny model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from server.cli import app
from server.run import Refused
from tests.server.bench.fake import Fake, event, send, serving, usage, web
from tests.server.conftest import Running

DONE = b"data: [DONE]\n\n"


def bench(url: str, *options: str, status: int = 0) -> Any:
    """What the command prints as JSON."""
    result = CliRunner().invoke(app, ["bench", "serve", url, "--json", *options])
    if isinstance(result.exception, Refused):
        raise result.exception
    assert result.exit_code == status, result.output
    return json.loads(result.output)


async def quick(index: int, request: Any) -> Any:
    return await send(request, event("a"), event("b", "length"), usage(4, 2), DONE)


def test_times_are_the_servers() -> None:
    async def paced(index: int, request: Any) -> Any:
        pauses = [part for i in range(4) for part in (0.05, event(f"t{i}", "length" if i == 3 else None))]
        return await send(request, 0.1, *pauses, usage(4, 4), DONE)

    with serving(paced) as fake:
        found = bench(fake.url, "--requests", "4", "--concurrency", "2", "--slo-ttft-ms", "5000")
    assert found["completed"] == 4 and found["errors"] == {} and found["goodput"]["share"] == 1.0
    assert 150 <= found["ttft_ms"]["p50"] < 5000 and 40 <= found["itl_ms"]["p50"] < 5000
    assert 300 <= found["e2e_ms"]["p50"] < 10_000 and found["itl_ms"]["count"] == 12
    assert found["output_tokens"] == 16 and found["prompt_tokens"] == 16 and found["tokens_told"]
    assert found["seconds"] >= 0.6, "two after two"


def test_events_are_counted_where_the_server_counts_nothing_and_done_may_lack() -> None:
    async def bare(index: int, request: Any) -> Any:
        return await send(request, b": comment\r\n\r\n", event("a"), event("b"), event("", "stop"))

    with serving(bare) as fake:
        found = bench(fake.url, "--requests", "3")
    assert found["output_tokens"] == 6 and not found["tokens_told"] and found["completed"] == 3


def test_requests_are_decided_by_the_seed() -> None:
    def asked(*options: str) -> list[dict[str, Any]]:
        with serving(quick) as fake:
            bench(fake.url, "--requests", "6", "--prompt-words", "3:9", "--tokens", "2:5", *options)
        return sorted(fake.bodies, key=lambda body: body["prompt"])

    first = asked("--concurrency", "3", "--seed", "7")
    assert first == asked("--rate", "500", "--seed", "7") != asked("--concurrency", "3", "--seed", "8")
    assert len(first) == 7, "six and the warm-up"


def test_chat_and_further_fields() -> None:
    with serving(quick) as fake:
        bench(fake.url, "--chat", "--requests", "1", "--warmup", "0", "--ignore-eos", "--body", '{"top_p": 0.5}')
    [body] = fake.bodies
    assert body["messages"][0]["role"] == "user" and body["ignore_eos"] is True and body["top_p"] == 0.5


def test_errors_are_counted_by_kind() -> None:
    async def failing(index: int, request: Any) -> Any:
        match index:
            case 0:
                return web.json_response({"error": {"message": "full"}}, status=429)
            case 1:
                return web.json_response({"error": {"message": "broken"}}, status=500)
            case 2:
                return await send(request, event("a"), b"data: {not json\n\n")
            case 3:
                return await send(request, event("a"), b"data: [1]\n\n")
            case 4:
                return await send(request, event("a"), b'data: {"usage": {"prompt_tokens": "x"}}\n\n')
            case 5:
                return await send(request, event("a"), b'data: {"error": {"message": "engine gone"}}\n\n')
            case 6:
                return await send(request, event("a"))
            case 7:
                response = await send(request, event("a"), 0.05)
                request.transport.abort()
                return response
            case 8:
                await asyncio.sleep(300)
            case 9:
                return await send(request, event("a"), DONE)
            case _:
                pass
        return await quick(index, request)

    with serving(failing) as fake:
        found = bench(fake.url, "--requests", "11", "--warmup", "0", "--timeout", "2", "--slo-ttft-ms", "60000")
    kinds = {kind: errors["count"] for kind, errors in found["errors"].items()}
    wanted = ["http_429", "http_500", "stream_error", "incomplete", "disconnected", "timeout"]
    assert kinds == {**dict.fromkeys(wanted, 1), "malformed": 4}
    assert "full" in found["errors"]["http_429"]["example"]
    assert found["completed"] == 1 and found["ttft_ms"]["count"] == 1
    assert found["goodput"]["share"] == pytest.approx(1 / 11)


def test_a_server_that_goes_away_is_an_error_by_kind_and_status_1() -> None:
    found = bench(free_url(), "--model", "fake", "--requests", "3", status=1)
    assert found["errors"]["connect"]["count"] == 3 and found["completed"] == 0 and found["ttft_ms"] is None


def free_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    url = free_url()
    with pytest.raises(Refused, match="nothing answers at"):
        bench(url)
    for options, words in (
        (("--rate", "1", "--concurrency", "1"), "one of them"),
        (("--tokens", "0"), "1 <= LOW"),
        (("--body", "[]"), "JSON object"),
        (("--prompts", str(tmp_path / "nowhere.txt")), "nowhere.txt"),
        (("--api-key-file", str(tmp_path / "nokey")), "nokey"),
    ):
        with pytest.raises(Refused, match=words):
            bench(url, *options)


def test_options_of_bench_itself_before_serve_are_refused() -> None:
    result = CliRunner().invoke(app, ["bench", "--tokens", "5", "serve"])
    assert result.exit_code == 2 and "--tokens belongs to `bench` alone" in " ".join(result.output.split())


def test_a_key_is_sent(tmp_path: Path) -> None:
    got: list[str | None] = []

    async def keyed(index: int, request: Any) -> Any:
        got.append(request.headers.get("authorization"))
        return await quick(index, request)

    (tmp_path / "key").write_text("# mine\nsecret-1\n")
    with serving(keyed) as fake:
        bench(fake.url, "--requests", "1", "--warmup", "0", "--api-key-file", str(tmp_path / "key"))
    assert got == ["Bearer secret-1"]


def test_the_text_has_tables_and_histograms() -> None:
    async def half(index: int, request: Any) -> Any:
        return await (quick(index, request) if index % 2 else send(request, event("a")))

    def printed(fake: Fake) -> str:
        result = CliRunner().invoke(app, ["bench", "serve", fake.url, "--requests", "8", "--slo-ttft-ms", "9000"])
        assert result.exit_code == 0
        return result.output

    with serving(half) as fake:
        text = printed(fake)
    assert "4 of 8 requests completed" in text and "incomplete" in text and "50.0% of all" in text
    assert "time to first token" in text and "█" in text


@pytest.mark.parametrize("options", [("--concurrency", "4"), ("--rate", "200"), ("--concurrency", "4", "--chat")])
def test_rtritons_own_server(server: Running, options: tuple[str, ...]) -> None:
    before = server.metric("vllm:generation_tokens_total")
    words = ("--prompt-words", "2:4", "--tokens", "6", "--ignore-eos", "--requests", "12", "--warmup", "0")
    found = bench(server.url, *words, *options)
    assert found["completed"] == 12 and found["output_tokens"] == 72 and found["tokens_told"], found["errors"]
    assert server.metric("vllm:generation_tokens_total") - before == 72
    assert found["model"] == "tiny" and found["per_token_ms"]["count"] > 0


def test_an_interrupt_ends_the_run_and_what_is_over_is_told() -> None:
    async def interrupted(index: int, request: Any) -> Any:
        if index == 5:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(300)
        return await quick(index, request)

    with serving(interrupted) as fake:
        found = bench(fake.url, "--requests", "50", "--warmup", "0", status=130)
    assert found["interrupted"] and found["requests"] == found["completed"] == 5


def test_the_data_says_what_was_asked() -> None:
    with serving(quick) as fake:
        found = bench(fake.url, "--rate", "100", "--requests", "3", "--prompt-words", "2:4", "--ignore-eos")
    assert found["load"] == {"rate": 100.0, "requests": 3, "seed": 0} and found["load_average"] >= 0
    assert found["asked"] == {
        "chat": False,
        "prompt_words": "2:4",
        "prompts": None,
        "tokens": "128",
        "fields": {"ignore_eos": True},
        "warmup": 1,
        "timeout": 600.0,
    }
    assert found["client_late_ms"]["count"] == 3 and 0 <= found["client_late_ms"]["p50"] < 10_000
