"""`rtriton bench lifecycle`: the phases of a real server's life, and servers that cannot be measured."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from server.cli import app
from server.run import Refused

pytest.importorskip("aiohttp")

DEAF = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        self.answer(b'{"data": [{"id": "deaf"}]}')
    def do_POST(self):
        self.answer(b'data: {"choices": [{"text": "a", "finish_reason": "stop"}]}\\n\\n')
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def lifecycle(*arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["bench", "lifecycle", "--json", *arguments])
    if isinstance(result.exception, Refused):
        raise result.exception
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def test_rtritons_own_life(model: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "serve", "--model", str(model), "--device", "cpu"]
    started = time.perf_counter()
    found = lifecycle(
        *("--requests", "5", "--concurrency", "2", "--prompt-words", "4", "--tokens", "6", "--ignore-eos"),
        *("--", *command, "--log-level", "error", "--port", "{port}"),
    )
    whole = time.perf_counter() - started
    phases = [found[name] for name in ("ready", "first_token", "requests", "shut_down")]
    assert all(phase > 0 for phase in phases) and 0.5 * whole <= sum(phases) <= whole
    assert found["status"] == 0 and found["errors"] == [] and found["count"] == 5


def test_a_server_that_ends_before_it_is_ready() -> None:
    with pytest.raises(Refused, match="ended with status 3 before it was ready"):
        lifecycle("--", sys.executable, "-c", "raise SystemExit(3)", "{port}")


def test_a_server_that_is_never_ready() -> None:
    with pytest.raises(Refused, match="not ready in time"):
        lifecycle("--start-timeout", "0.5", "--", sys.executable, "-c", "import time; time.sleep(60)", "{port}")


def test_a_server_that_does_not_stop_is_killed() -> None:
    with pytest.raises(Refused, match=r"did not end within 0\.3 seconds"):
        lifecycle("--requests", "2", "--stop-timeout", "0.3", "--", sys.executable, "-c", DEAF, "{port}")


def test_wrong_commands_are_refused() -> None:
    with pytest.raises(Refused, match=r"write \{port\} there"):
        lifecycle("--", "server", "--port", "8000")
    with pytest.raises(Refused, match="no-such-server cannot be started"):
        lifecycle("--", "no-such-server", "{port}")
