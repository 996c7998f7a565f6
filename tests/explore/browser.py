"""Headless Chromium, on the page of `rtriton explore` and on the server's, for their tests and their pictures."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = "/usr/bin/chromium"


def missing() -> str:
    """What keeps a browser from running here; "" for nothing."""
    try:
        import playwright.sync_api  # noqa: F401
    except ModuleNotFoundError:
        return "no playwright"
    return "" if shutil.which(CHROMIUM) else f"no {CHROMIUM}"


@contextmanager
def served(session: Any) -> Generator[str]:
    """The page of a session at an address of its own."""
    from rtriton.explore.serve import bind, server, url_of

    ready = threading.Event()
    listener = bind(0)
    running = server(session, ready.set)
    thread = threading.Thread(target=lambda: asyncio.run(running.serve(sockets=[listener])), daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield url_of(listener)
    finally:
        running.should_exit = True
        thread.join(20)


@contextmanager
def launched() -> Generator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(scheme: str = "dark", width: int = 1720, height: int = 1000) -> Generator[Any]:
    """A page of a browser that has nothing stored."""
    with launched() as browser:
        yield browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)


class Watched:
    """A page, what it asked for and what it complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[Any] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def wait(self, expression: str) -> None:
        """Until it is true: asked from here, since the page itself may not turn text into code."""
        end = time.monotonic() + 60
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, expression
            self.page.wait_for_timeout(30)


def loaded(page: Any, url: str) -> None:
    """Open the page and wait for its first kernel."""
    page.goto(url)
    page.wait_for_selector("body[data-loaded]", timeout=60_000)


def file_of_tutorials() -> Path:
    return Path(__file__).parents[1] / "kernels" / "tutorials.py"
