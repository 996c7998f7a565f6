"""What /v1/responses answers, for the OpenAPI page, as `replies` says it for the other routes: nothing here runs while
serving.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from server.replies import REFERENCE, Reply, TopLogprob

Status = Literal["in_progress", "completed", "incomplete"]


class TokenLogprob(TopLogprob):
    """A token of a text."""

    top_logprobs: list[TopLogprob]


class TextPart(Reply):
    """The text of a message."""

    type: Literal["output_text"]
    text: str
    annotations: Annotated[list[Any], Field(max_length=0)]
    logprobs: list[TokenLogprob]


class MessageItem(Reply):
    """What the model says."""

    id: str
    type: Literal["message"]
    status: Status
    role: Literal["assistant"]
    content: Annotated[list[TextPart], Field(max_length=1)]


class FunctionCallItem(Reply):
    """A call that the model asks for. Arguments are JSON as the model wrote it; it may be invalid unless the function
    is strict or was forced.
    """

    id: str
    type: Literal["function_call"]
    status: Status
    call_id: str
    name: str
    arguments: str


OutputItem = Annotated[MessageItem | FunctionCallItem, Field(discriminator="type")]


class FailureReply(Reply):
    """Why a response that had begun came to no end."""

    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class IncompleteReply(Reply):
    """Why the output is not all that the model had to say."""

    reason: Literal["max_output_tokens"]


class InputDetails(Reply):
    """Where the input's tokens came from; what is written to the cache is not counted."""

    cached_tokens: int
    cache_write_tokens: Literal[0]


class OutputDetails(Reply):
    """There is no reasoning apart from the answer."""

    reasoning_tokens: Literal[0]


class ResponseUsage(Reply):
    """Tokens of the input, and tokens delivered."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ToolReply(Reply):
    """A function that the request offered."""

    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool


class ChoiceReply(Reply):
    """A function that the request asked for."""

    type: Literal["function"]
    name: str


class FreeFormat(Reply):
    """Any text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormatReply(Reply):
    """JSON of a schema."""

    type: Literal["json_schema"]
    name: str
    description: str | None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool


class TextReplyOptions(Reply):
    """What form the text has."""

    format: FreeFormat | SchemaFormatReply


class ResponseReply(Reply):
    """The response. Beside its output and what came of it, it repeats the request; what this server has not is null."""

    id: str
    object: Literal["response"]
    created_at: int
    model: str
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    output: list[OutputItem]
    completed_at: int | None
    error: FailureReply | None
    incomplete_details: IncompleteReply | None
    usage: ResponseUsage | None
    background: Literal[False]
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: None
    prompt_cache_key: None
    reasoning: None
    safety_identifier: None
    service_tier: None
    store: Literal[False]
    temperature: float
    text: TextReplyOptions
    tool_choice: Literal["auto", "none", "required"] | ChoiceReply
    tools: list[ToolReply]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"]
    user: str | None


# ---- events ------------------------------------------------------------------------------------------


class ResponseEvent(Reply):
    """Every event counts, from 0."""

    sequence_number: int


class WholeEvent(ResponseEvent):
    """The response at its beginning or its end."""

    type: Literal[
        "response.created", "response.in_progress", "response.completed", "response.incomplete", "response.failed"
    ]
    response: ResponseReply


class ItemEvent(ResponseEvent):
    """An item is there, or is whole."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: OutputItem


class PartEvent(ResponseEvent):
    """A message's part is there, or is whole."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    item_id: str
    output_index: int
    content_index: Literal[0]
    part: TextPart


class ShownLogprob(Reply):
    """A token that could have come."""

    token: str
    logprob: float


class ShownToken(ShownLogprob):
    """A token that came."""

    top_logprobs: list[ShownLogprob]


class TextDeltaEvent(ResponseEvent):
    """More of a message's text."""

    type: Literal["response.output_text.delta"]
    item_id: str
    output_index: int
    content_index: Literal[0]
    delta: str
    logprobs: list[ShownToken]


class TextDoneEvent(ResponseEvent):
    """The whole text of a message."""

    type: Literal["response.output_text.done"]
    item_id: str
    output_index: int
    content_index: Literal[0]
    text: str
    logprobs: list[ShownToken]


class ArgumentsDeltaEvent(ResponseEvent):
    """More of a call's arguments."""

    type: Literal["response.function_call_arguments.delta"]
    item_id: str
    output_index: int
    delta: str


class ArgumentsDoneEvent(ResponseEvent):
    """A call's whole arguments."""

    type: Literal["response.function_call_arguments.done"]
    item_id: str
    output_index: int
    name: str
    arguments: str


EVENTS = (WholeEvent, ItemEvent, PartEvent, TextDeltaEvent, TextDoneEvent, ArgumentsDeltaEvent, ArgumentsDoneEvent)
EVENT_STREAM = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "description": "The type of the data."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"anyOf": [{"$ref": REFERENCE.format(model=event.__name__)} for event in EVENTS]},
        },
    },
    "required": ["event", "data"],
}
"""Of one event."""
