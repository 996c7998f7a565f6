"""A sample of Triton's own unit tests, unmodified, on the CPU backend: none may fail but those named here.

The tests are not in this repository (tests/peers/triton_units.py says where they go and runs them all); where they are
absent this test skips. TRITON_UNITS_SEED draws another sample.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.peers.triton_units import ROOT, UNIT, read

SAMPLE = 60
ENVIRONMENT = {  # fail by what the tests ask of torch, under Triton's interpreter too
    "test_zero_strided_tensors": "enters torch.cuda.device of a tensor in CPU memory",
    "test_tensor_descriptor_batched_gemm_3d_tma": "makes CUDA tensors whatever the device is",
}


@pytest.mark.skipif(not UNIT.is_dir(), reason=f"Triton's tests are not at {UNIT}")
def test_a_sample_of_tritons_unit_tests_passes_on_the_cpu_backend(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    rows = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "tests.peers.triton_units", "--backend", "cpu", "--sample", str(SAMPLE),
               "--seed", os.environ.get("TRITON_UNITS_SEED", "36"), "--out", str(rows)]  # fmt: skip
    environment = {**os.environ, "RTRITON_CACHE_DIR": str(tmp_path / "cache")}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert rows.is_file(), ran.stdout + ran.stderr
    finished = read(rows)
    counts = Counter(row["outcome"] for row in finished)
    assert len(finished) == SAMPLE and counts["passed"] >= SAMPLE // 2, f"{dict(counts)}\n{ran.stdout}{ran.stderr}"
    failed = {row["test"]: row.get("why", "") for row in finished if row["outcome"] == "failed"}
    ours = {test: why for test, why in failed.items() if test.split("::")[-1].split("[")[0] not in ENVIRONMENT}
    assert not ours
