"""What a start took is said where it can be seen: to whoever started the server, in its log, in /health."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from engine.messages import Breakdown, ModelInfo
from server.startup import context, line, table

ROOT = Path(__file__).parents[2]
SECONDS = Breakdown("engine process", "s", (("reading the file", 0.5), ("compiling kernels", 1.25)), 2.0)
BYTES = Breakdown("memory of it", "bytes", (("weights", 3 << 30),), 0)


def info(num_blocks: int, context_length: int) -> ModelInfo:
    return ModelInfo("m", 10, context_length, 16, num_blocks, "cpu")


def test_a_table_has_each_part_the_rest_and_the_total() -> None:
    rows = [re.sub(r" {2,}", "|", row.strip()) for row in table([SECONDS, BYTES]).splitlines()]
    assert rows == [
        "engine process, seconds", "reading the file|0.50", "compiling kernels|1.25", "other|0.25", "total|2.00",
        "memory of it, GiB", "weights|3.000", "total|not known on this system",
    ]  # fmt: skip


def test_a_line_of_the_log_has_the_same() -> None:
    assert line(SECONDS) == (
        "start-up: engine process: 2.00 s: reading the file 0.50, compiling kernels 1.25, other 0.25"
    )


def test_what_the_cache_allows_is_the_smaller_of_context_and_cache() -> None:
    assert "holds 1600 tokens; one request may have 500, the model's context; 3 such fit" in context(info(100, 500))
    assert "holds 160 tokens; one request may have 160, what the cache holds; 1 such fits" in context(info(10, 500))


def test_a_server_that_is_ready_says_what_its_start_took(model: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "serve", "--model", str(model), "--device", "cpu", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--num-gpu-blocks", "50", "--num-cpu-blocks", "4"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    try:
        for text in iter(process.stdout.readline, ""):
            said += text
            if "serving at" in text:
                break
        url = said.split("serving at ")[1].split()[0]
        health = httpx.get(f"{url}/health").json()
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    wanted = [
        "server process, seconds",
        "engine and tokenizer",
        "importing the web framework",
        "engine process, seconds",
    ]
    wanted += ["reading the file", "KV cache (50 blocks)", "swap (4 blocks)", "The KV cache holds 800 tokens"]
    assert not [text for text in wanted if text not in said]
    assert log.count("start-up: ") == said.count("  total ") == 4
    memory = next(it for it in health["startup"] if it["unit"] == "bytes")
    block = memory["parts"]["KV cache (50 blocks)"] / 51
    assert memory["parts"]["swap (4 blocks)"] == 5 * block
