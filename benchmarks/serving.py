"""`rtriton serve` beside llama.cpp's Python server: a server's life by phase, closed loops and a sweep of rates.

    python -m benchmarks.serving MODEL.gguf --peer PYTHON [--json benchmarks/results/serving.json] [--plot FILE.png]

PYTHON is an interpreter that has `llama-cpp-python[server]`. Both servers get the same file, as many threads, and by
the seed the same requests; rounds alternate between them. Each server is launched once before anything is measured, so
that compiled kernels and Python's bytecode lie in their caches, as they do from the second launch on.

The peer answers one request at a time. Told `--interrupt_requests false` it lets others wait, where it would otherwise
cut an answer short when the next request comes; so it can be asked at a rate, and by one client in a closed loop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.serve_cpu import platform_name
from engine.models.config import end_tokens
from engine.weights.gguf import GGUFFile
from server.bench.client import Target
from server.bench.life import live
from server.bench.load import Load
from server.bench.prompts import Lengths, Prompts
from server.bench.report import Report, Samples, Slo, report
from server.bench.run import Run, measure

CONTEXT = 2048
WORDS, TOKENS = 128, 64
SLO = Slo(ttft_ms=1000, itl_ms=50)
ROUNDS = 3
LIVED = 6
"""Requests of a server's life."""
CLOSED = 6
"""Requests of one client's round of a closed loop; more clients make two each."""
CLIENTS = (4, 8)
"""Of our server alone, beside the one that both have."""
RATES = (0.5, 1.0, 2.0)
OPEN = 12
"""Requests at each rate."""


@dataclass(frozen=True)
class Side:
    """A server that can be launched."""

    name: str
    command: tuple[str, ...]
    fields: dict[str, Any]
    """Of requests, so that answers have the length that was asked for."""

    def target(self, port: int) -> Target:
        return Target(f"http://127.0.0.1:{port}/v1", fields=self.fields)

    def at(self, port: int) -> list[str]:
        return [word.replace("{port}", str(port)) for word in self.command]


def sides(model: str, peer: str, threads: int) -> tuple[Side, Side]:
    ours = (sys.executable, "-m", "server.cli", "serve", "--model", model, "--device", "cpu", "--log-level", "error")
    ours += ("--threads", str(threads), "--max-model-len", str(CONTEXT), "--port", "{port}")
    theirs = (peer, "-m", "llama_cpp.server", "--model", model, "--n_ctx", str(CONTEXT), "--verbose", "false")
    theirs += ("--n_threads", str(threads), "--n_threads_batch", str(threads), "--interrupt_requests", "false")
    # the peer does not know how to ignore the end of an answer: it is made improbable instead
    with GGUFFile.open(model) as file:
        ends = {str(token): -100 for token in end_tokens(file)}
    peers = Side("llama.cpp", (*theirs, "--port", "{port}"), {"logit_bias": ends})
    return Side("rtriton", ours, {"ignore_eos": True}), peers


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def prompts(seed: int) -> Prompts:
    return Prompts(seed, Lengths(TOKENS, TOKENS), Lengths(WORDS, WORDS))


def life(side: Side, seed: int, requests: int = LIVED) -> dict[str, Any]:
    """One life, its phases in seconds."""
    port, before = free_port(), os.getloadavg()[0]
    load = Load(concurrency=1, requests=requests, seed=seed)
    found = asyncio.run(live(side.at(port), side.target(port), load, prompts(seed), 120.0, 60.0))
    failed = [record for record in found.records if record.error is not None]
    if failed:
        raise SystemExit(f"{side.name}: {len(failed)} requests failed: {failed[0].error}: {failed[0].detail}")
    phases = {name: value for name, value in asdict(found).items() if name != "records"}
    return {"server": side.name, **phases, "load_average": before}


@contextmanager
def running(side: Side) -> Iterator[int]:
    """The server, ready; its port."""
    port = free_port()
    with subprocess.Popen(side.at(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait(port)
            yield port
        finally:
            process.terminate()


def wait(port: int, seconds: float = 120.0) -> None:
    """Until something answers there."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=seconds):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("a server was not ready in time")


def loaded(side: Side, port: int, load: Load) -> tuple[Run, dict[str, Any]]:
    """One run of a load, and what of it is kept."""
    before = os.getloadavg()[0]
    run = asyncio.run(measure(side.target(port), load, prompts(load.seed)))
    made = checked(side, report(run.records, SLO, run.busy_seconds))
    shape = {"rate": load.rate} if load.rate else {"concurrency": load.concurrency}
    speed = f"{made.output_tokens_per_s:.1f} tokens/s, load average {before:.1f}"
    print(f"{side.name:10} {shape}: {speed}", file=sys.stderr)
    return run, {"server": side.name, **shape, "seed": load.seed, "load_average": before, **asdict(made)}


def checked(side: Side, made: Report) -> Report:
    """Answers that are missing or too short are no measurement."""
    if made.errors or made.output_tokens != TOKENS * made.requests:
        raise SystemExit(f"{side.name}: {made.output_tokens} tokens of {made.requests} requests, errors {made.errors}")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--peer", required=True, help="a Python with llama-cpp-python[server]")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="our run with the most clients, as a picture")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    ours, theirs = both = sides(options.model, options.peer, options.threads)
    version = "import llama_cpp; print(llama_cpp.__version__)"
    found: dict[str, Any] = {
        "processor": platform_name(),
        "threads": options.threads,
        "model": Path(options.model).name,
        "date": date.today().isoformat(),
        "llama_cpp_python": subprocess.check_output([options.peer, "-c", version], text=True).strip(),
        "asked": {"words": WORDS, "tokens": TOKENS, "slo": asdict(SLO), "lived": LIVED, "open": OPEN},
    }
    for side in both:
        life(side, 0, requests=1)
    found["life"] = [life(side, seed) for seed in range(1, ROUNDS + 1) for side in both]
    closed, at_rates = [], []
    with running(ours) as our_port, running(theirs) as their_port:
        pairs = ((ours, our_port), (theirs, their_port))
        # each load has prompts of its own, or a prefix cache would know them from the one before
        seeds = count(1)
        for turn in range(ROUNDS):
            seed = next(seeds)
            closed += [loaded(*pair, Load(concurrency=1, requests=CLOSED, seed=seed))[1] for pair in pairs]
            for clients in CLIENTS:
                load = Load(concurrency=clients, requests=2 * clients, seed=next(seeds))
                run, kept = loaded(ours, our_port, load)
                closed.append(kept)
                if options.plot is not None and turn == ROUNDS - 1 and clients == CLIENTS[-1]:
                    draw(run, options.plot)
        for rate in RATES:
            seed = next(seeds)
            at_rates += [loaded(*pair, Load(rate=rate, requests=OPEN, seed=seed))[1] for pair in pairs]
    found |= {"closed": closed, "open": at_rates}
    text = json.dumps(found, indent=1)
    print(text) if options.json is None else options.json.write_text(text + "\n")


def draw(run: Run, path: Path) -> None:
    from server.bench.plot import figure, write

    made = report(run.records, SLO, run.busy_seconds)
    write(figure(made, Samples.of(run.records), f"{run.target.model}, {CLIENTS[-1]} clients"), path)


if __name__ == "__main__":
    main()
