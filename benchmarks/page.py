"""Makes docs/benchmarks.md from the figures kept in benchmarks/results.

python -m benchmarks.page        # writes the page; a test keeps it equal to the figures
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def times(factor: float) -> str:
    return f"{factor:.2f}x" if factor < 10 else f"{factor:.0f}x"


def decode_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def cpu_section(cpu: dict[str, Any]) -> list[str]:
    ceiling = cpu["read_gb_per_s"]
    rows = [
        [
            r["name"],
            r["size"],
            f"{r['ours_ms']:.3g}",
            f"{r['theirs_ms']:.3g}",
            times(r["theirs_ms"] / r["ours_ms"]),
            "" if r["gb_per_s"] is None else f"{r['gb_per_s']:.1f} ({r['gb_per_s'] / ceiling:.0%})",
            r["peer"],
        ]
        for r in cpu["rows"]
    ]
    decode = cpu["decode"]
    ours, eight = decode["rtriton"], decode["rtriton_batch_8"]
    return [
        "## On a CPU",
        f"{cpu['threads']} threads of a virtual machine that shares its host (figures move by a tenth and more from "
        f"run to run), torch {cpu['torch']}. Reading reached {ceiling:.1f} GB/s in its best round; the shares are of "
        "that.",
        "`TRITON_INTERPRET=1 python -m benchmarks.cpu --decode MODEL.gguf --json benchmarks/results/cpu.json`",
        table(["kernel", "size", "ms", "peer's ms", "speed-up", "GB/s (share)", "peer"], rows),
        f"Two threads multiply matrices in the cache {cpu['scaling']['speed_up']:.2f} times as fast as one.",
        "Decode of SmolLM2-135M-Instruct (Q4_1), prompts of 128 tokens, beside llama.cpp on the same file and threads:",
        table(
            ["", "rtriton", "llama.cpp"],
            [
                [
                    "decode, batch 1 (tokens/s)",
                    f"{ours['decode_tokens_per_s']:.0f}",
                    f"{decode['llama_cpp_decode_tokens_per_s']:.0f}",
                ],
                ["decode, batch 8 (tokens/s)", f"{eight['decode_tokens_per_s']:.0f}", ""],
                [
                    "prefill (tokens/s)",
                    f"{ours['prefill_tokens_per_s']:.0f}",
                    f"{decode['llama_cpp_prefill_tokens_per_s']:.0f}",
                ],
                ["time outside kernels, batch 1", f"{ours['outside_kernels']:.1%}", ""],
            ],
        ),
        f"That is {decode['ratio']:.2f} times llama.cpp; the goal was twice. A token reads 97 MB of weights, so that "
        f"decode moves {ours['decode_tokens_per_s'] * 0.0966:.0f} GB/s. One thread reads int4 weights at about "
        "14 GB/s where plain reading reached 22, so that turning codes into floats, and not memory, seems to be the "
        "limit; no counters were read. Three things that were tried did not move the median beyond the noise: "
        "other shares of programs per thread, a cheaper form of the int4 product (the whole byte in "
        "place of the high half), and prefetching the next tile from memory.",
    ]


def gpu_section() -> list[str]:
    tutorials, logits = read("h200-tutorials"), read("h200-logits")
    rows = [
        [
            r["kernel"],
            r["size"],
            f"{r['rtriton']:.4g} {r['unit']}",
            f"{r['triton']:.4g}",
            f"{r['rtriton'] / r['triton']:.2f}",
            f"{r['rtriton'] / r['ceiling']:.0%}",
        ]
        for r in tutorials["rows"]
    ]
    decode = decode_lines((RESULTS / "h200-decode.json").read_text())
    return [
        "## On an NVIDIA H200",
        f"torch {tutorials['torch']}, Triton {tutorials['triton']}; `sh tests/gpu/check.sh MODEL.gguf` runs all of it, "
        "the op cases under compute-sanitizer (memcheck and racecheck) and the planted faults included.",
        table(["tutorial kernel", "size", "rtriton", "Triton", "ratio", "share of copy or torch matmul"], rows),
        "Calls are made from Python, launch and all; kernels of a few microseconds (layer norm 8192x1024) show the "
        "cost of a launch, which is the next step's work. Products use `mma.sync`; `wgmma` is planned.",
        table(
            ["batch", "decode (tokens/s)", "ms a step", "steps", "graph replays"],
            [
                [
                    str(d["batch"]),
                    f"{d['decode_tokens_per_s']:.0f}",
                    f"{d['ms_per_step']:.2f}",
                    str(d["steps"]),
                    str(d["replays"]),
                ]
                for d in decode
            ],
        ),
        "## Logits",
        "Teacher-forced beside transformers' float32 load of the same file "
        "(`python -m tests.reference.check_engine [--device cuda]`):",
        table(
            ["", "positions", "largest difference", "bound", "other argmax", "share checked"],
            [
                [
                    name,
                    str(r["positions"]),
                    f"{r['largest_difference']:.4f}",
                    str(r["bound"]),
                    str(r["wrong"]),
                    f"{r['share_checked']:.1%}",
                ]
                for name, r in (("CPU", read("cpu-logits")), ("H200", logits))
            ],
        ),
        "On the GPU chunks of a prompt are multiplied on tensor cores in tf32, which is what its larger bound is for.",
    ]


def compile_section(kept: Any) -> list[str]:
    rows = [
        [
            r["name"],
            f"{r['ours_cpu_ms']:.1f}",
            f"{r['theirs_cpu_ms']:.1f}",
            f"{r['ours_cpu_ms'] / r['theirs_cpu_ms']:.2f}",
            str(r["ours_lines"]),
            str(r["theirs_lines"]),
        ]
        for r in kept["rows"]
    ]
    start = [[name, f"{t['cpu_s']:.2f}", f"{t['s']:.2f}"] for name, t in kept["start_up"].items()]
    return [
        "## Compiling",
        f"From Python source to PTX for {kept['target']}, without ptxas, beside Triton {kept['triton']} on one text, "
        "nothing remembered of earlier compilations: milliseconds of processor time, medians of rounds that alternate "
        "in one process on a shared machine, and the instructions that came out. "
        "`python -m benchmarks.compile --json benchmarks/results/compile.json`",
        table(["kernel", "rtriton", "Triton", "ratio", "instructions", "Triton's"], rows),
        "Whole processes, from start to end, on the same machine (the clock counts the work of others too):",
        table(["", "processor (s)", "clock (s)"], start),
    ]


def page() -> str:
    head = [
        "# Benchmarks",
        "Made by `python -m benchmarks.page` from the figures in `benchmarks/results`, each written by the command "
        "beside it. Outputs are checked in the run that is timed; times are medians of rounds that alternate between "
        "the sides.",
    ]
    sections = [*cpu_section(read("cpu")), *gpu_section(), *compile_section(read("compile"))]
    return "\n\n".join([*head, *sections]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
