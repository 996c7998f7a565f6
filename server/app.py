"""The HTTP application: routes, errors and life cycle. Text work happens here, tokens come from the engine's process.

    app = create_app(text, await CoreClient.start(config))      # the app closes the core when it ends

Errors have OpenAI's shape wherever they arise. Middleware is plain ASGI, so that nothing stands between a token and
its client.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from engine.messages import StepStats
from server.errors import ApiError, from_validation, not_sent_as_json
from server.link import Core, EngineLink
from server.metrics import Metrics
from server.prepare import prepare_chat, prepare_completion
from server.protocol import ChatRequest, CompletionRequest
from server.stream import Answer, Generation, Message, Receive, Send
from server.text import TextModel

log = logging.getLogger("rtriton.server")
BODY_LIMIT = 8 << 20
"""Bytes of a request body: far above any context, far below what hurts."""
HEARTBEAT_SECONDS = 5.0


class Server:
    """What the routes share once the engine is there."""

    def __init__(self, text: TextModel, link: EngineLink) -> None:
        self.text = text
        self.link = link
        self.metrics = Metrics(self.stats)

    def stats(self) -> StepStats | None:
        """The engine's state after its last step."""
        return self.link.stats

    def answer(self, generation: Generation) -> Answer:
        """The response to a request that has been understood."""
        log.info(
            "%s: %d prompt tokens, %d choices, stream=%s, user=%r",
            generation.id,
            generation.prompt_tokens,
            len(generation.submits),
            generation.stream,
            generation.user,
        )
        return Answer(self.link, generation, self.metrics)


def create_app(
    text: TextModel, core: Core, max_open: int = 256, on_failure: Callable[[str], None] | None = None
) -> FastAPI:
    """The application. `on_failure` hears why the engine has stopped, should it stop."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        link = EngineLink(core, max_open, on_failure)
        app.state.server = Server(text, link)
        try:
            yield
        finally:
            await link.close()

    app = FastAPI(title="rtriton", description="An OpenAI-compatible server on rtriton's kernels.", lifespan=lifespan)
    app.add_middleware(LimitBody, limit=BODY_LIMIT)
    _add_error_handlers(app)
    _add_routes(app)
    return app


def _add_routes(app: FastAPI) -> None:
    @app.post("/v1/chat/completions", response_model=None)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        server: Server = request.app.state.server
        return server.answer(await prepare_chat(body, server.text, server.link.context))

    @app.post("/v1/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        server: Server = request.app.state.server
        return server.answer(await prepare_completion(body, server.text, server.link.context))

    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        return {"object": "list", "data": [_model_card(request.app.state.server)]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str, request: Request) -> dict[str, Any]:
        server: Server = request.app.state.server
        if name != server.text.name:
            message = f"The model `{name}` does not exist here; this server has `{server.text.name}`."
            raise ApiError(404, message, param="model", code="model_not_found")
        return _model_card(server)

    @app.get("/health", response_model=None)
    async def health(request: Request) -> Response:
        """A round trip through the engine's loop: 200 only if it turns."""
        link: EngineLink = request.app.state.server.link
        seconds = await link.heartbeat(HEARTBEAT_SECONDS)
        if seconds is None:
            reason = link.failure or f"the engine's loop did not answer within {HEARTBEAT_SECONDS:g} seconds"
            return JSONResponse({"status": "failed", "reason": reason}, status_code=503)
        facts = {"model": link.info.name, "device": link.info.device, **link.info.details}
        return JSONResponse({"status": "ok", "heartbeat_ms": round(seconds * 1000, 3), **facts})

    @app.get("/metrics", response_model=None)
    async def metrics(request: Request) -> Response:
        """Prometheus' text form."""
        return Response(request.app.state.server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _model_card(server: Server) -> dict[str, Any]:
    return {
        "id": server.text.name,
        "object": "model",
        "created": 0,
        "owned_by": "rtriton",
        "max_model_len": server.link.context,
    }


def _add_error_handlers(app: FastAPI) -> None:
    def respond(error: ApiError) -> JSONResponse:
        return JSONResponse(error.body(), status_code=error.status, headers=error.headers())

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        kind = request.headers.get("content-type", "")
        return respond(from_validation(error.errors()) if _is_json(kind) else not_sent_as_json(kind))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            message = f"There is no {request.method} {request.url.path}; see /docs."
            return respond(ApiError(404, message, code="not_found"))
        if error.status_code == 400 and error.__cause__ is not None:
            # FastAPI's own words for JSON that Python's parser gives up on are "error parsing the body"
            return respond(ApiError(400, f"The body is not valid JSON: {error.__cause__}.", code="invalid_json"))
        return respond(ApiError(error.status_code, f"{str(error.detail).rstrip('.')}."))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return respond(ApiError(500, "The server failed on this request; its log says why."))


def _is_json(content_type: str) -> bool:
    """As FastAPI reads it: application/json, or application/anything+json."""
    essence = content_type.split(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


class LimitBody:
    """Refuses bodies above a limit, by their length as declared or as they come."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]], limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Count what the application reads."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                # not an ApiError: reading the body, FastAPI lets only its own kind of exception pass
                raise HTTPException(413, f"The body is larger than {self.limit} bytes.")
            return message

        await self.app(scope, counted, send)
