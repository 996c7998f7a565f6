"""The same module as `tl.extra.libdevice`, where Triton's programs import it from too."""
from __future__ import annotations

from typing import Any

from rtriton.language.extra import libdevice


def __getattr__(name: str) -> Any:
    return getattr(libdevice, name)


def __dir__() -> list[str]:
    return dir(libdevice)
