"""CPU time of the server's process per streamed token, as JSON: 200 streams at once, every token an event of its own.

    python -m benchmarks.serve_cpu [--streams 200] [--step-ms 20] [--seconds 10] [--profile FILE]

The engine's process has a runner that computes nothing and takes `--step-ms` a step; the load generator is this
process; neither is counted. What is: reading the engine's messages, detokenizing, metrics, JSON, HTTP, system calls.

Floor: one message of the engine a step, and for each token one wake-up of its request and one `send` of about 200
bytes: a system call and two turns of the event loop, 3 to 8 us. Goal: at most 40 us.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np

from engine.batch import Batch, BatchBuffers, BatchShape
from engine.config import EngineConfig
from engine.extras import ExtraBuffers, Extras
from engine.messages import ModelInfo
from engine.pooling import PoolBuffers, Pools
from engine.runner import RunnerCounters, Sampled, Swaps, Vocabulary

VOCABULARY, CONTEXT, BLOCK = 997, 8192, 64
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)


class Paced:
    """A runner whose tokens are words of the tiny vocabulary."""

    def __init__(self, config: EngineConfig) -> None:
        rows = config.max_num_seqs
        blocks = rows * CONTEXT // BLOCK
        self.info = ModelInfo("paced", VOCABULARY, CONTEXT, BLOCK, blocks, "cpu")
        self.buffers = BatchBuffers(BatchShape(max(1024, rows), rows, CONTEXT // BLOCK, BLOCK))
        self.extras = ExtraBuffers(rows, VOCABULARY)
        self.pools = PoolBuffers(rows, self.info.hidden_size)
        self.counters = RunnerCounters()
        self.store_slots = 0
        self._seconds = config.extra["step_seconds"]
        self._due = time.monotonic()

    def run(self, batch: Batch, extras: Extras | None = None, pools: Pools | None = None) -> Sampled:
        """Steps begin `step_seconds` apart, whatever the engine around them takes."""
        self._due = max(self._due + self._seconds, time.monotonic())
        time.sleep(max(0.0, self._due - time.monotonic()))
        tokens = 300 + (batch.sample_positions.astype(np.int32) * 7 + batch.logits_rows) % 600
        return Sampled(tokens.astype(np.int32), np.zeros(len(tokens), np.float32))

    def swap(self, swaps: Swaps) -> None:
        raise NotImplementedError

    def vocabulary(self) -> Vocabulary:
        raise NotImplementedError

    def close(self) -> None:
        pass


def serve(streams: int, step_ms: float, profile: str | None) -> None:
    """The measured process."""
    from server.run import Setup, bind
    from server.run import serve as run
    from server.settings import Settings
    from tests.server.tiny import text_model

    config = EngineConfig(
        "paced", runner="benchmarks.serve_cpu:Paced", max_num_seqs=streams, extra={"step_seconds": step_ms / 1000}
    )
    listener = bind("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    if profile is not None:
        import cProfile

        recorder = cProfile.Profile(time.process_time)
        recorder.enable()
    settings = Settings(max_open=2 * streams, drain_seconds=1)
    run(Setup(config, text_model), listener, settings, lambda core, text: print(address, flush=True))
    if profile is not None:
        recorder.disable()
        recorder.dump_stats(profile)


async def read(port: int, body: bytes, seen: list[int]) -> None:
    """One stream, its events counted; read until it is cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(HEAD % len(body) + body)
        while data := await reader.read(1 << 16):
            seen[0] += data.count(b"data: ")
    finally:
        writer.close()


def cpu_seconds(pid: int) -> float:
    """What the scheduler says that the threads of a process have run, in user and system mode."""
    return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


async def measure(url: str, pid: int, streams: int, seconds: float) -> dict[str, float]:
    """Start all streams, let them run evenly, and compare the counts around `seconds` of it."""
    body = json.dumps(
        {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": True, "ignore_eos": True}
    ).encode()
    seen = [0]
    tasks = [asyncio.create_task(read(int(url.rsplit(":", 1)[1]), body, seen)) for _ in range(streams)]
    async with httpx.AsyncClient() as client:
        await asyncio.sleep(3)
        await delivered(client, url)
        at, cpu, events, tokens = time.perf_counter(), cpu_seconds(pid), seen[0], await delivered(client, url)
        await asyncio.sleep(seconds)
        cpu, events, tokens = cpu_seconds(pid) - cpu, seen[0] - events, await delivered(client, url) - tokens
        seconds = time.perf_counter() - at
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "streams": streams,
        "tokens": tokens,
        "tokens_per_s": round(tokens / seconds),
        "events_per_token": round(events / tokens, 3),
        "cpu_us_per_token": round(1e6 * cpu / tokens, 1),
        "cpu_share": round(cpu / seconds, 3),
    }


async def delivered(client: httpx.AsyncClient, url: str) -> float:
    """Tokens that the server has delivered so far."""
    page = (await client.get(f"{url}/metrics")).text
    found = re.search(r"^vllm:generation_tokens_total\{.*\} (\S+)$", page, re.MULTILINE)
    assert found is not None
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--step-ms", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--profile", help="where the server writes what cProfile saw; the times are then useless")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.streams, options.step_ms, options.profile)
        return
    command = [sys.executable, "-m", "benchmarks.serve_cpu", "--serve", "--streams", str(options.streams)]
    command += ["--step-ms", str(options.step_ms)] + (["--profile", options.profile] if options.profile else [])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            result = asyncio.run(measure(url, process.pid, options.streams, options.seconds))
        finally:
            process.terminate()
    print(json.dumps({"cpu": platform_name(), **result}))


def platform_name() -> str:
    """The processor, as Linux names it."""
    text = Path("/proc/cpuinfo").read_text()
    return next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
