"""What a draw costs on a GPU, and whether an engine there draws what one on the CPU does.

    python -m tests.gpu.draws

Prints one JSON object a line. Times are of the kernels at 64 rows of 131072 logits; the floor is the logits read once
(or read and written once) at 4 TB/s. Tokens may differ from the CPU's where two logits are closer than the sums' orders
tell apart, so the number of equal answers is printed; log probabilities are compared in those.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

import ops
from rtriton.array import DeviceArray
from rtriton.testing import do_bench_cudagraph

ROWS, COLUMNS, BANDWIDTH = 64, 131072, 4e12


def main() -> None:
    """Times first: they need nothing but `ops`."""
    for name, microseconds, floor in timed():
        print(json.dumps({"op": name, "us": round(microseconds, 1), "floor_us": round(floor, 1)}), flush=True)
    print(json.dumps(compared()), flush=True)


def timed() -> list[tuple[str, float, float]]:
    """(what, microseconds, floor) of each part of a draw, replayed as an engine does it."""
    rng = np.random.default_rng(0)
    put = DeviceArray.from_numpy
    logits = put((rng.standard_normal((ROWS, COLUMNS)) * 3).astype(np.float32))
    out, work = put(np.zeros(ROWS, np.int32)), put(np.zeros(ops.sample_workspace(ROWS, COLUMNS), np.int32))
    entries = 64 * 500
    edits = {
        "allowed": put(np.full((ROWS, COLUMNS // 32), -1, np.int32)),
        "mask_rows": put(np.arange(ROWS, dtype=np.int32)),
        "starts": put(np.arange(0, entries + 1, 500, dtype=np.int32)),
        "tokens": put(np.concatenate([rng.permutation(COLUMNS)[:500] for _ in range(64)]).astype(np.int32)),
        "biases": put(np.zeros(entries, np.float32)),
        "counts": put(np.ones(entries, np.int32)),
        **{name: put(np.full(ROWS, 1.1, np.float32)) for name in ("repetition", "frequency", "presence")},
    }
    adjusted = put(np.zeros((ROWS, COLUMNS), np.float32))
    none, found = put(np.full(ROWS, -1, np.int32)), put(np.zeros(ROWS, np.float32))
    ranks, ids = put(np.zeros(ROWS, np.int32)), put(np.zeros((ROWS, 20), np.int32))
    tops = put(np.zeros((ROWS, 20), np.float32))
    read = ROWS * COLUMNS * 4 / BANDWIDTH * 1e6

    def sample(heat: float, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> Any:
        values = ((heat, np.float32), (top_k, np.int32), (top_p, np.float32), (min_p, np.float32))
        values += ((7, np.uint64), (0, np.int32), (5, np.int32))
        settings = [put(np.full(ROWS, value, kind)) for value, kind in values]
        return lambda: ops.sample(logits, *settings, out=out, logprobs=found, workspace=work)

    def score(wanted: int) -> Any:
        many = put(np.full(ROWS, wanted, np.int32))
        return lambda: ops.score(logits, out, none, many, logprobs=found, ranks=ranks, top_ids=ids, top_logprobs=tops,
                                 workspace=work)  # fmt: skip

    parts: list[tuple[str, Any, float]] = [
        ("sample, greedy", sample(0.0), read),
        ("sample, temperature 0.8", sample(0.8), read),
        ("sample, top_k 50", sample(0.8, top_k=50), read),
        ("sample, top_p 0.95", sample(0.8, top_p=0.95), read),
        ("sample, top_k 50, top_p 0.95, min_p 0.05", sample(0.8, 50, 0.95, 0.05), read),
        ("adjust, masks and 500 entries a row", lambda: ops.adjust_logits(logits, **edits, out=adjusted), 2 * read),
    ]
    parts += [(f"score, {n} alternatives", score(n), read) for n in (0, 5, 20)]
    return [(name, do_bench_cudagraph(launch) * 1e3, floor) for name, launch, floor in parts]


def compared() -> dict[str, Any]:
    """The same requests on both devices."""
    from engine.config import EngineConfig
    from engine.engine import Engine
    from engine.memory import DeviceMemory, HostMemory, Memory
    from engine.messages import RequestFailed, SamplingParams, Submit
    from engine.model_runner import build
    from engine.weights.base import move
    from tests.engine.tiny_model import TEXT, random_weights

    params = [
        SamplingParams(temperature=0.0, max_tokens=20, ignore_eos=True),
        SamplingParams(temperature=0.8, seed=3, top_p=0.9, max_tokens=20, ignore_eos=True),
        SamplingParams(temperature=0.8, seed=4, frequency_penalty=0.7, repetition_penalty=1.3, max_tokens=20),
        SamplingParams(temperature=1.2, seed=5, logit_bias={9: 5.0, 0: 9.0}, min_tokens=12, max_tokens=20, logprobs=3),
        SamplingParams(temperature=0.0, max_tokens=20, prompt_logprobs=2, logprobs=0, ignore_eos=True),
    ]
    prompts = [[5 + 7 * index, 100, 200 + index, 100, 7] for index in range(20)]

    def serve(memory: Memory, rows: int = 8, **options: Any) -> tuple[dict[str, list[int]], dict[str, list[Any]], Any]:
        config = EngineConfig(model="tiny", max_num_seqs=rows, max_batched_tokens=32, **options)
        it = Engine(build(config, TEXT, move(random_weights(TEXT), memory.put), memory))
        for index, prompt in enumerate(prompts):
            it.submit(Submit(f"r{index}", prompt, params[index % len(params)]))
        tokens: dict[str, list[int]] = {}
        scores: dict[str, list[Any]] = {}
        while it.busy:
            for event in it.step():
                assert not isinstance(event, RequestFailed), event
                for out in event.tokens:
                    tokens.setdefault(out.request_id, []).extend(out.token_ids)
                    scores.setdefault(out.request_id, []).extend([*(out.prompt_logprobs or ()), *(out.logprobs or ())])
        return tokens, scores, it.stats()

    host, host_scores, _ = serve(HostMemory(), num_blocks=64)
    started = time.perf_counter()
    gpu, gpu_scores, _ = serve(DeviceMemory(), num_blocks=64)
    again, _, stats = serve(DeviceMemory(), num_blocks=4, swap_bytes=1 << 24)
    same = [name for name in host if host[name] == gpu[name]]
    narrow, _, _ = serve(DeviceMemory(), rows=3, num_blocks=64)
    worst = max(
        abs(a.logprob - b.logprob)
        for name in same
        for a, b in zip(host_scores[name], gpu_scores[name], strict=True)
        if a is not None
    )
    return {
        "answers": len(host),
        "equal_to_cpu": len(same),
        # products of other sizes sum in other orders, so that these two differ by as much
        "equal_in_narrower_steps": sum(narrow[name] == gpu[name] for name in gpu),
        "equal_when_swapped": sum(again[name] == gpu[name] for name in gpu),
        "blocks_are_swapped_exactly": swapped_exactly(),
        "swapped_in": stats.swapped_in,
        "preemptions": stats.preemptions,
        "worst_logprob_difference": worst,
        "seconds": round(time.perf_counter() - started, 1),
    }


def swapped_exactly() -> bool:
    """Whether blocks come back from the host as they were."""
    from engine.memory import DeviceMemory
    from engine.models.llama import KVCache
    from engine.scheduler import Swaps
    from engine.store import BlockStore

    memory, rng = DeviceMemory(), np.random.default_rng(0)
    before = [rng.standard_normal((6, 2, 16, 16)).astype(np.float32) for _ in range(4)]
    arrays = [memory.put(array) for array in before]
    store = BlockStore(KVCache(tuple(arrays[:2]), tuple(arrays[2:])), 3, memory)
    store.move(Swaps(out=[(5, 1), (2, 3)]))
    store.move(Swaps(back=[(1, 1), (3, 4)]))
    now = [memory.fetch(array) for array in arrays]
    return all(
        np.array_equal(a[1], b[5]) and np.array_equal(a[4], b[2]) and np.array_equal(a[[0, 2, 3, 5]], b[[0, 2, 3, 5]])
        for a, b in zip(now, before, strict=True)
    )


if __name__ == "__main__":
    main()
