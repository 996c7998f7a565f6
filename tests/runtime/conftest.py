"""What several files about launches share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtriton import knobs


@pytest.fixture
def plain_launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Launches as they are where no variable says otherwise; knobs and hooks that a test sets are gone after it."""
    for name in ("RTRITON_BACKEND", "RTRITON_INTERPRET", "TRITON_INTERPRET", "RTRITON_TRACE"):
        monkeypatch.delenv(name, raising=False)
    with knobs.runtime.scope(), knobs.language.scope():
        yield
