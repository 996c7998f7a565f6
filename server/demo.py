"""`rtriton demo`: the whole road once, as a user would walk it: server process, official client, streamed answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from server.run import Refused, bind, installed
from server.sources import server_variables

READY_SECONDS = 600.0
"""A first start fetches the model."""


def run_demo(prompt: str, model: Path | None, device: str, offline: bool) -> int:
    """Ask once, print the answer with its speed; 0 if text came."""
    if not installed("openai"):
        raise Refused("the demo needs the official client; run: pip install 'rtriton[serve,demo]'")
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "server.cli", "serve", "--port", str(port), "--device", device]
    command += ["--log-level", "warning"]
    command += ["--model", str(model)] if model else []
    command += ["--offline"] if offline else []
    # with a key or another setting of the user's, this very client might not come in
    ours = server_variables()
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url)
        return _ask(url, prompt)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would look at its own 127.0.0.1
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Refused(f"the server ended with status {process.returncode} before it was ready; it says why above")
        try:
            with direct.open(f"{url}/health", timeout=READY_SECONDS) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise Refused(f"the server was not ready within {READY_SECONDS:g} seconds")


def _ask(url: str, prompt: str) -> int:
    import openai

    direct = openai.DefaultHttpxClient(trust_env=False)
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", http_client=direct)
    name = client.models.list().data[0].id
    print(f"{name}: {prompt}")
    started = time.perf_counter()
    stream = client.chat.completions.create(
        model=name,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=200,
        stream=True,
        stream_options={"include_usage": True},
    )
    first, tokens, text = 0.0, 0, ""
    for chunk in stream:
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
        piece = (chunk.choices[0].delta.content or "") if chunk.choices else ""
        if piece and not first:
            first = time.perf_counter() - started
        text += piece
        print(piece, end="", flush=True)
    seconds = time.perf_counter() - started
    rate = (tokens - 1) / (seconds - first) if tokens > 1 else 0.0
    print(f"\n[{tokens} tokens, first after {first * 1000:.0f} ms, then {rate:.1f} tokens/s]")
    return 0 if text.strip() else 1
