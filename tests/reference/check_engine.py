"""The engine's logits beside transformers' float32 ones, teacher-forced over the recorded texts.

    python -m tests.reference.check_engine [--device cpu|cuda] [--model FILE] [--quantization none]

Each text is fed through the engine's own forward pass in chunks, as a prompt is, with logits for every position.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from engine.batch import bucket
from engine.blocks import blocks_for
from engine.config import EngineConfig
from engine.model_runner import ModelRunner, load
from tests.reference.compare import Reference, Report

CHUNK = 64
BOUNDS = {"cpu": 0.02, "cuda": 0.3}
"""On a GPU chunks of a prompt are multiplied on tensor cores, their activations rounded to tf32's 10 bits."""


def teacher_forced(runner: ModelRunner, tokens: np.ndarray) -> np.ndarray:
    """Logits (T, vocabulary) of what follows each token."""
    size = runner.buffers.shape.block_size
    table = np.arange(1, 1 + blocks_for(len(tokens), size), dtype=np.int32)
    made: list[np.ndarray] = []
    for start in range(0, len(tokens), CHUNK):
        chunk = tokens[start : start + CHUNK]
        count, width = len(chunk), bucket(len(chunk))
        batch = runner.buffers.dummy(width, width)
        positions = np.arange(start, start + count, dtype=np.int32)
        batch.block_tables[0, : len(table)] = table
        batch.seq_lens[0] = start + count
        batch.cu_seqlens_q[0], batch.cu_seqlens_q[1:-1] = 0, count
        batch.input_ids[:count], batch.positions[:count], batch.token_rows[:count] = chunk, positions, 0
        batch.slot_mapping[:count] = table[positions // size] * size + positions % size
        batch.logits_rows[:count] = np.arange(count)
        there = runner.mirror.view(width, width)
        runner.mirror.upload()
        runner.model.forward(there)
        made.append(runner.memory.fetch(runner.model.logits(width, width))[:count].copy())
    return np.concatenate(made)


def check(model: Path, device: str = "cpu", quantization: str = "none", sections: tuple[str, ...] = ()) -> Report:
    """Compare over the reference's sections (all, or those named)."""
    runner = load(
        EngineConfig(str(model), device=device, quantization=quantization, max_num_seqs=CHUNK, max_batched_tokens=CHUNK)
    )
    report = Report()
    for section in Reference.load().sections:
        if not sections or section.name in sections:
            report.add(section, teacher_forced(runner, section.tokens))
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=tuple(BOUNDS))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--quantization", default="none")
    options = parser.parse_args()
    model = options.model
    if model is None:
        from engine.fetch import demo_model

        model = demo_model()
    report = check(model, options.device, options.quantization)
    bound = BOUNDS[options.device]
    print(
        json.dumps(
            {
                "device": options.device,
                "positions": report.positions,
                "largest_difference": report.largest_difference,
                "bound": bound,
                "wrong": len(report.wrong),
                "share_checked": report.share_checked,
            }
        )
    )
    if options.quantization == "none" and (
        report.largest_difference > bound or report.wrong or report.share_checked < 0.8
    ):
        raise SystemExit(f"the engine's logits leave the bound of {bound}")


if __name__ == "__main__":
    main()
