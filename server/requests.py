"""GET /requests: the last requests and the open ones, for a page that draws them over time."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from server import replies
from server.ended import KEPT
from server.journal import now
from server.record import record_of
from server.routes import errors
from server.state import Server

router = APIRouter()


@router.get("/requests", response_model=None, responses={200: {"model": replies.RequestsReply}, **errors(400)})
async def requests(request: Request, limit: Annotated[int, Query(ge=1, le=KEPT)] = 128) -> dict[str, Any]:
    """The last requests, oldest first. With keys, a key sees its own; without, everyone sees all."""
    server: Server = request.app.state.server
    return {"now": now(), "requests": server.journal.rows(record_of(request).owner, limit)}
