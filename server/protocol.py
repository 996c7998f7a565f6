"""What a request may say. Nothing is ignored: a field is used, or it is refused with a 400 that names it.

Null means absent. A known OpenAI field that this server does not have is refused unless its value asks for nothing
(`best_of: 1`); an unknown field is always refused. Types are strict: "1" is no number and 1 is no boolean. Where OpenAI
has no name for something, vLLM's is taken. `docs/api.md` lists every field; a test holds the two lists together.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from engine.params import MAX_LOGPROBS
from server.constraints import Constraint, ResponseFormat, of_format
from server.conversation import MAX_TOOLS, Chosen, Function, Message, Tool, ToolChoice, check_results
from server.offer import Choice, Offer, check, offer
from server.sampling import TOKEN_LIMIT, SampleRequest
from server.strict import Int, Json, Many, Str, Strict, known, unicode, whole, wrong

MAX_CHOICES = 128
"""Generations that one request may ask for: n times the number of prompts, as OpenAI's limit."""
MAX_MESSAGES = 4096

_NEVER_SUPPORTED = known("metadata service_tier prompt_cache_key safety_identifier")


def prompts_of(value: Any, what: str = "a prompt") -> Any:
    """A list of prompts, each text or token ids. `what` they are called."""
    if isinstance(value, str):
        return [unicode(value)]
    if not isinstance(value, list) or not value:
        raise wrong(f"{what} is a string, a list of token ids, or a non-empty list of these")
    if (tokens := _tokens_of(value)) is not None:
        return [tokens]
    return [_prompt_of(prompt, i, what) for i, prompt in enumerate(value)]


def _prompt_of(value: Any, at: int, what: str) -> str | list[int]:
    if isinstance(value, str):
        return unicode(value, at)
    tokens = _tokens_of(value)
    if tokens is None:
        raise wrong(f"{what} in a list is a string or a non-empty list of token ids", at)
    return tokens


def _tokens_of(value: Any) -> list[int] | None:
    """The token ids, or None where it is no list of whole numbers. There may be two million of them."""
    kinds = set(map(type, value)) if isinstance(value, list) else set()
    if float in kinds and kinds <= {int, float}:
        value = list(map(whole, value))
        kinds = set(map(type, value))
    return value if kinds == {int} else None


def _whole_tokens(value: Any) -> Any:
    """The same numbers as integers; what else there is, is said of the first."""
    tokens = _tokens_of(value)
    return value if tokens is None else tokens


def prompts_schema(most: int) -> dict[str, Any]:
    """What `prompts_of` takes."""
    tokens = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
    many = {"type": "array", "items": {"anyOf": [{"type": "string"}, tokens]}, "minItems": 1, "maxItems": most}
    return {"anyOf": [{"type": "string"}, tokens, many]}


Prompts = Annotated[
    list[str | list[int]],
    BeforeValidator(prompts_of),
    Field(max_length=MAX_CHOICES),
    WithJsonSchema(prompts_schema(MAX_CHOICES)),
]


class StreamOptions(Strict):
    """`include_usage` adds a last event with the usage of the whole request."""

    unsupported: ClassVar[dict[str, Any]] = known("", include_obfuscation=False)
    include_usage: bool = False


