"""The route of OpenAI's Responses API, without its state: nothing can be asked again, so there is one route."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.body import JsonRoute
from server.record import record_of
from server.responses import ResponsesRequest, prepare_response
from server.responses_replies import EVENT_STREAM, ResponseReply
from server.routes import errors
from server.state import Server

router = APIRouter(route_class=JsonRoute)


@router.post(
    "/v1/responses",
    response_model=None,
    responses={
        200: {
            "model": ResponseReply,
            "description": "The response; with `stream`, events.",
            "content": {"text/event-stream": {"schema": EVENT_STREAM}},
        },
        **errors(400, 404, 408, 413, 415, 429, 500, 503),
    },
)
async def responses(body: ResponsesRequest, request: Request) -> Response:
    """Answer a conversation, as items."""
    server: Server = request.app.state.server
    account = record_of(request).account
    return server.answer(await prepare_response(body, server.text, server.link.context, account))
