"""How much each key may ask for, and what it is told when that is too much.

    requests a minute, tokens a minute     a bucket each, which holds one minute's worth and fills evenly
    open requests                          counted from the first byte to the end of the answer
    tokens a day                           counted from midnight to midnight, UTC

Tokens are those of prompts and answers. A request takes one from the bucket of requests when it comes, valid or not;
the tokens of its prompt when it is understood, for which the bucket must hold them, or be full; those of its answer as
they are generated. Since nobody knows beforehand how many these will be, the bucket may go below empty: then nothing
more is let in until it has made up for that, so that over time no key gets more than its rate. The same holds for the
day: the request that passes the quota is finished.

What one key uses is never another's. Without keys all requests are one account.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from server.errors import ApiError
from server.record import Record

DAY = 86_400


@dataclass(frozen=True)
class Limits:
    """None is no limit."""

    rpm: int | None = None
    """Requests a minute."""
    tpm: int | None = None
    """Tokens a minute."""
    tpd: int | None = None
    """Tokens a day."""
    concurrent: int | None = None
    """Open requests."""

    def with_own(self, own: Mapping[str, int | None]) -> Limits:
        """These, but for what a key has of its own."""
        return replace(self, **own)


NAMES = tuple(field.name for field in fields(Limits))


class Bucket:
    """Holds at most one minute's worth; full at first."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.size = float(per_minute)
        self.level = self.size
        self._at = now

    def fill(self, now: float) -> None:
        """Time has passed. A clock that was set back fills nothing."""
        self.level = min(self.size, self.level + max(0.0, now - self._at) * self.size / 60)
        self._at = now

    def wait(self, amount: float) -> float:
        """Seconds until it holds so much, or is full; 0 if it does now."""
        return max(0.0, min(amount, self.size) - self.level) * 60 / self.size

    @property
    def until_full(self) -> float:
        """Seconds."""
        return (self.size - self.level) * 60 / self.size


class Meter:
    """What one account has used."""

    def __init__(self, limits: Limits, now: float, today: int = 0) -> None:
        self.limits = limits
        self.requests = None if limits.rpm is None else Bucket(limits.rpm, now)
        self.tokens = None if limits.tpm is None else Bucket(limits.tpm, now)
        self.open: dict[Record, int] = {}
        """Requests that have not ended, and how many of their answers' tokens are accounted for."""
        self.today = today
        self.day = int(now // DAY)

    def settle(self, now: float) -> None:
        """Time has passed, and tokens have been generated."""
        for bucket in (self.requests, self.tokens):
            if bucket is not None:
                bucket.fill(now)
        if int(now // DAY) != self.day:
            self.today, self.day = 0, int(now // DAY)
        for record, known in self.open.items():
            self.take(record.output_tokens - known)
            self.open[record] = record.output_tokens

    def take(self, tokens: int) -> None:
        """So many were read or generated."""
        self.today += tokens
        if self.tokens is not None:
            self.tokens.level -= tokens

    def headers(self) -> dict[bytes, bytes]:
        """What OpenAI's clients read; only of limits that there are."""
        told: dict[str, str] = {}
        for kind, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None:
                told[f"limit-{kind}"] = str(int(bucket.size))
                told[f"remaining-{kind}"] = str(max(0, int(bucket.level)))
                told[f"reset-{kind}"] = duration(bucket.until_full)
        return {f"x-ratelimit-{name}".encode(): value.encode() for name, value in told.items()}


class Limiter:
    """Every account's meter. `enter` and `leave` are around a request, `read` is when its prompt is known."""

    def __init__(
        self, limits: Limits = Limits(), now: Callable[[], float] = time.time, used: Mapping[str, int] | None = None
    ) -> None:
        self._limits = limits
        self._now = now
        self._used = dict(used or {})
        """Of accounts that have not asked yet since the start: tokens of today."""
        self._meters: dict[str, Meter] = {}

    def enter(self, record: Record) -> None:
        """A request has come: `ApiError` if it is too much."""
        meter, now = self._meter(record), self._now()
        meter.settle(now)
        record.headers |= meter.headers()
        self._check_day(meter, now)
        most = meter.limits.concurrent
        if most is not None and len(meter.open) >= most:
            raise _limited("requests", f"{most} requests of this key are open, which is its limit", 1)
        if meter.requests is not None and (seconds := meter.requests.wait(1)) > 0:
            raise _limited("requests", f"the limit of this key is {meter.limits.rpm} requests a minute", seconds)
        if meter.tokens is not None and (seconds := meter.tokens.wait(1)) > 0:
            raise _limited("tokens", f"the limit of this key is {meter.limits.tpm} tokens a minute", seconds)
        if meter.requests is not None:
            meter.requests.level -= 1
        meter.open[record] = 0
        record.headers |= meter.headers()

    def read(self, record: Record, tokens: int) -> None:
        """Its prompt has so many tokens: `ApiError` if they are too many now."""
        meter = self._meter(record)
        meter.settle(self._now())
        if meter.tokens is not None and (seconds := meter.tokens.wait(tokens)) > 0:
            said = f"the limit of this key is {meter.limits.tpm} tokens a minute, and the prompt has {tokens}"
            raise _limited("tokens", said, seconds)
        meter.take(tokens)
        record.headers |= meter.headers()

    def leave(self, record: Record) -> None:
        """It has ended, or was never let in."""
        meter = self._meter(record)
        meter.settle(self._now())
        meter.open.pop(record, None)

    def used(self) -> dict[str, int]:
        """Tokens of today, by the key's name; of those that have a quota."""
        now = self._now()
        for meter in self._meters.values():
            meter.settle(now)
        metered = {name: meter.today for name, meter in self._meters.items() if meter.limits.tpd is not None}
        return {name: tokens for name, tokens in (self._used | metered).items() if tokens}

    def day(self) -> int:
        """Days since the epoch."""
        return int(self._now() // DAY)

    def _meter(self, record: Record) -> Meter:
        key = record.key
        name = "" if key is None else key.name
        meter = self._meters.get(name)
        if meter is None:
            limits = self._limits if key is None else self._limits.with_own(dict(key.limits))
            meter = self._meters[name] = Meter(limits, self._now(), self._used.pop(name, 0))
        return meter

    def _check_day(self, meter: Meter, now: float) -> None:
        most = meter.limits.tpd
        if most is not None and meter.today >= most:
            message = f"This key has used its quota of {most} tokens for today; the next day begins at midnight UTC."
            raise ApiError(
                429,
                message,
                code="insufficient_quota",
                kind="insufficient_quota",
                retry_after=DAY - now % DAY,
                hopeless=True,
            )


def _limited(kind: str, what: str, seconds: float) -> ApiError:
    message = f"Rate limit reached: {what}; try again in {duration(max(seconds, 0.001))}."
    return ApiError(429, message, code="rate_limit_exceeded", kind=kind, retry_after=seconds)


def duration(seconds: float) -> str:
    """As OpenAI writes it: `12ms`, `1.5s`, `6m0s`, `1h0m0s`. Rounded up: it is never too early."""
    if seconds < 1:
        return f"{math.ceil(round(seconds * 1000, 6))}ms"
    if seconds < 60:
        return f"{math.ceil(round(seconds * 10, 6)) / 10:g}s"
    whole = math.ceil(seconds)
    minutes = f"{whole // 60 % 60}m{whole % 60}s"
    return f"{whole // 3600}h{minutes}" if whole >= 3600 else minutes
