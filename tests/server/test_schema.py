"""What the OpenAPI page says is what the server does; `tests.server.fuzz` runs more of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from server.access import access_for
from server.app import create_app
from server.gate import OPEN
from tests.server.conftest import serving
from tests.server.fuzz import OPTIONS, fuzz
from tests.server.tiny import text_model


def test_requests_made_from_the_page_get_what_it_promises(model: Path) -> None:
    with serving(model, *OPTIONS) as url:
        seen = fuzz(url, 8)
    assert {"POST /v1/chat/completions", "POST /v1/embeddings", "POST /tokenize", "GET /ready"} <= seen.keys()
    assert all(statuses[200] for route, statuses in seen.items() if route != "GET /v1/models/{name}"), seen


def test_the_page_names_the_model_and_no_validation_errors_but_ours() -> None:
    page = create_app(text_model(), None).openapi()  # type: ignore[arg-type]  # no request is made
    chat = page["components"]["schemas"]["ChatRequest"]["properties"]
    assert chat["model"]["enum"] == ["tiny"]
    assert {"type": "null"} in chat["temperature"]["anyOf"] and {"type": "null"} in chat["tools"]["anyOf"]
    assert not [path for path, it in page["paths"].items() if "422" in str(it)]


def test_every_reference_of_the_page_leads_somewhere() -> None:
    page = create_app(text_model(), None).openapi()  # type: ignore[arg-type]  # no request is made
    references = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(page)))
    assert references <= page["components"]["schemas"].keys() and "ChatChunkReply" in references
    assert json.dumps(page).count('"$ref"') == json.dumps(page).count('"$ref": "#/components/schemas/')


def test_limits_of_whole_numbers_are_named_as_json_schema_names_them() -> None:
    page = create_app(text_model(), None).openapi()  # type: ignore[arg-type]  # no request is made
    chat = page["components"]["schemas"]["ChatRequest"]["properties"]
    assert chat["top_k"]["anyOf"][0] == {"type": "integer", "minimum": -1, "exclusiveMaximum": 2**31}
    assert chat["stop_token_ids"]["anyOf"][0]["items"]["minimum"] == 0
    assert not re.search(r'"(ge|gt|le|lt)":', json.dumps(page))


def test_a_server_with_keys_says_which_routes_need_one() -> None:
    for keys in ((), ("sk-0",)):
        page = create_app(text_model(), None, access=access_for("127.0.0.1", keys)).openapi()  # type: ignore[arg-type]
        needed = {path: operation.get("security", page.get("security", []))
                  for path, operations in page["paths"].items() for operation in operations.values()}  # fmt: skip
        assert {path for path, needs in needed.items() if not needs} == (OPEN if keys else needed.keys())
    assert page["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
