"""Records -> a Report: percentiles, rates, goodput, errors by kind. What it says is what `--json` prints.

Latencies are of completed requests; a failed one counts in `errors` and against goodput. Rates are over the time from
the first request's due time to the last one's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from server.bench.client import Record

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Distribution:
    """Of times in milliseconds; percentiles lie between neighbouring samples, as NumPy's do by default."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True)
class Slo:
    """What a good request keeps to; None asks nothing."""

    ttft_ms: float | None = None
    """An answer without any text does not keep to it."""
    itl_ms: float | None = None
    """Of a request's mean time for each token after the first."""
    e2e_ms: float | None = None

    def kept_by(self, record: Record) -> bool:
        """Whether a request completed, and in time."""
        if record.error is not None:
            return False
        first = float("inf") if record.first is None else record.first
        times = ((self.ttft_ms, first), (self.itl_ms, record.per_token or 0.0), (self.e2e_ms, record.seconds))
        return all(limit is None or seconds * 1000 <= limit for limit, seconds in times)


@dataclass(frozen=True)
class Goodput:
    """What kept to the SLO."""

    slo: Slo
    requests: int
    share: float
    """Of all requests, failed ones among them."""
    requests_per_s: float


@dataclass(frozen=True)
class Errors:
    """Of one kind."""

    count: int
    example: str


@dataclass(frozen=True)
class Report:
    """A run."""

    seconds: float
    requests: int
    completed: int
    errors: dict[str, Errors]
    """By kind: http_STATUS (http_429 where the server was full), connect, disconnected, timeout, malformed,
    stream_error (an error inside the stream), incomplete.
    """
    prompt_tokens: int
    output_tokens: int
    tokens_told: bool
    """Whether the server said how many tokens it generated; events with text are counted where it does not."""
    requests_per_s: float
    output_tokens_per_s: float
    ttft_ms: Distribution | None
    itl_ms: Distribution | None
    """Between events of a stream. Where a server puts several tokens in one event, look at `per_token_ms`."""
    per_token_ms: Distribution | None
    """Of requests: the mean time for each token after the first."""
    e2e_ms: Distribution | None
    goodput: Goodput | None
    client_busy: float
    """The share of the time in which this client's processor worked: near 1 it measures itself."""
    client_late_ms: Distribution | None
    """From when a request was due to when this client began it, of all requests: its own share of the times above."""


@dataclass(frozen=True)
class Samples:
    """Milliseconds, of completed requests."""

    ttft: list[float]
    itl: list[float]
    per_token: list[float]
    e2e: list[float]

    @property
    def named(self) -> dict[str, list[float]]:
        """By what people read above them."""
        names = ("time to first token", "between events", "per token after first", "end to end")
        return dict(zip(names, (self.ttft, self.itl, self.per_token, self.e2e), strict=True))

    @staticmethod
    def of(records: Iterable[Record]) -> Samples:
        done = [r for r in records if r.error is None]
        return Samples(
            [r.first * 1000 for r in done if r.first is not None],
            [gap * 1000 for r in done for gap in r.gaps],
            [r.per_token * 1000 for r in done if r.per_token is not None],
            [r.seconds * 1000 for r in done],
        )


def distribution(samples: Sequence[float]) -> Distribution | None:
    """None where there are no samples."""
    if not samples:
        return None
    ordered = (float(value) for value in np.percentile(samples, PERCENTILES))
    return Distribution(len(samples), float(np.mean(samples)), *ordered, max(samples))


def binned(samples: Sequence[float], count: int) -> tuple[list[float], list[int]]:
    """The `count + 1` edges of bins and how many samples lie in each, none left out; there is at least one sample.

    Each bin is wider than the one before by the same factor, since latencies have long tails.
    """
    low, high = max(min(samples), 1e-3), max(max(samples), 2e-3)
    edges = np.geomspace(low, max(high, low * 1.01), count + 1)
    counts, _ = np.histogram(np.clip(samples, edges[0], edges[-1]), edges)
    return edges.tolist(), counts.tolist()


def report(records: Sequence[Record], slo: Slo, busy_seconds: float) -> Report:
    """What a run's records say; there is at least one. `busy_seconds` is the client's processor time."""
    seconds = max(r.due + r.seconds for r in records) - min(r.due for r in records)
    done = [r for r in records if r.error is None]
    samples = Samples.of(done)
    output = sum(r.tokens for r in done)
    good = sum(slo.kept_by(r) for r in records)
    return Report(
        seconds=seconds,
        requests=len(records),
        completed=len(done),
        errors=_errors(records),
        prompt_tokens=sum(r.prompt_tokens for r in done),
        output_tokens=output,
        tokens_told=all(r.counted for r in done),
        requests_per_s=len(done) / seconds,
        output_tokens_per_s=output / seconds,
        ttft_ms=distribution(samples.ttft),
        itl_ms=distribution(samples.itl),
        per_token_ms=distribution(samples.per_token),
        e2e_ms=distribution(samples.e2e),
        goodput=None if slo == Slo() else Goodput(slo, good, good / len(records), good / seconds),
        client_busy=busy_seconds / seconds,
        client_late_ms=distribution([r.late * 1000 for r in records]),
    )


def _errors(records: Iterable[Record]) -> dict[str, Errors]:
    details: dict[str, list[str]] = {}
    for record in records:
        if record.error is not None:
            details.setdefault(record.error, []).append(record.detail)
    return {kind: Errors(len(said), said[0]) for kind, said in sorted(details.items())}
