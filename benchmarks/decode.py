"""Decode and prefill speed of a model in this process, on a CPU or a GPU, as JSON.

    python -m benchmarks.decode [--device cpu|cuda] [--model FILE] [--batch 1 8] [--tokens 128] [--prompt 128]

Tokens per second of decode: all rows' tokens over the time from the first to the last. Counts the steps, the graph or
launch-list replays (which must be equal to them), and the time outside kernels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import EngineConfig
from engine.engine import Engine
from engine.messages import SamplingParams, StepOutput, Submit, TokenOut
from engine.runner import make_runner


def run(engine: Engine, batch: int, prompt: int, tokens: int, seed: int) -> dict[str, Any]:
    """Prefill `batch` prompts of random tokens, then decode `tokens` of each; the figures of the two parts."""
    rng = np.random.default_rng(seed)
    for i in range(batch):
        params = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True)
        engine.submit(Submit(f"bench-{seed}-{i}", rng.integers(100, engine.info.vocab_size, prompt).tolist(), params))
    started = time.perf_counter()
    begun: set[str] = set()
    while len(begun) < batch:  # until every prompt is through; rows that are through earlier decode beside the others
        begun.update(token.request_id for token in tokens_in(engine.step()))
    at_first, first = engine.stats(), time.perf_counter()
    decoded = 0
    while engine.busy:
        decoded += len(tokens_in(engine.step()))
    decode, at_last = time.perf_counter() - first, engine.stats()
    steps = at_last.steps - at_first.steps
    return {
        "batch": batch,
        "prompt": prompt,
        "prefill_tokens_per_s": batch * prompt / (first - started),
        "decode_tokens_per_s": decoded / decode,
        "ms_per_step": 1e3 * decode / steps,
        "steps": steps,
        "replays": at_last.replays - at_first.replays,
        "outside_kernels": 1 - (at_last.kernel_seconds - at_first.kernel_seconds) / decode,
    }


def tokens_in(events: list[Any]) -> list[TokenOut]:
    return [token for event in events if isinstance(event, StepOutput) for token in event.tokens]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quantization", default="none")
    options = parser.parse_args()
    if options.model is None:
        from engine.fetch import demo_model

        options.model = demo_model()
    config = EngineConfig(
        str(options.model), device=options.device, quantization=options.quantization, max_num_seqs=max(options.batch)
    )
    engine = Engine(make_runner(config))
    for batch in options.batch:
        rounds = [run(engine, batch, options.prompt, options.tokens, seed) for seed in range(options.rounds + 1)][1:]
        rounds.sort(key=lambda r: r["decode_tokens_per_s"])
        best = dict(rounds[len(rounds) // 2])
        best["prefill_tokens_per_s"] = statistics.median(r["prefill_tokens_per_s"] for r in rounds)
        print(
            json.dumps(
                {
                    "device": engine.runner.info.device,
                    **{k: round(v, 4) if isinstance(v, float) else v for k, v in best.items()},
                }
            )
        )


if __name__ == "__main__":
    main()
