"""Embeddings over HTTP: the vectors are the engine's, in the order of the inputs, in both encodings."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from engine.params import PoolingParams
from server.replies import EmbeddingReply
from server.text import pooling_of
from tests.engine.fake_runner import NAN_TOKEN, expected_embedding
from tests.server.conftest import Running, start
from tests.server.test_errors import refused
from tests.server.test_life import within
from tests.server.tiny import tokenizer


def embed(server: Running, inputs: Any, **fields: Any) -> dict[str, Any]:
    answer = server.post("/v1/embeddings", {"model": "tiny", "input": inputs, **fields})
    assert answer.status_code == 200, answer.text
    EmbeddingReply.model_validate(answer.json())
    return answer.json()


def vectors(server: Running, inputs: Any, **fields: Any) -> list[list[float]]:
    data = embed(server, inputs, **fields)["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    return [item["embedding"] for item in data]


def truth(tokens: list[int], pooling: Any = "last", normalize: bool = True) -> list[float]:
    return expected_embedding(tokens, PoolingParams(pooling, normalize)).tolist()


def test_texts_and_tokens_become_vectors_in_their_order(server: Running) -> None:
    ids = tokenizer().encode("hello")
    assert vectors(server, "hello") == vectors(server, ["hello"]) == vectors(server, ids) == [truth(ids)]
    many = [[5 + i % 900 for i in range(at, at + 1 + at * 7 % 50)] for at in range(40)]
    assert vectors(server, many) == [truth(tokens) for tokens in many]
    assert vectors(server, ["hello", [7.0, 8]]) == [truth(ids), truth([7, 8])]


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling_and_normalizing_are_the_requests_own(server: Running, pooling: str, normalize: bool) -> None:
    tokens = list(range(3, 60))
    got = vectors(server, [tokens, tokens[:1]], pooling=pooling, normalize=normalize)
    assert got == [truth(tokens, pooling, normalize), truth(tokens[:1], pooling, normalize)]


def test_base64_is_the_same_numbers_as_little_endian_floats(server: Running) -> None:
    inputs = [[7, 8, 9], [10]]
    written = vectors(server, inputs, encoding_format="base64")
    assert [np.frombuffer(base64.b64decode(text), "<f4").tolist() for text in written] == vectors(server, inputs)


def test_usage_counts_the_tokens_of_all_inputs(server: Running) -> None:
    body = embed(server, [[7, 8, 9], [10]], user="somebody")
    assert body["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert body["object"] == "list" and body["model"] == "tiny" and body["id"].startswith("embd-")


def test_more_inputs_than_may_be_open_go_through_and_leave_room_for_others() -> None:
    running, stop = start(max_open=129, max_batched_tokens=32)
    try:
        inputs = [[1 + i % 900, 1 + i // 900, 7] for i in range(2048)]
        found: list[list[list[float]]] = []
        work = threading.Thread(target=lambda: found.append(vectors(running, inputs)))
        with running.paced(0.05):  # 2048 / 8 steps of it are more than ten seconds
            work.start()
            assert within(30, lambda: running.metric("vllm:num_requests_running") > 0)
            beside = running.chat("hi", max_tokens=2)
            assert beside.status_code == 200 and work.is_alive(), "it was answered meanwhile"
        work.join(60)
        assert found == [[truth(tokens) for tokens in inputs]]
        assert running.metric("rtriton_kv_blocks_used") == 0
    finally:
        stop()


def test_an_input_that_is_too_long_is_named_and_may_be_cut(server: Running) -> None:
    long = [1 + i % 900 for i in range(300)]
    error = refused(server.post("/v1/embeddings", {"model": "tiny", "input": [[5], long]}))
    assert error["code"] == "context_length_exceeded" and error["param"] == "input[1]"
    assert "256 tokens" in error["message"] and "300 tokens" in error["message"]
    error = refused(server.post("/v1/embeddings", {"model": "tiny", "input": "word " * 300}))
    assert error["code"] == "context_length_exceeded" and error["param"] == "input"
    for limit, kept in ((-1, 256), (256, 256), (7, 7), (1, 1)):
        body = embed(server, [[5], long], truncate_prompt_tokens=limit, pooling="mean")
        assert [item["embedding"] for item in body["data"]] == [truth([5], "mean"), truth(long[:kept], "mean")]
        assert body["usage"]["prompt_tokens"] == 1 + kept
    ids = tokenizer().encode("word " * 300)
    assert vectors(server, "word " * 300, truncate_prompt_tokens=9) == [truth(ids[:9])]


def test_a_prompt_may_fill_the_context(server: Running) -> None:
    tokens = [1 + i % 900 for i in range(256)]
    assert vectors(server, tokens, pooling="mean") == [truth(tokens, "mean")]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", []]}, "input[1]"),
        ({"input": [[1], ["a"]]}, "input[1]"),
        ({"input": [1, "a"]}, "input[0]"),
        ({"input": [[1], [997]]}, "input[1]"),
        ({"input": [-1]}, "input"),
        ({"input": "\ud800"}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [[1] * 256] * 1172}, "input"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"dimensions": 2}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"pooling": "cls"}, "pooling"),
        ({"normalize": 1}, "normalize"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
        ({"truncate_prompt_tokens": 257}, "truncate_prompt_tokens"),
        ({"add_special_tokens": "yes"}, "add_special_tokens"),
        ({"stream": True}, "stream"),
        ({"temperature": 0}, "temperature"),
        ({"user": "x" * 513}, "user"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_name(server: Running, fields: dict[str, Any], param: str) -> None:
    body = json.dumps({"model": "tiny", "input": "a", **fields})  # httpx's own cannot write half a surrogate pair
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{server.url}/v1/embeddings", content=body, headers=headers, timeout=30)
    assert refused(answer)["param"] == param


def test_another_model_is_a_404(server: Running) -> None:
    assert refused(server.post("/v1/embeddings", {"model": "x", "input": "a"}), 404)["code"] == "model_not_found"


def test_the_models_own_width_may_be_asked_for(server: Running) -> None:
    assert vectors(server, [7, 8], dimensions=3) == [truth([7, 8])]


def test_an_input_that_fails_fails_its_request_alone(server: Running) -> None:
    found: list[list[list[float]]] = []
    work = threading.Thread(target=lambda: found.append(vectors(server, [[7, 8, 9]] * 50)))
    work.start()
    error = refused(server.post("/v1/embeddings", {"model": "tiny", "input": [[5], [6, NAN_TOKEN]]}), 500)
    assert error["code"] == "request_failed" and "no finite hidden states" in error["message"]
    work.join(30)
    assert found == [[truth([7, 8, 9])] * 50]
    assert server.metric("rtriton_kv_blocks_used") == 0


def test_a_client_that_leaves_frees_its_blocks(slow_server: Running) -> None:
    body = {"model": "tiny", "input": [[5 + i] * 200 for i in range(300)]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{slow_server.url}/v1/embeddings", json=body, timeout=httpx.Timeout(30, read=0.3))
    # all of them would take more than a minute
    assert within(30, lambda: slow_server.metric("rtriton_kv_blocks_used") == 0)
    assert within(30, lambda: slow_server.metric("vllm:num_requests_waiting") == 0)


def test_when_the_engine_dies_the_request_ends_with_an_error() -> None:
    running, stop = start(extra={"step_seconds": 0.02})
    try:
        answers: list[httpx.Response] = []
        body = {"model": "tiny", "input": [[5 + i] * 200 for i in range(300)]}
        work = threading.Thread(target=lambda: answers.append(running.post("/v1/embeddings", body)))
        work.start()
        assert within(30, lambda: running.metric("vllm:num_requests_running") > 0)
        os.kill(running.core.pid, signal.SIGKILL)
        work.join(30)
        assert refused(answers[0], 503)["code"] == "engine_stopped"
    finally:
        stop()


def test_a_files_own_pooling_is_the_default() -> None:
    assert pooling_of({"general.architecture": "llama", "llama.pooling_type": 1}) == "mean"
    assert pooling_of({"general.architecture": "llama", "llama.pooling_type": 3}) == "last"
    for other in ({}, {"llama.pooling_type": 1}, {"general.architecture": "llama", "llama.pooling_type": [1]}):
        assert pooling_of(other) == "last"


# ---- the real engine ----


@pytest.fixture(scope="module")
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def test_the_official_client_reads_both_encodings(client: openai.OpenAI) -> None:
    ask: dict[str, Any] = {"model": "tiny-chat", "input": ["and the rest", "the", "and the rest"]}
    unsaid, floats = client.embeddings.create(**ask), client.embeddings.create(**ask, encoding_format="float")
    raw = client.embeddings.create(**ask, encoding_format="base64")
    for text, mine, other in zip(raw.data, unsaid.data, floats.data, strict=True):
        assert mine.embedding == other.embedding
        assert np.frombuffer(base64.b64decode(text.embedding), "<f4").tolist() == mine.embedding  # type: ignore[arg-type]
    first, second, third = (np.array(item.embedding) for item in unsaid.data)
    assert first @ third == pytest.approx(1, abs=1e-6) and first @ second < 0.999
    assert unsaid.usage.prompt_tokens == unsaid.usage.total_tokens > 3 and unsaid.object == "list"


def test_a_vector_is_the_same_alone_beside_others_and_from_the_cache(client: openai.OpenAI) -> None:
    def ask(inputs: Any, pooling: str) -> list[list[float]]:
        answer = client.embeddings.create(model="tiny-chat", input=inputs, extra_body={"pooling": pooling})
        return [item.embedding for item in answer.data]

    texts = ["and the rest is " * n for n in range(1, 30, 4)]
    for pooling in ("mean", "last"):
        alone = [ask(text, pooling)[0] for text in texts]
        assert ask(texts, pooling) == ask(texts[::-1], pooling)[::-1] == alone
    assert ask(texts[0], "mean") != ask(texts[0], "last")
