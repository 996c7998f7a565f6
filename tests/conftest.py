"""Options of the test run, and what the environment it was started in shall not change."""

import os
import signal

import pytest

LOOKS = "FORCE_COLOR NO_COLOR CLICOLOR CLICOLOR_FORCE PY_COLORS GITHUB_ACTIONS TTY_COMPATIBLE TTY_INTERACTIVE COLUMNS"
"""What changes how libraries write."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the expected text of tests/passes/*.tir")


def pytest_sessionstart() -> None:
    """Before anything of ours is imported. Tests ask servers of this machine alone, so no proxy has a part in them; and
    a shell that starts them in the background has them ignore Ctrl-C, which some of them send.
    """
    for name in [*LOOKS.split(), *(name for name in os.environ if name.lower().endswith("_proxy"))]:
        os.environ.pop(name, None)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
