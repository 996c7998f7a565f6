"""What the pages' readers have: a served model, and a folder with the files that a page speaks of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs import commands
from tests.docs.pages import ROOT, blocks

collect_ignore = ["supplied"]
SUPPLIED = Path(__file__).with_name("supplied")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.make_model import write_model

    return Path(write_model(tmp_path_factory.mktemp("model") / "tiny.gguf", context=2048))


@pytest.fixture(scope="session")
def served(tiny: Path) -> Iterator[str]:
    """The url of `rtriton serve` over the tiny model, which goes by the demo model's name."""
    from tests.server.conftest import serving

    with serving(tiny, "--name", commands.NAME) as url:
        yield url


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return commands.directory(tmp_path_factory.mktemp("path") / "bin")


@pytest.fixture(autouse=True)
def environment_as_it_was() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def place(tmp_path: Path, tiny: Path) -> Path:
    """A reader's folder: a model, a kernel, a program for Triton with its tests, and a file of IR."""
    shutil.copytree(SUPPLIED, tmp_path, dirs_exist_ok=True)
    (tmp_path / commands.MODEL).symlink_to(tiny)
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(tiny)
    (tmp_path / "kernel.tir").symlink_to(ROOT / "docs" / "column-sums.tir")
    (kernel,) = [block for block in blocks(ROOT / "docs" / "explain.md") if block.title == "softmax.py"]
    (tmp_path / kernel.title).write_text(kernel.text, encoding="utf-8")
    return tmp_path
