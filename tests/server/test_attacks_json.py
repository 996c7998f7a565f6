"""Attacks by JSON that is read in two ways, and by bodies that take long to read.

One for each guard of docs/security.md; it fails when its guard is taken away.
"""

from __future__ import annotations

import gzip
import threading
import time
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from engine.tokenizer import Tokenizer
from server.conversation import arguments_of
from server.json_text import parse
from server.protocol import ChatRequest, CompletionRequest, DetokenizeRequest
from server.responses import ResponsesRequest
from server.strict import Strict
from server.talk import LONG_TEXT
from tests.server.conftest import Running
from tests.server.refused import refused
from tests.server.tiny import tokenizer

HALF = r'"\ud800"'


def send(server: Running, body: str | bytes, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
    content = body.encode() if isinstance(body, str) else body
    said = {"content-type": "application/json", **headers}
    return httpx.post(server.url + path, content=content, headers=said, timeout=30)


def chat(rest: str) -> str:
    return '{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2, ' + rest + "}"


# ---- one reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (chat('"max_tokens": 3'), "max_tokens"),
        (chat(r'"max_token\u0073": 3'), "max_tokens"),
        (chat('"guided_json": {"type": "object", "type": "string"}'), "type"),
    ],
)
def test_of_two_members_of_one_name_none_is_ignored(server: Running, body: str, name: str) -> None:
    error = refused(send(server, body))
    assert error["code"] == "invalid_json" and f"'{name}' twice" in error["message"]


def test_a_name_among_many_is_found_soon() -> None:
    many = b"{" + b",".join(b'"%d":1' % i for i in range(300_000)) + b',"7":1}'
    started = time.process_time()
    with pytest.raises(ValueError, match="'7' twice"):
        parse(many)
    assert time.process_time() - started < 2


def test_two_texts_of_one_token_are_no_two_biases(server: Running) -> None:
    assert refused(send(server, chat('"logit_bias": {"5": 1, "05": 2}')))["param"] == "logit_bias.05"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-7"])
def test_json_in_another_encoding_is_not_read(server: Running, encoding: str) -> None:
    # the bytes of U+2200 have a quotation mark, which hid the depth of what followed
    deep = '"user": "\u2200", ' if encoding.startswith("utf-") else '"user": "\u00e9", '
    body = chat(deep + '"guided_json": ' + '{"not": ' * 200 + "{}" + "}" * 200)
    error = refused(send(server, body.encode(encoding)))
    assert error["code"] == "invalid_json"
    assert send(server, chat('"user": "\u00e9"').encode("utf-8-sig")).status_code == 200


