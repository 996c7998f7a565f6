"""What the attacks share."""

from __future__ import annotations

from typing import Any

import httpx


def refused(answer: httpx.Response, status: int = 400) -> dict[str, Any]:
    """The error of an answer that has this status."""
    assert answer.status_code == status, answer.text
    return answer.json()["error"]
