"""What /metrics says, in Prometheus' text form: vLLM's names where the meaning is vLLM's, `rtriton_` names otherwise.

Latencies are measured here, in the API process, as a client sees them. The engine's own figures are read from the last
step's `StepStats` when somebody asks, not stored twice. Counting costs a few hundred nanoseconds a token: plain
numbers, which one collector turns into metrics. No label ever comes from a request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from engine.messages import StepStats, TokenOut
from server.answers import Delta
from server.record import Record

FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0)
INTER_TOKEN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
REQUEST = (0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0)
TOKENS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0)

HISTOGRAMS = (
    ("vllm:time_to_first_token_seconds", "From an accepted request to a choice's first token.", FIRST_TOKEN),
    ("vllm:inter_token_latency_seconds", "Between tokens of a choice.", INTER_TOKEN),
    ("vllm:e2e_request_latency_seconds", "From an accepted request to the end of its answer.", REQUEST),
    ("vllm:request_queue_time_seconds", "From a choice's submission to its first step.", REQUEST),
    ("vllm:request_prompt_tokens", "Tokens of a request's prompts.", TOKENS),
    ("vllm:request_generation_tokens", "Tokens of an answer that was finished.", TOKENS),
)
COUNTERS: tuple[tuple[str, str, Callable[[Metrics], float]], ...] = (
    ("vllm:prompt_tokens", "Tokens of accepted prompts.", lambda m: m.prompt_tokens),
    ("vllm:generation_tokens", "Tokens delivered.", lambda m: m.generation_tokens),
)
ENGINE_GAUGES: tuple[tuple[str, str, Callable[[StepStats], float]], ...] = (
    ("vllm:num_requests_running", "Generations in the running batch.", lambda s: s.running),
    ("vllm:num_requests_waiting", "Generations in the queue.", lambda s: s.waiting),
    ("vllm:kv_cache_usage_perc", "Share of the KV cache in use, 1 is all.", lambda s: s.blocks_used / s.blocks_total),
    ("rtriton_kv_blocks_used", "KV cache blocks that hold something in use.", lambda s: s.blocks_used),
    ("rtriton_kv_blocks", "KV cache blocks there are.", lambda s: s.blocks_total),
    ("rtriton_waiting_tokens", "Prompt tokens in the queue.", lambda s: s.waiting_tokens),
)
ENGINE_COUNTERS: tuple[tuple[str, str, Callable[[StepStats], float]], ...] = (
    ("vllm:num_preemptions", "Generations that gave up their blocks for others.", lambda s: s.preemptions),
    ("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.", lambda s: s.prefix_queries),
    ("vllm:prefix_cache_hits", "Prompt tokens found there.", lambda s: s.prefix_hits),
    ("rtriton_engine_steps", "Steps of the engine.", lambda s: s.steps),
    ("rtriton_engine_mixed_steps", "Steps that held prefill and decode rows.", lambda s: s.mixed_steps),
    ("rtriton_engine_prefill_tokens", "Prompt tokens computed.", lambda s: s.prefill_tokens),
    ("rtriton_engine_decode_tokens", "Tokens decoded.", lambda s: s.decode_tokens),
    ("rtriton_engine_swapped_out_blocks", "KV blocks copied to the host.", lambda s: s.swapped_out),
    ("rtriton_engine_swapped_in_blocks", "KV blocks copied back.", lambda s: s.swapped_in),
    ("rtriton_engine_refused", "Generations that the engine's queue had no room for.", lambda s: s.refused),
    ("rtriton_engine_failed", "Generations that failed in the engine.", lambda s: s.failed),
    ("rtriton_engine_replays", "Recorded launch lists or CUDA graphs replayed.", lambda s: s.replays),
    ("rtriton_engine_step_seconds", "Time inside steps.", lambda s: s.step_seconds),
    ("rtriton_engine_kernel_seconds", "The part of it spent in kernels.", lambda s: s.kernel_seconds),
)
OWN = (
    ("rtriton_requests", "Requests that have ended, by route, status as sent, and outcome."),
    ("vllm:request_success", "Choices that ended, by the reason."),
    ("rtriton_engine_restarts", "Times that the engine's process had to be started again."),
)


class _Histogram:
    """Counts by bucket, and the sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Prometheus' form: up to each bound, how many were not above it."""
        total, found = 0, []
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Metrics:
    """The counters and histograms of one server. `stats`, `restarts` and `requests` are asked when the page is made."""

    def __init__(
        self,
        model: str,
        stats: Callable[[], StepStats | None],
        restarts: Callable[[], int],
        requests: Callable[[], Mapping[tuple[str, str, str], int]] = dict,
    ) -> None:
        self._model = model
        self._stats = stats
        self._restarts = restarts
        self._requests = requests
        self.histograms = {name: _Histogram(bounds) for name, _, bounds in HISTOGRAMS}
        self.prompt_tokens = self.generation_tokens = 0
        self.finished: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def clock(self, prompt_tokens: int, record: Record) -> Clock:
        """Started when a request is accepted; the record is told what comes."""
        self.prompt_tokens += prompt_tokens
        self.histograms["vllm:request_prompt_tokens"].observe(prompt_tokens)
        return Clock(self, record)

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry for each page."""
        labels, values = ["model_name"], [self._model]
        for name, text, _ in HISTOGRAMS:
            family, known = HistogramMetricFamily(name, text, labels=labels), self.histograms[name]
            family.add_metric(values, known.buckets(), known.sum)
            yield family
        for name, text, count in COUNTERS:
            yield _one(CounterMetricFamily(name, text, labels=labels), values, count(self))
        requests = CounterMetricFamily(*OWN[0], labels=["route", "status", "outcome"])
        for key, count in self._requests().items():
            requests.add_metric(key, count)
        yield requests
        finished = CounterMetricFamily(*OWN[1], labels=[*labels, "finished_reason"])
        for reason, count in self.finished.items():
            finished.add_metric([*values, reason], count)
        yield finished
        yield CounterMetricFamily(*OWN[2], value=self._restarts())
        stats = self._stats()
        if stats is None:
            return  # nothing before the first step
        for name, text, of in ENGINE_GAUGES:
            yield _one(GaugeMetricFamily(name, text, labels=labels), values, of(stats))
        for name, text, of in ENGINE_COUNTERS:
            yield _one(CounterMetricFamily(name, text, labels=labels), values, of(stats))


def _one(family: GaugeMetricFamily | CounterMetricFamily, labels: list[str], value: float) -> Metric:
    family.add_metric(labels, value)
    return family


class Clock:
    """Times the tokens of one request."""

    def __init__(self, metrics: Metrics, record: Record) -> None:
        self._metrics = metrics
        self._record = record
        self._first = metrics.histograms["vllm:time_to_first_token_seconds"]
        self._next = metrics.histograms["vllm:inter_token_latency_seconds"]
        self._started = record.submitted = perf_counter()
        self._last: dict[int, float] = {}

    def tokens(self, out: TokenOut, delta: Delta) -> None:
        """An output of the engine has become a delta of a choice."""
        if delta.finish_reason is not None:
            self._metrics.finished[delta.finish_reason] += 1
            self._record.reasons.append(delta.finish_reason)
        if out.queue_seconds is not None:
            self._metrics.histograms["vllm:request_queue_time_seconds"].observe(out.queue_seconds)
            self._record.scheduled = self._record.scheduled or self._started + out.queue_seconds
        index, tokens = delta.index, delta.tokens
        if tokens == 0:
            return
        now, last = perf_counter(), self._last.get(index)
        if last is None:
            self._record.first_token = self._record.first_token or now
            self._first.observe(now - self._started)
        else:
            self._next.observe((now - last) / tokens)
        self._last[index] = now
        self._record.output_tokens += tokens
        self._metrics.generation_tokens += tokens

    def finished(self) -> None:
        """Every choice has its last token."""
        self._metrics.histograms["vllm:e2e_request_latency_seconds"].observe(perf_counter() - self._started)
        self._metrics.histograms["vllm:request_generation_tokens"].observe(self._record.output_tokens)
