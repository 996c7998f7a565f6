"""What a request may say. Nothing is ignored: a field is used, or it is refused with a 400 that names it.

Null means absent. A known OpenAI field that this server does not have is refused unless its value asks for nothing
(`frequency_penalty: 0`); an unknown field is always refused. Types are strict: "1" is no number and 1 is no boolean.
`docs/server.md` lists every field; a test holds the two lists together.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

MAX_CHOICES = 128
"""Generations that one request may ask for: n times the number of prompts, as OpenAI's limit."""


def _known(names: str, **neutral: Any) -> dict[str, Any]:
    """Fields that OpenAI has and this server has not, each with the value that asks for nothing (none: only null)."""
    return {**dict.fromkeys(names.split()), **neutral}


_NEVER_SUPPORTED = _known(
    "metadata service_tier prompt_cache_key safety_identifier",
    frequency_penalty=0,
    presence_penalty=0,
    logit_bias={},
)


def _refuse(name: str, reason: str = "") -> PydanticCustomError:
    return PydanticCustomError("unsupported", "{text}", {"text": reason, "inside": (name,)})


def _wrong(message: str, *inside: str | int) -> PydanticCustomError:
    return PydanticCustomError("invalid", "{text}", {"text": message, "inside": inside})


def _unicode(value: str, *inside: str | int) -> str:
    r"""JSON can spell half a surrogate pair ("\ud800"); that is no character and cannot be tokenized or sent back."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _wrong("not valid Unicode: it holds half of a surrogate pair", *inside) from None
    return value


class Strict(BaseModel):
    """Strict types, no unknown fields, null is absent, known but unsupported fields named as such."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    unsupported: ClassVar[dict[str, Any]] = {}

    @model_validator(mode="before")
    @classmethod
    def _only_what_is_asked(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        asked = {}
        for name, value in data.items():
            if name in cls.unsupported:
                if value is not None and not _same(value, cls.unsupported[name]):
                    raise _refuse(name)
            elif value is not None or name not in cls.model_fields:
                asked[name] = value
        return asked


def _same(value: Any, neutral: Any) -> bool:
    """Equal, and false is not 0."""
    return neutral is not None and value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


def _text_of(value: Any) -> Any:
    """A content as one string: text parts are joined as they stand."""
    if not isinstance(value, list):
        return value
    texts = []
    for i, part in enumerate(value):
        if not isinstance(part, dict):
            raise _wrong("a part is an object with a type", i)
        if part.get("type") != "text":
            raise _wrong(f"only parts of type 'text' are supported, got {part.get('type')!r}", i, "type")
        if extra := sorted(set(part) - {"type", "text"}):
            raise PydanticCustomError("extra_forbidden", "unknown field", {"inside": (i, extra[0])})
        if not isinstance(part.get("text"), str):
            raise _wrong("Input should be a valid string", i, "text")
        texts.append(part["text"])
    return "".join(texts)


def _stops_of(value: Any) -> Any:
    stops = [value] if isinstance(value, str) else value
    if isinstance(stops, list) and "" in stops:
        raise _wrong("a stop string must not be empty", *(() if isinstance(value, str) else (stops.index(""),)))
    return stops


def _prompts_of(value: Any) -> Any:
    """A list of prompts, each text or token ids."""
    prompts = [value] if isinstance(value, str) or _is_tokens(value) else value
    if not isinstance(prompts, list) or not prompts:
        raise _wrong("a prompt is a string, a list of token ids, or a non-empty list of these")
    for i, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            _unicode(prompt, *(() if prompts is not value else (i,)))
        elif not _is_tokens(prompt):
            raise _wrong("a prompt in a list is a string or a non-empty list of token ids", i)
    return prompts


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(x) is int for x in value)


Str = Annotated[str, AfterValidator(lambda text: _unicode(text))]
Text = Annotated[
    Str,
    BeforeValidator(_text_of),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}),
]
Stops = Annotated[
    list[Str],
    BeforeValidator(_stops_of),
    Field(max_length=16),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 16}]}),
]
Prompts = Annotated[
    list[str | list[int]],
    BeforeValidator(_prompts_of),
    Field(max_length=MAX_CHOICES),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {}}]}),
]


class Message(Strict):
    """One turn of a conversation. A null content is an empty one; the role `developer` is the template's `system`."""

    unsupported: ClassVar[dict[str, Any]] = _known(
        "name refusal tool_call_id function_call audio reasoning_content", annotations=[], tool_calls=[]
    )
    role: Literal["system", "developer", "user", "assistant"]
    content: Text = ""


class StreamOptions(Strict):
    """`include_usage` adds a last event with the usage of the whole request."""

    unsupported: ClassVar[dict[str, Any]] = _known("", include_obfuscation=False)
    include_usage: bool = False


class GenerateRequest(Strict):
    """The fields that both endpoints have. None where the model's own default, or the endpoint's, applies."""

    model: Str
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=2**31 - 1)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stops = []
    stop_token_ids: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field([], max_length=256)
    ignore_eos: bool = False
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: Str | None = Field(None, max_length=512)

    @model_validator(mode="after")
    def _options_need_a_stream(self) -> GenerateRequest:
        if self.stream_options is not None and not self.stream:
            raise _wrong("is only allowed when `stream` is true", "stream_options")
        return self


class ChatRequest(GenerateRequest):
    """POST /v1/chat/completions."""

    unsupported: ClassVar[dict[str, Any]] = _NEVER_SUPPORTED | _known(
        "tools tool_choice parallel_tool_calls functions function_call audio prediction reasoning_effort verbosity "
        "web_search_options",
        response_format={"type": "text"},
        modalities=["text"],
        store=False,
    )
    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=20)

    @model_validator(mode="after")
    def _fields_agree(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise _wrong("is only allowed when `logprobs` is true", "top_logprobs")
        if self.top_logprobs:
            raise _refuse("top_logprobs", "only the sampled token's own log probability is given; use 0")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise _wrong("differs from `max_tokens`; give one of them", "max_completion_tokens")
        return self


class CompletionRequest(GenerateRequest):
    """POST /v1/completions. `prompt` has been brought to a list of prompts, each text or token ids."""

    unsupported: ClassVar[dict[str, Any]] = _NEVER_SUPPORTED | _known("", best_of=1, echo=False, suffix="")
    prompt: Prompts
    logprobs: int | None = Field(None, ge=0, le=5)

    @model_validator(mode="after")
    def _fields_agree(self) -> CompletionRequest:
        if self.logprobs:
            raise _refuse("logprobs", "alternatives are not given; use 0 for the sampled tokens' own")
        if self.n * len(self.prompt) > MAX_CHOICES:
            raise _wrong(f"n x prompts must be at most {MAX_CHOICES}, got {self.n} x {len(self.prompt)}", "n")
        return self
