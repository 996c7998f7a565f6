"""What /metrics says, in Prometheus' text form. Latencies are measured here, in the API process, as a client sees them.

Each app has a registry of its own, so that two apps in one process (tests) do not share counts. Gauges of the engine
are read from the last step's `StepStats` when somebody asks, not stored twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from engine.messages import StepStats

FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
INTER_TOKEN_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

GAUGES = (
    ("rtriton_requests_running", "Generations in the running batch.", "running"),
    ("rtriton_requests_waiting", "Generations in the queue.", "waiting"),
    ("rtriton_kv_blocks_used", "KV cache blocks that hold something in use.", "blocks_used"),
    ("rtriton_kv_blocks", "KV cache blocks there are.", "blocks_total"),
)
COUNTERS = (
    ("rtriton_engine_steps", "Steps of the engine.", "steps"),
    ("rtriton_engine_mixed_steps", "Steps that held prefill and decode rows.", "mixed_steps"),
    ("rtriton_engine_prefill_tokens", "Prompt tokens computed.", "prefill_tokens"),
    ("rtriton_engine_decode_tokens", "Tokens decoded.", "decode_tokens"),
    ("rtriton_engine_preemptions", "Generations that gave up their blocks for others.", "preemptions"),
    ("rtriton_engine_replays", "Recorded launch lists or CUDA graphs replayed.", "replays"),
    ("rtriton_engine_step_seconds", "Time inside steps.", "step_seconds"),
    ("rtriton_engine_kernel_seconds", "The part of it spent in kernels.", "kernel_seconds"),
)


class Metrics:
    """The counters and histograms of one server."""

    def __init__(self, stats: Callable[[], StepStats | None]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "rtriton_requests",
            "Requests, by what was asked and the status that came of it.",
            ["object", "outcome"],
            registry=self.registry,
        )
        self.prompt_tokens = Counter("rtriton_prompt_tokens", "Tokens of accepted prompts.", registry=self.registry)
        self.generation_tokens = Counter("rtriton_generation_tokens", "Tokens delivered.", registry=self.registry)
        self.time_to_first_token = Histogram(
            "rtriton_time_to_first_token_seconds",
            "From an accepted request to a choice's first token.",
            buckets=FIRST_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self.inter_token = Histogram(
            "rtriton_inter_token_seconds",
            "Between tokens of a choice.",
            buckets=INTER_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_EngineCollector(stats))

    def clock(self) -> Clock:
        """Started when a request is accepted."""
        return Clock(self)

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)


class Clock:
    """Times the tokens of one request."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._started = time.perf_counter()
        self._last: dict[int, float] = {}

    def tokens(self, choice: int, count: int) -> None:
        """`count` tokens of a choice have come."""
        if count == 0:
            return
        now, last = time.perf_counter(), self._last.get(choice)
        if last is None:
            self._metrics.time_to_first_token.observe(now - self._started)
        else:
            self._metrics.inter_token.observe((now - last) / count)
        self._last[choice] = now
        self._metrics.generation_tokens.inc(count)


class _EngineCollector:
    """The engine's own figures as of its last step; nothing before the first."""

    def __init__(self, stats: Callable[[], StepStats | None]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Called by the registry for each page."""
        stats = self._stats()
        if stats is None:
            return
        for name, text, field in GAUGES:
            yield GaugeMetricFamily(name, text, value=getattr(stats, field))
        for name, text, field in COUNTERS:
            yield CounterMetricFamily(name, text, value=getattr(stats, field))
