"""`use_backend` runs every kernel of a test on one backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def use_backend(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def use(name: str) -> None:
        monkeypatch.delenv("RTRITON_INTERPRET", raising=False)
        monkeypatch.setenv("RTRITON_BACKEND", name)

    return use
