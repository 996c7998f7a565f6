"""So many requests by so many clients, and nothing left of them: `python -m tests.load.soak 20000 [--clients 200]`.

Prints a line per twentieth part, and at the end what was measured. Fails if an answer is not the one that it is alone,
if resident memory grew by a kilobyte a request after the first tenth, or if descriptors or blocks are not back.

Resident memory goes up and down by ten megabytes with what the allocator holds on to, so the lowest of the first half
is compared with the lowest of the second: a leak raises both ends of the swing.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.load.asked import pool
from tests.load.clients import Told, load
from tests.load.serving import Serving, Usage, serving

BYTES_PER_REQUEST = 1024


@dataclass(frozen=True)
class Soaked:
    """What a run showed."""

    told: Told
    seconds: float
    growth: dict[str, float]
    """Bytes per request between the halves of what came after warming up, of the server and of the core."""
    descriptors: dict[str, int]
    """More than after warming up."""
    preemptions: float
    swapped: float
    """Blocks copied to the host."""


def soak(count: int, clients: int, seed: int = 0, say: bool = False) -> Soaked:
    """Serve them. Memory and descriptors are compared with what they were after warming up, when idle again."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as it:
        asked = pool(it.model, min(count // 4, 300), seed)
        told = Told()
        warm = max(count // 10, 2 * clients)
        asyncio.run(_run(it, asked, warm, clients, seed, told))
        seen = [_idle(it)]
        started, step = time.monotonic(), max(count // 20, clients)
        for done in range(0, count - warm, step):
            asyncio.run(_run(it, asked, min(step, count - warm - done), clients, seed + done + 1, told))
            seen.append(it.usage())
            if say:
                usage = {name: use.kilobytes for name, use in seen[-1].items()}
                print(f"{done + step + warm} requests, {told.tokens} tokens, kB resident {usage}", flush=True)
        seconds = time.monotonic() - started
        seen.append(_idle(it))
        return Soaked(
            told,
            seconds,
            {name: _growth([use[name].kilobytes for use in seen], count - warm) for name in seen[0]},
            {name: seen[-1][name].descriptors - use.descriptors for name, use in seen[0].items()},
            it.metric("vllm:num_preemptions_total"),
            it.metric("rtriton_engine_swapped_out_blocks_total"),
        )


def _growth(kilobytes: list[int], requests: int) -> float:
    """Bytes per request from the middle of the first half to the middle of the second."""
    half = len(kilobytes) // 2
    return (min(kilobytes[half:]) - min(kilobytes[:half])) * 1024 / (requests / 2)


async def _run(it: Serving, asked: list, count: int, clients: int, seed: int, told: Told) -> None:
    part = await load(it.port, asked, count, clients, seed)
    told.done += part.done
    told.tokens += part.tokens


def _idle(it: Serving) -> dict[str, Usage]:
    """Once nothing is open any more; blocks that stay owned are an error."""
    deadline = time.monotonic() + 60
    while it.metric("rtriton_kv_blocks_used") or it.metric("vllm:num_requests_waiting"):
        assert time.monotonic() < deadline, "blocks are still owned though nobody asks any more"
        time.sleep(0.1)
    while (usage := it.usage()) != (time.sleep(0.5) or it.usage()) and time.monotonic() < deadline:
        pass
    return usage


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    it = soak(options.count, options.clients, options.seed, say=True)
    print(f"{dict(it.told.done)}, {it.told.tokens} tokens in {it.seconds:.1f} s, {it.preemptions:.0f} preemptions, "
          f"{it.swapped:.0f} blocks swapped")  # fmt: skip
    print(f"growth in bytes a request {it.growth}, descriptors {it.descriptors}")
    assert all(growth < BYTES_PER_REQUEST for growth in it.growth.values())
    assert all(more <= 0 for more in it.descriptors.values())


if __name__ == "__main__":
    main()
