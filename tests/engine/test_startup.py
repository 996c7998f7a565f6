"""Seconds and bytes of a start: each is counted once, and totals are measured apart from the parts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.config import EngineConfig
from engine.core_client import SyncCoreClient
from engine.host import machine_bytes, process_age, untouched_bytes
from engine.messages import Breakdown, ModelInfo
from engine.startup import BEGINNING, ENGINE, Stopwatch
from rtriton import knobs
from tests.make_model import write_model

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only a test moves."""
    it = SimpleNamespace(now=100.0)
    monkeypatch.setattr(time, "perf_counter", lambda: it.now)
    return it


def test_a_phase_inside_another_interrupts_it(clock: SimpleNamespace):
    watch = Stopwatch()
    clock.now += 1
    with watch.phase("outer"):
        clock.now += 10
        with watch.phase("inner"):
            clock.now += 100
        clock.now += 20
    with pytest.raises(KeyError), watch.phase("outer"):
        clock.now += 3
        raise KeyError
    clock.now += 2
    it = watch.breakdown("start")
    assert dict(it.parts) == {"outer": 33, "inner": 100}
    assert (it.total, it.other) == (136, 3)


def test_what_the_compiler_says_of_itself_is_no_longer_the_phases(clock: SimpleNamespace):
    heard: list[bool] = []
    knobs.compilation.listener = lambda **told: heard.append(told["cache_hit"])
    try:
        watch = Stopwatch()
        with watch.phase("first runs"), watch.compiling():
            for seconds, hit in ((3, False), (1, True), (2, False)):
                clock.now += seconds
                knobs.compilation.listener(times=SimpleNamespace(total=seconds * 1e6), cache_hit=hit)
            clock.now += 4
        assert dict(watch.breakdown("x").parts) == {
            "first runs": 4, "compiling kernels": 5, "reading compiled kernels": 1,
        }  # fmt: skip
        knobs.compilation.listener(cache_hit=True)
    finally:
        knobs.compilation.listener = None
    assert heard == [False, True, False, True]


def test_a_watch_around_another_has_the_parts_of_both_and_its_own_total(clock: SimpleNamespace):
    watch = Stopwatch(before=5.0)
    watch.seconds[BEGINNING] = 5.0
    clock.now += 2
    inner = (Breakdown(ENGINE, "s", (("reading", 1.5),), 1.6), Breakdown("memory", "bytes", (("weights", 7),), 9))
    seconds, memory = watch.around(inner)
    assert seconds == Breakdown(ENGINE, "s", ((BEGINNING, 5.0), ("reading", 1.5)), 7.0)
    assert seconds.other == 0.5 and memory == inner[1] and memory.other == 2


@LINUX
def test_the_age_of_a_process_counts_from_its_start():
    code = "import time; time.sleep(0.3); from engine.host import process_age; print(process_age())"
    started = time.perf_counter()
    age = float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT).stdout)
    assert 0.3 <= age <= time.perf_counter() - started + 0.05
    assert process_age() > 0


@LINUX
def test_pages_that_were_never_written_are_told_from_those_that_were():
    page = os.sysconf("SC_PAGE_SIZE")
    # more than the C library ever takes from memory that was freed before, which was written
    array = np.zeros(16384 * page, np.uint8)
    before = untouched_bytes(array)
    assert before > 16000 * page
    array[: 8192 * page] = 1
    # large pages are written whole
    assert 7000 * page < untouched_bytes(array) <= before - 8000 * page
    assert untouched_bytes(np.zeros(0)) == 0


@LINUX
def test_a_containers_limit_is_the_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    meminfo = Path("/proc/meminfo").read_text()
    monkeypatch.setattr("engine.host.LIMITS", (tmp_path / "max", tmp_path / "not there"))
    (tmp_path / "max").write_text("max\n")
    assert abs(machine_bytes() - 1024 * int(meminfo.split("MemTotal:")[1].split()[0])) < 1 << 30
    (tmp_path / "max").write_text("123456789\n")
    assert machine_bytes() == 123456789


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelInfo, float]:
    """What a core says when it is ready, and the seconds that its parent waited."""
    model = write_model(tmp_path_factory.mktemp("model") / "tiny.gguf", layers=8, hidden=256, intermediate=512)
    started = time.perf_counter()
    core = SyncCoreClient(EngineConfig(str(model), device="cpu", kv_cache_bytes=64 << 20, swap_bytes=16 << 20))
    seconds = time.perf_counter() - started
    core.close()
    return core.info, seconds


def test_the_seconds_of_a_core_are_explained_but_for_a_small_rest(ready: tuple[ModelInfo, float]):
    info, waited = ready
    seconds = next(it for it in info.startup if it.unit == "s")
    parts = dict(seconds.parts)
    wanted = {
        "reading the file",
        "repacking the weights",
        "allocating",
        "recording launches",
        "first runs of the kernels",
    }
    assert wanted <= parts.keys() and parts.keys() & {"compiling kernels", "reading compiled kernels"}
    assert all(amount >= 0 for amount in parts.values())
    assert seconds.total <= waited + 0.05
    assert -0.02 <= seconds.other <= 0.25 * seconds.total
    if sys.platform == "linux":
        assert parts[BEGINNING] > 0.1 and seconds.total >= 0.5 * waited


def test_the_bytes_of_a_core_are_explained_and_the_rest_is_what_any_core_holds(ready: tuple[ModelInfo, float]):
    info, _ = ready
    [memory] = [it for it in info.startup if it.unit == "bytes"]
    weights, cache, buffers, swap = (amount for _, amount in memory.parts)
    layer = 8 * info.block_size * 2 * 128 * 4  # layers, tokens, keys and values of 2 heads of 64, float32
    assert cache == (info.num_blocks + 1) * layer
    assert weights == int(info.details["weight_bytes"])
    assert swap == ((16 << 20) // layer + 1) * layer
    assert 0 < buffers < 64 << 20
    if sys.platform == "linux":
        # Python, its modules, LLVM, compiled code
        assert 40 << 20 < memory.other < 400 << 20
