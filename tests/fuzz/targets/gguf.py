"""A model file on disk -> configuration and weights, or a `ModelFileError`.

Reading may take twice the file at any moment, and beside it what Python's objects for its texts, its keys and its lines
of tensors take: each has at least 8 bytes in the file, and in Python some 50 to 300.
"""

from __future__ import annotations

import atexit
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from engine.models.config import read_config
from engine.weights.errors import ModelFileError
from engine.weights.gguf import GGUFFile
from engine.weights.repack import load_weights
from tests.fuzz.gguf_form import SIZES, changed, read, tiny, written
from tests.fuzz.target import Target

ROOM = 256 << 10
"""For what does not grow with the file."""
OF_A_TEXT = 320


def on_disk(data: bytes) -> Path:
    """A file with these bytes, the same one each time."""
    if not _paths:
        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        handle, path = tempfile.mkstemp(".gguf", "fuzz-", folder)
        os.close(handle)
        _paths.append(Path(path))
        atexit.register(lambda: _paths[0].unlink(missing_ok=True))
    _paths[0].write_bytes(data)
    return _paths[0]


_paths: list[Path] = []


def run(data: bytes) -> None:
    with suppress(ModelFileError), GGUFFile.open(on_disk(data)) as file:
        config = read_config(file)
        load_weights(file, config)


def memory(data: bytes) -> int:
    return 2 * len(data) + ROOM + OF_A_TEXT * texts(data)


def texts(data: bytes) -> int:
    """How many texts, keys and tensors a file has; of one that is broken, as far as can be."""
    form = read(data)
    if form is None:
        return len(data) // 64
    items = sum(len(value[1]) for _, value in form.pairs.values() if isinstance(value, tuple))
    return items + 2 * len(form.pairs) + 3 * len(form.tensors)


def seeds() -> list[bytes]:
    """One for each block type, in the layers and in the embedding."""
    layers = [written(tiny(layer=kind)) for kind in SIZES]
    return [*layers, *(written(tiny(embedding=kind, tied=False)) for kind in SIZES if kind != "F32")]


TARGET = Target(run, seeds, changed, memory)
