"""What was found once stays fixed, and a few hundred new inputs for each target find nothing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.inputs import beginnings, inputs
from tests.fuzz.limits import Finding, check
from tests.fuzz.target import NAMES, Target, kept, load
from tests.properties.conftest import EXAMPLES

FEWER = {"gguf": 4, "kernel": 2}
"""Those that take longer for an input: so many times fewer of them."""


@pytest.mark.parametrize("name", NAMES)
def test_kept_inputs_find_nothing(name: str) -> None:
    target = load(name)
    for data in target.seeds():
        target.run(data)  # what is imported and remembered at first is nobody's input
        check(target, data)
    for file, data in kept(name).items():
        try:
            check(target, data)
        except Finding as finding:
            raise AssertionError(f"tests/fuzz/corpus/{name}/{file}") from finding


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs_find_nothing(name: str) -> None:
    target = load(name)

    @settings(
        max_examples=EXAMPLES // FEWER.get(name, 1),
        deadline=None,
        derandomize=True,  # a chance find is for `python -m tests.fuzz`, not for somebody else's change
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(target, beginnings(name, target)))
    def some(data: bytes) -> None:
        check(target, data)

    some()


def divides(data: bytes) -> None:
    1 // len(data)


def test_a_crash_is_told() -> None:
    with pytest.raises(Finding, match="ZeroDivisionError"):
        check(Target(divides, list, lambda data, rng: data), b"")


def test_a_hang_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def spins(data: bytes) -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001 - what is interrupted does not get to answer
                return

    monkeypatch.setattr("tests.fuzz.limits.SECONDS", 0.1)
    with pytest.raises(Finding, match=r"0\.1 s"):
        check(Target(spins, list, lambda data, rng: data), b"")


def test_memory_beyond_what_a_target_may_take_is_told() -> None:
    target = Target(lambda data: bytearray(1 << 20).clear(), list, lambda data, rng: data, memory=lambda data: 1 << 16)
    with pytest.raises(Finding, match="memory"):
        check(target, b"")
    check(Target(lambda data: None, list, lambda data, rng: data, memory=lambda data: 1 << 16), b"")
