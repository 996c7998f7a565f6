"""What /openapi.json says beyond what FastAPI makes of the routes: only what is true here.

A validation error is a 400, there is one model, streamed events have their types, each body has an example that is
answered, and a server with keys says so.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from server.gate import OPEN
from server.replies import CHUNKS, event_schemas
from server.responses_replies import EVENTS

EXAMPLES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "What is 2+2?"}],
        "max_tokens": 32,
        "stream": True,
    },
    "/v1/completions": {"prompt": "The capital of France is", "max_tokens": 16, "temperature": 0},
    "/v1/responses": {"input": "What is 2+2?", "max_output_tokens": 32},
    "/v1/embeddings": {"input": ["The capital of France is Paris.", "Bananas are yellow."]},
    "/tokenize": {"prompt": "Hello, world!", "return_token_strs": True},
    "/detokenize": {"tokens": [9, 10]},
}
"""Bodies that are answered, but for their `model`."""


def describe(app: FastAPI, model: str, keyed: bool) -> None:
    """Have the application describe itself so."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            page = make()
            _operations(page, model)
            _schemas(page["components"]["schemas"], model)
            if keyed:
                page["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                page["security"] = [{"key": []}]
                for path in OPEN:
                    page["paths"][path]["get"]["security"] = []
        return make()

    app.openapi = openapi


def _operations(page: dict[str, Any], model: str) -> None:
    for path, operations in page["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
        if path in EXAMPLES:
            body = operations["post"]["requestBody"]["content"]["application/json"]
            body["example"] = {"model": model, **EXAMPLES[path]}


def _schemas(schemas: dict[str, Any], model: str) -> None:
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= event_schemas((*CHUNKS, *EVENTS))
    for kind in schemas.values():
        if kind.get("title", "").endswith("Request") and "model" in kind["properties"]:
            field = kind["properties"]["model"]
            (field["anyOf"][0] if "anyOf" in field else field)["enum"] = [model]
