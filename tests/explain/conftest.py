"""A file that says `import triton` installs rtriton under that name; the tests after it are to find the real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtriton import compat
from rtriton.types import DType


@pytest.fixture(autouse=True)
def triton_means_what_it_did() -> Iterator[None]:
    yield
    if DType.package == "triton":
        compat.uninstall()
