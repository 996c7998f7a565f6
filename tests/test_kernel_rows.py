"""The kernels that are timed beside Triton are right at small sizes: as CPU code, and as PTX in the emulator."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from benchmarks import ablation, ablation_rows, ablation_sources, kernel_sources
from benchmarks.kernel_rows import GROUPS, SMALL, In, Out, Row
from rtriton.passes import PIPELINES

TYPES = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16, "i32": np.int32, "i64": np.int64}


def made(row: Row) -> list[Any]:
    """The row's arguments: random inputs, and outputs that hold what no kernel writes."""
    rng = np.random.default_rng(0)

    def argument(a: Any) -> Any:
        if isinstance(a, Out):
            return np.full(a.shape, -77, TYPES[a.dtype])
        if isinstance(a, In) and a.below:
            return rng.integers(0, a.below, a.shape).astype(TYPES[a.dtype])
        return rng.standard_normal(a.shape).astype(TYPES[a.dtype]) if isinstance(a, In) else a

    return [argument(a) for a in row.arguments]


def check(row: Row, sources: Any = kernel_sources) -> None:
    """Run the kernel where RTRITON_BACKEND says; its outputs are the reference's within the row's tolerance."""
    arguments = made(row)
    options = {"num_warps": row.warps, "num_stages": row.stages}
    getattr(sources, row.kernel)[row.grid](*arguments, **row.constants, **options)
    pairs = list(zip(row.arguments, arguments, strict=True))
    inputs = [np.float64(x) if a.dtype[0] != "i" else x for a, x in pairs if isinstance(a, In)]
    outputs = [np.float64(x) for a, x in pairs if isinstance(a, Out)]
    for out, wanted in zip(outputs, row.reference(np, *inputs), strict=True):
        assert out.shape == wanted.shape
        assert np.linalg.norm(out - wanted) <= row.tolerance * np.linalg.norm(wanted)


@pytest.mark.parametrize("backend", ["cpu", "emulate"])
@pytest.mark.parametrize("row", SMALL, ids=lambda r: r.label)
def test_a_kernel_computes_its_reference(row: Row, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    check(row)


@pytest.mark.parametrize("backend", ["cpu", "emulate"])
@pytest.mark.parametrize("row", ablation_rows.SMALL, ids=lambda r: r.label)
def test_a_kernel_of_the_ablation_is_right(row: Row, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    check(row, ablation_sources)


@pytest.mark.parametrize("name", ["softmax", "row sum", "histogram"])
def test_plain_passes_do_what_is_needed_of_those_that_are_skipped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_SKIP", ",".join({step.name for step in PIPELINES["gpu"]} - {"mma"}))
    monkeypatch.setenv("RTRITON_BACKEND", "emulate")
    check(next(row for row in SMALL if row.name == name))


def test_every_timed_kernel_is_tested_small() -> None:
    assert {r.kernel for r in SMALL} == {r.kernel for rows in GROUPS.values() for r in rows}
    timed = {a.row.kernel for a in ablation_rows.ABLATIONS}
    assert timed <= {r.kernel for r in (*SMALL, *ablation_rows.SMALL)}


def test_every_pass_for_a_gpu_is_ablated_once() -> None:
    names = [a.name for a in ablation_rows.ABLATIONS]
    assert sorted(names) == sorted({step.name for step in PIPELINES["gpu"]})


def test_without_a_pass_the_code_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    for case in ablation_rows.ABLATIONS:
        compile = ablation.compilation(case)
        monkeypatch.setenv("RTRITON_SKIP", "")
        whole = compile()
        monkeypatch.setenv("RTRITON_SKIP", case.name)
        assert compile() != whole, case.name
