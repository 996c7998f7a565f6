"""A tiny vocabulary and template for a server over `tests.engine.fake_runner`: 997 tokens, every byte among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.chat_template import BUILT_IN, ChatTemplate
from engine.config import EngineConfig
from engine.tokenizer import CONTROL, NORMAL, Tokenizer
from server.run import Setup
from server.text import Sampling, TextModel
from tests.engine.fake_runner import VOCAB

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_alphabet() -> list[str]:
    """The 256 characters in which byte-level vocabularies write bytes, in the order of the bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def tokenizer() -> Tokenizer:
    """Token 0 ends a text; then the other control tokens, the 256 bytes, one merge, and words w0, w1, ..."""
    tokens = [*SPECIALS, *byte_alphabet(), "he"]
    tokens += [f"w{i}" for i in range(VOCAB - len(tokens))]
    return Tokenizer.from_metadata(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "smollm",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [CONTROL] * len(SPECIALS) + [NORMAL] * (VOCAB - len(SPECIALS)),
            "tokenizer.ggml.merges": ["h e"],
            "tokenizer.ggml.eos_token_id": 0,
        }
    )


def template() -> ChatTemplate:
    """ChatML, as many small models have it."""
    return ChatTemplate(BUILT_IN["chatml"], tokenizer())


def text_model() -> TextModel:
    """The text half of the fake model."""
    return TextModel("tiny", tokenizer(), template(), Sampling())


def fake_setup(step_seconds: float = 0.0, pace: Path | None = None, **engine: Any) -> Setup:
    """The fake model as the command line's functions take one."""
    options = {"block_size": 4, "num_blocks": 256, "max_num_seqs": 4, "max_batched_tokens": 64, **engine}
    extra = {"step_seconds": step_seconds} | ({} if pace is None else {"pace": str(pace)})
    return Setup(EngineConfig("fake", runner="tests.engine.fake_runner:load", extra=extra, **options), text_model)
