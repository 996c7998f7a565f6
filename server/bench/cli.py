"""The commands `rtriton bench serve` and `rtriton bench lifecycle`: server/cli.py mounts them."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

DEFAULT_REQUESTS = 100
DEFAULT_WORDS = "128"
PORT = "{port}"

Url = Annotated[str, typer.Argument(help="The server, with or without /v1.")]
Model = Annotated[str | None, typer.Option(help="The first one that the server lists, by default.")]
Chat = Annotated[bool, typer.Option("--chat", help="Ask /chat/completions instead of /completions.")]
Rate = Annotated[float | None, typer.Option(min=1e-6, help="Open loop: Poisson arrivals, requests a second.")]
Concurrency = Annotated[int | None, typer.Option(min=1, help="Closed loop: requests open at once; 1 by default.")]
Requests = Annotated[int | None, typer.Option(min=1, help="Stop after so many; 100 where --seconds is not given.")]
Seconds = Annotated[float | None, typer.Option(min=1e-3, help="Begin no request later; open ones are awaited.")]
Words = Annotated[str | None, typer.Option(help="Words of a prompt, N or LOW:HIGH; 128. Prompts of a file are cut.")]
Tokens = Annotated[str, typer.Option(help="Most tokens of an answer, N or LOW:HIGH.")]
File = Annotated[Path | None, typer.Option(help='Prompts, one a line; in a .jsonl file the field "prompt".')]
IgnoreEos = Annotated[bool, typer.Option("--ignore-eos", help="Answers of exactly --tokens; not all servers can.")]
Body = Annotated[str | None, typer.Option(help="A JSON object: further fields of every request.")]
Warmup = Annotated[int, typer.Option(min=0, help="Requests before the measurement, one after the other.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides prompts, lengths and arrivals.")]
Timeout = Annotated[float, typer.Option(min=1e-3, help="Seconds for one request.")]
SloTtft = Annotated[float | None, typer.Option("--slo-ttft-ms", min=0, help="Time to the first token.")]
SloItl = Annotated[float | None, typer.Option("--slo-itl-ms", min=0, help="Mean time for each token after it.")]
KeyFile = Annotated[Path | None, typer.Option(help="A file whose first line is the API key.")]
Json = Annotated[bool, typer.Option("--json", help="Print data instead of text.")]

Command = Annotated[list[str] | None, typer.Argument(help="After --: any server's; {port} in it is a free port.")]
Lived = Annotated[int, typer.Option(min=1, help="Requests between ready and SIGTERM.")]
AtOnce = Annotated[int, typer.Option(min=1, help="Requests open at once.")]
Start = Annotated[float, typer.Option(min=1e-3, help="Seconds for the server to become ready.")]
Stop = Annotated[float, typer.Option(min=1e-3, help="Seconds for the server to end after SIGTERM.")]


def serve(
    url: Url = "http://127.0.0.1:8000",
    model: Model = None,
    chat: Chat = False,
    rate: Rate = None,
    concurrency: Concurrency = None,
    requests: Requests = None,
    seconds: Seconds = None,
    prompt_words: Words = None,
    tokens: Tokens = "128",
    prompts: File = None,
    ignore_eos: IgnoreEos = False,
    body: Body = None,
    warmup: Warmup = 1,
    seed: Seed = 0,
    timeout: Timeout = 600.0,
    slo_ttft_ms: SloTtft = None,
    slo_itl_ms: SloItl = None,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Load a server that speaks OpenAI's API, and say what its clients saw."""
    from server.run import Refused

    _need_client()
    from server.access import read_keys
    from server.bench.client import Failed, Target
    from server.bench.load import Load
    from server.bench.prompts import Lengths, Prompts, read
    from server.bench.report import Samples, Slo, report
    from server.bench.run import measure
    from server.bench.show import print_report

    if rate is not None and concurrency is not None:
        raise Refused("--rate is an open loop and --concurrency a closed one; give one of them")
    count = requests if requests is not None else DEFAULT_REQUESTS if seconds is None else float("inf")
    load = Load(rate, concurrency, count, float("inf") if seconds is None else seconds, seed)
    try:
        texts = read(prompts) if prompts is not None else ()
        words = prompt_words if prompt_words is not None or texts else DEFAULT_WORDS
        asked = Prompts(seed, Lengths.parse(tokens), None if words is None else Lengths.parse(words), texts)
        fields = {"ignore_eos": True} if ignore_eos else {}
        fields |= _object(body)
        keys = read_keys(api_key_file, {})
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from error
    target, key = Target(_base(url), model or "", chat, fields), keys[0] if keys else None
    try:
        run = asyncio.run(measure(target, load, asked, warmup, timeout, key))
    except Failed as failed:
        raise Refused(str(failed)) from failed
    if not run.records:
        raise Refused(f"no request was due within {seconds:g} seconds at {rate:g} a second")
    made = report(run.records, Slo(slo_ttft_ms, slo_itl_ms), run.busy_seconds)
    if as_json:
        limits = {name: value for name, value in asdict(load).items() if value not in (None, float("inf"))}
        print(json.dumps({"url": run.target.url, "model": run.target.model, "load": limits, **asdict(made)}, indent=1))
    else:
        console = Console(highlight=False, markup=False)
        console.print(f"{run.target.model} at {run.target.url}")
        print_report(console, made, Samples.of(run.records))
    if not made.completed:
        raise SystemExit(1)


