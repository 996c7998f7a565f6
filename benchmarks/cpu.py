"""The CPU backend beside torch (equal threads) and beside Triton's interpreter (equal kernel and BLOCK), in one run.

    python -m benchmarks.cpu [--json out.json] [--threads 2] [--decode MODEL.gguf]

Needs torch; the interpreter rows need Triton, NumPy below 2.4 and TRITON_INTERPRET=1 in the environment; --decode needs
llama-cpp-python, which then decodes the same file with the same threads. Every output that is timed is checked. Times
are medians over rounds that alternate between the two sides; large arrays exceed the last-level cache. Shares are of
the read bandwidth that our own kernel reaches over eight times the cache; nothing is kept with a figure 10% above it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import ops
import rtriton
import rtriton.language as tl
from ops.quant import dequantize, quantize

ROUNDS = 7


@dataclass
class Row:
    name: str
    size: str
    ours_ms: float
    theirs_ms: float
    peer: str
    gb_per_s: float | None
    error: float

    @property
    def speedup(self) -> float:
        return self.theirs_ms / self.ours_ms


@rtriton.jit
def read_kernel(source, sums, count, SPAN: tl.constexpr, BLOCK: tl.constexpr):
    """Each program adds up SPAN elements: what memory can deliver."""
    start = tl.program_id(0) * SPAN
    total = tl.zeros((BLOCK,), tl.float32)
    for at in range(start, start + SPAN, BLOCK):
        total += tl.load(source + at + tl.arange(0, BLOCK))
    tl.store(sums + tl.program_id(0), tl.sum(total, axis=0))


def milliseconds(fn: Callable[[], Any], least: float = 0.05) -> float:
    """One round: the mean of enough calls to last `least` seconds."""
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < least or not calls:
        fn()
        calls += 1
    return 1e3 * spent / calls


def compare(
    name: str,
    size: str,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    peer: str,
    error: Callable[[], float],
    nbytes: float = 0,
    rounds: int = ROUNDS,
) -> Row:
    """Alternate between the sides and take medians; `error()` checks what the last timed call of ours wrote."""
    ours()
    theirs()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        times[0].append(milliseconds(ours))
        times[1].append(milliseconds(theirs))
    mine, other = (statistics.median(t) for t in times)
    speed = nbytes / mine / 1e6 if nbytes else None
    return Row(name, size, mine, other, peer, speed, error())


def read_bandwidth(cache_bytes: int) -> float:
    """GB/s of our own read kernel over eight times the last-level cache: a ceiling, so the best of all rounds."""
    largest = 1 << 17
    count = -(-8 * cache_bytes // 4 // largest) * largest
    x = np.ones(count, np.float32)
    best = 0.0
    for span, block in ((1 << 14, 128), (1 << 16, 256), (largest, 128), (largest, 512)):
        sums = np.zeros(count // span, np.float32)

        def call(span: int = span, block: int = block, sums: np.ndarray = sums) -> None:
            read_kernel[(count // span,)](x, sums, count, SPAN=span, BLOCK=block)

        call()
        assert (sums == span).all()
        best = max(best, 4 * count / min(milliseconds(call) for _ in range(ROUNDS)) / 1e6)
    return best


def cache_bytes() -> int:
    """The last-level cache, 32 MB where the system does not say."""
    path = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    return int(path.read_text().rstrip("K\n")) << 10 if path.exists() else 32 << 20


def distance(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.linalg.norm(x.astype(np.float64) - y) / np.linalg.norm(y))


def torch_rows(torch: Any, kernels: Any) -> list[Row]:
    rng = np.random.default_rng(0)
    n = 1 << 24
    x, y, out = (rng.standard_normal(n, np.float32) for _ in range(3))
    a, b, c = (torch.from_numpy(v) for v in (x, y, np.empty_like(x)))
    rows = [
        compare(
            "vector add",
            "2^24 f32",
            lambda: kernels.add_kernel[(n // 8192,)](x, y, out, n, BLOCK=8192),
            lambda: torch.add(a, b, out=c),
            "torch",
            lambda: float(np.abs(out - (x + y)).max()),
            12 * n,
        )
    ]
    rows += [wide_rows(torch, kernels, rng), layer_norm_rows(torch, rng)]
    rows += vocabulary_rows(torch, rng)
    return rows + product_rows(torch, rng)


def wide_rows(torch: Any, kernels: Any, rng: np.random.Generator) -> Row:
    height, width = 8192, 4096
    x = rng.standard_normal((height, width), np.float32)
    out, t = np.empty_like(x), torch.from_numpy(x)
    result = torch.empty_like(t)
    return compare(
        "softmax",
        f"{height}x{width} f32",
        lambda: kernels.softmax_kernel[(64,)](out, x, width, width, height, width, BLOCK=width, STAGES=1),
        lambda: torch.softmax(t, 1, out=result),
        "torch",
        lambda: distance(out, result.numpy()),
        8 * height * width,
    )


def layer_norm_rows(torch: Any, rng: np.random.Generator) -> Row:
    height, width = 8192, 4096
    x, w, b = (
        rng.standard_normal((height, width), np.float32),
        rng.standard_normal(width, np.float32),
        rng.standard_normal(width, np.float32),
    )
    out = np.empty_like(x)
    tx, tw, tb = map(torch.from_numpy, (x, w, b))
    wanted = torch.layer_norm(tx, (width,), tw, tb)
    return compare(
        "layer norm",
        f"{height}x{width} f32",
        lambda: ops.layer_norm(x, w, b, 1e-5, out=out),
        lambda: torch.layer_norm(tx, (width,), tw, tb),
        "torch",
        lambda: distance(out, wanted.numpy()),
        8 * height * width,
    )


def vocabulary_rows(torch: Any, rng: np.random.Generator) -> list[Row]:
    count, vocabulary = 512, 131072
    logits = (3 * rng.standard_normal((count, vocabulary))).astype(np.float32)
    t = torch.from_numpy(logits)
    found: dict[str, Any] = {}

    def ours() -> None:
        found["argmax"] = ops.argmax(logits)

    rows = [
        compare(
            "argmax",
            f"{count}x{vocabulary} f32",
            ours,
            lambda: t.argmax(1),
            "torch",
            lambda: float((found["argmax"] != logits.argmax(1)).sum()),
            logits.nbytes,
        )
    ]
    few = 8
    heat, top_p, min_p = np.full(few, 0.8, np.float32), np.full(few, 0.9, np.float32), np.zeros(few, np.float32)
    top_k, seeds = np.zeros(few, np.int32), np.arange(few, dtype=np.uint64)
    choices, positions = np.zeros(few, np.int32), np.arange(few, dtype=np.int32)
    some, kept = logits[:few].copy(), torch.from_numpy(logits[:few].copy())

    def sample() -> None:
        found["ids"] = ops.sample(some, heat, top_k, top_p, min_p, seeds, choices, positions)

    def torch_sample() -> Any:
        p = torch.softmax(kept / 0.8, 1)
        ordered, index = p.sort(1, descending=True)
        ordered[ordered.cumsum(1) - ordered > 0.9] = 0
        return index.gather(1, torch.multinomial(ordered, 1))

    def outside() -> float:
        """Sampled tokens that are not in the smallest set of probability 0.9."""
        p = np.exp((some.astype(np.float64) - some.max(1, keepdims=True)) / 0.8)
        p /= p.sum(1, keepdims=True)
        ids = np.asarray(found["ids"][0] if isinstance(found["ids"], tuple) else found["ids"]).reshape(-1)
        return float(sum(p[r][p[r] > p[r, i]].sum() >= 0.9 + 1e-6 for r, i in enumerate(ids)))

    return [*rows, compare("top-p sampling", f"{few}x{vocabulary} f32", sample, torch_sample, "torch sort", outside)]


def product_rows(torch: Any, rng: np.random.Generator) -> list[Row]:
    n = 1024
    a, b, out = (rng.standard_normal((n, n), np.float32) for _ in range(3))
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    tc = torch.empty_like(ta)
    rows = [
        compare(
            "matmul",
            f"{n}^3 f32",
            lambda: ops.matmul(a, b, out=out),
            lambda: torch.mm(ta, tb, out=tc),
            "torch",
            lambda: distance(out, a.astype(np.float64) @ b),
        )
    ]
    height, width = 16384, 8192
    dense = rng.standard_normal((height, width), np.float32)
    for kind in ("int4", "int8", "fp8"):
        weight = quantize(dense, kind)
        x = rng.standard_normal((1, width), np.float32)
        y = np.empty((1, height), np.float32)
        full = torch.from_numpy(dequantize(weight))
        tx = torch.from_numpy(x)
        nbytes = sum(v.nbytes for v in (weight.data, weight.scale, weight.minimum) if v is not None)
        rows.append(
            compare(
                f"GEMV {kind}",
                f"{height}x{width}",
                lambda w=weight, x=x, y=y: ops.linear(x, w, out=y),
                lambda f=full, tx=tx: torch.mm(tx, f.T),
                "torch f32",
                lambda w=full, x=x, y=y: distance(y, x.astype(np.float64) @ w.numpy().T),
                nbytes,
            )
        )
    return rows


def interpreter_rows(ours: Any, theirs: Any, torch: Any) -> list[Row]:
    """The same kernels and BLOCKs under our interpreter's fastest peer on a CPU: our native code against theirs."""
    rng = np.random.default_rng(1)
    n = 1 << 18
    x, y, out = rng.standard_normal(n, np.float32), rng.standard_normal(n, np.float32), np.empty(n, np.float32)
    tx, ty, tout = (torch.from_numpy(v.copy()) for v in (x, y, out))
    rows = [
        compare(
            "vector add",
            "2^18 f32, BLOCK 1024",
            lambda: ours.add_kernel[(n // 1024,)](x, y, out, n, BLOCK=1024),
            lambda: theirs.add_kernel[(n // 1024,)](tx, ty, tout, n, BLOCK=1024),
            "Triton interpreter",
            lambda: float(np.abs(out - tout.numpy()).max()),
            rounds=3,
        )
    ]
    height, width = 256, 1024
    m = rng.standard_normal((height, width), np.float32)
    o, tm = np.empty_like(m), torch.from_numpy(m.copy())
    to = torch.empty_like(tm)
    rows.append(
        compare(
            "softmax",
            f"{height}x{width} f32, BLOCK {width}",
            lambda: ours.softmax_kernel[(height,)](o, m, width, width, height, width, BLOCK=width, STAGES=1),
            lambda: theirs.softmax_kernel[(height,)](to, tm, width, width, height, width, BLOCK=width, STAGES=1),
            "Triton interpreter",
            lambda: distance(o, to.numpy()),
            rounds=3,
        )
    )
    k = 256
    a, b = (rng.standard_normal((k, k)).astype(np.float16) for _ in range(2))
    c, ta, tb = np.empty((k, k), np.float16), torch.from_numpy(a.copy()), torch.from_numpy(b.copy())
    tc = torch.empty_like(ta)
    grid, blocks = ((k // 64) ** 2,), {"BM": 64, "BN": 64, "BK": 32, "GROUP": 4, "ACTIVATION": ""}
    rows.append(
        compare(
            "matmul",
            f"{k}^3 f16, 64x64x32",
            lambda: ours.matmul_kernel[grid](a, b, c, k, k, k, k, 1, k, 1, k, 1, **blocks),
            lambda: theirs.matmul_kernel[grid](ta, tb, tc, k, k, k, k, 1, k, 1, k, 1, **blocks),
            "Triton interpreter",
            lambda: distance(c, a.astype(np.float64) @ b),
            rounds=3,
        )
    )
    return rows


def thread_scaling(threads: int) -> dict[str, float]:
    """How much faster `threads` threads multiply matrices that fit the cache than one does; rounds alternate."""
    from rtriton.backend.cpu import pool

    n = 768
    rng = np.random.default_rng(2)
    a, b, out = (rng.standard_normal((n, n), np.float32) for _ in range(3))
    times: dict[int, list[float]] = {1: [], threads: []}
    for _ in range(ROUNDS):
        for count, found in times.items():
            pool.set_num_threads(count)
            ops.matmul(a, b, out=out)
            found.append(milliseconds(lambda: ops.matmul(a, b, out=out)))
    one, many = (statistics.median(found) for found in times.values())
    return {"threads": threads, "one_ms": one, "all_ms": many, "speed_up": one / many}


def decode_rows(model: str, threads: int) -> dict[str, Any]:
    """Decode at batch 1 beside llama.cpp, rounds alternating; batch 8 and prefill of ours."""
    from benchmarks.decode import run
    from engine.config import EngineConfig
    from engine.engine import Engine
    from engine.runner import make_runner
    from llama_cpp import Llama

    engine = Engine(make_runner(EngineConfig(model, device="cpu", max_num_seqs=8)))
    peer = Llama(model, n_ctx=512, n_threads=threads, n_threads_batch=threads, verbose=False)
    ours, theirs = [], []
    for seed in range(1, 4):
        ours.append(run(engine, 1, 128, 128, seed))
        theirs.append(llama_run(peer, 128, 128, seed))
    eight = run(engine, 8, 128, 64, 9)
    best = sorted(ours, key=lambda r: r["decode_tokens_per_s"])[1]
    other = statistics.median(t["decode"] for t in theirs)
    return {
        "rtriton": best,
        "rtriton_batch_8": eight,
        "llama_cpp_decode_tokens_per_s": other,
        "llama_cpp_prefill_tokens_per_s": statistics.median(t["prefill"] for t in theirs),
        "ratio": best["decode_tokens_per_s"] / other,
    }


def llama_run(peer: Any, prompt: int, tokens: int, seed: int) -> dict[str, float]:
    """Prefill random tokens, then greedy decode, one token an eval."""
    ids = np.random.default_rng(seed).integers(100, peer.n_vocab(), prompt).tolist()
    peer.reset()
    start = time.perf_counter()
    peer.eval(ids)
    first = time.perf_counter()
    for _ in range(tokens):
        peer.eval([peer.sample(temp=0.0)])
    return {"prefill": prompt / (first - start), "decode": tokens / (time.perf_counter() - first)}


def show(rows: list[Row], ceiling: float) -> None:
    heads = "".join(f"{head:>10}" for head in ("ours ms", "peer ms", "speed-up"))
    print(f"{'kernel':16}{'size':28}{heads}{'GB/s':>7}{'share':>7}{'error':>10}  peer")
    for r in rows:
        speed = "" if r.gb_per_s is None else f"{r.gb_per_s:.1f}"
        share = "" if r.gb_per_s is None else f"{r.gb_per_s / ceiling:.0%}"
        times = f"{r.ours_ms:10.3f}{r.theirs_ms:10.3f}{r.speedup:10.2f}"
        times = f"{r.ours_ms:10.3f}{r.theirs_ms:10.3f}{r.speedup:10.2f}"
        print(f"{r.name:16}{r.size:28}{times}{speed:>7}{share:>7}{r.error:10.2g}  {r.peer}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--decode", metavar="MODEL")
    parser.add_argument("--only-decode", action="store_true")
    options = parser.parse_args()
    os.environ["RTRITON_NUM_THREADS"] = str(options.threads)
    import torch

    from benchmarks.twins import triton_twin
    from tests.kernels import tutorials

    torch.set_num_threads(options.threads)
    ours: Any = tutorials
    ceiling = read_bandwidth(cache_bytes())
    found: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "threads": options.threads,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "read_gb_per_s": ceiling,
    }
    print(f"{options.threads} threads, torch {torch.__version__}; our read kernel: {ceiling:.1f} GB/s")
    rows = [] if options.only_decode else torch_rows(torch, ours)
    if os.environ.get("TRITON_INTERPRET") == "1" and not options.only_decode:
        rows += interpreter_rows(ours, triton_twin(Path(tutorials.__file__)), torch)
    ceiling = found["read_gb_per_s"] = max(ceiling, read_bandwidth(cache_bytes()))  # the machine may have sped up
    above = [r.name for r in rows if r.gb_per_s is not None and r.gb_per_s > 1.1 * ceiling]
    show(rows, ceiling)
    if options.threads > 1 and not options.only_decode:
        found["scaling"] = thread_scaling(options.threads)
        print(f"matmul 768^3 on {options.threads} threads over one: {found['scaling']['speed_up']:.2f}x")
    if options.decode:
        found["decode"] = decode_rows(options.decode, options.threads)
        print(json.dumps(found["decode"], indent=1))
    if options.json is not None:
        if above:
            raise SystemExit(f"above the {ceiling:.1f} GB/s of reading, so not measured right: {', '.join(above)}")
        options.json.write_text(json.dumps({**found, "rows": [asdict(r) for r in rows]}, indent=1))


if __name__ == "__main__":
    main()
