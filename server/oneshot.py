"""`generate` and `bench`: the server's own road from request to text, without HTTP.

Both start the engine core as the server does and read the same deltas, so that what they show is what clients get.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from engine.messages import SamplingParams, Submit
from server.link import EngineLink
from server.metrics import Metrics
from server.prepare import prepare_chat, prepare_completion
from server.protocol import ChatRequest, CompletionRequest
from server.run import Setup, start
from server.stream import deltas
from server.text import TextModel


@dataclass(frozen=True)
class Speed:
    """How long tokens took."""

    prompt_tokens: int
    tokens: int
    first_token: float
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens per second after the first token."""
        return (self.tokens - 1) / (self.seconds - self.first_token) if self.tokens > 1 else 0.0


async def generate(setup: Setup, prompt: str, raw: bool, fields: dict[str, Any], show: Callable[[str], None]) -> Speed:
    """Answer one prompt, showing its text as it comes. `fields` are those of the HTTP request."""
    async with running(setup) as (link, text):
        common = {**fields, "model": text.name}
        if raw:
            request = CompletionRequest.model_validate({**common, "prompt": prompt})
            generation = await prepare_completion(request, text, link.context)
        else:
            chat = ChatRequest.model_validate({**common, "messages": [{"role": "user", "content": prompt}]})
            generation = await prepare_chat(chat, text, link.context)
        started, first, tokens = time.perf_counter(), 0.0, 0
        async for delta in deltas(link, generation, Metrics(text.name, lambda: link.stats, lambda: link.restarts)):
            first = first or time.perf_counter() - started
            tokens += delta.tokens
            show(delta.text)
        return Speed(generation.prompt_tokens, tokens, first, time.perf_counter() - started)


@asynccontextmanager
async def running(
    setup: Setup, max_open: int = 256, on_failure: Callable[[str], None] | None = None
) -> AsyncGenerator[tuple[EngineLink, TextModel], None]:
    """Both halves of a model; the engine ends on leaving. The rest is `EngineLink`'s."""
    core, text = await start(setup)
    link = EngineLink(core, max_open, on_failure)
    try:
        yield link, text
    finally:
        await link.close()


@dataclass(frozen=True)
class BenchRow:
    """One measured batch."""

    batch: int
    prompt_tokens: int
    tokens: int
    first_token: float
    """Seconds until every request of the batch had its first token."""
    prefill_rate: float
    decode_rate: float
    outside_kernels: float
    """Share of the steps' time that was not spent in kernels."""


async def bench(setup: Setup, batches: list[int], prompt_tokens: int, tokens: int) -> list[BenchRow]:
    """Each batch once to warm up and once measured; the prompts differ, so that no prefix is shared."""
    async with running(setup) as (link, _):
        rows: list[BenchRow] = []
        for batch in batches:
            await _bench_batch(link, batch, prompt_tokens, min(tokens, 8))
            rows.append(await _bench_batch(link, batch, prompt_tokens, tokens))
        return rows


async def _bench_batch(link: EngineLink, batch: int, prompt_tokens: int, tokens: int) -> BenchRow:
    params = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True)
    vocabulary = link.info.vocab_size
    submits = [
        Submit(f"bench/{batch}/{row}", [(7 + 31 * row + 17 * i) % vocabulary for i in range(prompt_tokens)], params)
        for row in range(batch)
    ]
    before, started, waiting = link.stats, time.perf_counter(), {s.request_id for s in submits}
    first = 0.0
    decoded = 0
    with link.open(submits) as ticket:
        while outs := await ticket.take():
            for out in outs:
                decoded += len(out.token_ids) if not waiting else 0
                waiting.discard(out.request_id)
                if not waiting and not first:
                    first = time.perf_counter() - started
    seconds = time.perf_counter() - started
    after = link.stats
    assert after is not None, "a batch that gave tokens took steps"
    step = after.step_seconds - (before.step_seconds if before else 0.0)
    kernel = after.kernel_seconds - (before.kernel_seconds if before else 0.0)
    decode_rate = decoded / (seconds - first) if decoded else 0.0
    share = 1 - kernel / step if step else 0.0
    return BenchRow(batch, prompt_tokens, tokens, first, batch * prompt_tokens / first, decode_rate, share)
