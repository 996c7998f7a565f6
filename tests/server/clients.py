"""People's clients, unmodified, against a server: chat, streams, tools, JSON of a schema, log probabilities.

    python -m tests.server.clients                              # a server of its own with a tiny random model
    python -m tests.server.clients http://127.0.0.1:8000        # one that runs
    python -m tests.server.clients http://127.0.0.1:8000 openai litellm

The structure of answers is checked, not their sense. The tests run `openai`; the others need their packages: litellm,
langchain-openai, instructor.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

ASK = [{"role": "user", "content": "What is the weather in Bern?"}]


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Bern", "Oslo"]
    degrees: int = Field(ge=-50, le=50)


TOOL = {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": {}}}
TOOL["function"]["parameters"] = Weather.model_json_schema()


def with_openai(url: str, model: str) -> None:
    """The official client."""
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
    whole = client.chat.completions.create(
        model=model, messages=ASK, max_tokens=8, seed=1, logprobs=True, top_logprobs=2
    )
    assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens
    assert all(len(entry.top_logprobs) == 2 for entry in whole.choices[0].logprobs.content)
    chunks = list(client.chat.completions.create(model=model, messages=ASK, max_tokens=8, seed=1, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content

    forced = {"model": model, "messages": ASK, "tools": [TOOL], "tool_choice": "required", "seed": 2}
    forced |= {"parallel_tool_calls": False, "max_tokens": 600}
    message = client.chat.completions.create(**forced).choices[0].message
    Weather.model_validate_json(message.tool_calls[0].function.arguments)
    with client.chat.completions.stream(**forced) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_completion().choices[0].message
    assert streamed.tool_calls[0].function.arguments == message.tool_calls[0].function.arguments
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    client.chat.completions.create(model=model, messages=[*ASK, message, result], tools=[TOOL], max_tokens=4)

    parsed = client.chat.completions.parse(model=model, messages=ASK, response_format=Weather, max_tokens=600)
    assert isinstance(parsed.choices[0].message.parsed, Weather)
    _responses(client, model)
    legacy = client.completions.create(model=model, prompt="Bern is", max_tokens=4, logprobs=2, echo=True)
    assert legacy.choices[0].text.startswith("Bern is") and legacy.choices[0].logprobs.token_logprobs[0] is None

    texts = ["Bern", "Oslo", "Bern"]
    encodings: list[dict[str, Any]] = [{}, {"encoding_format": "float"}, {"extra_body": {"pooling": None}}]
    first, *others = (client.embeddings.create(model=model, input=texts, **fields) for fields in encodings)
    assert first.data[0].embedding == first.data[2].embedding != first.data[1].embedding
    assert all([item.embedding for item in it.data] == [item.embedding for item in first.data] for it in others)


def _responses(client: Any, model: str) -> None:
    """The Responses API: whole, streamed, parsed, and a call with its result."""
    import openai

    whole = client.responses.create(model=model, input="hi", max_output_tokens=8, extra_body={"seed": 1})
    events = list(
        client.responses.create(model=model, input="hi", max_output_tokens=8, stream=True, extra_body={"seed": 1})
    )
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text == events[-1].response.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))

    parsed = client.responses.parse(model=model, input=ASK, text_format=Weather, max_output_tokens=600)
    assert isinstance(parsed.output_parsed, Weather)
    with client.responses.stream(model=model, input=ASK, text_format=Weather, max_output_tokens=600) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, Weather)

    tools = [openai.pydantic_function_tool(Weather, name="weather")["function"] | {"type": "function"}]
    forced = {"model": model, "input": ASK, "tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
    with client.responses.stream(**forced, max_output_tokens=600) as stream:
        names = [event.type for event in stream]
        (call,) = stream.get_final_response().output
    assert names[-3:] == ["response.function_call_arguments.done", "response.output_item.done", "response.completed"]
    Weather.model_validate_json(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    # the client warns of its own types where it writes what it has parsed
    again = [item.model_dump(warnings=False) for item in parsed.output]
    items = [*ASK, *whole.output, *again, call, result]
    after = client.responses.create(model=model, input=items, tools=tools, max_output_tokens=4)
    assert after.usage.output_tokens > 0


def with_litellm(url: str, model: str) -> None:
    """LiteLLM, as its `openai/` provider."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    litellm.suppress_debug_info = True
    common: dict[str, Any] = {"model": f"openai/{model}", "api_base": f"{url}/v1", "api_key": "unused", "messages": ASK}
    whole = litellm.completion(**common, max_tokens=8, seed=1, logprobs=True, top_logprobs=1)
    assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens
    chunks = list(litellm.completion(**common, max_tokens=8, seed=1, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content

    forced = {**common, "tools": [TOOL], "tool_choice": "required", "seed": 2, "max_tokens": 600}
    message = litellm.completion(**forced).choices[0].message
    Weather.model_validate_json(message.tool_calls[0].function.arguments)
    again = litellm.stream_chunk_builder(list(litellm.completion(**forced, stream=True)))
    called = [call.function.arguments for call in again.choices[0].message.tool_calls]
    assert called == [call.function.arguments for call in message.tool_calls]
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "name": "weather", "content": "sunny"}
    first = {"role": "assistant", "tool_calls": [message.tool_calls[0].model_dump()], "content": None}
    litellm.completion(**{**common, "messages": [*ASK, first, result]}, tools=[TOOL], max_tokens=4)

    parsed = litellm.completion(**common, response_format=Weather, max_tokens=600)
    Weather.model_validate_json(parsed.choices[0].message.content)

    where = {name: common[name] for name in ("model", "api_base", "api_key")}
    first, second = litellm.embedding(**where, input=["Bern", "Oslo"], encoding_format="float").data
    assert (first["index"], second["index"]) == (0, 1) and first["embedding"] != second["embedding"]


def with_langchain(url: str, model: str) -> None:
    """langchain-openai's ChatOpenAI."""
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    def chat(**fields: Any) -> Any:
        return ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="unused", max_retries=0, seed=1, **fields)

    whole = chat(max_tokens=8).invoke("hi")
    assert "".join(chunk.content for chunk in chat(max_tokens=8).stream("hi")) == whole.content
    scored = chat(max_tokens=4, logprobs=True, top_logprobs=2).invoke("hi")
    # the token that ends an answer counts and is not shown
    assert scored.usage_metadata["output_tokens"] - len(scored.response_metadata["logprobs"]["content"]) in (0, 1)

    bound = chat(max_tokens=600).bind_tools([Weather], tool_choice="required", parallel_tool_calls=False)
    called = bound.invoke("hi")
    Weather.model_validate(called.tool_calls[0]["args"])
    pieces = list(bound.stream("hi"))
    total = pieces[0]
    for piece in pieces[1:]:
        total += piece
    assert total.tool_calls[0]["args"] == called.tool_calls[0]["args"]
    result = ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])
    chat(max_tokens=4).bind_tools([Weather]).invoke([HumanMessage("hi"), called, result])

    responses = ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="unused", max_tokens=600, use_responses_api=True)
    called = responses.bind_tools([Weather], tool_choice="required", parallel_tool_calls=False).invoke("hi")
    Weather.model_validate(called.tool_calls[0]["args"])
    result = ToolMessage("sunny", tool_call_id=called.tool_calls[0]["id"])
    pieces = list(responses.bind_tools([Weather]).stream([HumanMessage("hi"), called, result], max_tokens=4))
    assert sum(piece.usage_metadata["output_tokens"] for piece in pieces if piece.usage_metadata) > 0

    for method in ("json_schema", "function_calling", "json_mode"):
        structured = chat(max_tokens=600).with_structured_output(Weather, method=method, include_raw=True)
        answer = structured.invoke("hi")
        if method != "json_mode":  # which promises JSON and no schema
            assert isinstance(answer["parsed"], Weather), answer

    # or it sends token ids of another vocabulary
    common = {"model": model, "base_url": f"{url}/v1", "api_key": "unused", "check_embedding_ctx_length": False}
    vectors = OpenAIEmbeddings(**common)
    assert vectors.embed_documents(["Bern", "Oslo"])[0] == vectors.embed_query("Bern")


