"""What the API process knows of a model: how to read its prompts, write its tokens, and sample by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.tokenizer import Guarded, Tokenizer
from server.answers import TokenLogprob


@dataclass(frozen=True)
class SamplingDefaults:
    """What a request that does not say gets."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


@dataclass(frozen=True)
class TextModel:
    """The text half of a model; the other half is in the engine core's process."""

    name: str
    """The id that requests use."""
    tokenizer: Tokenizer
    template: Callable[[list[dict[str, str]]], Guarded] | None
    """Messages -> the text that the model continues as the assistant; None where the file has no template."""
    sampling: SamplingDefaults = SamplingDefaults()

    def encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
        """Messages as tokens; text that looks like a special token stays text. `ValueError` says why it cannot be."""
        if self.template is None:
            raise ValueError("this model's file carries no chat template; start the server with --chat-template")
        return self.tokenizer.encode_guarded(self.template(messages))

    def describe(self, token: int, logprob: float) -> TokenLogprob:
        """One sampled token, as the log probabilities of an answer show it."""
        return TokenLogprob(self.tokenizer.token_text(token), self.tokenizer.token_bytes(token), logprob)
