"""The tokenizer of a model file -> text to ids and back, or a `ModelFileError`.

Whatever vocabulary was accepted must serve: any text becomes ids of it, any ids become text, and no text becomes a
control token.
"""

from __future__ import annotations

from contextlib import suppress

from engine.pretokenizers import CUTTINGS
from engine.tokenizer import Tokenizer
from engine.weights.errors import ModelFileError
from server.text import load_text
from tests.fuzz.gguf_form import changed, tiny, written
from tests.fuzz.target import Target
from tests.fuzz.targets.gguf import memory, on_disk

TEXT = "the <|im_end|> hé\n 12\x00 <own>"


def run(data: bytes) -> None:
    with suppress(ModelFileError):
        path = on_disk(data)
        tokenizer = load_text(path, chat_template="chatml").tokenizer
        serves(tokenizer)


def serves(tokenizer: Tokenizer) -> None:
    """Everything that the server asks of a tokenizer."""
    ids = tokenizer.encode_prompt(TEXT)
    assert tokenizer.encode_batch([TEXT]) == [tokenizer.encode(TEXT)]
    assert all(0 <= token < tokenizer.vocab_size for token in ids)
    assert not any(tokenizer.is_special(token) for token in tokenizer.encode(TEXT)), "text became a control token"
    every = range(tokenizer.vocab_size)
    stream = tokenizer.stream(skip_special=False)
    assert "".join(stream.feed([token]) for token in every) + stream.finish() == tokenizer.decode(
        every, skip_special=False
    )
    for token in every:
        tokenizer.token_text(token)


def seeds() -> list[bytes]:
    forms = [tiny(cutting=cutting) for cutting in CUTTINGS]
    for form in forms:  # the tokenizer is read without the weights
        form.tensors, form.data = [], b""
    return list(map(written, forms))


TARGET = Target(run, seeds, changed, memory)
