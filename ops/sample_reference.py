"""What `ops.sample` computes, in NumPy and Python integers, and its cases. Equal to the kernels to the last token."""

from __future__ import annotations

from typing import Any

import numpy as np

from ops.arrays import numpy_dtype
from ops.cases import Inputs, OpCase, normal
from ops.sample import DEEPEST, LOG2_E, POWER, sample


def sample_reference(
    logits: np.ndarray, temperature: np.ndarray, top_k: np.ndarray, top_p: np.ndarray, min_p: np.ndarray,
    seeds: np.ndarray, choices: np.ndarray, positions: np.ndarray,
) -> tuple[np.ndarray]:  # fmt: skip
    """The token ids."""
    ids = np.empty(len(logits), np.int32)
    for r, row in enumerate(logits.astype(np.float32)):
        ids[r] = np.where(np.isnan(row), -np.inf, row).argmax()
        if not temperature[r] > 0:
            continue
        weights = np.where(
            kept_tokens(row, temperature[r], top_k[r], top_p[r], min_p[r]), weigh(row, temperature[r])[1], 0
        )
        running = np.cumsum(weights)
        if running[-1]:
            high, low = philox(int(seeds[r]), int(positions[r]), int(choices[r]))
            ids[r] = np.searchsorted(running, ((high << 32 | low) * int(running[-1])) >> 64, side="right")
    return (ids,)


def kept_tokens(row: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float) -> np.ndarray:
    """Which tokens of one row may be drawn, as a mask."""
    depth, weight = weigh(row.astype(np.float32), temperature)
    kept = (depth < DEEPEST) & (weight >= int(np.float32(min(max(min_p, 0), 1)) * np.float32(2**30)))
    if 0 < top_k < len(row):
        kept &= depth <= np.sort(depth)[top_k - 1]
    if top_p < 1:
        wanted = int(kept @ weight) * int(np.float32(max(top_p, 0)) * np.float32(2**24)) >> 24
        order = np.argsort(np.where(kept, depth, DEEPEST), kind="stable")
        reached = np.searchsorted(np.cumsum((weight * kept)[order]), max(wanted, 1))
        kept &= depth <= depth[order[min(reached, len(row) - 1)]]
    return kept


def weigh(row: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """(depth, weight) of each token of one row, int64."""
    best = np.where(np.isnan(row), np.float32(-np.inf), row).max()
    with np.errstate(invalid="ignore", over="ignore"):
        halvings = (best - row) * (np.float32(LOG2_E) / np.float32(temperature))
        near = halvings < np.float32(30)
    depth = np.where(near, (np.where(near, halvings, 0) * np.float32(2**24)).astype(np.int64), DEEPEST)
    part = (depth & (2**24 - 1)) << 8
    power = np.full_like(depth, POWER[-1])
    for coefficient in POWER[-2::-1]:
        power = coefficient - (power * part >> 32)
    return depth, np.where(near, power >> (1 + (depth >> 24)), 0)


def philox(seed: int, position: int, choice: int) -> tuple[int, int]:
    """The first two words of Philox-4x32-10 with key `seed` and counter (position, choice, 0, 0)."""
    counter = [position & 0xFFFFFFFF, choice & 0xFFFFFFFF, 0, 0]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [b >> 32 ^ counter[1] ^ key[0], b & 0xFFFFFFFF, a >> 32 ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [key[0] + 0x9E3779B9 & 0xFFFFFFFF, key[1] + 0xBB67AE85 & 0xFFFFFFFF]
    return counter[0], counter[1]


def cases() -> list[OpCase]:
    return [_case(6, 200, "fp32"), _case(3, 1000, "fp32"), _case(3, 130, "bf16"), _case(3, 64, "fp16"),
            _case(6, 9000, "fp32"), _case(1, 131072, "fp32", large=True)]  # fmt: skip


def _case(rows: int, columns: int, dtype: str, large: bool = False) -> OpCase:
    def make(rng: np.random.Generator) -> Inputs:
        return sample_inputs(rng, rows, columns, numpy_dtype(dtype))

    run = lambda **inputs: (sample(**inputs),)  # noqa: E731
    moved = rows * columns * numpy_dtype(dtype).itemsize
    return OpCase(
        "sample", f"{rows}x{columns}-{dtype}", make, run, sample_reference, 0.0, 0.0, bytes=moved, large=large
    )


def sample_inputs(rng: np.random.Generator, rows: int, columns: int, dtype: Any = np.float32) -> Inputs:
    """Rows with every mixture of settings, the first one with top-p alone, the second greedy."""
    kinds = ((1.0, 0, 0.9, 0.0), (0.0, 3, 0.5, 0.0), (0.7, 5, 1.0, 0.0), (1.5, 40, 0.8, 0.01), (1.0, 0, 1.0, 0.2),
             (2.5, 0, 1.0, 0.0))  # fmt: skip
    chosen = [kinds[r % len(kinds)] for r in range(rows)]
    logits = normal(rng, rows, columns, dtype=dtype, scale=3.0)
    logits[-1, : columns // 2] = -np.inf
    return {
        "logits": logits,
        "temperature": np.array([c[0] for c in chosen], np.float32),
        "top_k": np.array([c[1] for c in chosen], np.int32),
        "top_p": np.array([c[2] for c in chosen], np.float32),
        "min_p": np.array([c[3] for c in chosen], np.float32),
        "seeds": rng.integers(0, 2**64, rows, np.uint64),
        "choices": np.arange(rows, dtype=np.int32) % 3,
        "positions": np.arange(rows, dtype=np.int32) * 7 + 1,
    }
