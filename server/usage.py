"""Tokens that keys with a quota have used today, in a file, so that a restart does not give them the day anew.

    {"day": 20788, "tokens": {"alice": 12345}}

Written whole to another name and then renamed, by its owner alone readable, every few seconds if something has changed
and when the server ends. What a server that is killed had not written is not counted. Two servers must not share one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from server.limits import Limiter, Limits
from server.refused import Refused
from server.settings import Settings

log = logging.getLogger("rtriton.server")
SECONDS = 5.0


class BadUsage(ValueError):
    """The file cannot be used; the message says why."""


class Used(msgspec.Struct, forbid_unknown_fields=True):
    """What the file holds."""

    day: int
    """Since the epoch, UTC."""
    tokens: dict[str, int]


def limiter_of(settings: Settings) -> Limiter:
    """How much each key may ask for, and what it has used of its quota today; `Refused` if that cannot be read."""
    limits = Limits(settings.limit_rpm, settings.limit_tpm, settings.limit_tpd, settings.limit_concurrent)
    limiter = Limiter(limits)
    if settings.quota_file is None:
        return limiter
    try:
        return Limiter(limits, used=read_usage(settings.quota_file, limiter.day()))
    except BadUsage as error:
        raise Refused(str(error)) from None


def read_usage(file: Path, today: int) -> dict[str, int]:
    """Tokens of today by the key's name; nothing from another day, or where there is no file yet."""
    try:
        used = msgspec.json.decode(file.read_bytes(), type=Used) if file.exists() else Used(today, {})
        _write(file, used)  # found out now, not when the first tokens are lost
    except (OSError, msgspec.MsgspecError) as error:
        raise BadUsage(f"the file of used tokens {file} cannot be used: {error}; mend or remove it") from None
    return used.tokens if used.day == today else {}


async def keep(file: Path, limiter: Limiter, sleep: Callable[[float], Any] = asyncio.sleep) -> None:
    """Write it whenever something has changed, and once more when this is cancelled."""
    written: Used | None = None
    try:
        while True:
            await sleep(SECONDS)
            written = await asyncio.to_thread(_write_changed, file, Used(limiter.day(), limiter.used()), written)
    finally:
        _write_changed(file, Used(limiter.day(), limiter.used()), written)


def _write_changed(file: Path, used: Used, written: Used | None) -> Used | None:
    if used == written:
        return written
    try:
        _write(file, used)
    except OSError as error:
        log.error("what keys have used cannot be written to %s: %s", file, error)
        return written
    return used


def _write(file: Path, used: Used) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as new:
            new.write(msgspec.json.encode(used))
        os.replace(name, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
