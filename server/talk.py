"""A conversation, whatever endpoint it came to -> a `Generation`: the template's tokens, and a grammar for calls that
must be made or must be right.

Every way in which a conversation does not fit this model is said here, before the engine hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from engine import grammar
from server import tools
from server.answers import Style
from server.conversation import Function
from server.errors import ApiError
from server.grammar import checked, grammar_of
from server.offer import Offer
from server.sampling import SampleRequest
from server.stream import Generation
from server.submits import check_model, generation, params, shape
from server.text import Conversation, TextModel, UnknownOption

T = TypeVar("T")
LONG_TEXT = 16_384
"""Characters above which tokenizing goes to a thread, so that other streams do not stutter."""


@dataclass(frozen=True)
class Talk:
    """What a request to an endpoint of conversations asks for, under nobody's names but those in `field`."""

    conversation: Conversation
    offer: Offer
    field: str
    """The request's name of the conversation."""
    max_tokens: int | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None


def told(offer: Offer) -> list[dict[str, Any]]:
    """An offer's functions as templates take tools."""
    return [{"type": "function", "function": _function(function)} for function in offer.functions]


async def prepare_talk(
    request: SampleRequest, talk: Talk, style: Style, text: TextModel, context: int, account: str
) -> Generation:
    """`talk` is what `request` says; `account` is whose it is."""
    check_model(request, text)
    prompt = await encode_conversation(talk.conversation, text, talk.field)
    held, param = await _grammar(request, talk.offer, text)
    asked = params(
        request,
        text,
        max_tokens=talk.max_tokens,
        logprobs=talk.logprobs,
        prompt_logprobs=talk.prompt_logprobs,
        grammar=held,
    )
    form = shape(
        request,
        prompt_logprobs=talk.prompt_logprobs,
        logprobs=talk.logprobs,
        tools=frozenset(function.name for function in talk.offer.functions),
        one_call=not talk.offer.many,
    )
    return generation(
        request, text, style, [prompt], asked, form, context, {"token_ids": talk.field, "grammar": param}, account
    )


async def encode_conversation(chat: Conversation, text: TextModel, field: str = "messages") -> list[int]:
    """A conversation as tokens, or the 400 that says why not; `field` is what the request calls it."""
    length = sum(len(message["content"]) for message in chat.messages)
    if chat.tools or any("tool_calls" in message for message in chat.messages):
        length = LONG_TEXT + 1  # schemas and arguments may be anything
    if text.template is not None and text.template.apart:
        length = LONG_TEXT + 1  # a stranger's template may take its time
    try:
        return await off_loop(lambda: text.encode_chat(chat), length)
    except UnknownOption as error:
        raise ApiError(
            400, f"`chat_template_kwargs`: {error}", param="chat_template_kwargs", code="invalid_value"
        ) from None
    except RecursionError:
        message = f"`{field}`: tools or arguments are nested too deeply."
        raise ApiError(400, message, param=field, code="invalid_value") from None
    except ValueError as error:
        raise ApiError(400, str(error), param=field, code="invalid_value") from None


async def off_loop(work: Callable[[], T], length: int) -> T:
    """What is made of a text of this length, or of so many tokens."""
    return await asyncio.to_thread(work) if length > LONG_TEXT else work()


# ---- grammars ----------------------------------------------------------------------------------------


async def own_grammar(request: SampleRequest) -> tuple[str | None, str]:
    """What the request itself says that the answer must match, and the field that says it."""
    asked = request.constraint
    return (None, "") if asked is None else (await grammar_of(asked), asked.param)


async def _grammar(request: SampleRequest, offer: Offer, text: TextModel) -> tuple[str | None, str]:
    """The same, or what tools ask for: a call that must be made, calls that must be right."""
    own, param = await own_grammar(request)
    if not (offer.forced or any(function.strict for function in offer.functions)):
        return own, param
    if own is not None:
        message = f"`{param}`: an answer that must call tools, or strict ones, cannot also be held to this."
        raise ApiError(400, message, param=param, code="invalid_value")
    return await checked(grammar.lark(_tool_grammar(offer, text)), "tools"), "tools"


def _tool_grammar(offer: Offer, text: TextModel) -> str:
    control = text.tokenizer.control_ids(text.calls.hidden)
    if offer.forced:
        return tools.forced(list(map(_function, offer.forced)), offer.many, text.calls, control)
    return tools.held(_held(offer.functions), text.calls, control)


def _held(functions: Sequence[Function]) -> list[dict[str, Any]]:
    """For those that are not strict any arguments will do."""
    return [_function(function) if function.strict else {"name": function.name} for function in functions]


def _function(function: Function) -> dict[str, Any]:
    """A function as templates and grammars take it: what was not said is not there."""
    said: dict[str, Any] = {"name": function.name}
    if function.description:
        said["description"] = function.description
    return said | {"parameters": function.parameters or {"type": "object", "properties": {}}}
