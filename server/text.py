"""What the API process knows of a model: how to read its prompts, write its tokens, and sample by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.chat_template import ChatTemplate, NoChatTemplate
from engine.models.config import model_id
from engine.params import Pooling
from engine.tokenizer import Tokenizer
from engine.weights.gguf import GGUFFile
from server.call_formats import HERMES, Format, format_of
from server.tools import in_words


@dataclass(frozen=True)
class Sampling:
    """What a request that does not say gets."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


SAMPLING = {
    # the figures of each family's own model card
    "smollm2": Sampling(temperature=0.2, top_p=0.9),
    "llama-3": Sampling(temperature=0.6, top_p=0.9),
}
"""By the beginning of the id that the model's file gives it; all others have OpenAI's temperature of 1."""


def sampling_of(model: str) -> Sampling:
    """The row of the model with this id, as its file names it."""
    return next((row for name, row in SAMPLING.items() if model.startswith(name)), Sampling())


DEFAULT_POOLING: Pooling = "last"
"""vLLM's for models that generate."""
POOLINGS: dict[int, Pooling] = {1: "mean", 3: "last"}
"""By the numbers of GGUF. A file may also name `cls` and `rank`, which models of this architecture do not have."""


def pooling_of(metadata: Mapping[str, Any]) -> Pooling:
    """What the model's file says of it, else the default."""
    number = metadata.get(f"{metadata.get('general.architecture')}.pooling_type")
    return POOLINGS.get(number, DEFAULT_POOLING) if isinstance(number, int) else DEFAULT_POOLING


class UnknownOption(ValueError):
    """A variable that the chat template does not read, or that is not the request's to set."""


@dataclass(frozen=True)
class Conversation:
    """What a chat template is given. `messages` have a role and a content, and, as Hugging Face's templates take them,
    `tool_calls` with their arguments as an object.
    """

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    options: Mapping[str, Any] | None = None
    """Further variables of the template."""
    add_generation_prompt: bool = True
    continued: bool = False
    """The answer goes on with the last message."""


@dataclass(frozen=True)
class TextModel:
    """The text half of a model; the other half is in the engine core's process."""

    name: str
    """The id that requests use."""
    tokenizer: Tokenizer
    template: ChatTemplate | None
    """None where the file has no template and none was given: completions only."""
    sampling: Sampling
    """The model's row of the table, whatever name it is served under."""
    pooling: Pooling = DEFAULT_POOLING
    """How an embedding is made where a request does not say."""

    @cached_property
    def calls(self) -> Format:
        """How the model writes calls of tools. One whose template does not know tools is told how, in words."""
        knows = self.template is not None and "tools" in self.template.variables
        return format_of(self.template.source) if self.template is not None and knows else HERMES

    def encode_chat(self, chat: Conversation) -> list[int]:
        """A conversation as tokens; text that looks like a special token stays text. `ValueError` says why it cannot
        be.
        """
        if self.template is None:
            raise NoChatTemplate("this model's file carries no chat template; start the server with --chat-template")
        options = chat.options or {}
        if unread := sorted(set(options) - self.template.variables | set(options) & _GIVEN):
            raise UnknownOption(f"{self.template.origin} has no option {unread[0]!r}")
        knows = "tools" in self.template.variables
        rendered = self.template.render(
            chat.messages if knows else in_words(chat.messages, chat.tools),
            tools=list(chat.tools) if knows and chat.tools else None,
            options=options,
            add_generation_prompt=chat.add_generation_prompt,
            open_end=chat.continued,
        )
        return self.tokenizer.encode_guarded(rendered)


_GIVEN = {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}


def load_text(
    path: Path, name: str | None = None, chat_template: str | None = None, pooling: Pooling | None = None
) -> TextModel:
    """The text half of a model file. `chat_template` is a path or a built-in name and goes before the file's own, and
    `pooling` before what the file says of it.
    """
    with GGUFFile.open(path) as file:
        tokenizer = Tokenizer.from_metadata(file.metadata, path)
        try:
            template = ChatTemplate.choose(file.metadata, tokenizer, chat_template)
        except NoChatTemplate:
            template = None
        pooled = pooling or pooling_of(file.metadata)
    own = model_id(path)
    return TextModel(name or own, tokenizer, template, sampling_of(own), pooled)
