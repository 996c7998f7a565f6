"""What a target is, their list, and the inputs that each begins with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

CORPUS = Path(__file__).parent / "corpus"
LARGEST = 48 << 10
"""Bytes that an input made here may have. Findings that need more are kept as tests."""

NAMES = {
    "gguf": "a model file: header, configuration, weights",
    "vocabulary": "the tokenizer in a model file",
    "template": "a model file's chat template, in its sandbox",
    "request": "the body of each route, up to what the engine is asked",
    "http": "bytes on a connection",
    "grammar": "schemas, regular expressions and grammars of requests",
    "batch": "an offline batch's input, and the output that it goes on from",
    "settings": "a server's settings and its file of keys",
    "kernel": "the text of a kernel, up to tile IR",
    "tir": "the text of tile IR",
    "ptx": "the text of PTX, as the emulator reads it",
    "cache": "files of the compiler's cache",
}
"""Each is a file of `targets/`, which has a `TARGET`."""


@dataclass(frozen=True)
class Target:
    """Something that reads bytes of strangers."""

    run: Callable[[bytes], None]
    """Returns for any answer that the product's pages promise; what it raises is a finding."""
    seeds: Callable[[], list[bytes]]
    """Valid inputs, beside what the corpus keeps."""
    mutate: Callable[[bytes, Random], bytes]
    """Another input, made of one: knows the form of these inputs, and sometimes breaks it."""
    memory: Callable[[bytes], int] | None = None
    """The most bytes that reading an input may take at any moment. None where only its gross use is watched."""


def load(name: str) -> Target:
    """The target of this name; its modules are imported here."""
    return importlib.import_module(f"tests.fuzz.targets.{name}").TARGET


def kept(name: str) -> dict[str, bytes]:
    """The corpus of a target, by file name."""
    folder = CORPUS / name
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def words_of(name: str) -> list[str]:
    """What means something in texts of one kind, a word a line."""
    return (Path(__file__).parent / "words" / f"{name}.txt").read_text().splitlines()
