"""Knobs: Python settings, then the environment, then defaults; scopes, copies, resets."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtriton import knobs


class sample_knobs(knobs.base_knobs):
    colour = knobs.env_str("SAMPLE_COLOUR", "red")
    loud = knobs.env_bool("SAMPLE_LOUD", also=("SAMPLE_OWN_LOUD",))
    size = knobs.env_int("SAMPLE_SIZE", 3)
    open = knobs.env_opt_bool("SAMPLE_OPEN")


NAMES = ("SAMPLE_COLOUR", "SAMPLE_LOUD", "SAMPLE_OWN_LOUD", "SAMPLE_SIZE", "SAMPLE_OPEN")


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> Iterator[sample_knobs]:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    yield sample_knobs()
    for name in NAMES:
        os.environ.pop(name, None)


def test_the_environment_is_read_at_every_use(family: sample_knobs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert family.knobs == {"colour": "red", "loud": False, "size": 3, "open": None}
    monkeypatch.setenv("SAMPLE_COLOUR", "blue")
    monkeypatch.setenv("SAMPLE_SIZE", "12")
    monkeypatch.setenv("SAMPLE_OPEN", "off")
    assert family.knobs == {"colour": "blue", "loud": False, "size": 12, "open": False}


@pytest.mark.parametrize(("text", "meaning"), [("1", True), ("TRUE", True), ("y", True), ("On", True), ("yes", True),
                                               ("0", False), ("no", False), ("off", False), ("", False)])
def test_a_switch_reads_the_usual_words(family: sample_knobs, monkeypatch: pytest.MonkeyPatch, text: str,
                                        meaning: bool) -> None:
    monkeypatch.setenv("SAMPLE_LOUD", text)
    assert family.loud is meaning


def test_rtritons_own_name_of_a_variable_wins(family: sample_knobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_LOUD", "0")
    monkeypatch.setenv("SAMPLE_OWN_LOUD", "1")
    assert family.loud is True


def test_what_is_set_in_python_reaches_the_environment(family: sample_knobs) -> None:
    family.loud, family.size, family.colour = True, 7, "green"
    assert (os.environ["SAMPLE_LOUD"], os.environ["SAMPLE_SIZE"], os.environ["SAMPLE_COLOUR"]) == ("1", "7", "green")


def test_propagation_can_be_switched_off(family: sample_knobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knobs, "propagate_env", False)
    family.size = 7
    assert family.size == 7 and "SAMPLE_SIZE" not in os.environ
    family.size = knobs.env
    assert family.size == 3


def test_a_scope_undoes_settings_and_environment(family: sample_knobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_SIZE", "5")
    family.colour = "grey"
    with family.scope():
        family.size, family.colour, family.open = 9, "white", True
        assert os.environ["SAMPLE_SIZE"] == "9"
    assert family.knobs == {"colour": "grey", "loud": False, "size": 5, "open": None}
    assert os.environ["SAMPLE_SIZE"] == "5" and "SAMPLE_OPEN" not in os.environ


def test_a_copy_changes_alone_and_a_reset_forgets(family: sample_knobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knobs, "propagate_env", False)
    family.size = 4
    other = family.copy()
    other.size = 5
    assert (family.size, other.size, other.reset().size, family.size) == (4, 5, 3, 4)


def test_a_number_that_is_none_is_refused_with_its_variable(family: sample_knobs,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_SIZE", "many")
    with pytest.raises(RuntimeError, match="SAMPLE_SIZE is a whole number, got 'many'"):
        _ = family.size


def test_the_cache_folder_follows_tritons_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RTRITON_CACHE_DIR", "TRITON_CACHE_DIR", "TRITON_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert knobs.cache_dir() == Path.home() / ".cache" / "rtriton"
    monkeypatch.setenv("TRITON_HOME", "/some/home")
    assert knobs.cache_dir() == Path("/some/home/.triton/cache")
    assert knobs.cache.dump_dir == "/some/home/.triton/dump"
    monkeypatch.setenv("TRITON_CACHE_DIR", "/some/cache")
    assert knobs.cache_dir() == Path("/some/cache")
    with knobs.cache.scope():
        knobs.cache.dir = "/set/here"
        assert knobs.cache_dir() == Path("/set/here")


def test_tritons_names_switch_rtriton(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RTRITON_BACKEND", "RTRITON_INTERPRET", "RTRITON_DUMP", "RTRITON_TARGET"):
        monkeypatch.delenv(name, raising=False)
    assert knobs.backend() == "" and knobs.dump_dir() is None
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert knobs.backend() == "interpret"
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    assert knobs.backend() == "cpu"
    monkeypatch.setenv("TRITON_KERNEL_DUMP", "1")
    monkeypatch.setenv("TRITON_DUMP_DIR", str(tmp_path))
    assert knobs.dump_dir() == tmp_path
    monkeypatch.setenv("TRITON_OVERRIDE_ARCH", "sm80")
    assert knobs.target() == "sm_80"


def test_debug_is_read_at_import_and_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knobs.runtime, "debug", False)
    monkeypatch.setenv("TRITON_DEBUG", "1")
    assert not knobs.runtime.debug
    knobs.refresh_knobs()
    assert knobs.runtime.debug


def test_hooks_run_in_order_once_each_and_backwards_at_the_end() -> None:
    heard: list[str] = []
    for backwards, wanted in ((False, ["a", "b"]), (True, ["b", "a"])):
        chain = knobs.HookChain(reversed=backwards)
        first, second = (lambda: heard.append("a")), (lambda: heard.append("b"))
        for hook in (first, second, first):
            chain.add(hook)
        heard.clear()
        chain()
        assert heard == wanted
        chain.remove(first)
        chain.remove(first)
        heard.clear()
        chain()
        assert heard == ["b"]


def test_a_tool_is_found_and_says_its_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "ptxas"
    tool.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 99.1, V99.1.22'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("TRITON_PTXAS_PATH", str(tool))
    monkeypatch.delenv("RTRITON_PTXAS", raising=False)
    assert knobs.nvidia.ptxas == knobs.NvidiaTool(str(tool), "99.1")
    assert knobs.ptxas() == str(tool)