def lifecycle(
    command: Command = None,
    requests: Lived = 16,
    concurrency: AtOnce = 1,
    chat: Chat = False,
    prompt_words: Words = None,
    tokens: Tokens = "32",
    ignore_eos: IgnoreEos = False,
    seed: Seed = 0,
    start_timeout: Start = 600.0,
    stop_timeout: Stop = 60.0,
    as_json: Json = False,
) -> None:
    """Launch a server, load it and stop it; say how long each phase took. Without a command: rtriton serve."""
    from server.run import Refused

    _need_client()
    from server.bench.client import Failed, Target
    from server.bench.life import live
    from server.bench.load import Load
    from server.bench.prompts import Lengths, Prompts
    from server.bench.show import print_life

    command = command or [sys.executable, "-m", "server.cli", "serve", "--port", PORT]
    if not any(PORT in word for word in command):
        raise Refused(f"the command does not say where its port goes; write {PORT} there")
    try:
        asked = Prompts(seed, Lengths.parse(tokens), Lengths.parse(prompt_words or DEFAULT_WORDS))
    except ValueError as error:
        raise Refused(str(error)) from error
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    target = Target(f"http://127.0.0.1:{port}/v1", chat=chat, fields={"ignore_eos": True} if ignore_eos else {})
    words = [word.replace(PORT, port) for word in command]
    load = Load(concurrency=concurrency, requests=requests, seed=seed)
    try:
        life = asyncio.run(live(words, target, load, asked, start_timeout, stop_timeout))
    except Failed as failed:
        raise Refused(str(failed)) from failed
    failures = [record.error for record in life.records if record.error is not None]
    if as_json:
        phases = {name: value for name, value in asdict(life).items() if name != "records"}
        print(json.dumps({**phases, "count": requests, "concurrency": concurrency, "errors": failures}, indent=1))
    else:
        print_life(Console(highlight=False, markup=False), life)
    if failures:
        raise SystemExit(1)


def _need_client() -> None:
    from server.run import Refused, installed

    if not installed("aiohttp"):
        raise Refused("the load needs an HTTP client; run: pip install 'rtriton[serve,bench]'")


def _base(url: str) -> str:
    """An address with its /v1, however it was written."""
    base = (url if "://" in url else f"http://{url}").rstrip("/")
    return base if base.endswith("/v1") else f"{base}/v1"


def _object(text: str | None) -> dict[str, Any]:
    try:
        found: Any = json.loads(text) if text is not None else {}
    except ValueError as error:
        raise ValueError(f"--body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("--body is a JSON object")
    return cast(dict[str, Any], found)
