"""Attacks by model files and on what is kept on disk.

One for each guard of docs/security.md; it fails when its guard is taken away.
"""

from __future__ import annotations

import ast
import hashlib
import os
import struct
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from engine.chat_template import ChatTemplate, ChatTemplateError
from engine.fetch import FetchError, Packaged, fetch, models_dir
from engine.weights.errors import ModelFileError
from engine.weights.gguf import GGUFFile
from rtriton import cache
from server.text import load_text
from tests.server.conftest import ROOT, Running
from tests.server.tiny import tokenizer
from tests.server.refused import refused

# ---- model files -------------------------------------------------------------------------------------

TURNS = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    "evil",
    [
        "{% for i in range(99999) %}{% for j in range(1999) %}{% endfor %}{% endfor %}",  # time
        "{% if messages[0].content * 2 ** 31 == '' %}{% endif %}",  # memory, all at once
        "{{ 'a' * 2 ** 31 }}",  # the same while it is compiled
        "{% for i in range(2000) %}{{ 'x' * 10000 }}{% endfor %}",  # the size of the text
        "x" * (2 << 20),  # its own size
        "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    ],
)
def test_a_files_template_has_bounded_time_and_size(monkeypatch: pytest.MonkeyPatch, evil: str) -> None:
    monkeypatch.setattr("engine.rendering.SECONDS", 1.0)
    started = time.monotonic()
    with pytest.raises(ChatTemplateError):
        ChatTemplate.choose({"tokenizer.chat_template": evil}, tokenizer()).render(TURNS)
    assert time.monotonic() - started < 30


def test_a_files_template_has_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.rendering.SECONDS", 60.0)
    evil = "{% if messages[0].content * 1300000000 == '' %}{% endif %}"
    with pytest.raises(ChatTemplateError, match="memory"):
        ChatTemplate.choose({"tokenizer.chat_template": evil}, tokenizer()).render(TURNS)


def test_a_files_template_that_was_stopped_renders_the_next_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "{% if messages[0].content == 'loop' %}{% for i in range(99999) %}{% for j in range(9999) %}{% endfor %}"
    source += "{% endfor %}{% endif %}{{ messages[0].content }}"
    template = ChatTemplate.choose({"tokenizer.chat_template": source}, tokenizer())
    monkeypatch.setattr("engine.rendering.SECONDS", 1.0)
    with pytest.raises(ChatTemplateError, match="more than 1 seconds"):
        template.render([{"role": "user", "content": "loop"}])
    assert template.render(TURNS).plain == "x"


def test_false_counts_in_a_model_file_allocate_nothing(tmp_path: Path) -> None:
    path = tmp_path / "evil.gguf"
    text = struct.pack("<Q", 1) + b"k"
    huge = 2**60
    lies = [
        struct.pack("<QQ", huge, 0),  # tensors
        struct.pack("<QQ", 0, huge),  # metadata
        struct.pack("<QQ", 0, 1) + struct.pack("<Q", huge),  # the length of a key
        struct.pack("<QQ", 0, 1) + text + struct.pack("<IQ", 8, huge),  # of a text
        struct.pack("<QQ", 0, 1) + text + struct.pack("<IQ", 8, 2**25),  # the same, below what any text may have
        struct.pack("<QQ", 0, 1) + text + struct.pack("<IIQ", 9, 4, huge),  # of an array
        struct.pack("<QQ", 1, 0) + text + struct.pack("<IQQIQ", 2, 2**32, 2**32, 0, 0),  # a product that wraps
        struct.pack("<QQ", 1, 0) + text + struct.pack("<IQIQ", 1, 32, 0, 2**63),  # an offset
    ]
    for lie in lies:
        path.write_bytes(b"GGUF" + struct.pack("<I", 3) + lie + bytes(64))
        tracemalloc.start()
        try:
            with pytest.raises(ModelFileError):
                GGUFFile.open(path)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


def test_nothing_that_reads_models_or_requests_can_run_what_it_reads() -> None:
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "torch", "yaml"}
    for file in [*(ROOT / "engine").rglob("*.py"), *(ROOT / "server").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not {name.split(".")[0] for name in names} & forbidden, file
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile", "__import__"), file
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, file


def test_reading_a_model_file_opens_no_other(model: Path) -> None:
    with opened() as paths:
        load_text(model, chat_template="chatml")  # not the file's own, for which a process starts
    assert [path for path in paths if Path(path).suffix not in (".py", ".pyc", ".so")] == [str(model)]


def test_the_model_of_a_request_is_never_a_path(server: Running, tmp_path: Path) -> None:
    real = tmp_path / "other.gguf"
    real.write_bytes(b"GGUF")
    names = [str(real), "../../../../etc/passwd", "/dev/zero", "file:///etc/passwd", "tiny/../tiny", "tiny\0", ""]
    with opened() as paths:
        for name in names:
            assert refused(server.chat(model=name), 404)["code"] == "model_not_found"
            assert server.post("/tokenize", {"model": name, "prompt": "x"}).status_code == 404
            assert httpx.get(f"{server.url}/v1/models/{quote(name, safe='')}x").status_code == 404
    assert not [path for path in paths if any(name and name in path for name in names)]


@contextmanager
def opened() -> Iterator[list[str]]:
    """The paths that this process opens meanwhile, in any thread."""
    paths: list[str] = []
    _listeners.append(paths)
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_hear)
    try:
        yield paths
    finally:
        _listeners.remove(paths)


def _hear(event: str, details: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir"):
        for paths in _listeners:
            paths.append(str(details[0]))


_listeners: list[list[str]] = []
_hooked: list[bool] = []


# ---- what is kept on disk ----------------------------------------------------------------------------


def test_caches_are_private_and_a_changed_entry_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path / "cache"))
    umask = os.umask(0)
    try:
        cache.write("ab" * 20, {"binary": "mine"})
    finally:
        os.umask(umask)
    path = cache.path_of("ab" * 20)
    assert cache.read("ab" * 20) == {"binary": "mine"}
    for folder in (path.parent, path.parent.parent):
        assert folder.stat().st_mode & 0o077 == 0, folder
    path.write_bytes(path.read_bytes().replace(b"mine", b"evil"))
    assert cache.read("ab" * 20) is None


@rtriton.jit
def fills(out, N: tl.constexpr):
    tl.store(out + tl.arange(0, N), 1.0)


def test_what_compiling_leaves_on_disk_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("RTRITON_DUMP", str(tmp_path / "dump"))
    umask = os.umask(0)
    try:
        fills[(1,)](np.zeros(8, np.float32), N=8)
    finally:
        os.umask(umask)
    folders = {path.parent for path in tmp_path.rglob("*") if path.is_file()}
    assert {folder.name for folder in folders} >= {"cpu"}
    for folder in folders:
        assert folder.stat().st_mode & 0o077 == 0, folder


def test_a_demo_model_that_was_changed_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path / "cache"))
    good = Packaged("tiny==1", "tiny.gguf", 4, hashlib.sha256(b"good").hexdigest(), 4)
    models_dir().mkdir(parents=True)
    (models_dir() / good.file).write_bytes(b"good")
    assert fetch(good, offline=True).read_bytes() == b"good"
    (models_dir() / good.file).write_bytes(b"evil")
    with pytest.raises(FetchError, match="offline"):
        fetch(good, offline=True)
