"""What a request to /v1/responses may say, in OpenAI's Responses API, and the `Generation` that it comes to.

The server keeps nothing between requests: a conversation is in `input` as a whole, and fields that name something kept
are refused with the reason. Everything about sampling has the names that chat has.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, model_validator

from engine.params import MAX_LOGPROBS
from server.constraints import ANY_OBJECT, Constraint, JsonSchema, ObjectFormat, TextFormat
from server.conversation import MAX_TOOLS, Function, Name
from server.offer import Choice, Offer, check, offer
from server.responses_answer import ResponseStyle
from server.responses_input import Input, check_outputs, turns
from server.sampling import SampleRequest
from server.stream import Generation
from server.strict import FIRST, Int, Json, Many, Str, Strict, has_one_of, known, tag_of, wrong
from server.talk import Talk, prepare_talk, told
from server.text import Conversation, TextModel

LOGPROBS = "message.output_text.logprobs"


class SchemaFormat(JsonSchema):
    """JSON of a schema, which is an object here."""

    type: Literal["json_schema"]
    schema_: Json = Field(alias="schema")


Format = Annotated[
    Annotated[TextFormat, Tag("<text>")]
    | Annotated[ObjectFormat, Tag("<json_object>")]
    | Annotated[SchemaFormat, Tag("<json_schema>")],
    Discriminator(tag_of("type")),
    has_one_of("type", ("text", "json_object", "json_schema"), "a format"),
]


class TextOptions(Strict):
    """What form the text must have."""

    unsupported: ClassVar[dict[str, Any]] = known("", verbosity="medium")
    format: Format | None = None


class FunctionTool(Function):
    """A function that the model may call."""

    unsupported: ClassVar[dict[str, Any]] = known("output_schema", defer_loading=False, allowed_callers=["direct"])
    type: Literal["function"]


def _is_function(value: Any) -> Any:
    """OpenAI runs tools of its own; each is refused by its name."""
    if isinstance(value, dict) and value.get("type") != "function":
        raise wrong(f"only tools of type 'function' are supported, got {value.get('type')!r}", "type")
    return value


class ChosenFunction(Strict):
    """`{"type": "function", "name": ...}`: this one must be called."""

    type: Literal["function"]
    name: Name


ToolChoice = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag("<mode>")]
    | Annotated[ChosenFunction, BeforeValidator(_is_function), Tag("<named>")],
    Discriminator(lambda value: "<mode>" if isinstance(value, str) else "<named>"),
]


class EventOptions(Strict):
    """Events are never padded, so there is nothing to ask for."""

    unsupported: ClassVar[dict[str, Any]] = known("", include_obfuscation=False)


class ResponsesRequest(SampleRequest):
    """POST /v1/responses."""

    unsupported: ClassVar[dict[str, Any]] = known(
        "context_management conversation max_tool_calls moderation previous_response_id prompt prompt_cache_key "
        "prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier",
        background=False,
        store=False,
        truncation="disabled",
    )
    reasons: ClassVar[dict[str, str]] = {
        "background": "an answer comes with its request, or as its stream",
        "conversation": "nothing is kept between requests; send all items in `input`",
        "previous_response_id": "nothing is kept between requests; send all items in `input`",
        "store": "nothing is kept between requests; leave it out or say false",
        "truncation": "nothing is dropped from `input`; what does not fit is an error",
    }
    input: Input
    instructions: Str | None = None
    max_output_tokens: Int | None = Field(None, ge=1)
    include: Many[Literal["message.output_text.logprobs"]] = Field([], max_length=1)
    top_logprobs: Int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    text: TextOptions | None = None
    tools: Many[Annotated[FunctionTool, BeforeValidator(_is_function)]] = Field([], max_length=MAX_TOOLS)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    metadata: Annotated[dict[Annotated[Str, Field(max_length=64)], Annotated[Str, Field(max_length=512)]], FIRST] = (
        Field({}, max_length=16)
    )
    stream_options: EventOptions | None = None
    chat_template_kwargs: Json = Field({})

    @model_validator(mode="after")
    def _fields_agree(self) -> ResponsesRequest:
        if self.stream_options is not None and not self.stream:
            raise wrong("is only allowed when `stream` is true", "stream_options")
        if self.top_logprobs and not self.include:
            raise wrong(f'is only allowed when `include` has "{LOGPROBS}"', "top_logprobs")
        check(self.tools, self._choice, self.parallel_tool_calls, "name")
        if self.include and self.offer.functions:
            raise wrong(f'"{LOGPROBS}" is not given where there are tools that may be called', "include", 0)
        if not isinstance(self.input, str):
            check_outputs(self.input)
        return self

    @property
    def format_asked(self) -> list[Constraint]:
        """By `text.format`."""
        match self.text and self.text.format:
            case ObjectFormat():
                return [Constraint("json", ANY_OBJECT, "text.format")]
            case SchemaFormat(schema_=schema):
                return [Constraint("json", schema, "text.format.schema")]
            case _:
                return []

    @property
    def offer(self) -> Offer:
        """What the model may call."""
        return offer(self.tools, self._choice, self.parallel_tool_calls)

    @property
    def _choice(self) -> Choice:
        chosen = self.tool_choice
        return Choice(named=chosen.name) if isinstance(chosen, ChosenFunction) else Choice(chosen)


async def prepare_response(request: ResponsesRequest, text: TextModel, context: int, account: str = "") -> Generation:
    """POST /v1/responses. `account` is whose request it is."""
    conversation = Conversation(
        messages=turns(request.instructions, request.input),
        tools=told(request.offer),
        options=request.chat_template_kwargs,
    )
    logprobs = (request.top_logprobs or 0) if request.include else None
    talk = Talk(conversation, request.offer, "input", request.max_output_tokens, logprobs)
    return await prepare_talk(request, talk, ResponseStyle(_said(request, text)), text, context, account)


def _said(request: ResponsesRequest, text: TextModel) -> dict[str, Any]:
    """What a response repeats of its request, with defaults filled in, and what it says of fields that are not here."""
    sampling = text.sampling
    return {
        "background": False,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": None,
        "metadata": request.metadata,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": None,
        "safety_identifier": None,
        "service_tier": None,
        "store": False,
        "temperature": sampling.temperature if request.temperature is None else request.temperature,
        "text": {"format": _dumped(request.text and request.text.format) or {"type": "text"}},
        "tool_choice": _dumped(request.tool_choice) or "auto",
        "tools": [_tool(tool) for tool in request.tools],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": sampling.top_p if request.top_p is None else request.top_p,
        "truncation": "disabled",
        "user": request.user,
    }


def _tool(tool: FunctionTool) -> dict[str, Any]:
    said = {"description": tool.description or None, "parameters": tool.parameters or None}
    return {"type": tool.type, "name": tool.name, **said, "strict": tool.strict}


def _dumped(value: Any) -> Any:
    return value.model_dump(by_alias=True) if isinstance(value, BaseModel) else value
