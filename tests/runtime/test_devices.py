"""Which device programs are told of, where there is no GPU."""

import os
import platform

import pytest

import rtriton


def test_without_a_gpu_the_target_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    target = rtriton.runtime.driver.active.get_current_target()
    assert (target.backend, target.arch) == ("cpu", platform.machine())
    assert rtriton.runtime.driver.active.get_current_device() == 0


def test_the_processors_count_as_multiprocessors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    properties = rtriton.runtime.driver.active.utils.get_device_properties(0)
    assert properties["multiprocessor_count"] == os.cpu_count() and properties["max_shared_mem"] == 0
