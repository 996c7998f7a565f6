"""What a chat request says: turns of a conversation, tools, and which of them may or must be called.

Each role has its own fields. A result of a tool names an earlier call, so that no result answers nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from server.strict import Str, Strict, has_one_of, known, tag_of, wrong

MAX_TOOLS = 128
NAME = r"^[a-zA-Z0-9_.-]{1,64}$"


def _text_of(value: Any) -> Any:
    """A content as one string: text parts are joined as they stand."""
    if not isinstance(value, list):
        return value
    texts = []
    for i, part in enumerate(value):
        if not isinstance(part, dict):
            raise wrong("a part is an object with a type", i)
        if part.get("type") != "text":
            raise wrong(f"only parts of type 'text' are supported, got {part.get('type')!r}", i, "type")
        if extra := sorted(set(part) - {"type", "text"}):
            raise PydanticCustomError("extra_forbidden", "unknown field", {"inside": (i, extra[0])})
        if not isinstance(part.get("text"), str):
            raise wrong("Input should be a valid string", i, "text")
        texts.append(part["text"])
    return "".join(texts)


_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
    "additionalProperties": False,
}
Text = Annotated[
    Str,
    BeforeValidator(_text_of),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _PART}]}),
]
Name = Annotated[str, Field(pattern=NAME)]


class CalledFunction(Strict):
    """Which function a call is of, and its arguments as JSON text."""

    name: Name
    arguments: Str


class ToolCall(Strict):
    """A call that the model made earlier."""

    id: Str
    type: Literal["function"] = "function"
    function: CalledFunction


class SystemMessage(Strict):
    """Instructions; `developer` is the template's `system`."""

    unsupported: ClassVar[dict[str, Any]] = known("name")
    role: Literal["system", "developer"]
    content: Text = ""


class UserMessage(Strict):
    """What the user said. A null content is an empty one."""

    unsupported: ClassVar[dict[str, Any]] = known("name")
    role: Literal["user"]
    content: Text = ""


class AssistantMessage(Strict):
    """What the model answered: text, calls, or both."""

    unsupported: ClassVar[dict[str, Any]] = known("name refusal function_call audio reasoning_content", annotations=[])
    role: Literal["assistant"]
    content: Text = ""
    tool_calls: list[ToolCall] = Field([])


class ToolMessage(Strict):
    """What a call gave. `tool_call_id` is the id of an earlier call, `name` that call's function."""

    role: Literal["tool"]
    tool_call_id: Str
    name: Name | None = None
    content: Text = ""


_ROLES = ("system", "developer", "user", "assistant", "tool")
Message = Annotated[
    Annotated[SystemMessage, Tag("<system>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")],
    Discriminator(tag_of("role", {"developer": "system"})),
    has_one_of("role", _ROLES, "a message"),
]
MESSAGE_KINDS = (SystemMessage, UserMessage, AssistantMessage, ToolMessage)


class Function(Strict):
    """A function that the model may call. `strict` holds every call of it to `parameters`."""

    name: Name
    description: Str = ""
    parameters: dict[str, Any] = Field({})
    strict: bool = False


class Tool(Strict):
    """A tool; there are only functions."""

    type: Literal["function"]
    function: Function


class ChosenName(Strict):
    """The name in a tool choice."""

    name: Name


class Chosen(Strict):
    """`{"type": "function", "function": {"name": ...}}`: this one must be called."""

    type: Literal["function"]
    function: ChosenName


def _choice(value: Any) -> str:
    return "<mode>" if isinstance(value, str) else "<named>"


ToolChoice = Annotated[
    Annotated[Literal["auto", "none", "required"], Tag("<mode>")] | Annotated[Chosen, Tag("<named>")],
    Discriminator(_choice),
]


def check_results(messages: list[Any]) -> None:
    """Every result of a tool names a call that an earlier message made, and that call's function if it names one."""
    called: dict[str, str] = {}
    for i, message in enumerate(messages):
        if isinstance(message, AssistantMessage):
            called |= {call.id: call.function.name for call in message.tool_calls}
        elif isinstance(message, ToolMessage):
            if message.tool_call_id not in called:
                raise wrong("no earlier message has a call of this id", "messages", i, "tool_call_id")
            if message.name not in (None, called[message.tool_call_id]):
                name = called[message.tool_call_id]
                raise wrong(f"the call was of {name}", "messages", i, "name")
