"""The `input` of a response: its items, and the turns of a conversation that they come to.

    [{"role": "user", "content": "Weather?"}, {"type": "function_call", ...}, {"type": "function_call_output", ...}]

An item that an earlier response gave can be sent back as it came: its id, its status and its log probabilities are
taken, and say nothing to the model. Calls belong to the assistant's turn before them, as chat templates want it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, Tag

from server.conversation import ROLES, Name, arguments_of, text_parts
from server.strict import Many, Str, Strict, known, wrong

MAX_ITEMS = 4096
Status = Literal["in_progress", "completed", "incomplete"]
InputText = text_parts({"input_text": {}})
# `parsed` is put there by the `parse` of OpenAI's own client
OutputText = text_parts({"input_text": {}, "output_text": {"annotations": list, "logprobs": list, "parsed": object}})


def _checked(arguments: str) -> str:
    if arguments_of(arguments) is None:
        raise wrong("not the text of a JSON object")
    return arguments


class InputMessage(Strict):
    """What the user or the developer says."""

    unsupported: ClassVar[dict[str, Any]] = known("phase")
    type: Literal["message"] = "message"
    role: Literal["user", "system", "developer"]
    content: InputText
    id: Str | None = None
    status: Status | None = None


class OutputMessage(Strict):
    """What the model answered earlier."""

    unsupported: ClassVar[dict[str, Any]] = known("phase")
    type: Literal["message"] = "message"
    role: Literal["assistant"]
    content: OutputText
    id: Str | None = None
    status: Status | None = None


class FunctionCall(Strict):
    """A call that the model made earlier."""

    unsupported: ClassVar[dict[str, Any]] = known("caller namespace")
    type: Literal["function_call"]
    call_id: Str
    name: Name
    arguments: Annotated[Str, AfterValidator(_checked)]
    id: Str | None = None
    status: Status | None = None


class FunctionCallOutput(Strict):
    """What a call gave. `call_id` is an earlier call's, `name` that call's function."""

    unsupported: ClassVar[dict[str, Any]] = known("caller namespace")
    type: Literal["function_call_output"]
    call_id: Str
    output: InputText
    name: Name | None = None
    id: Str | None = None
    status: Status | None = None


ITEM_KINDS = (InputMessage, OutputMessage, FunctionCall, FunctionCallOutput)
_ROLES = ("user", "assistant", "system", "developer")
_OTHERS = ("function_call", "function_call_output")


def _is_item(value: Any) -> Any:
    """There are more kinds of items in OpenAI's API, and every one of them is refused by its name."""
    if isinstance(value, BaseModel):
        return value
    if not isinstance(value, dict):
        raise wrong("an item is an object")
    kind = value.get("type")
    if kind in (None, "message"):
        if value.get("role") not in _ROLES:
            raise wrong(f"a message has a role, one of {', '.join(_ROLES)}", "role")
    elif kind not in _OTHERS:
        raise wrong(f"only items of type message, {', '.join(_OTHERS)} are supported, got {kind!r}", "type")
    return value


def _kind(value: Any) -> str:
    said = value if isinstance(value, dict) else dict(value)
    if said.get("type") in _OTHERS:
        return f"<{said['type']}>"
    return "<output>" if said.get("role") == "assistant" else "<input>"


Item = Annotated[
    Annotated[InputMessage, Tag("<input>")]
    | Annotated[OutputMessage, Tag("<output>")]
    | Annotated[FunctionCall, Tag("<function_call>")]
    | Annotated[FunctionCallOutput, Tag("<function_call_output>")],
    Discriminator(_kind),
    BeforeValidator(_is_item),
]


def _is_input(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise wrong("the input is a string or a list of items")
    return value


Input = Annotated[
    Annotated[Str, Tag("<text>")] | Annotated[Many[Item], Field(min_length=1, max_length=MAX_ITEMS), Tag("<items>")],
    Discriminator(lambda value: "<text>" if isinstance(value, str) else "<items>"),
    BeforeValidator(_is_input),
]


def check_outputs(items: Sequence[Item]) -> None:
    """Every output of a function is of a call before it, and of that call's function if it names one."""
    called: dict[str, str] = {}
    for i, item in enumerate(items):
        if isinstance(item, FunctionCall):
            called[item.call_id] = item.name
        elif isinstance(item, FunctionCallOutput):
            if item.call_id not in called:
                raise wrong("no earlier item is a call of this id", "input", i, "call_id")
            if item.name not in (None, called[item.call_id]):
                raise wrong(f"the call was of {called[item.call_id]}", "input", i, "name")


def turns(instructions: str | None, said: str | Sequence[Item]) -> list[dict[str, Any]]:
    """Messages as a chat template takes them."""
    told: list[dict[str, Any]] = [] if instructions is None else [{"role": "system", "content": instructions}]
    if isinstance(said, str):
        return [*told, {"role": "user", "content": said}]
    for item in said:
        match item:
            case FunctionCall():
                if not told or told[-1]["role"] != "assistant":
                    told.append({"role": "assistant", "content": ""})
                told[-1].setdefault("tool_calls", []).append(_call(item))
            case FunctionCallOutput():
                told.append({"role": "tool", "content": item.output, "tool_call_id": item.call_id})
            case _:
                told.append({"role": ROLES.get(item.role, item.role), "content": item.content})
    return told


def _call(item: FunctionCall) -> dict[str, Any]:
    function = {"name": item.name, "arguments": arguments_of(item.arguments)}
    return {"id": item.call_id, "type": "function", "function": function}