class GenerateRequest(SampleRequest):
    """The fields that chat and completions share. None where the model's own default, or the endpoint's, applies."""

    max_tokens: Int | None = Field(None, ge=0)
    response_format: ResponseFormat | None = None
    n: Int = Field(1, ge=1, le=MAX_CHOICES)
    prompt_logprobs: Int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _stream_fields_agree(self) -> GenerateRequest:
        if self.stream_options is not None and not self.stream:
            raise wrong("is only allowed when `stream` is true", "stream_options")
        if self.prompt_logprobs is not None and self.stream:
            raise wrong("is only given in whole answers, not when `stream` is true", "prompt_logprobs")
        return self

    @property
    def format_asked(self) -> list[Constraint]:
        """By `response_format`."""
        return of_format(self.response_format)

    @property
    def choices(self) -> int:
        """As many as `n`."""
        return self.n

    @property
    def include_usage(self) -> bool:
        """As `stream_options` say."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def echoes(self) -> bool:
        """Whether the answer begins with its prompt."""
        return False

    @property
    def scores_prompt(self) -> bool:
        """Whether an answer without a single token would say something."""
        return self.echoes or self.prompt_logprobs is not None


class ChatRequest(GenerateRequest):
    """POST /v1/chat/completions."""

    unsupported: ClassVar[dict[str, Any]] = _NEVER_SUPPORTED | known(
        "functions function_call audio prediction reasoning_effort verbosity web_search_options",
        modalities=["text"],
        store=False,
    )
    messages: Many[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: Int | None = Field(None, ge=0)
    logprobs: bool = False
    top_logprobs: Int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    tools: Many[Tool] = Field([], max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: Json = Field({})

    @model_validator(mode="after")
    def _fields_agree(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise wrong("is only allowed when `logprobs` is true", "top_logprobs")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise wrong("differs from `max_tokens`; give one of them", "max_completion_tokens")
        for name in ("max_completion_tokens", "max_tokens"):
            if getattr(self, name) == 0 and not self.scores_prompt:
                raise wrong("0 is for `prompt_logprobs`; ask for at least 1", name)
        check_continued(self.continue_final_message, self.add_generation_prompt, self.messages)
        check_results(self.messages)
        check(self._functions, self._choice, self.parallel_tool_calls, "function", "name")
        return self

    @property
    def offer(self) -> Offer:
        """What the model may call."""
        return offer(self._functions, self._choice, self.parallel_tool_calls)

    @property
    def _functions(self) -> list[Function]:
        return [tool.function for tool in self.tools]

    @property
    def _choice(self) -> Choice:
        chosen = self.tool_choice
        return Choice(named=chosen.function.name) if isinstance(chosen, Chosen) else Choice(chosen)


def check_continued(continued: bool, prompted: bool, messages: list[Any]) -> None:
    """Text can only be put on where no new turn is begun, and only on a message of text."""
    if not continued:
        return
    if prompted:
        raise wrong("needs `add_generation_prompt` to be false", "continue_final_message")
    if messages[-1].role == "tool" or getattr(messages[-1], "tool_calls", ()):
        raise wrong("the last message is not one of text alone", "continue_final_message")


class CompletionRequest(GenerateRequest):
    """POST /v1/completions. `prompt` has been brought to a list of prompts, each text or token ids."""

    unsupported: ClassVar[dict[str, Any]] = _NEVER_SUPPORTED | known("", best_of=1, suffix="")
    prompt: Prompts
    echo: bool = False
    logprobs: Int | None = Field(None, ge=0, le=MAX_LOGPROBS)

    @model_validator(mode="after")
    def _fields_agree(self) -> CompletionRequest:
        if self.max_tokens == 0 and not self.scores_prompt:
            raise wrong("0 is for `echo` and `prompt_logprobs`; ask for at least 1", "max_tokens")
        if self.n * len(self.prompt) > MAX_CHOICES:
            raise wrong(f"n x prompts must be at most {MAX_CHOICES}, got {self.n} x {len(self.prompt)}", "n")
        return self

    @property
    def echoes(self) -> bool:
        """As asked."""
        return self.echo


class TokenizeRequest(Strict):
    """POST /tokenize: a text, or a conversation through the chat template."""

    model: Str | None = None
    prompt: Str | None = None
    messages: Many[Message] | None = Field(None, min_length=1, max_length=MAX_MESSAGES)
    tools: Many[Tool] = Field([], max_length=MAX_TOOLS)
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: Json = Field({})
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise wrong("give either `prompt` or `messages`", "prompt")
        given = self.model_fields_set
        ill = "add_special_tokens" if self.prompt is None else next(iter(given & _CONVERSATION), None)
        if ill in given:
            raise wrong(f"does not go with `{'messages' if self.prompt is None else 'prompt'}`", str(ill))
        if self.messages is not None:
            check_continued(self.continue_final_message, self.add_generation_prompt, self.messages)
            check_results(self.messages)
        return self


_CONVERSATION = {"tools", "add_generation_prompt", "continue_final_message", "chat_template_kwargs"}


class DetokenizeRequest(Strict):
    """POST /detokenize."""

    model: Str | None = None
    tokens: Annotated[Many[Annotated[int, Field(ge=0, lt=TOKEN_LIMIT)]], BeforeValidator(_whole_tokens)]
