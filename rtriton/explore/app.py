"""The HTTP application of `rtriton explore`: the page's files, the data of a kernel, and word of changed files.

    GET /                 the page, and its files under /static
    GET /api/page         ?kernel=&sig=&target=   what worker.py answers
    GET /api/changes      a stream of events, one whenever a file that the last page was made of has changed
"""
from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

from rtriton.explore.local import OnlyLocal

STATIC = Path(__file__).parent / "static"
SECONDS_FOR_A_PAGE = 120.0
SECONDS_BETWEEN_LOOKS = 0.25
LOOKS_BETWEEN_SIGNS_OF_LIFE = 40


@dataclass
class Session:
    """What is explored: a file, and what was asked for on the command line."""

    file: Path
    kernel: str = ""
    sig: str = ""
    target: str = "sm_90a"
    run: Sequence[str] | None = None
    watched: dict[Path, int] = field(default_factory=dict[Path, int])

    async def page(self, kernel: str | None, sig: str | None, target: str | None) -> bytes:
        """A page as JSON, made in a process of its own."""
        said = {"kernel": self.kernel if kernel is None else kernel, "sig": self.sig if sig is None else sig}
        request = {"file": str(self.file), **said, "target": target or self.target, "run": self.run}
        self.watch([self.file])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rtriton.explore.worker", json.dumps(request),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)  # fmt: skip
        try:
            out, errors = await asyncio.wait_for(process.communicate(), SECONDS_FOR_A_PAGE)
        except TimeoutError:
            process.kill()
            return _failed(f"{self.file} did not come to an end within {SECONDS_FOR_A_PAGE:g} seconds")
        except asyncio.CancelledError:
            process.kill()
            raise
        if process.returncode:
            return _failed(errors.decode(errors="replace").strip().splitlines()[-1:] or ["the worker died"])
        found = json.loads(out)["page"]
        self.watch([self.file, *(Path(file["path"]) for file in (found["files"] if found else ()))])
        return out

    def watch(self, files: Sequence[Path]) -> None:
        """Changes of these files, from what they are now, are told."""
        self.watched = {file: changed_at(file) for file in files}

    def changed(self) -> bool:
        """Whether a watched file is another one than when the page was made."""
        return any(changed_at(file) != then for file, then in self.watched.items())


def changed_at(file: Path) -> int:
    """When a file was written, in nanoseconds; 0 while there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _failed(why: str | list[str]) -> bytes:
    message = why if isinstance(why, str) else why[0]
    return json.dumps({"kernels": [], "targets": [], "chosen": None, "page": None,
                       "error": {"message": message, "file": None, "line": None}}).encode()  # fmt: skip


def create_app(session: Session) -> FastAPI:
    """The application."""
    app = FastAPI(title="rtriton explore", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(OnlyLocal)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    async def index() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    async def page(kernel: str | None = None, sig: str | None = None, target: str | None = None) -> Response:
        return Response(await session.page(kernel, sig, target), media_type="application/json")

    async def changes() -> StreamingResponse:
        return StreamingResponse(_events(session), media_type="text/event-stream")

    app.add_api_route("/", index, response_model=None)
    app.add_api_route("/api/page", page, response_model=None)
    app.add_api_route("/api/changes", changes, response_model=None)
    return app


async def _events(session: Session) -> AsyncGenerator[str]:
    """One event for each change; comments between them find out that the browser has gone."""
    told: dict[Path, Any] = {}
    looks = 0
    yield ": listening\n\n"
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        now = {file: changed_at(file) for file in session.watched}
        if session.changed() and now != told:
            told = now
            yield "event: changed\ndata: {}\n\n"
        looks += 1
        if looks % LOOKS_BETWEEN_SIGNS_OF_LIFE == 0:
            yield ": still here\n\n"
