"""What answers look like, for the OpenAPI page: answers themselves are written by `answers` and checked against this.

Nothing here runs while serving. Every model forbids what it does not name, so a field that was forgotten fails a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Reply(BaseModel):
    """Says exactly what is there."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Reply):
    """OpenAI's: `param` names the field at fault as a path, `messages[0].content`."""

    message: str
    type: str
    param: str | None
    code: str | None
    request_id: str = ""
    """What the log calls this request; also in the header `X-Request-Id`. Lines of a batch have none."""


class ErrorReply(Reply):
    """What a request gets instead of an answer."""

    error: ErrorDetail


class PromptDetails(Reply):
    """Where the prompt's tokens came from."""

    cached_tokens: int


class Usage(Reply):
    """Tokens of the prompts, and tokens delivered."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = Field(default=PromptDetails(cached_tokens=0))


class TopLogprob(Reply):
    """A token that could have come."""

    token: str
    logprob: float
    bytes: list[int]


class ChatToken(TopLogprob):
    """A token that came."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(Reply):
    """Of each token of the answer."""

    content: list[ChatToken]
    refusal: None


class FunctionReply(Reply):
    """Arguments are JSON as the model wrote it; it may be invalid unless the function is strict or was forced."""

    name: str
    arguments: str


class ToolCallReply(Reply):
    """A call that the model asks for."""

    id: str
    type: Literal["function"]
    function: FunctionReply


class AnswerMessage(Reply):
    """The model's turn."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCallReply] = []


PromptScore = Annotated[
    list[dict[str, Any] | None],
    Field(description="vLLM's form: by token id, each with logprob, rank and decoded_token; null for the first."),
]
FinishReason = Literal["stop", "length", "tool_calls"]


class ChatChoice(Reply):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatReply(Reply):
    """The whole answer of a chat."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    prompt_logprobs: PromptScore = []


class FunctionPiece(Reply):
    """More of a call's arguments; its first piece has the name."""

    name: str = ""
    arguments: str


class ToolCallPiece(Reply):
    """A piece of a call; its first has the id and the type."""

    index: int
    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionPiece


class ChatDelta(Reply):
    """What came; the role comes first."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    tool_calls: list[ToolCallPiece] = []


class ChatPiece(Reply):
    """More of one answer; only the last has a reason."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatChunkReply(Reply):
    """The data of an event. With `include_usage` the last one has no choices and the usage, the others null."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatPiece]
    usage: Usage | None = None


class TextLogprobs(Reply):
    """Of each token of the text; null for the first of an echoed prompt."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TextChoice(Reply):
    """One continuation."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]
    prompt_logprobs: PromptScore = []


class TextReply(Reply):
    """All continuations."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class TextPiece(Reply):
    """More of one continuation; only the last has a reason."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class TextChunkReply(Reply):
    """The data of an event. With `include_usage` the last one has no choices and the usage, the others null."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextPiece]
    usage: Usage | None = None


class EmbeddingItem(Reply):
    """A vector: a list of numbers, or the base64 of them as little-endian 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Reply):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingReply(Reply):
    """A vector for each input, in their order."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[EmbeddingItem]
    usage: EmbeddingUsage


class ModelReply(Reply):
    """A model; `max_model_len` is what a prompt and its answer may have together."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int


class ModelsReply(Reply):
    """All models: one."""

    object: Literal["list"]
    data: list[ModelReply]


class TokenizeReply(Reply):
    """Token ids, and their texts where asked for."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeReply(Reply):
    """The text of the tokens."""

    prompt: str


class VersionReply(Reply):
    """rtriton's version."""

    version: str


class ReadyReply(Reply):
    """Whether requests are answered now."""

    status: Literal["ready", "unavailable"]
    reason: str | None


class RequestRow(Reply):
    """One request. Times are seconds since the epoch, null where it has not come so far."""

    id: str
    route: str
    state: Literal["received", "queued", "running", "done"]
    stream: bool
    received: float
    submitted: float | None
    scheduled: float | None
    first_token: float | None
    ended: float | None
    prompt_tokens: int | None
    output_tokens: int
    status: int | None
    outcome: str | None
    code: str | None


class RequestsReply(Reply):
    """The last requests, oldest first, at the time `now`."""

    now: float
    requests: list[RequestRow]


class HealthReply(BaseModel):
    """A round trip through the engine's loop, with facts about the engine; or why there was none."""

    status: Literal["ok", "failed"]


def event_schemas(events: Sequence[type[Reply]]) -> dict[str, Any]:
    """Schemas of the data of events, by name, with references into an OpenAPI page."""
    found: dict[str, Any] = {}
    for event in events:
        schema = event.model_json_schema(ref_template=REFERENCE)
        found |= schema.pop("$defs", {}) | {event.__name__: schema}
    return found


CHUNKS = (ChatChunkReply, TextChunkReply)


REFERENCE = "#/components/schemas/{model}"
