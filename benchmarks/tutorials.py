"""The tutorial kernels on a GPU, compiled by rtriton and by Triton from one source, checked and timed side by side.

    python -m benchmarks.tutorials [--json out.json]

Needs torch and Triton (the `reference` extra on a CUDA machine). Each time is the median of calls on rotated buffers
that together exceed the L2; rounds alternate between the two compilers. Shares are of a copy (GB/s) and of torch's
matmul (TFLOP/s) measured in the same run; a figure above the measured ceiling by more than 2% stops the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.twins import triton_twin
from tests.kernels import tutorials

ROUNDS, CALLS, L2 = 5, 20, 60 << 20


@dataclass
class Row:
    kernel: str
    size: str
    unit: str
    rtriton: float
    triton: float
    ceiling: float
    error: float

    @property
    def ratio(self) -> float:
        return self.rtriton / self.triton


def seconds(torch: Any, calls: list[Callable[[], Any]]) -> float:
    """Median time of one call, cycling through `calls` (one per buffer set), measured by events around all of them."""
    for call in calls:
        call()
    times: list[float] = []
    for _ in range(3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for i in range(CALLS):
            calls[i % len(calls)]()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / CALLS / 1e3)
    return statistics.median(times)


def compare(
    torch: Any,
    name: str,
    size: str,
    unit: str,
    work: float,
    ceiling: float,
    make: Callable[[Any, int], Callable[[], Any]],
    check: Callable[[Any], float],
    modules: tuple[Any, Any],
    buffers: int,
) -> Row:
    """Time both compilers in turn. `make(module, i)` gives the call on buffer set i, `check` its output's error."""
    calls = [[make(m, i) for i in range(buffers)] for m in modules]
    errors: list[float] = []
    for side in calls:
        side[0]().fill_(float("nan"))  # what is not written must not look right
        out = side[0]()
        torch.cuda.synchronize()
        errors.append(check(out))
    found: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for side in range(2):
            found[side].append(work / seconds(torch, calls[side]))
    ours, theirs = (statistics.median(f) for f in found)
    if ours > 1.02 * ceiling:
        raise SystemExit(
            f"{name}: {ours:.4g} {unit} is above the measured ceiling {ceiling:.4g}: the measurement is wrong"
        )
    return Row(name, size, unit, ours, theirs, ceiling, errors[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import torch
    import triton

    modules = (tutorials, triton_twin(Path(tutorials.__file__)))
    torch.manual_seed(0)
    copy_ceiling, matmul_ceiling = ceilings(torch)
    rows = [*memory_rows(torch, modules, copy_ceiling), *matmul_rows(torch, modules, matmul_ceiling)]
    print(
        f"{torch.cuda.get_device_name()}; torch {torch.__version__}, triton {triton.__version__}; "
        f"copy {copy_ceiling:.0f} GB/s, "
        f"torch matmul {matmul_ceiling:.0f} TFLOP/s"
    )
    print(f"{'kernel':16}{'size':>22}{'unit':>9}{'rtriton':>10}{'triton':>10}{'ratio':>7}{'share':>7}{'error':>10}")
    for r in rows:
        figures = f"{r.rtriton:10.4g}{r.triton:10.4g}{r.ratio:7.2f}{r.rtriton / r.ceiling:7.0%}{r.error:10.2g}"
        print(f"{r.kernel:16}{r.size:>22}{r.unit:>9}{figures}")
    if options.json is not None:
        options.json.write_text(
            json.dumps(
                {
                    "gpu": torch.cuda.get_device_name(),
                    "torch": torch.__version__,
                    "triton": triton.__version__,
                    "rows": [asdict(r) for r in rows],
                },
                indent=1,
            )
        )


def ceilings(torch: Any) -> tuple[float, float]:
    """GB/s of a large copy (bytes read and written), TFLOP/s of torch's bf16 matmul, on random data."""
    x = torch.randn(1 << 30, device="cuda")
    y = torch.empty_like(x)
    copy = 2 * x.nbytes / seconds(torch, [lambda: y.copy_(x)]) / 1e9
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    return copy, 2 * 8192**3 / seconds(torch, [lambda: torch.mm(a, b)]) / 1e12


def memory_rows(torch: Any, modules: tuple[Any, Any], ceiling: float) -> list[Row]:
    n = 1 << 27
    sets = [
        (torch.randn(n, device="cuda"), torch.randn(n, device="cuda"), torch.empty(n, device="cuda")) for _ in range(2)
    ]

    def add(module: Any, i: int) -> Callable[[], Any]:
        x, y, out = sets[i]

        def call() -> Any:
            module.add_kernel[(n // 1024,)](x, y, out, n, BLOCK=1024)
            return out

        return call

    rows = [
        compare(
            torch,
            "vector add",
            "2^27 f32",
            "GB/s",
            12 * n / 1e9,
            ceiling,
            add,
            lambda out: float((out - sets[0][0] - sets[0][1]).abs().max()),
            modules,
            2,
        )
    ]
    for columns in (1024, 4096):
        rows.append(softmax_row(torch, modules, ceiling, 16384, columns))
        rows.append(layer_norm_row(torch, modules, ceiling, 8192, columns))
    return rows


def softmax_row(torch: Any, modules: tuple[Any, Any], ceiling: float, rows: int, columns: int) -> Row:
    xs = [torch.randn(rows, columns, device="cuda") for _ in range(4)]
    out = torch.empty_like(xs[0])
    programs = torch.cuda.get_device_properties(0).multi_processor_count * 8

    def make(module: Any, i: int) -> Callable[[], Any]:
        def call() -> Any:
            module.softmax_kernel[(programs,)](
                out, xs[i], columns, columns, rows, columns, BLOCK=columns, STAGES=2, num_warps=8
            )
            return out

        return call

    return compare(
        torch,
        "softmax",
        f"{rows}x{columns} f32",
        "GB/s",
        8 * rows * columns / 1e9,
        ceiling,
        make,
        lambda o: float((o - torch.softmax(xs[0], 1)).abs().max()),
        modules,
        4,
    )


def layer_norm_row(torch: Any, modules: tuple[Any, Any], ceiling: float, rows: int, columns: int) -> Row:
    xs = [torch.randn(rows, columns, device="cuda", dtype=torch.float16) for _ in range(8)]
    w, b = (torch.randn(columns, device="cuda", dtype=torch.float16) for _ in range(2))
    out, mean, rstd = torch.empty_like(xs[0]), *(torch.empty(rows, device="cuda") for _ in range(2))

    def make(module: Any, i: int) -> Callable[[], Any]:
        def call() -> Any:
            module.layer_norm_forward_kernel[(rows,)](
                xs[i], out, w, b, mean, rstd, columns, columns, 1e-5, BLOCK=columns, num_warps=8
            )
            return out

        return call

    return compare(
        torch,
        "layer norm",
        f"{rows}x{columns} f16",
        "GB/s",
        4 * rows * columns / 1e9,
        ceiling,
        make,
        lambda o: float((o - torch.layer_norm(xs[0], (columns,), w, b)).abs().max()),
        modules,
        8,
    )


def matmul_rows(torch: Any, modules: tuple[Any, Any], ceiling: float) -> list[Row]:
    made: list[Row] = []
    for n, (bm, bn, bk, warps, stages) in (
        (4096, (128, 128, 64, 4, 4)),
        (4096, (128, 256, 64, 8, 3)),
        (8192, (128, 256, 64, 8, 3)),
    ):
        pairs = [
            (
                torch.randn(n, n, device="cuda", dtype=torch.float16),
                torch.randn(n, n, device="cuda", dtype=torch.float16),
            )
            for _ in range(2)
        ]
        out = torch.empty(n, n, device="cuda", dtype=torch.float16)

        def make(module: Any, i: int) -> Callable[[], Any]:
            a, b = pairs[i]

            def call() -> Any:
                module.matmul_kernel[((n // bm) * (n // bn),)](
                    a,
                    b,
                    out,
                    n,
                    n,
                    n,
                    n,
                    1,
                    n,
                    1,
                    n,
                    1,
                    BM=bm,
                    BN=bn,
                    BK=bk,
                    GROUP=8,
                    ACTIVATION="",
                    num_warps=warps,
                    num_stages=stages,
                )
                return out

            return call

        rows = slice(0, n, 61)
        wanted = pairs[0][0][rows].double() @ pairs[0][1].double()
        made.append(
            compare(
                torch,
                "matmul",
                f"{n}^3 f16 {bm}x{bn}x{bk}",
                "TFLOP/s",
                2 * n**3 / 1e12,
                ceiling,
                make,
                lambda o: float((o[rows].double() - wanted).norm() / wanted.norm()),
                modules,
                2,
            )
        )
    return made


if __name__ == "__main__":
    main()
