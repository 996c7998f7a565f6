"""A valid request -> a `Generation`: prompts to tokens, limits checked, grammars made, defaults filled in.

Every way in which a request does not fit this model is said here, before the engine hears of it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from engine import grammar
from engine.messages import SamplingParams, Submit
from server import tools
from server.answers import CHAT, TEXT, Shape, Style
from server.constraints import constraints_of
from server.conversation import AssistantMessage, Chosen, Message, Tool, ToolMessage
from server.errors import ApiError
from server.grammar import checked, grammar_of
from server.protocol import ChatRequest, CompletionRequest, GenerateRequest, TokenizeRequest
from server.stream import Generation
from server.text import Conversation, TextModel, UnknownOption

COMPLETION_TOKENS = 16
"""OpenAI's default for completions; a chat answer may fill the context."""
LONG_TEXT = 16_384
"""Characters above which tokenizing goes to a thread, so that other streams do not stutter."""


async def prepare_chat(request: ChatRequest, text: TextModel, context: int, account: str = "") -> Generation:
    """POST /v1/chat/completions. `account` is whose request it is."""
    _check_model(request, text)
    chat = _conversation(request, request.callable_tools)
    prompt = await encode_conversation(chat, text)
    limit = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    held, param = await _chat_grammar(request)
    params = _params(
        request,
        text,
        max_tokens=limit,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        grammar=held,
    )
    names = frozenset(tool.function.name for tool in request.callable_tools)
    one = request.parallel_tool_calls is False or isinstance(request.tool_choice, Chosen)
    shape = _shape(request, logprobs=params.logprobs, tools=names, one_call=one)
    fields = {"token_ids": "messages", "grammar": param}
    return _generation(request, text, CHAT, [prompt], params, shape, context, fields, account)


async def prepare_completion(
    request: CompletionRequest, text: TextModel, context: int, account: str = ""
) -> Generation:
    """POST /v1/completions. `account` is whose request it is."""
    _check_model(request, text)
    prompts: list[list[int]] = []
    for prompt in request.prompt:
        if isinstance(prompt, str):
            prompts.append(await _off_loop(lambda prompt=prompt: text.tokenizer.encode_prompt(prompt), len(prompt)))
        else:
            prompts.append(_checked(prompt, text))
    limit = request.max_tokens
    if limit is None:
        # a default is no wish: near the end of the context it is what room there is
        limit = max(1, min(COMPLETION_TOKENS, context - max(map(len, prompts))))
    held, param = await _own_grammar(request)
    params = _params(request, text, max_tokens=limit, logprobs=request.logprobs, grammar=held)
    shape = _shape(request, logprobs=request.logprobs, echo=request.echo)
    fields = {"token_ids": "prompt", "grammar": param}
    return _generation(request, text, TEXT, prompts, params, shape, context, fields, account)


async def tokenize(request: TokenizeRequest, text: TextModel) -> list[int]:
    """POST /tokenize."""
    if request.messages is not None:
        return await encode_conversation(_conversation(request, request.tools), text)
    prompt = request.prompt or ""
    encode = text.tokenizer.encode_prompt if request.add_special_tokens else text.tokenizer.encode
    return await _off_loop(lambda: encode(prompt), len(prompt))


async def encode_conversation(chat: Conversation, text: TextModel) -> list[int]:
    """A conversation as tokens, or the 400 that says why not."""
    length = sum(len(message["content"]) for message in chat.messages)
    if chat.tools or any("tool_calls" in message for message in chat.messages):
        length = LONG_TEXT + 1  # schemas and arguments may be anything
    if text.template is not None and text.template.apart:
        length = LONG_TEXT + 1  # a stranger's template may take its time
    try:
        return await _off_loop(lambda: text.encode_chat(chat), length)
    except UnknownOption as error:
        raise ApiError(
            400, f"`chat_template_kwargs`: {error}", param="chat_template_kwargs", code="invalid_value"
        ) from None
    except RecursionError:
        message = "`messages`: tools or arguments are nested too deeply."
        raise ApiError(400, message, param="messages", code="invalid_value") from None
    except ValueError as error:
        raise ApiError(400, str(error), param="messages", code="invalid_value") from None


