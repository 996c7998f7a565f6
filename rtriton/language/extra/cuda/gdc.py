"""Programmatic dependent launch: a kernel that starts before the one ahead of it has ended.

Launches do not overlap here (launch_pdl=True is refused), so that all that these wait for has happened already.
"""
from __future__ import annotations

from rtriton.language.values import Context, Public


def _gdc_wait(b: Context) -> None:
    """Wait until the launches before this one have ended and what they wrote can be read."""


def _gdc_launch_dependents(b: Context) -> None:
    """Let the launch after this one start as soon as it likes."""


gdc_wait, gdc_launch_dependents = Public(_gdc_wait, False), Public(_gdc_launch_dependents, False)
gdc_wait.__name__, gdc_launch_dependents.__name__ = "gdc_wait", "gdc_launch_dependents"
