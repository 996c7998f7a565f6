"""Helpers: run an engine over a fake model, with requests that come and go at given steps; what each one got."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from engine.admission import Policy
from engine.config import EngineConfig
from engine.engine import Engine
from engine.messages import RequestFailed, SamplingParams, StepOutput, Submit
from tests.engine.books import balance
from tests.engine.fake_runner import FakeRunner, make


@dataclass
class Got:
    """What one request received, and in which steps."""

    tokens: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    reason: str | None = None
    failure: RequestFailed | None = None
    embedding: list[float] | None = None
    cached: int | None = None


def config(**options: object) -> EngineConfig:
    defaults: dict[str, object] = {"model": "fake", "block_size": 4, "max_num_seqs": 8, "max_batched_tokens": 16}
    return EngineConfig(**{**defaults, **options})  # type: ignore[arg-type]


def engine(**options: object) -> Engine:
    context = options.pop("context_length", 256)
    settings = config(**options)
    return Engine(make(settings, context), Policy.of(settings))  # type: ignore[arg-type]


def fake(it: Engine) -> FakeRunner:
    assert isinstance(it.runner, FakeRunner)
    return it.runner


def collect(it: Engine, got: dict[str, Got], step: int) -> None:
    """One step, its events sorted by request (choice 0) into `got`."""
    for event in it.step():
        if isinstance(event, RequestFailed):
            got.setdefault(event.request_id, Got()).failure = event
            continue
        assert isinstance(event, StepOutput)
        for out in event.tokens:
            mine = got.setdefault(out.request_id, Got())
            assert mine.reason is None, "nothing follows the end of a request"
            mine.tokens += out.token_ids + ([] if out.stop_token is None else [out.stop_token])
            mine.steps.append(step)
            mine.reason = out.finish_reason
            mine.cached = out.cached_tokens if mine.cached is None else mine.cached
            if out.embedding is not None:
                mine.embedding = np.frombuffer(out.embedding, "<f4").tolist()


def run(
    it: Engine,
    arrivals: Iterable[tuple[int, Submit]],
    aborts: Iterable[tuple[int, str]] = (),
    after_step: Callable[[], None] = lambda: None,
) -> dict[str, Got]:
    """Before its step submit each request, and then abort each name, which may be before it came or after it ended."""
    got: dict[str, Got] = {}
    coming, going = (deque(sorted(pairs, key=lambda pair: pair[0])) for pairs in (arrivals, aborts))
    step = 0
    while coming or going or it.busy:
        while coming and coming[0][0] <= step:
            it.submit(coming.popleft()[1])
        while going and going[0][0] <= step:
            it.abort(going.popleft()[1])
        if it.busy:
            collect(it, got, step)
            balance(it)
            after_step()
        step += 1
        assert step < 20_000, "the engine does not come to an end"
    return got


def alone(request: Submit, **options: object) -> list[int]:
    return run(engine(**options), [(0, request)])[request.request_id].tokens


def greedy(max_tokens: int, **options: object) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=max_tokens, **options)  # type: ignore[arg-type]
