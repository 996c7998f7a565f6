"""The set-up that `make` runs: every way it can fail is one sentence with the remedy."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The script as a module, whose environment would be made in a folder of the test."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(module, "PYTHON", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.setattr(module, "STAMP", str(tmp_path / "stamp"))
    return module


def stops(capsys: pytest.CaptureFixture[str]) -> str:
    """What it said at its end, after checking that it is one sentence."""
    said = capsys.readouterr().err
    assert said.startswith("rtriton: ") and said.count("\n") == 1
    return said


def test_an_old_python_is_told_what_to_install(
    bootstrap: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "new_enough", lambda: None)
    monkeypatch.setattr(bootstrap, "own", lambda: "3.8")
    with pytest.raises(SystemExit, match="1"):
        bootstrap.make_venv(None)
    said = stops(capsys)
    assert "3.11" in said and "this is 3.8" in said and "apt install python3.11" in said


def test_a_missing_venv_module_is_told_what_to_install(
    bootstrap: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    # Debian's python3 without python3-venv: ensurepip cannot be imported
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; *) exec {sys.executable} "$@";; esac\n')
    python.chmod(0o755)
    monkeypatch.setattr(bootstrap, "new_enough", lambda: str(python))
    with pytest.raises(SystemExit, match="1"):
        bootstrap.make_venv(None)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"apt install python{version}-venv" in stops(capsys)


def test_no_network_is_said(
    bootstrap: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "run", lambda command: 1)
    with pytest.raises(SystemExit, match="1"):
        bootstrap.install(None, ["serve"])
    assert "network" in stops(capsys)
    assert not os.path.exists(bootstrap.STAMP), "what failed is tried again"


def test_what_is_installed_is_not_installed_again(bootstrap: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "run", lambda command: commands.append(command) or 0)
    for extras in (["serve"], ["serve"], ["serve", "test"], ["serve"]):
        bootstrap.install(None, extras)
    assert [command[-1].rsplit("[")[-1] for command in commands] == ["serve]", "serve,test]"]


def test_an_unknown_task_is_told_the_known_ones(
    bootstrap: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        bootstrap.main(["launch"])
    assert "ci, demo, doctor, serve, soak, test" in stops(capsys)


def test_no_python_at_all_is_one_sentence() -> None:
    result = subprocess.run(["make", "serve", "PYTHON=python-of-nowhere"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert result.stderr.splitlines()[0].startswith("rtriton: there is no python-of-nowhere here; install Python 3.11")


def test_the_script_can_be_read_by_an_old_python() -> None:
    source = (ROOT / "scripts" / "bootstrap.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.NamedExpr, ast.Match))]


def test_every_extra_that_it_installs_exists(bootstrap: types.ModuleType) -> None:
    import tomllib

    extras_of = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    wanted = {extra for extras in bootstrap.EXTRAS.values() for extra in extras} | {"cuda-driver"}
    assert wanted <= set(extras_of)
    packages = [package for name in wanted for package in extras_of[name]]
    assert not [package for package in packages if package.startswith(("torch", "transformers"))]
