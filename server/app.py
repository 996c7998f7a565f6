"""The HTTP application: life cycle and errors around the routes. Text work happens here, tokens come from the engine.

    app = create_app(text, await CoreClient.start(config))      # the app closes the core when it ends

Errors have OpenAI's shape wherever they arise. Middleware is plain ASGI, so that nothing stands between a token and
its client.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

import rtriton
from server.access import Access
from server.body import LimitBody
from server.describe import describe
from server.embedding_routes import router as embedding_router
from server.errors import ApiError, from_validation, not_sent_as_json
from server.gate import Gate, Limited
from server.heads import Heads
from server.journal import Journal, Recorded
from server.limits import Limiter
from server.link import Core, EngineLink
from server.page import router as page
from server.record import RECORD, Record
from server.requests import router as requests_router
from server.responses_routes import router as responses_router
from server.routes import router
from server.state import Server
from server.stream import STALL_SECONDS
from server.text import TextModel
from server.usage import keep

ROUTERS = (router, responses_router, embedding_router, requests_router, page)


def create_app(
    text: TextModel,
    core: Core,
    max_open: int = 256,
    on_failure: Callable[[str], None] | None = None,
    stall_seconds: float = STALL_SECONDS,
    access: Access = Access(),
    limiter: Limiter | None = None,
    usage_file: Path | None = None,
    request_seconds: float | None = None,
    hang_seconds: float | None = None,
) -> FastAPI:
    """The application. `on_failure` hears why the engine has stopped for good, should it; a client that reads nothing
    for `stall_seconds` is given up. `access` says who may ask, `limiter` how much; what keys use of their quotas is
    kept in `usage_file`. A generation has `request_seconds` in all. An engine that has work and is silent for
    `hang_seconds` is started anew.
    """
    limiter = limiter or Limiter()

    journal = Journal()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        link = EngineLink(core, max_open, on_failure, hang_seconds)
        app.state.server = Server(text, link, stall_seconds, access, journal, limiter, request_seconds)
        keeping = None if usage_file is None else asyncio.create_task(keep(usage_file, limiter), name="quotas")
        try:
            yield
        finally:
            await link.close()
            if keeping is not None:
                keeping.cancel()
                await asyncio.wait({keeping})

    about = "An OpenAI-compatible server on rtriton's kernels."
    # FastAPI's own pages load their scripts from elsewhere
    app = FastAPI(
        title="rtriton",
        description=about,
        version=rtriton.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # a place to go to would be made of the Host header and of http, where a proxy may have been asked by https
        redirect_slashes=False,
    )
    app.add_middleware(Heads)
    app.add_middleware(LimitBody)
    app.add_middleware(Limited, limiter=limiter)
    app.add_middleware(Gate, access=access)
    paths = frozenset(str(getattr(route, "path", "")) for made in (app, *ROUTERS) for route in made.routes)
    app.add_middleware(Recorded, journal=journal, routes=paths)  # the last one is the first that a request meets
    _add_error_handlers(app)
    for routes in ROUTERS:
        app.include_router(routes)
    describe(app, text.name, keyed=bool(access.keys))
    return app


def _add_error_handlers(app: FastAPI) -> None:
    def respond(request: Request, error: ApiError, headers: Any = None) -> JSONResponse:
        record: Record = request.scope[RECORD]
        record.fail(error)
        return JSONResponse(error.body(), status_code=error.status, headers={**(headers or {}), **error.headers()})

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return respond(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        kind = request.headers.get("content-type", "")
        if not _is_json(kind) and any(wrong["loc"][0] == "body" for wrong in error.errors()):
            return respond(request, not_sent_as_json(kind))
        return respond(request, from_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            message = f"There is no {request.method} {request.url.path}; see /docs."
            return respond(request, ApiError(404, message, code="not_found"))
        if error.status_code == 405:
            allowed = Headers(error.headers or {}).get("allow", "no method")
            message = f"{request.url.path} takes {allowed}, not {request.method}."
            return respond(request, ApiError(405, message, code="method_not_allowed"), error.headers)
        if isinstance(error.__cause__, ClientDisconnect):
            return respond(request, ApiError(400, "The client left before its body was here.", outcome="client_left"))
        if error.status_code == 400 and error.__cause__ is not None:
            # FastAPI's own words for JSON that Python's parser gives up on are "error parsing the body"
            return respond(
                request, ApiError(400, f"The body is not valid JSON: {error.__cause__}.", code="invalid_json")
            )
        return respond(request, ApiError(error.status_code, f"{str(error.detail).rstrip('.')}."), error.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        response = respond(request, ApiError(500, "The server failed on this request; its log says why."))
        # this answer goes out around the record, which is inside of what caught the error
        response.raw_headers.extend(request.scope[RECORD].headers.items())
        return response


def _is_json(content_type: str) -> bool:
    """As FastAPI reads it: application/json, or application/anything+json."""
    essence = content_type.split(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))
