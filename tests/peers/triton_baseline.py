"""tests.peers.triton_plugin for the installed Triton itself: the same bookkeeping without the compat layer."""

from __future__ import annotations

import sys

from rtriton import compat

_install, compat.install = compat.install, lambda files=None: None
from tests.peers.triton_plugin import (  # noqa: E402, F401
    pytest_collection_modifyitems, pytest_runtest_logreport, pytest_runtest_protocol, pytest_sessionfinish,
)  # fmt: skip

compat.install = _install
assert "triton" not in sys.modules or "rtriton" not in (sys.modules["triton"].__file__ or "")
