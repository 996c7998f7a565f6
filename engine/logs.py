"""Log lines of the server's and the engine's process: one format for both, as text or as JSON.

    configure("info", "json")    # {"time": "2026-12-01T12:00:00.123Z", "level": "info", "process": "server", ...}

Every line that is written while a request is worked on has its id, whoever writes it (`REQUEST_ID`); a line that is
about a request as a whole has its facts (`log.info(..., extra={"facts": {...}})`), in JSON as fields of their own. The
engine's process is told by its environment (`passed_on`) and writes to the same standard error.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being worked on; tasks inherit it."""
FORMATS = ("text", "json")
VARIABLE = "RTRITON_CORE_LOG"
_configured = ("info", "text")


def configure(level: str = "info", form: str = "text", process: str = "server") -> None:
    """All lines of this process, warnings of Python's too, go to standard error in this form."""
    global _configured
    _configured = (level, form)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process) if form == "json" else TextLines(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


def passed_on() -> dict[str, str]:
    """What tells a process started here how to write."""
    return {VARIABLE: ":".join(_configured)}


def configure_as_told(process: str) -> None:
    """In a process that was started with `passed_on` in its environment."""
    level, _, form = os.environ.get(VARIABLE, "info:text").partition(":")
    configure(level, form, process)


class TextLines(logging.Formatter):
    """`2026-12-01 12:00:00,123 INFO said [req_1234]`; lines of the engine say `core` before the level."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s {'' if process == 'server' else process + ' '}%(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without its traceback. What a line says is one line: nobody outside may begin another."""
        line = super().formatMessage(record).replace("\r", "\\r").replace("\n", "\\n")
        request = REQUEST_ID.get()
        return f"{line} [{request}]" if request and not hasattr(record, "facts") else line


class JsonLines(logging.Formatter):
    """One object a line: `time` (UTC), `level`, `process`, `logger`, `message`, and where there is one `request_id`,
    the facts of the request, and the traceback as `exception`.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := REQUEST_ID.get():
            line["request_id"] = request
        facts: Mapping[str, Any] = getattr(record, "facts", {})
        line |= facts
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
