"""The route of embeddings."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from server import replies
from server.body import JsonRoute
from server.embeddings import EmbeddingRequest, prepare_embedding
from server.record import record_of
from server.routes import errors
from server.state import Server

router = APIRouter(route_class=JsonRoute)


@router.post(
    "/v1/embeddings",
    response_model=None,
    responses={200: {"model": replies.EmbeddingReply}, **errors(400, 404, 408, 413, 415, 429, 500, 503)},
)
async def embeddings(body: EmbeddingRequest, request: Request) -> Response:
    """A vector for each text, or list of token ids."""
    server: Server = request.app.state.server
    context, width, account = server.link.context, server.link.info.hidden_size, record_of(request).account
    return server.answer(await prepare_embedding(body, server.text, context, width, account))