# ---- conversations -----------------------------------------------------------------------------------


def _conversation(request: ChatRequest | TokenizeRequest, callable_tools: Sequence[Tool]) -> Conversation:
    return Conversation(
        messages=[_turn(i, message) for i, message in enumerate(request.messages or ())],
        tools=[{"type": "function", "function": _function(tool)} for tool in callable_tools],
        options=request.chat_template_kwargs,
        add_generation_prompt=request.add_generation_prompt,
        continued=request.continue_final_message,
    )


def _turn(at: int, message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": _ROLES.get(message.role, message.role), "content": message.content}
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


_ROLES = {"developer": "system"}


def _arguments(text: str, at: int, call: int) -> dict[str, Any]:
    """Templates write arguments themselves, so they are given the object that the text says."""
    try:
        arguments = json.loads(text) if text.strip() else {}
        if isinstance(arguments, dict):
            return arguments
    except (ValueError, RecursionError):
        pass
    param = f"messages[{at}].tool_calls[{call}].function.arguments"
    raise ApiError(400, f"`{param}`: not the text of a JSON object.", param=param, code="invalid_value")


def _function(tool: Tool) -> dict[str, Any]:
    """A function as templates and grammars take it: what was not said is not there."""
    function = tool.function
    told: dict[str, Any] = {"name": function.name}
    if function.description:
        told["description"] = function.description
    return told | {"parameters": function.parameters or {"type": "object", "properties": {}}}


# ---- grammars ----------------------------------------------------------------------------------------


async def _own_grammar(request: GenerateRequest) -> tuple[str | None, str]:
    """What the request itself says that the answer must match, and the field that says it."""
    for constraint in constraints_of(request):
        return await grammar_of(constraint), constraint.param
    return None, ""


async def _chat_grammar(request: ChatRequest) -> tuple[str | None, str]:
    """The same, or what tools ask for: a call that must be made, calls that must be right."""
    own, param = await _own_grammar(request)
    strict = any(tool.function.strict for tool in request.callable_tools)
    if not (request.must_call or strict):
        return own, param
    if own is not None:
        message = f"`{param}`: an answer that must call tools, or strict ones, cannot also be held to this."
        raise ApiError(400, message, param=param, code="invalid_value")
    return await checked(grammar.lark(_tool_grammar(request)), "tools"), "tools"


def _tool_grammar(request: ChatRequest) -> str:
    if request.must_call:
        many = request.tool_choice == "required" and request.parallel_tool_calls is not False
        return tools.forced([_function(tool) for tool in request.must_call], many)
    return tools.held([_function(tool) if tool.function.strict else _name_alone(tool) for tool in request.tools])


def _name_alone(tool: Tool) -> dict[str, Any]:
    """Not strict: any arguments will do."""
    return {"name": tool.function.name}


# ---- checks and parameters ---------------------------------------------------------------------------


def check_name(name: str | None, text: TextModel) -> None:
    """There is one model; a request may only mean that one."""
    if name not in (None, text.name):
        message = f"The model `{name}` does not exist here; this server has `{text.name}`."
        raise ApiError(404, message, param="model", code="model_not_found")


def _check_model(request: GenerateRequest, text: TextModel) -> None:
    check_name(request.model, text)
    size = text.tokenizer.vocab_size
    for field, tokens in (("stop_token_ids", request.stop_token_ids), ("logit_bias", request.logit_bias)):
        wrong = next((token for token in tokens if token >= size), None)
        if wrong is not None:
            message = f"`{field}`: {wrong} is not in the vocabulary of {size}."
            raise ApiError(400, message, param=field, code="invalid_value")


def _checked(prompt: list[int], text: TextModel) -> list[int]:
    wrong = next((token for token in prompt if not 0 <= token < text.tokenizer.vocab_size), None)
    if wrong is not None:
        message = f"`prompt`: token id {wrong} is not in the vocabulary of {text.tokenizer.vocab_size}."
        raise ApiError(400, message, param="prompt", code="invalid_value")
    return prompt


async def _off_loop(encode: Callable[[], list[int]], length: int) -> list[int]:
    return await asyncio.to_thread(encode) if length > LONG_TEXT else encode()


def _generation(
    request: GenerateRequest,
    text: TextModel,
    style: Style,
    prompts: list[list[int]],
    params: SamplingParams,
    shape: Shape,
    context: int,
    fields: dict[str, str],
    account: str,
) -> Generation:
    for prompt in prompts:
        _check_length(len(prompt), params.max_tokens, context, fields["token_ids"])
    identity = style.prefix + secrets.token_hex(12)
    submits = [
        # what one account's prompts left in the cache is not for others to find, not even by how long an answer takes
        Submit(f"{identity}/{i * request.n + choice}", prompt, params, choice, request.priority, account, account)
        for i, prompt in enumerate(prompts)
        for choice in range(request.n)
    ]
    return Generation(
        id=identity,
        style=style,
        submits=submits,
        prompt_tokens=sum(map(len, prompts)),
        text=text,
        shape=shape,
        stream=request.stream,
        include_usage=request.stream_options is not None and request.stream_options.include_usage,
        user=request.user,
        fields=fields,
    )


def _check_length(length: int, limit: int | None, context: int, field: str) -> None:
    if length == 0:
        message = f"`{field}` has no tokens; there is nothing to continue."
        raise ApiError(400, message, param=field, code="invalid_value")
    least = 1 if limit is None else limit
    wanted = length + least
    if wanted > context:
        message = (
            f"This model's maximum context length is {context} tokens. However, you requested {wanted} tokens "
            f"({length} in the {field}, {least} in the completion)."
        )
        raise ApiError(400, message, param=field, code="context_length_exceeded")


def _shape(request: GenerateRequest, **rest: Any) -> Shape:
    return Shape(
        stops=tuple(request.stop),
        include_stop=request.include_stop_str_in_output,
        unstopped=request.min_tokens,
        skip_special=request.skip_special_tokens,
        prompt_logprobs=request.prompt_logprobs,
        **rest,
    )


def _params(
    request: GenerateRequest, text: TextModel, *, max_tokens: int | None, logprobs: int | None, grammar: str | None
) -> SamplingParams:
    defaults = text.sampling
    scored = [k for k in (request.prompt_logprobs, logprobs if request.echoes else None) if k is not None]
    if max_tokens == 0 and not scored:
        scored = [0]  # an echo alone: the engine takes no request that asks for nothing
    if max_tokens is not None and request.min_tokens > max_tokens:
        message = f"`min_tokens`: {request.min_tokens} is more than the {max_tokens} tokens of the answer."
        raise ApiError(400, message, param="min_tokens", code="invalid_value")
    return SamplingParams(
        temperature=defaults.temperature if request.temperature is None else request.temperature,
        top_p=defaults.top_p if request.top_p is None else request.top_p,
        top_k=max(0, defaults.top_k if request.top_k is None else request.top_k),
        min_p=defaults.min_p if request.min_p is None else request.min_p,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        repetition_penalty=request.repetition_penalty,
        logit_bias=request.logit_bias,
        seed=request.seed,
        min_tokens=request.min_tokens,
        max_tokens=max_tokens,
        stop_token_ids=tuple(request.stop_token_ids),
        ignore_eos=request.ignore_eos,
        logprobs=logprobs,
        prompt_logprobs=max(scored) if scored else None,
        grammar=grammar,
    )
