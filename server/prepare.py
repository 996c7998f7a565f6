"""A valid request to chat or completions -> a `Generation`: prompts to tokens, what the endpoints call things.

`talk` and `submits` do what other endpoints ask for too.
"""

from __future__ import annotations

from typing import Any

from server.answers import CHAT, TEXT
from server.conversation import ROLES, AssistantMessage, Message, ToolMessage, arguments_of
from server.errors import ApiError
from server.offer import Choice, Offer, offer
from server.protocol import ChatRequest, CompletionRequest, TokenizeRequest
from server.stream import Generation
from server.submits import check_model, check_tokens, generation, params, shape
from server.talk import Talk, encode_conversation, off_loop, own_grammar, prepare_talk, told
from server.text import Conversation, TextModel

COMPLETION_TOKENS = 16
"""OpenAI's default for completions; a chat answer may fill the context."""


async def prepare_chat(request: ChatRequest, text: TextModel, context: int, account: str = "") -> Generation:
    """POST /v1/chat/completions. `account` is whose request it is."""
    talk = Talk(
        _conversation(request, request.offer),
        request.offer,
        "messages",
        request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens,
        (request.top_logprobs or 0) if request.logprobs else None,
        request.prompt_logprobs,
    )
    return await prepare_talk(request, talk, CHAT, text, context, account)


async def prepare_completion(
    request: CompletionRequest, text: TextModel, context: int, account: str = ""
) -> Generation:
    """POST /v1/completions. `account` is whose request it is."""
    check_model(request, text)
    prompts = await _prompts(request.prompt, text)
    limit = request.max_tokens
    if limit is None:
        # a default is no wish: near the end of the context it is what room there is
        limit = max(1, min(COMPLETION_TOKENS, context - max(map(len, prompts))))
    held, param = await own_grammar(request)
    scored = [k for k in (request.prompt_logprobs, request.logprobs if request.echo else None) if k is not None]
    asked = params(
        request,
        text,
        max_tokens=limit,
        logprobs=request.logprobs,
        prompt_logprobs=max(scored, default=None),
        grammar=held,
    )
    form = shape(request, logprobs=request.logprobs, prompt_logprobs=request.prompt_logprobs, echo=request.echo)
    fields = {"token_ids": "prompt", "grammar": param}
    return generation(request, text, TEXT, prompts, asked, form, context, fields, account)


async def _prompts(prompts: list[str | list[int]], text: TextModel) -> list[list[int]]:
    for prompt in prompts:
        if not isinstance(prompt, str):
            check_tokens(prompt, "prompt", text)

    def encode() -> list[list[int]]:
        return [text.tokenizer.encode_prompt(it) if isinstance(it, str) else it for it in prompts]

    return await off_loop(encode, sum(len(it) for it in prompts if isinstance(it, str)))


async def tokenize(request: TokenizeRequest, text: TextModel) -> list[int]:
    """POST /tokenize."""
    if request.messages is not None:
        functions = [tool.function for tool in request.tools]
        return await encode_conversation(_conversation(request, offer(functions, Choice(), None)), text)
    prompt = request.prompt or ""
    encode = text.tokenizer.encode_prompt if request.add_special_tokens else text.tokenizer.encode
    return await off_loop(lambda: encode(prompt), len(prompt))


# ---- conversations -----------------------------------------------------------------------------------


def _conversation(request: ChatRequest | TokenizeRequest, offered: Offer) -> Conversation:
    return Conversation(
        messages=[_turn(i, message) for i, message in enumerate(request.messages or ())],
        tools=told(offered),
        options=request.chat_template_kwargs,
        add_generation_prompt=request.add_generation_prompt,
        continued=request.continue_final_message,
    )


def _turn(at: int, message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": ROLES.get(message.role, message.role), "content": message.content}
    if isinstance(message, AssistantMessage) and message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": _arguments(call.function.arguments, at, i)},
            }
            for i, call in enumerate(message.tool_calls)
        ]
    if isinstance(message, ToolMessage):
        turn["tool_call_id"] = message.tool_call_id
    return turn


def _arguments(text: str, at: int, call: int) -> dict[str, Any]:
    arguments = arguments_of(text)
    if arguments is not None:
        return arguments
    param = f"messages[{at}].tool_calls[{call}].function.arguments"
    raise ApiError(400, f"`{param}`: not the text of a JSON object.", param=param, code="invalid_value")
