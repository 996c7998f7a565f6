"""What the API process knows of a model: how to read its prompts, write its tokens, and sample by default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.chat_template import ChatTemplate, NoChatTemplate
from engine.models.config import model_id
from engine.tokenizer import Tokenizer
from engine.weights.gguf import GGUFFile
from server.answers import TokenLogprob


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

    def encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
        """Messages as tokens; text that looks like a special token stays text. `ValueError` says why it cannot be."""
        if self.template is None:
            raise NoChatTemplate("this model's file carries no chat template; start the server with --chat-template")
        return self.tokenizer.encode_guarded(self.template.render(messages))

    def describe(self, token: int, logprob: float, offset: int) -> TokenLogprob:
        """One sampled token, as the log probabilities of an answer show it."""
        return TokenLogprob(self.tokenizer.token_text(token), self.tokenizer.token_bytes(token), logprob, offset)


def load_text(path: Path, name: str | None = None, chat_template: str | None = None) -> TextModel:
    """The text half of a model file. `chat_template` is a path or a built-in name and goes before the file's own."""
    with GGUFFile.open(path) as file:
        tokenizer = Tokenizer.from_metadata(file.metadata, path)
        try:
            template = ChatTemplate.choose(file.metadata, tokenizer, chat_template)
        except NoChatTemplate:
            template = None
    own = model_id(path)
    return TextModel(name or own, tokenizer, template, sampling_of(own))
