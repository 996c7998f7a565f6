"""A file of the compiler's cache -> an entry, or None as if there were none: whatever a broken disk leaves is compiled
again.

An input that begins with `=` gets a right checksum, as if it had been written so.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from functools import cache
from random import Random
from unittest import mock

from rtriton import cache as kernels
from tests.fuzz.mutate import octets, values
from tests.fuzz.target import Target

KEY = "fa" * 20


def run(data: bytes) -> None:
    with mock.patch.dict(os.environ, RTRITON_CACHE_DIR=_folder().name):
        path = kernels.path_of(KEY)
        path.parent.mkdir(parents=True, exist_ok=True)
        body = data[1:]
        path.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body if data[:1] == b"=" else data)
        entry = kernels.read(KEY)
    assert entry is None or isinstance(entry, dict), "an entry is a mapping"


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fuzz-")


def seeds() -> list[bytes]:
    body = json.dumps({"llvm": "define void @k() {\n}\n", "arena_bytes": 0, "params": ["*f32", "i32"]}).encode()
    return [b"=" + body, hashlib.sha256(body).hexdigest().encode() + b"\n" + body, b""]


def mutate(data: bytes, rng: Random) -> bytes:
    if data[:1] == b"=" and rng.randint(0, 1):
        return b"=" + values(data[1:], rng, ["llvm", "params", "arena_bytes"])
    return octets(data, rng)


TARGET = Target(run, seeds, mutate)
