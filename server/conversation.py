"""What a chat request says: turns of a conversation, tools, and which of them may or must be called.

Each role has its own fields. A result of a tool names an earlier call, so that no result answers nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from server.json_text import parse
from server.strict import Json, Many, Str, Strict, has_one_of, known, tag_of, unicode_throughout, wrong

MAX_TOOLS = 128
NAME = r"^[a-zA-Z0-9_.-]{1,64}$"


def text_parts(kinds: Mapping[str, Mapping[str, type]]) -> Any:
    """The type of a content that is one string: it may come as parts of these kinds, which are joined as they stand. A
    kind may have further fields, lists or (`object`) anything, which say nothing to the model.
    """

    def text_of(value: Any) -> Any:
        return "".join(_part(kinds, i, part) for i, part in enumerate(value)) if isinstance(value, list) else value

    shapes = [_part_schema(kind, more) for kind, more in kinds.items()]
    items = shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
    schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": items}]}
    return Annotated[Str, BeforeValidator(text_of), WithJsonSchema(schema)]


def _part(kinds: Mapping[str, Mapping[str, type]], at: int, part: Any) -> str:
    if not isinstance(part, dict):
        raise wrong("a part is an object with a type", at)
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        named = " and ".join(map(repr, kinds))
        raise wrong(f"only parts of type {named} are supported, got {kind!r}", at, "type")
    for name in sorted(set(part) - {"type", "text"}):
        if name not in kinds[kind]:
            raise PydanticCustomError("extra_forbidden", "unknown field", {"inside": (at, name)})
        if part[name] is not None and not isinstance(part[name], kinds[kind][name]):
            raise wrong("Input should be a valid list", at, name)
    if not isinstance(part.get("text"), str):
        raise wrong("Input should be a valid string", at, "text")
    return part["text"]


def _part_schema(kind: str, more: Mapping[str, type]) -> dict[str, Any]:
    said: dict[str, Any] = {"type": {"const": kind}, "text": {"type": "string"}}
    said |= {name: {"type": ["array", "null"]} if of is list else {} for name, of in more.items()}
    return {"type": "object", "properties": said, "required": ["type", "text"], "additionalProperties": False}


Text = text_parts({"text": {}})
Name = Annotated[str, Field(pattern=NAME)]


def arguments_of(text: str) -> dict[str, Any] | None:
    """The object that a call's arguments say, which is what templates take; None where they say none."""
    try:
        arguments = unicode_throughout(parse(text.encode())) if text.strip() else {}
    except ValueError:
        return None
    return arguments if isinstance(arguments, dict) else None


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
    tool_calls: Many[ToolCall] = Field([], max_length=MAX_TOOLS)


class ToolMessage(Strict):
    """What a call gave. `tool_call_id` is the id of an earlier call, `name` that call's function."""

    role: Literal["tool"]
    tool_call_id: Str
    name: Name | None = None
    content: Text = ""


ROLES = {"developer": "system"}
"""Roles by the names that templates have for them, where these are others."""
_ROLES = ("system", "developer", "user", "assistant", "tool")
Message = Annotated[
    Annotated[SystemMessage, Tag("<system>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")],
    Discriminator(tag_of("role", ROLES)),
    has_one_of("role", _ROLES, "a message"),
]
MESSAGE_KINDS = (SystemMessage, UserMessage, AssistantMessage, ToolMessage)


class Function(Strict):
    """A function that the model may call. `strict` holds every call of it to `parameters`."""

    name: Name
    description: Str = ""
    parameters: Json = Field({})
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
