"""Which backends the op tests walk here: the interpreter always, the others where they can run."""

from __future__ import annotations

import os
from importlib.util import find_spec


def _gpu_answers() -> bool:
    if find_spec("cuda") is None or find_spec("rtriton.array") is None or find_spec("rtriton.backend.cuda") is None:
        return False
    if not os.path.exists("/dev/nvidiactl"):
        return False
    from rtriton.array import DeviceArray

    return hasattr(DeviceArray, "empty")


def _present() -> list[str]:
    """RTRITON_TEST_BACKENDS=cuda (comma separated) names them outright: then a missing one is an error, not a skip."""
    named = os.environ.get("RTRITON_TEST_BACKENDS", "")
    if named:
        return named.split(",")
    found = ["interpret", "cpu", "emulate"]
    return found + (["cuda"] if _gpu_answers() else [])


BACKENDS = _present()
EXACT = [b for b in BACKENDS if b in ("interpret", "cpu")]
"""Backends whose results must not depend on what else is in a call."""
