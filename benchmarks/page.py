"""Makes docs/benchmarks.md from the figures kept in benchmarks/results.

python -m benchmarks.page        # writes the page; a test keeps it equal to the figures
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.page_serving import serving_section

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def times(factor: float) -> str:
    return f"{factor:.2f}x" if factor < 10 else f"{factor:.0f}x"


def listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


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
    logits = read("h200-logits")
    decode = decode_lines((RESULTS / "h200-decode.json").read_text())
    return [
        "## On an NVIDIA H200",
        "`sh tests/gpu/check.sh MODEL.gguf` runs all of it, the op cases under compute-sanitizer (memcheck and "
        "racecheck) and the planted faults included. Decode of SmolLM2-135M-Instruct:",
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


GROUPS = {
    "memory": "Bound by memory (GB/s; share of a copy)",
    "sizes": "The same kernels at sizes that fill no GPU, and at sizes that no 16 divides",
    "products": "Products (TFLOP/s; share of torch's product), by `mma.sync`: `wgmma` is planned",
}


def kernels_section(kept: dict[str, Any]) -> list[str]:
    def row(r: dict[str, Any]) -> list[str]:
        ours, theirs, torch = (r["sides"].get(name) for name in ("rtriton", "triton", "torch"))
        pairs = [f"{ours[k]} / {theirs[k]}" for k in ("registers", "spills", "shared")]
        return [
            r["row"],
            str(r["warps"]),
            f"{ours['rate']:.0f}",
            f"{theirs['rate']:.0f}",
            f"{torch['rate']:.0f}" if torch else "",
            f"{r['ratio']:.2f} ({r['ratio_low']:.2f} to {r['ratio_high']:.2f})",
            f"{r['share']:.0%}",
            *pairs,
        ]

    head = ["kernel", "warps", "rtriton", "Triton", "torch", "ratio (rounds)", "share"]
    cold = [kept["first_launch_ms"][name] for name in ("rtriton", "triton")]
    most = kept["ceilings"]
    text = [
        "## Kernels on an H200",
        "One source compiled by both (`benchmarks/kernel_sources.py`), with the same launch options; torch is its own "
        f"operators. torch {kept['torch']}, Triton {kept['triton']}. rtriton's PTX is assembled by "
        f"{kept['rtriton_assembler']}, Triton's by {kept['triton_assembler']}. Each array counts once. "
        "Graphs of launches over buffers that together exceed the L2 four times are replayed in turn; the ratio is the "
        "median over rounds, with the lowest and the highest. "
        f"A kernel of torch's copies {most['copy']:.0f} GB/s, the memory's clock and width give {most['memory']:.0f} "
        "(what mostly reads is faster than a copy); "
        f"torch's product of 8192x8192 reaches {most['matmul']:.0f} TFLOP/s. Outputs of the last timed replay are "
        "checked against float64. `python -m benchmarks.kernels --json benchmarks/results/h200-kernels.json`",
    ]
    for group, title in GROUPS.items():
        rows = [r for r in kept["rows"] if r["group"] == group]
        lowest = min(rows, key=lambda r: r["ratio"])
        mean = kept["geometric_means"][group]
        text += [
            f"### {title}",
            table([*head, "registers", "spilled bytes", "shared bytes"], [row(r) for r in rows]),
            f"Geometric mean of the ratios to Triton: {mean:.2f}; lowest: {lowest['ratio']:.2f} ({lowest['row']}).",
        ]
    text.append(
        f"A first launch, with nothing compiled before, took {cold[0]:.0f} ms (Triton {cold[1]:.0f}) in the median "
        "over the kernels of the first table, assembling and loading included."
    )
    return text


def ablation_section(kept: dict[str, Any]) -> list[str]:
    def pair(r: dict[str, Any], key: str) -> str:
        return f"{r['with'][key]} / {r['without'][key]}"

    rows = [
        [
            f"`{r['pass']}`",
            r["row"],
            f"{r['with_us']:.1f} / {r['without_us']:.1f}",
            f"{r['ratio']:.2f}",
            *(pair(r, key) for key in ("registers", "shared", "total", "ptx")),
            r["what"],
        ]
        for r in kept["rows"]
    ]
    even = [f"`{r['pass']}`" for r in kept["rows"] if 0.98 <= r["ratio"] < 1.02]
    slower = [f"`{r['pass']}` costs {1 - r['ratio']:.0%} on its kernel" for r in kept["rows"] if r["ratio"] < 0.98]
    worse = f"{listed(slower)}." if slower else "None makes its kernel slower."
    head = ["pass", "kernel", "us", "times", "registers", "shared bytes", "instructions", "of PTX", "what it does"]
    return [
        "## What each pass is worth",
        "A kernel for each pass of the GPU pipeline, compiled with it / with `RTRITON_SKIP` naming it, timed as above "
        f"({kept['gpu']}); `coalesce`, `allocate` and `barriers` have a plain stand-in there. Registers and "
        "instructions are those of ptxas. "
        "`python -m benchmarks.ablation --json benchmarks/results/h200-ablation.json`",
        table(head, rows),
        f"Where the memory decides, {listed(even)} leave the time as it is (within 2%): the assembler does their work "
        "again, or other threads fill the time. What most of them save is code. "
        f"{worse}",
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


def launch_section(gpu: dict[str, Any], cpu: dict[str, Any]) -> list[str]:
    def row(kept: dict[str, Any], ways: list[str], arguments: int) -> list[str]:
        found = {r["way"]: r["us"] for r in kept["rows"] if r["arguments"] == arguments}
        return [str(arguments), *(f"{found[way]:.2f}" for way in ways)]

    counts = sorted({r["arguments"] for r in gpu["rows"]})
    on_gpu = {
        "driver's call alone": "the driver's call alone",
        "bound": "bound, grid chosen before, torch",
        "`bound[grid]()`": "bound[grid](), torch",
        "`kernel[grid]`, DeviceArray": "kernel[grid](...), DeviceArray",
        "`kernel[grid]`, torch": "kernel[grid](...), torch",
        "Triton, torch": "kernel[grid](...), torch, Triton",
    }
    on_cpu = {
        "`kernel[grid]`, NumPy": "kernel[grid](...), NumPy",
        "`kernel[grid]`, torch": "kernel[grid](...), torch",
        "bound": "bound, grid chosen before, NumPy",
    }
    return [
        "## Launching",
        f"Microseconds of the host per launch ({gpu['device']}, Python {gpu['python']}), stream lookup and the check "
        "of a captured global included, beside Triton on the same text in the same rounds and beside the driver's call "
        "with arguments packed beforehand, which is the floor. Bound kernels are those of `compile_for`, with the grid "
        "chosen before. The machine's processor is at times a third slower, for all columns alike: of three runs the "
        "middle one is kept. "
        "`python -m benchmarks.launch --json benchmarks/results/h200-launch.json`",
        table(["arguments", *on_gpu], [row(gpu, list(on_gpu.values()), n) for n in counts]),
        "On the CPU backend, running the one program included "
        "(`python -m benchmarks.launch --cpu --json benchmarks/results/cpu-launch.json`):",
        table(["arguments", *on_cpu], [row(cpu, list(on_cpu.values()), n) for n in counts]),
    ]


def page() -> str:
    head = [
        "# Benchmarks",
        "Made by `python -m benchmarks.page` from the figures in `benchmarks/results`, each written by the command "
        "beside it. Outputs are checked in the run that is timed; times are medians of rounds that alternate between "
        "the sides.",
    ]
    sections = [
        *cpu_section(read("cpu")),
        *serving_section(read("serving"), table),
        *gpu_section(),
        *kernels_section(read("h200-kernels")),
        *ablation_section(read("h200-ablation")),
        *launch_section(read("h200-launch"), read("cpu-launch")),
        *compile_section(read("compile")),
    ]
    return "\n\n".join([*head, *sections]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
