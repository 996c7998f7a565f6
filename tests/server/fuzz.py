"""Requests made from the OpenAPI page, valid and not, against a server: no 500, no hang, no undocumented answer.

    python -m tests.server.fuzz 100                          # examples a route, against a server of its own
    python -m tests.server.fuzz 100 http://127.0.0.1:8000    # against one that runs

The tests run a few with every change. What a page promises is checked on each answer: its status, headers, type and
schema; and what does not fit the schema of a request has to be refused.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.make_model import write_model
from tests.server.conftest import serving

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
SECONDS = 60
"""An answer that takes longer is a hang: the model is tiny and its context short."""
OPTIONS = ("--max-model-len", "128", "--log-level", "warning")


def fuzz(url: str, examples: int) -> dict[str, Counter[int]]:
    """How often each route gave which status. Raises what is wrong with an answer, with a command that repeats it."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    seen: dict[str, Counter[int]] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and not len(operation.body):
                continue
            seen.setdefault(operation.label, Counter()).update(
                _route(operation.as_strategy(generation_mode=mode), examples)
            )
        seen[operation.label].update(_example(operation))
    return seen


def _example(operation: Any) -> list[int]:
    """What the page's own example gets."""
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("example")
    if body is None:
        return []
    case = operation.Case(body=body, media_type="application/json")
    answer = case.call(timeout=SECONDS)
    case.validate_response(answer, checks=CHECKS)
    assert answer.status_code == 200, (operation.label, answer.text)
    return [200]


def _route(cases: st.SearchStrategy[schemathesis.Case], examples: int) -> Counter[int]:
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def run(case: schemathesis.Case) -> None:
        answer = case.call(timeout=SECONDS)
        statuses[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    run()
    return statuses


def main() -> None:
    """The command above."""
    examples, urls = int(sys.argv[1]), sys.argv[2:]
    if urls:
        told = fuzz(urls[0], examples)
    else:
        with tempfile.TemporaryDirectory() as folder:
            model = write_model(Path(folder) / "tiny-chat.gguf", context=2048)
            with serving(model, *OPTIONS) as url:
                told = fuzz(url, examples)
    for route, statuses in told.items():
        print(f"{route:32} {dict(sorted(statuses.items()))}")


if __name__ == "__main__":
    main()
