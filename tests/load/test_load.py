"""The server under load: every answer is the one that its request gets alone, nothing is left behind, and when the
engine dies everyone is told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.load.asked import pool
from tests.load.clients import load
from tests.load.serving import serving
from tests.load.soak import soak

pytest.importorskip("llguidance")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at through /proc")


def test_a_thousand_requests_by_two_hundred_clients_get_what_they_get_alone_and_leave_nothing():
    it = soak(1000, clients=200)
    assert sum(it.told.done.values()) == 1000
    assert set(it.told.done) == {"streams", "whole", "cut", "slow", "malformed"}
    assert it.told.tokens > 5000
    assert it.preemptions > 0
    assert it.swapped > 0
    assert it.descriptors == {"server": 0, "core": 0}
    # `make soak` holds it to a kilobyte; over so few requests first uses of code and pages count too
    assert all(growth < 8192 for growth in it.growth.values())


def test_when_the_engine_is_killed_under_load_every_client_is_told_and_later_ones_are_served(tmp_path: Path):
    with serving(tmp_path) as it:
        asked = pool(it.model, 60, seed=3)
        killed, unready, ready = 0.0, False, 0.0

        async def kill() -> None:
            nonlocal killed, unready, ready
            while not await asyncio.to_thread(it.metric, "vllm:num_requests_running"):
                await asyncio.sleep(0.02)
            core = it.core_pid
            killed = time.monotonic()
            os.kill(core, signal.SIGKILL)
            while not ready and time.monotonic() < killed + 60:
                if await asyncio.to_thread(it.ready):
                    ready = time.monotonic() if unready else 0.0
                else:
                    unready = True
                await asyncio.sleep(0.02)

        async def both() -> list:
            kinds = {"streams": 0.7, "whole": 0.3}
            loaded = load(it.port, asked, 600, 60, seed=4, kinds=kinds, lost=lambda said: "engine has stopped" in said)
            return await asyncio.gather(loaded, kill())

        told, _ = asyncio.run(both())
        assert sum(told.done.values()) == 600, "nobody is left without an answer"
        assert told.done["told of a loss"] > 10
        assert unready, "/ready says that there is no engine while there is none"
        assert ready and ready - killed < 30
        later = asyncio.run(load(it.port, asked, 100, 20, seed=5))
        assert later.done["told of a loss"] == 0
        assert it.metric("rtriton_engine_restarts_total") == 1
