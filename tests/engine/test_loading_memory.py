"""Reading a model file takes at most twice the file, beside the weights that it gives and objects for its texts."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from engine.chat_template import ChatTemplate, ChatTemplateError
from engine.config import EngineConfig
from engine.memory import HostMemory
from engine.model_runner import build
from engine.models.config import read_config
from engine.weights.errors import ModelFileError
from engine.weights.gguf import LONG_TEXT, GGUFFile
from engine.weights.repack import load_weights
from tests.engine.tiny_model import CONFIG, random_weights
from tests.fuzz.gguf_form import ARRAY, F32, STRING, U8, U64, Form, tiny, written
from tests.make_model import write_model
from tests.server.tiny import tokenizer

ROOM = 1 << 20
"""For what does not grow with the file."""
TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


@pytest.mark.parametrize("kind", TYPES)
def test_weights_of_every_type_are_converted_a_little_at_a_time(tmp_path: Path, kind: str) -> None:
    # what the gguf package cannot write it cannot be asked for: bytes are bytes, and small ones are small numbers
    path = tmp_path / "model.gguf"
    path.write_bytes(written(tiny(kind, kind, hidden=1024, inner=1024)))
    with GGUFFile.open(path) as file:
        load_weights(file, read_config(file))  # what is imported at first is not the file's
        tracemalloc.start()
        try:
            weights = load_weights(file, read_config(file))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak - weights.nbytes <= 2 * path.stat().st_size + ROOM


@pytest.mark.parametrize(
    ("what", "pair"),
    [
        ("bytes", (ARRAY, (U8, [7] * (1 << 18)))),
        ("numbers", (ARRAY, (U64, [2**63] * (1 << 16)))),
        ("real numbers", (ARRAY, (F32, [0.1] * (1 << 17)))),
        ("a text with one wide character", (STRING, "a" * (2 << 20) + "\U0010ffff")),
    ],
)
def test_metadata_that_nobody_reads_takes_what_it_takes_in_the_file(tmp_path: Path, what: str, pair: object) -> None:
    path = tmp_path / "meta.gguf"
    path.write_bytes(written(Form({"k": pair})))  # type: ignore[dict-item]
    tracemalloc.start()
    try:
        GGUFFile.open(path).close()
        assert tracemalloc.get_traced_memory()[1] <= 2 * path.stat().st_size + ROOM // 4
    finally:
        tracemalloc.stop()


def test_a_template_too_long_to_be_one_is_refused_as_such() -> None:
    with pytest.raises(ChatTemplateError, match="too long"):
        ChatTemplate.choose({"tokenizer.chat_template": b"x" * LONG_TEXT}, tokenizer())


def test_layers_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    data = path.read_bytes()
    with GGUFFile.open(path) as file:
        first, second = file.tensors["blk.0.attn_q.weight"], file.tensors["blk.1.attn_q.weight"]
    start = data.index(b"blk.1.attn_q.weight") + len("blk.1.attn_q.weight") + 4 + 16 + 4
    offset = int.from_bytes(data[start : start + 8], "little") - second.offset + first.offset
    path.write_bytes(data[:start] + offset.to_bytes(8, "little") + data[start + 8 :])
    with pytest.raises(ModelFileError, match=r"'blk.0.attn_q.weight' and 'blk.1.attn_q.weight' share bytes"):
        GGUFFile.open(path)


def test_a_false_context_length_takes_no_memory() -> None:
    config, weights = EngineConfig(model="tiny", kv_cache_bytes=1 << 20), random_weights()
    peaks = []
    for context in (CONFIG.context_length, CONFIG.context_length, 1 << 24):  # the first imports what there is to import
        tracemalloc.start()
        try:
            build(config, replace(CONFIG, context_length=context), weights, HostMemory()).close()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[2] < peaks[1] + (4 << 20)
