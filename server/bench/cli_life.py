"""The command `rtriton bench lifecycle`: server/cli.py mounts it."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from server.bench.cli import DEFAULT_WORDS, Chat, IgnoreEos, Json, Seed, Tokens, Words, need_client

PORT = "{port}"

Command = Annotated[list[str] | None, typer.Argument(help="After --: any server's; {port} in it is a free port.")]
Lived = Annotated[int, typer.Option(min=1, help="Requests between ready and SIGTERM.")]
AtOnce = Annotated[int, typer.Option(min=1, help="Requests open at once.")]
Start = Annotated[float, typer.Option(min=1e-3, help="Seconds for the server to become ready.")]
Stop = Annotated[float, typer.Option(min=1e-3, help="Seconds for the server to end after SIGTERM.")]


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

    need_client()
    from server.bench.answer import Failed
    from server.bench.client import Target
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
