"""The choice between ways of one product is measured once, remembered on disk, and never measured while recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ops import gemm_choice

KEY = (16, 64, 32, "bf16", "ieee")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(gemm_choice, "_memory", {})


def ways() -> dict[str, Callable[[], None]]:
    return {gemm_choice.KERNEL: lambda: None, gemm_choice.CUBLAS: lambda: None}


def clock(*microseconds: float) -> Callable[[Callable[[], None]], float]:
    times = iter(microseconds)
    return lambda way: next(times)


def test_the_faster_way_is_kept_with_its_reason() -> None:
    assert gemm_choice.choose("GPU 1", KEY, ways(), clock(9.0, 4.0), recording=False) == "cublaslt"
    [choice] = gemm_choice.remembered("GPU 1")
    assert choice.microseconds == {"rtriton": 9.0, "cublaslt": 4.0} and (choice.n, choice.k) == (64, 32)


def test_another_process_reads_the_choice_instead_of_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    gemm_choice.choose("GPU 1", KEY, ways(), clock(1.0, 4.0), recording=False)
    monkeypatch.setattr(gemm_choice, "_memory", {})
    assert gemm_choice.choose("GPU 1", KEY, ways(), clock(), recording=False) == "rtriton"
    assert gemm_choice.remembered("GPU 2") == []


def test_nothing_is_measured_while_launches_are_recorded() -> None:
    assert gemm_choice.choose("GPU 1", KEY, ways(), clock(), recording=True) == "rtriton"
    assert gemm_choice.remembered("GPU 1") == []


def test_where_nothing_can_be_kept_the_choice_holds_for_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path / "file"))
    assert gemm_choice.choose("GPU 1", KEY, ways(), clock(9.0, 4.0), recording=False) == "cublaslt"
    assert gemm_choice.choose("GPU 1", KEY, ways(), clock(), recording=False) == "cublaslt"


def test_a_forgotten_device_is_measured_again() -> None:
    gemm_choice.choose("GPU 1", KEY, ways(), clock(1.0, 4.0), recording=False)
    gemm_choice.forget("GPU 1")
    assert gemm_choice.choose("GPU 1", KEY, ways(), clock(5.0, 4.0), recording=False) == "cublaslt"
