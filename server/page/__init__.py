"""The page at `/`, the API's description at `/docs`, their files, and what the page must know of the server.

    GET /              chat, live metrics, recent requests
    GET /docs          what /openapi.json says, for people
    GET /page/{name}   the files of both: ES modules and styles, as they lie in static/; nothing comes from elsewhere
    GET /page/info     model, device, defaults and limits of the sampling fields, where the metrics are

Everything here is sent with a policy that lets a page load from this server alone, and turn no text into elements or
code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, JSONResponse

import rtriton
from rtriton.explore.local import HEADERS as LOCAL
from server.errors import ApiError
from server.protocol import ChatRequest
from server.state import Server
from server.text import Sampling

STATIC = Path(__file__).parent / "static"
MEDIA = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FILES = {file.name: file for file in STATIC.iterdir() if file.suffix in MEDIA}
"""By name, so that no path in a request reaches the file system."""
HEADERS = {name.decode(): value.decode() for name, value in LOCAL}
HEADERS["cross-origin-opener-policy"] = "same-origin"
HEADERS["content-security-policy"] += "; require-trusted-types-for 'script'; trusted-types 'none'"

CONTROLS = (
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed",
    "max_tokens", "stop",
)  # fmt: skip
"""The fields of a request that the page has controls for, in its order."""
LIMITS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index() -> FileResponse:
    """The page."""
    return _file("index.html")


@router.get("/docs")
async def docs() -> FileResponse:
    """The API's description."""
    return _file("docs.html")


@router.get("/page/info")
async def info(request: Request) -> JSONResponse:
    """What the page must know before anything is asked."""
    server: Server = request.app.state.server
    link = server.link
    facts = {
        "model": server.text.name,
        "version": rtriton.__version__,
        "context": link.context,
        "device": link.info.device,
        "details": {"vocabulary": f"{link.info.vocab_size:,} tokens", **link.info.details},
        "chat": server.text.template is not None,
        "fields": fields(server.text.sampling),
        "metrics_port": server.access.metrics_port,
    }
    return JSONResponse(facts, headers=HEADERS)


@router.get("/page/{name}")
async def file(name: str) -> FileResponse:
    """A file of a page."""
    return _file(name)


def fields(sampling: Sampling) -> dict[str, dict[str, Any]]:
    """Default and limits of each control, as JSON Schema names them; `default` is null where the server picks anew."""
    schema: Mapping[str, Any] = ChatRequest.model_json_schema()["properties"]
    return {name: _field(schema[name], getattr(sampling, name, None)) for name in CONTROLS}


def _field(schema: Mapping[str, Any], default: float | None) -> dict[str, Any]:
    kind = schema["anyOf"][0] if "anyOf" in schema else schema
    limits = {name: kind[name] for name in LIMITS if name in kind}
    preset = schema.get("default") if default is None else default
    return {"type": kind.get("type", "array"), "default": preset, **limits}


def _file(name: str) -> FileResponse:
    path = FILES.get(name)
    if path is None:
        raise ApiError(404, f"There is no /page/{name}.", code="not_found")
    return FileResponse(path, media_type=MEDIA[path.suffix], headers=HEADERS)