def with_instructor(url: str, model: str) -> None:
    """instructor over the official client, in its modes of OpenAI's API."""
    import instructor
    import openai

    plain = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
    ask: dict[str, Any] = {"model": model, "messages": ASK, "response_model": Weather, "max_tokens": 600, "seed": 4}
    one = {"parallel_tool_calls": False}  # a random model would call for ever
    modes = ((instructor.Mode.TOOLS, one), (instructor.Mode.TOOLS_STRICT, one), (instructor.Mode.JSON_SCHEMA, {}))
    for mode, fields in modes:
        client = instructor.from_openai(plain, mode=mode)
        made = client.chat.completions.create(**ask, **fields, max_retries=0)
        assert isinstance(made, Weather), mode
        *_, last = client.chat.completions.create_partial(**ask, **fields)
        assert last.model_dump() == made.model_dump(), mode


CLIENTS: dict[str, tuple[str, Callable[[str, str], None]]] = {
    "openai": ("openai", with_openai),
    "litellm": ("litellm", with_litellm),
    "langchain": ("langchain-openai", with_langchain),
    "instructor": ("instructor", with_instructor),
}


def check(url: str, names: list[str]) -> None:
    """Every named client; says its version. Raises what went wrong."""
    import httpx

    model = httpx.get(f"{url}/v1/models").json()["data"][0]["id"]
    for name in names:
        package, run = CLIENTS[name]
        run(url, model)
        print(
            json.dumps({"client": package, "version": importlib.metadata.version(package), "model": model, "ok": True})
        )


def main() -> None:
    """The commands above."""
    urls = [it for it in sys.argv[1:] if it.startswith("http")]
    names = [it for it in sys.argv[1:] if it not in urls] or list(CLIENTS)
    if urls:
        check(urls[0], names)
        return
    # here, so that the clients alone need not what a server needs
    from tests.make_model import write_model
    from tests.server.conftest import serving

    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder) / "tiny-chat.gguf", context=4096)
        with serving(model, "--log-level", "warning") as url:
            check(url, names)


if __name__ == "__main__":
    main()
