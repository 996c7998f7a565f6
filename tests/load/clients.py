"""Clients of every kind, on bare sockets: they read to the end, go away in the middle, read slowly, or send nonsense.

A client that does not get what it should raises `Wrong`, which names the request.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.load.asked import MALFORMED, Asked

KINDS = {"streams": 0.47, "whole": 0.09, "cut": 0.33, "slow": 0.1, "malformed": 0.01}
SECONDS = 120.0
"""How long one request may take."""


class Wrong(AssertionError):
    """An answer that is not the right one."""


@dataclass
class Told:
    """What became of the requests, by kind."""

    done: Counter[str] = field(default_factory=Counter)
    tokens: int = 0


async def load(
    port: int,
    asked: list[Asked],
    count: int,
    clients: int,
    seed: int,
    kinds: dict[str, float] = KINDS,
    lost: Callable[[str], bool] = lambda message: False,
) -> Told:
    """`count` requests by `clients` at once. An error for which `lost` holds is counted and not `Wrong`."""
    rng, told = random.Random(seed), Told()
    numbers = iter(range(count))

    async def client() -> None:
        for _ in numbers:
            kind = rng.choices([*kinds], [*kinds.values()])[0]
            request, cut = rng.choice(asked), rng.randint(0, 12)
            try:
                async with asyncio.timeout(SECONDS):
                    tokens = await _KINDS[kind](port, request, cut)
                told.done[kind] += 1
                told.tokens += tokens
            except Wrong as wrong:
                if not lost(str(wrong)):
                    raise
                told.done["told of a loss"] += 1
            except TimeoutError:
                raise Wrong(f"{kind}: no answer within {SECONDS} s to {request.body}") from None

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return told


# ---- one request ---------------------------------------------------------------------------------------


@dataclass
class _Answer:
    """The head of an answer, and where its body comes from."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def body(self) -> bytes:
        """All of it."""
        if "content-length" in self.headers:
            return await self.reader.readexactly(int(self.headers["content-length"]))
        return b"".join([part async for part in self.parts()])

    async def parts(self) -> AsyncIterator[bytes]:
        """The chunks as the server sent them."""
        while size := int(await self.reader.readline() or b"0", 16):
            yield (await self.reader.readexactly(size + 2))[:-2]


async def _send(port: int, payload: bytes, small: bool = False) -> _Answer:
    connection = socket.socket()
    connection.setblocking(False)
    if small:
        # a client that reads slowly shall fill what lies between: the smallest buffer that the system gives
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=1 << 20)
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
    try:
        status = int((await reader.readline()).split()[1])
        lines = iter([line async for line in _until_empty(reader)])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    except (OSError, IndexError) as error:
        writer.close()
        raise Wrong(f"the connection ended before an answer: {error!r}") from error
    return _Answer(status, headers, reader, writer)


async def _until_empty(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    while line := (await reader.readline()).strip():
        yield line.decode()


async def _streams(port: int, asked: Asked, cut: int, pause: float = 0.0) -> int:
    """Read a stream to its end, with a pause after each event."""
    answer = await _send(port, asked.payload(stream=True), small=pause > 0)
    try:
        if answer.status != 200:
            raise Wrong(f"status {answer.status} for {asked.body}: {(await answer.body()).decode()}")
        events: list[dict[str, Any]] = []
        try:
            async for data in _events(answer):
                events.append(data)
                await asyncio.sleep(pause) if pause else None
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise Wrong(f"the stream of {asked.body} was cut after {len(events)} events: {error!r}") from error
    finally:
        answer.writer.close()
    return _judge_stream(asked, events)


async def _events(answer: _Answer) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream; ends with [DONE], or raises if there is none."""
    rest = b""
    async for part in answer.parts():
        *whole, rest = (rest + part).split(b"\n\n")
        for event in whole:
            data = event.removeprefix(b"data: ")
            if data == b"[DONE]":
                return
            yield json.loads(data)
            if data.startswith(b'{"error"'):
                return
    raise ValueError("no [DONE]")


def _judge_stream(asked: Asked, events: list[dict[str, Any]]) -> int:
    if "error" in events[-1]:
        raise Wrong(f"the stream of {asked.body} ended with {events[-1]['error']['message']}")
    choices = [event["choices"][0] for event in events if event["choices"]]
    chances = [x for it in choices if it["logprobs"] for x in it["logprobs"]["token_logprobs"]]
    _judge(asked, "".join(it["text"] for it in choices), choices[-1]["finish_reason"], chances)
    return events[-1]["usage"]["completion_tokens"]


def _judge(asked: Asked, text: str, reason: str | None, chances: list[float]) -> None:
    if (text, reason) != (asked.text, asked.reason):
        raise Wrong(f"{asked.body}\nalone:  {asked.text!r}, {asked.reason}\nbeside: {text!r}, {reason}")
    if asked.logprobs is not None and chances != asked.logprobs:
        raise Wrong(f"{asked.body}: log probabilities {chances}, alone {asked.logprobs}")


async def _whole(port: int, asked: Asked, cut: int) -> int:
    answer = await _send(port, asked.payload(stream=False))
    try:
        body = json.loads(await answer.body())
    except asyncio.IncompleteReadError as error:
        raise Wrong(f"the answer to {asked.body} was cut") from error
    finally:
        answer.writer.close()
    if answer.status != 200:
        raise Wrong(f"status {answer.status} for {asked.body}: {body}")
    [choice] = body["choices"]
    _judge(asked, choice["text"], choice["finish_reason"], (choice["logprobs"] or {}).get("token_logprobs", []))
    return body["usage"]["completion_tokens"]


async def _cut(port: int, asked: Asked, cut: int) -> int:
    """Go away after some events, or before the first one; sometimes so that the server's next write fails."""
    if not cut:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        await asyncio.sleep(0.01)
        writer.transport.abort()
        return 0
    answer = await _send(port, asked.payload(stream=True))
    try:
        if answer.status != 200:
            raise Wrong(f"status {answer.status} for {asked.body}: {(await answer.body()).decode()}")
        async for _ in answer.parts():
            cut -= 1
            if not cut:
                break
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        raise Wrong(f"the stream of {asked.body} was cut by the server: {error!r}") from error
    finally:
        answer.writer.transport.abort()
    return 0


async def _malformed(port: int, asked: Asked, cut: int) -> int:
    payload = MALFORMED[cut % len(MALFORMED)]
    answer = await _send(port, payload)
    try:
        body = json.loads(await answer.body())
    finally:
        answer.writer.close()
    if not (400 <= answer.status < 500 and body["error"]["message"]):
        raise Wrong(f"{payload!r} got status {answer.status}: {body}")
    return 0


_KINDS = {
    "streams": _streams,
    "whole": _whole,
    "cut": _cut,
    "slow": lambda port, asked, cut: _streams(port, asked, cut, pause=0.02),
    "malformed": _malformed,
}
