"""A chat template of a model file, in the sandbox that its own process runs -> a text, or a `RenderError`.

What else it raises would end that process, and be told as if it had taken too long. Time and memory are that process's
to bound, so that here a template which takes too much of either is stopped and let go.
"""

from __future__ import annotations

from contextlib import suppress
from random import Random

from engine.chat_template import BUILT_IN
from engine.rendering import RenderError, Sandbox
from tests.fuzz.limits import Hang
from tests.fuzz.mutate import octets, words
from tests.fuzz.target import Target, words_of

TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": [1, None, "é"]}}}
VARIABLES = {
    "messages": [
        {"role": "system", "content": "be"},
        {"role": "user", "content": "hi <|im_end|>"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
    ],
    "tools": [TOOL],
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
}
DICTIONARY = words_of("template")


def run(data: bytes) -> None:
    with suppress(RenderError, Hang):
        Sandbox(data.decode("utf-8", "replace")).render(VARIABLES)


def mutate(data: bytes, rng: Random) -> bytes:
    return octets(data, rng) if rng.randint(0, 9) == 0 else words(data, rng, DICTIONARY)


def seeds() -> list[bytes]:
    return [text.encode() for text in BUILT_IN.values()]


TARGET = Target(run, seeds, mutate)
