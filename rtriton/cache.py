"""Compiled kernels on disk, found again by everything that their code depends on.

The key holds: the text of the kernel and of every kernel function it can reach, the files they stand in, the constexpr
globals they see, the argument specialisation, the options, the target, the knobs that change code, and rtriton's own
sources with their place. So an edited helper, a changed global, another CPU or a new rtriton never meets a stale
kernel, and a program that was moved never one whose line information names where it was. What the key cannot hold (an
object whose text shows an address) makes a kernel uncacheable.

Entries are written aside and renamed, carry a checksum and are verified when read; a damaged one is compiled again. The
folder belongs to its user alone (0700).
"""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from rtriton import knobs
from rtriton.errors import OptionError
from rtriton.reach import Reach, digest, stable
from rtriton.types import Type, show_type


@cache
def sources_digest() -> str:
    """A digest of every file of rtriton that can change generated code."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.lark")]):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def key_of(reach: Reach, name: str, signature: Mapping[str, Type], constants: Mapping[str, Any],
           divisible: Mapping[str, int], options: Mapping[str, Any], target: str) -> str:
    """The name of an entry. Raises Uncacheable."""
    return digest([sources_digest(), str(Path(__file__).parent), name, target, *reach.text(), *reach.files(),
                   *(f"{k}:{show_type(t)}" for k, t in signature.items()),
                   *(f"{k}={stable(v)}" for k, v in constants.items()), *(f"{k}%{d}" for k, d in divisible.items()),
                   *(f"{k}:{stable(v)}" for k, v in options.items()), *sorted(knobs.skipped_passes()),
                   knobs.f32_default_precision()])


def refuse_managers() -> None:
    """OptionError where a cache manager of Triton's is asked for: entries are files here, and nothing else."""
    for name in ("manager_class", "remote_manager_class"):
        if getattr(knobs.cache, name) is not None:
            raise OptionError(f"knobs.cache.{name} is not supported: compiled kernels are kept in files, in "
                              "knobs.cache.dir")


def folder() -> Path:
    return knobs.cache_dir() / "kernels"


def read(key: str) -> dict[str, Any] | None:
    """The entry of this key; None when there is none or it is damaged."""
    try:
        raw = path_of(key).read_bytes()
    except OSError:
        return None
    checksum, _, body = raw.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        return None
    try:
        entry = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", entry) if isinstance(entry, dict) else None


def path_of(key: str) -> Path:
    """The file of an entry."""
    return folder() / key[:2] / key


def write(key: str, entry: Mapping[str, Any]) -> None:
    """Keep an entry; a folder that cannot be written only costs the next process a compilation."""
    body = json.dumps(entry).encode()
    path = path_of(key)
    aside = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
    try:
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        aside.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        aside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
