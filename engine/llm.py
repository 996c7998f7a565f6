"""The offline door: a model file, prompts in, completions out, in this process and without sockets.

    llm = LLM(EngineConfig(model="smollm2.gguf"))
    [answer] = llm.generate(["The capital of France is"], SamplingParams(temperature=0.0, max_tokens=8))
    print(answer.text)
    [vector] = llm.embed(["The capital of France is"], PoolingParams("mean"))       # f32[hidden size]

Prompts are texts or lists of token ids; all of them run as one continuous batch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from engine.admission import Policy
from engine.config import EngineConfig
from engine.engine import Engine
from engine.messages import FinishReason, Logprob, PoolingParams, RequestFailed, SamplingParams, Submit, TokenOut
from engine.runner import make_runner
from engine.stops import StopStrings


Prompts = str | Sequence[str | list[int]]
"""A text, or several, each of which may be token ids."""


class GenerationFailed(RuntimeError):
    """A prompt that could not be completed; the message says which and why."""


class Stream(Protocol):
    """Token ids in, finished text out."""

    def feed(self, ids: Sequence[int], /) -> str: ...

    def finish(self) -> str: ...


class TextCodec(Protocol):
    """What is needed of a tokenizer."""

    def encode_prompt(self, text: str, /) -> list[int]: ...

    def encode_document(self, text: str, /) -> list[int]: ...

    def stream(self) -> Stream: ...


@dataclass(frozen=True)
class Completion:
    """What one prompt became."""

    prompt_token_ids: list[int]
    token_ids: list[int]
    text: str
    finish_reason: FinishReason
    logprobs: list[Logprob] | None = None


@dataclass
class _Open:
    """A completion in the making."""

    prompt: list[int]
    stream: Stream
    stops: StopStrings
    tokens: list[int] = field(default_factory=list[int])
    logprobs: list[Logprob] | None = None
    text: str = ""
    reason: FinishReason | None = None


class LLM:
    """A loaded model with its engine. Close it, or use it as a context, to give back its memory and threads."""

    def __init__(self, config: EngineConfig, tokenizer: TextCodec | None = None) -> None:
        self.tokenizer = _tokenizer_of(config.model) if tokenizer is None else tokenizer
        # every prompt of a call is queued at once: nothing is gained by refusing some
        policy = replace(Policy.of(config), max_waiting=sys.maxsize, max_waiting_tokens=sys.maxsize)
        self.engine = Engine(make_runner(config), policy)

    def generate(
        self,
        prompts: Prompts,
        params: SamplingParams | Sequence[SamplingParams],
        stop: str | Sequence[str] = (),
    ) -> list[Completion]:
        """One completion per prompt, in order. `params` is one for all, or one for each."""
        prompts, stop = _list(prompts), [stop] if isinstance(stop, str) else stop
        each = [params] * len(prompts) if isinstance(params, SamplingParams) else list(params)
        if len(each) != len(prompts):
            raise ValueError(f"got {len(prompts)} prompts and {len(each)} sampling parameters")
        opened = {str(index): self._open(prompt, stop) for index, prompt in enumerate(prompts)}
        submits = [Submit(name, it.prompt, mine) for (name, it), mine in zip(opened.items(), each, strict=True)]
        for out in self._run(submits):
            it = opened[out.request_id]
            _extend(it, out)
            if it.stops.hit is not None and it.reason != "stop":
                it.reason = "stop"
                self.engine.abort(out.request_id)
        return [_completion(it) for it in opened.values()]

    def embed(self, prompts: Prompts, pooling: PoolingParams = PoolingParams()) -> list[np.ndarray]:
        """One vector per prompt, f32[hidden size], in order."""
        prompts = _list(prompts)
        encode = self.tokenizer.encode_document
        tokens = [encode(prompt) if isinstance(prompt, str) else list(prompt) for prompt in prompts]
        submits = [Submit(str(index), it, pooling=pooling) for index, it in enumerate(tokens)]
        found = {int(out.request_id): np.frombuffer(out.embedding or b"", "<f4") for out in self._run(submits)}
        return [found[index] for index in range(len(prompts))]

    def _run(self, submits: Sequence[Submit]) -> Iterator[TokenOut]:
        """Everything that comes of them, until nothing more does."""
        try:
            for submit in submits:
                self.engine.submit(submit)
            while self.engine.busy:
                for event in self.engine.step():
                    if isinstance(event, RequestFailed):
                        raise GenerationFailed(f"prompt {event.request_id}: {event.message}")
                    yield from event.tokens
        finally:
            for submit in submits:
                self.engine.abort(submit.request_id)

    def close(self) -> None:
        self.engine.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self, prompt: str | list[int], stop: Sequence[str]) -> _Open:
        tokens = self.tokenizer.encode_prompt(prompt) if isinstance(prompt, str) else list(prompt)
        return _Open(tokens, self.tokenizer.stream(), StopStrings(stop))


def _list(prompts: Prompts) -> Sequence[str | list[int]]:
    """One text is one prompt, not one for each of its characters."""
    if isinstance(prompts, str):
        return [prompts]
    for prompt in prompts:
        if isinstance(prompt, (int, np.integer)):
            raise TypeError(f"prompts must be texts or lists of token ids, got the number {prompt}; put it in a list")
    return prompts


def _extend(it: _Open, out: TokenOut) -> None:
    it.tokens += out.token_ids
    if out.logprobs is not None:
        it.logprobs = (it.logprobs or []) + out.logprobs
    it.text += it.stops.feed(it.stream.feed(out.token_ids))
    if out.finish_reason is not None:
        it.text += it.stops.feed(it.stream.finish())
        it.text += it.stops.flush()
        it.reason = out.finish_reason


def _completion(it: _Open) -> Completion:
    assert it.reason is not None
    return Completion(it.prompt, it.tokens, it.text, it.reason, it.logprobs)


def _tokenizer_of(model: str) -> TextCodec:
    from engine.tokenizer import Tokenizer
    from engine.weights.gguf import GGUFFile

    with GGUFFile.open(model) as file:
        return Tokenizer.from_metadata(file.metadata, model)
