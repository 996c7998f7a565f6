"""One streamed request over HTTP, and what its client saw of it: a `Record`.

Whatever goes wrong is a kind of error in the record, never an exception: a server that fails is a result.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import aiohttp

from server.bench.answer import Answer, Failed, events
from server.bench.prompts import Prompt

DRAIN_SECONDS = 0.25
"""How long a server may take to end its response after `[DONE]`; then the connection is given up."""


@dataclass(frozen=True)
class Target:
    """Whom to ask, and how."""

    url: str
    """With the `/v1`, without a slash at its end."""
    model: str = ""
    """Its id; empty until the server was asked for the first one that it lists."""
    chat: bool = False
    """Ask /chat/completions rather than /completions."""
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further fields of every request's body."""

    @property
    def path(self) -> str:
        return f"{self.url}/chat/completions" if self.chat else f"{self.url}/completions"

    def of(self, model: str) -> Target:
        """The same for another model."""
        return replace(self, model=model)

    def body(self, prompt: Prompt) -> dict[str, Any]:
        said = {"messages": [{"role": "user", "content": prompt.text}]} if self.chat else {"prompt": prompt.text}
        common = {"model": self.model, "max_tokens": prompt.max_tokens, "temperature": 0}
        return {**common, **said, "stream": True, "stream_options": {"include_usage": True}, **self.fields}


@dataclass(frozen=True)
class Record:
    """One request; times are seconds."""

    due: float
    """When it should have begun, by `time.perf_counter`."""
    seconds: float
    """From then to its end."""
    first: float | None = None
    """From then to the first text; None if none came."""
    gaps: tuple[float, ...] = ()
    """Between events with text. One event may hold several tokens."""
    tokens: int = 0
    """Generated, as the server says; the number of events with text where it says nothing."""
    counted: bool = False
    """Whether the server said how many tokens there were."""
    prompt_tokens: int = 0
    error: str | None = None
    """The kind of what went wrong; such a request counts in no latency."""
    detail: str = ""
    late: float = 0.0
    """From `due` to when it really began: the client's own share of all other times."""

    @property
    def per_token(self) -> float | None:
        """The mean time of a token after the first; None where there is no second one."""
        return sum(self.gaps) / (self.tokens - 1) if self.gaps and self.tokens > 1 else None


async def ask(session: aiohttp.ClientSession, target: Target, prompt: Prompt, due: float) -> Record:
    """Send one request and read its answer to the end."""
    answer, sent = Answer(), time.perf_counter()
    kind, detail = None, ""
    try:
        async with session.post(target.path, json=target.body(prompt)) as response:
            await _read(response, answer)
    except Failed as failed:
        kind, detail = failed.kind, str(failed)
    except aiohttp.ClientConnectorError as error:
        kind, detail = "connect", str(error)
    except TimeoutError:
        kind, detail = "timeout", "no answer, or not all of it, in time"
    except (aiohttp.ClientError, OSError) as error:
        kind, detail = "disconnected", f"{type(error).__name__}: {error}"
    # what went wrong after the last event of a whole answer is not the answer's fault
    if answer.ended is not None:
        kind, detail = None, ""
    return _record(answer, due, sent, kind, detail)


async def _read(response: aiohttp.ClientResponse, answer: Answer) -> None:
    if response.status != 200:
        raise Failed(f"http_{response.status}", await response.text(errors="replace"))
    async for data in events(response.content.iter_any()):
        answer.take(data, time.perf_counter())
        if answer.ended is not None:
            # a response that was read to its end leaves its connection to the next request
            with suppress(TimeoutError):
                await asyncio.wait_for(response.content.read(), DRAIN_SECONDS)
            return
    # some servers leave [DONE] out; an answer that says why it ended is whole without it
    if not answer.finished:
        what = "the stream ended before its finish_reason"
        raise Failed("incomplete", what if answer.times else f"{what} and without text ({response.content_type})")


def _record(answer: Answer, due: float, sent: float, error: str | None, detail: str) -> Record:
    times = answer.times
    return Record(
        due=due,
        seconds=(answer.ended or time.perf_counter()) - due,
        first=times[0] - due if times else None,
        gaps=tuple(after - before for before, after in pairwise(times)),
        tokens=len(times) if answer.tokens is None else answer.tokens,
        counted=answer.tokens is not None,
        prompt_tokens=answer.prompt_tokens,
        error=error,
        detail=detail[:200],
        late=sent - due,
    )


async def first_model(session: aiohttp.ClientSession, url: str) -> str:
    """The id of the first model that the server lists. Failed says what is wrong with the server or its answer."""
    try:
        async with session.get(f"{url}/models") as response:
            if response.status != 200:
                raise Failed(f"http_{response.status}", f"GET {url}/models got {response.status}")
            return str((await response.json(content_type=None))["data"][0]["id"])
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Failed("connect", f"nothing answers at {url}: {error}") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise Failed("malformed", f"{url}/models lists no model; give --model") from None
