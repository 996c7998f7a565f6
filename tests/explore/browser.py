"""Headless Chromium on the page of `rtriton explore`, for its tests and its pictures."""

from __future__ import annotations

import asyncio
import shutil
import threading
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
    assert ready.wait(20)
    try:
        yield url_of(listener)
    finally:
        running.should_exit = True
        thread.join(20)


@contextmanager
def opened(scheme: str = "dark", width: int = 1720, height: int = 1000) -> Generator[Any]:
    """A page of a browser that has nothing stored."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        finally:
            browser.close()


def loaded(page: Any, url: str) -> None:
    """Open the page and wait for its first kernel."""
    page.goto(url)
    page.wait_for_selector("body[data-loaded]", timeout=60_000)


def file_of_tutorials() -> Path:
    return Path(__file__).parents[1] / "kernels" / "tutorials.py"
