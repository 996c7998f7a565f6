"""The routes: each reads a request, has others do the work, and says in the OpenAPI page what it may answer."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

import rtriton
from server import replies
from server.answers import encode
from server.body import JsonRoute
from server.link import EngineLink
from server.prepare import prepare_chat, prepare_completion, tokenize
from server.protocol import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest
from server.record import record_of
from server.state import Server
from server.submits import check_name, check_tokens
from server.talk import off_loop

HEARTBEAT_SECONDS = 5.0
router = APIRouter(route_class=JsonRoute)

_ERRORS = {
    400: "The request cannot be understood or served; `param` says which field.",
    401: "The server has API keys, and the request has none of them.",
    403: "The Host header has no name of this server.",
    404: "There is no such model.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body has a `Content-Encoding`.",
    429: "Too many generations are open; `Retry-After` says when to come back.",
    500: "This request failed; others did not.",
    503: "There is no engine now; `Retry-After` says when to come back.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route answers besides success, for its `responses`."""
    # what the gate says comes before any route
    return {status: {"model": replies.ErrorReply, "description": _ERRORS[status]} for status in (401, 403, *statuses)}


def _generates(whole: type[replies.Reply], chunk: type[replies.Reply]) -> dict[int | str, dict[str, Any]]:
    part = {
        "type": "string",
        "description": "JSON of a chunk, or of an error, which is then the last.",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": replies.REFERENCE.format(model=chunk.__name__)},
    }
    data = {"anyOf": [part, {"const": "[DONE]", "description": "After the last chunk."}]}
    event = {"type": "object", "properties": {"data": data}, "required": ["data"]}
    answer = {"model": whole, "description": "The answer; with `stream`, events."}
    return {
        200: {**answer, "content": {"text/event-stream": {"schema": event}}},
        **errors(400, 404, 408, 413, 415, 429, 500, 503),
    }


def _server(request: Request) -> Server:
    return request.app.state.server


@router.post(
    "/v1/chat/completions", response_model=None, responses=_generates(replies.ChatReply, replies.ChatChunkReply)
)
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation."""
    server = _server(request)
    account = record_of(request).account
    return server.answer(await prepare_chat(body, server.text, server.link.context, account))


@router.post("/v1/completions", response_model=None, responses=_generates(replies.TextReply, replies.TextChunkReply))
async def completions(body: CompletionRequest, request: Request) -> Response:
    """Continue texts or token ids."""
    server = _server(request)
    account = record_of(request).account
    return server.answer(await prepare_completion(body, server.text, server.link.context, account))


@router.get("/v1/models", response_model=None, responses={200: {"model": replies.ModelsReply}, **errors()})
async def models(request: Request) -> dict[str, Any]:
    """The one model there is."""
    return {"object": "list", "data": [_model_card(_server(request))]}


@router.get(
    "/v1/models/{name:path}", response_model=None, responses={200: {"model": replies.ModelReply}, **errors(404)}
)
async def model(name: str, request: Request) -> dict[str, Any]:
    """The same by its id."""
    server = _server(request)
    check_name(name, server.text)
    return _model_card(server)


@router.post(
    "/tokenize",
    response_model=None,
    responses={200: {"model": replies.TokenizeReply}, **errors(400, 404, 408, 413, 415)},
)
async def tokenize_(body: TokenizeRequest, request: Request) -> Response:
    """A text or a conversation as token ids."""
    server = _server(request)
    check_name(body.model, server.text)
    tokens = await tokenize(body, server.text)
    told: dict[str, Any] = {"count": len(tokens), "max_model_len": server.link.context, "tokens": tokens}

    def written() -> bytes:
        text = server.text.tokenizer.token_text
        return encode({**told, "token_strs": list(map(text, tokens)) if body.return_token_strs else None})

    return Response(await off_loop(written, len(tokens)), media_type="application/json")


@router.post(
    "/detokenize",
    response_model=None,
    responses={200: {"model": replies.DetokenizeReply}, **errors(400, 404, 408, 413, 415)},
)
async def detokenize(body: DetokenizeRequest, request: Request) -> dict[str, Any]:
    """The text of token ids, special tokens included."""
    server = _server(request)
    check_name(body.model, server.text)
    tokenizer = server.text.tokenizer
    check_tokens(body.tokens, "tokens", server.text)
    return {"prompt": await off_loop(lambda: tokenizer.decode(body.tokens, skip_special=False), len(body.tokens))}


@router.get("/health", response_model=None, responses={s: {"model": replies.HealthReply} for s in (200, 503)})
async def health(request: Request) -> Response:
    """A round trip through the engine's loop: 200 only if it turns."""
    link: EngineLink = _server(request).link
    seconds = await link.heartbeat(HEARTBEAT_SECONDS)
    if seconds is None:
        reason = link.failure or f"the engine's loop did not answer within {HEARTBEAT_SECONDS:g} seconds"
        return JSONResponse({"status": "failed", "reason": reason}, status_code=503)
    startup = [{**msgspec.structs.asdict(it), "parts": dict(it.parts)} for it in link.info.startup]
    facts = {"model": link.info.name, "device": link.info.device, **link.info.details, "startup": startup}
    return JSONResponse({"status": "ok", "heartbeat_ms": round(seconds * 1000, 3), **facts})


@router.get("/ready", response_model=None, responses={s: {"model": replies.ReadyReply} for s in (200, 503)})
async def ready(request: Request) -> Response:
    """Whether there is an engine for a request sent now."""
    reason = _server(request).link.unavailable
    body = {"status": "ready" if reason is None else "unavailable", "reason": reason}
    return JSONResponse(body, status_code=200 if reason is None else 503)


@router.get("/version", response_model=None, responses={200: {"model": replies.VersionReply}, **errors()})
async def version() -> dict[str, str]:
    """Which rtriton this is."""
    return {"version": rtriton.__version__}


_PAGE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Counters and gauges."}
}


@router.get("/metrics", response_class=Response, responses=_PAGE)
async def metrics(request: Request) -> Response:
    """Prometheus' text form."""
    return Response(_server(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _model_card(server: Server) -> dict[str, Any]:
    return {
        "id": server.text.name,
        "object": "model",
        "created": server.started,
        "owned_by": "rtriton",
        "max_model_len": server.link.context,
    }
