"""Pictures of the page for docs/: `python -m tests.page.screenshots` writes docs/images/page-*.png.

They show the demo model on the CPU: a conversation, and two minutes of load that comes in waves.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import httpx

from engine.fetch import demo_model
from tests.explore import browser
from tests.explore.screenshots import keep
from tests.server.conftest import serving

SECONDS = 110
WAVES = (2, 4, 10, 3, 12, 6)
"""Clients at once; there is room for eight."""
QUESTION = "Write a Python function that returns the factorial of n."


def main() -> None:
    with serving(demo_model(), "--max-num-seqs", "8", "--kv-cache-mb", "64", "--log-level", "warning") as url:
        with browser.opened("dark", 1400, 860) as page:
            chat(page, url)
            api(page, url)
        with browser.opened("light", 1400, 1080) as page:
            metrics(page, url)


def chat(page: Any, url: str) -> None:
    """A question with a few settings, answered."""
    page.goto(url)
    page.wait_for_selector("body[data-loaded]")
    page.fill("#field-temperature", "0")
    page.fill("#field-seed", "7")
    page.fill("#ask", QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector(".speed", timeout=120_000)
    page.locator("#turns, #settings").evaluate_all("all => { for (const each of all) each.scrollTop = 0; }")
    keep(page, "page-chat")


def api(page: Any, url: str) -> None:
    """The API's description."""
    page.goto(f"{url}/docs")
    page.wait_for_selector("body[data-loaded]")
    keep(page, "page-api")


def metrics(page: Any, url: str) -> None:
    """The figures while others ask."""
    page.goto(f"{url}/#metrics")
    page.wait_for_selector("body[data-loaded]")
    end = time.monotonic() + SECONDS
    clients = [threading.Thread(target=_client, args=(url, number, end)) for number in range(max(WAVES))]
    for client in clients:
        client.start()
    # playwright's loop turns while it waits
    page.wait_for_timeout(1000 * (SECONDS - 6))
    keep(page, "page-metrics")
    for client in clients:
        client.join()


def _client(url: str, number: int, end: float) -> None:
    """Asks while its number is below that of the wave."""
    rng = random.Random(number)
    while (left := end - time.monotonic()) > 0:
        if number >= WAVES[int((SECONDS - left) / SECONDS * len(WAVES))]:
            time.sleep(0.3)
            continue
        text = "Tell me about the number " + ", ".join(str(rng.randrange(1000)) for _ in range(rng.randint(1, 12)))
        body = {"model": "smollm2-135m-instruct", "messages": [{"role": "user", "content": text}]}
        body |= {"max_tokens": rng.randint(20, 160), "seed": number}
        httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120).raise_for_status()


if __name__ == "__main__":
    main()