@pytest.mark.parametrize(
    ("rest", "param"),
    [
        (f'"logit_bias": {{{HALF}: 1}}', None),
        (f'"messages": [{{"role": "user", "content": [{{"type": "text", "text": "x", {HALF}: 1}}]}}]', None),
        (f'"chat_template_kwargs": {{{HALF}: 1}}', None),
        (f'"guided_json": {{"const": [{HALF}]}}', "guided_json"),
        (f'"response_format": {{"type": "json_schema", "json_schema": {{"name": "x", "schema": {{"const": {HALF}}}}}}}',
         "response_format.json_schema.schema"),
        (f'"tools": [{{"type": "function", "function": {{"name": "f", "parameters": {{"title": {HALF}}}}}}}]',
         "tools[0].function.parameters"),
        (f'"chat_template_kwargs": {{"x": {HALF}}}', "chat_template_kwargs"),
    ],
)  # fmt: skip
def test_half_a_character_is_refused_wherever_it_stands(server: Running, rest: str, param: str | None) -> None:
    body = chat(rest)
    if '"messages"' in rest:
        body = '{"model": "tiny", ' + rest + "}"
    error = refused(send(server, body))
    assert error["param"] == param and "half of a surrogate pair" in error["message"]


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": 1e999}', '{"a": 1, "a": 2}', '{"a": ' + HALF + "}", "[1]", "{"])
def test_arguments_of_calls_are_held_to_the_same(text: str) -> None:
    assert arguments_of(text) is None
    assert arguments_of(' {"a": "\\ud83d\\ude00"} ') == {"a": "\N{GRINNING FACE}"} and arguments_of(" ") == {}


def test_a_number_of_many_digits_is_refused_without_advice_to_the_owner(server: Running) -> None:
    error = refused(send(server, chat('"seed": 1' + "0" * 5000)))
    assert error["code"] == "invalid_json" and "4300 digits" in error["message"] and "sys." not in error["message"]


def test_a_packed_body_is_refused_as_such(server: Running) -> None:
    packed = gzip.compress(chat('"n": 1').encode())
    error = refused(send(server, packed, **{"content-encoding": "gzip"}), 415)
    assert "gzip" in error["message"]
    assert send(server, chat('"n": 1'), **{"content-encoding": "identity"}).status_code == 200


# ---- bodies that take long ---------------------------------------------------------------------------

HI: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}
MANY = 400_000
LISTS: list[tuple[type[Strict], dict[str, Any]]] = [
    (ChatRequest, HI | {"messages": [{"role": "assistant", "tool_calls": [{}] * MANY}]}),
    (ChatRequest, HI | {"messages": [{"role": "assistant", "tool_calls": [{}] * 100}] * 4000}),
    (ChatRequest, HI | {"guided_choice": [1] * MANY}),
    (ChatRequest, HI | {"structured_outputs": {"choice": [1] * MANY}}),
    (ChatRequest, HI | {"stop": [1] * MANY}),
    (ChatRequest, HI | {"logit_bias": {str(i): "" for i in range(MANY)}}),
    (ChatRequest, HI | {f"x{i}": 1 for i in range(MANY)}),
    (CompletionRequest, {"model": "tiny", "prompt": [[]] * MANY}),
    (DetokenizeRequest, {"tokens": [""] * MANY}),
    (ResponsesRequest, {"model": "tiny", "input": [{}] * MANY}),
    (ResponsesRequest, {"model": "tiny", "input": "x", "metadata": {f"x{i}": 1 for i in range(MANY)}}),
]


@pytest.mark.parametrize(("kind", "body"), LISTS)
def test_of_many_mistakes_the_first_is_enough(kind: type[Strict], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as wrong:
        kind.model_validate(body)
    assert wrong.value.error_count() < 10


def test_tokens_are_whole_numbers_however_they_are_written() -> None:
    assert DetokenizeRequest.model_validate({"tokens": [5.0, 6]}).tokens == [5, 6]
    for wrong in ([True], [5.5], [-1], [2**31]):
        with pytest.raises(ValidationError):
            DetokenizeRequest.model_validate({"tokens": wrong})


def test_while_a_long_text_becomes_tokens_other_threads_run() -> None:
    text, found = "to be 12 " * 60_000, tokenizer()
    assert len(text) > LONG_TEXT
    work = threading.Thread(target=found.encode, args=(text,))
    work.start()
    turns = 0
    while work.is_alive():
        turns += 1
        time.sleep(0.001)
    assert turns > 20
    assert found.encode("to be 12 " * 3000) == found.encode("to be 12 ") * 3000


@pytest.mark.parametrize(
    ("work", "path", "body"),
    [
        ("encode_prompt", "/tokenize", {"prompt": "to be 12 " * 2000}),
        ("token_text", "/tokenize", {"prompt": "to be 12 " * 2000, "return_token_strs": True}),
        ("decode", "/detokenize", {"tokens": [5] * 20_000}),
        ("encode_prompt", "/v1/completions", {"model": "tiny", "prompt": ["to be 12 " * 100] * 20}),
    ],
)
def test_long_texts_are_not_the_loops_work(
    server: Running, work: str, path: str, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    real = getattr(Tokenizer, work)

    def noted(*arguments: Any, **options: Any) -> Any:
        threads.add(threading.current_thread().name)
        return real(*arguments, **options)

    monkeypatch.setattr(Tokenizer, work, noted)
    assert server.post(path, body).status_code in (200, 400)  # the prompts are too long, which is known afterwards
    assert threads and all(name.startswith("asyncio_") for name in threads)
