"""A batch answers every line as the server would, survives bad lines, kills and a dying engine, and goes on."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.core_client import CoreClient
from server.batch import Batch, run
from server.batch_file import Output, answered, read, survey, unusable
from server.batch_progress import progress
from server.errors import ApiError
from server.link import EngineLink
from server.replies import ChatReply, EmbeddingReply, ErrorReply, TextReply
from server.responses_replies import ResponseReply
from server.run import Refused
from tests.engine.fake_runner import paced
from tests.server.conftest import Running
from tests.server.kill_batch import check, requests
from tests.server.test_cli import cli, one_sentence
from tests.server.tiny import fake_setup, text_model

ROOT = Path(__file__).parents[2]
FAKE = """
import sys
from pathlib import Path
from server.batch import run
from server.batch_file import Output, survey
from tests.server.tiny import fake_setup
source, target = map(Path, sys.argv[1:])
with Output(target, survey(source)) as output:
    setup = fake_setup(0.002, target.with_name("pace"))
    stopped = run(setup, source, output, lambda: None, lambda text: print(text, flush=True))
sys.exit(130 if stopped else 0)
"""


REPLIES = {
    "/v1/chat/completions": ChatReply,
    "/v1/completions": TextReply,
    "/v1/responses": ResponseReply,
    "/v1/embeddings": EmbeddingReply,
}


def said_by(body: dict[str, Any]) -> Any:
    """The part of an answer that is the same each time it is asked for."""
    return [it["content"] for it in body["output"]] if "output" in body else body.get("choices", body.get("data"))


def fake(source: Path, target: Path) -> list[str]:
    return [sys.executable, "-c", FAKE, str(source), str(target)]


def ask(custom_id: str, prompt: Any = "hi", url: str = "/v1/completions", **fields: Any) -> dict[str, Any]:
    body = {"model": "tiny", "prompt": prompt, "max_tokens": 8, "temperature": 0, **fields}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def write(path: Path, *lines: Any) -> Path:
    texts = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    path.write_bytes(b"".join(text + b"\n" for text in texts))
    return path


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def answer(source: Path, target: Path, **engine: Any) -> list[dict[str, Any]]:
    with Output(target, survey(source)) as output:
        assert not run(fake_setup(**engine), source, output, lambda: None, print)
    return records(target)


def test_answers_are_the_servers(tmp_path: Path, server: Running) -> None:
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "hé"}], "max_tokens": 8, "temperature": 0}
    embedding = {"model": "tiny", "input": ["hé", "hi"], "pooling": "mean"}
    base64 = {"encoding_format": "base64"}
    lines = [
        {"custom_id": "chat", "method": "POST", "url": "/v1/chat/completions", "body": chat},
        {
            "custom_id": "response",
            "method": "POST",
            "url": "/v1/responses",
            "body": {"model": "tiny", "input": "hé", "max_output_tokens": 8, "temperature": 0},
        },
        ask("text", ["one", "two"], n=2, seed=5, temperature=1.0, logprobs=2, echo=True),
        {"custom_id": "vectors", "method": "POST", "url": "/v1/embeddings", "body": embedding},
        {"custom_id": "bytes", "method": "POST", "url": "/v1/embeddings", "body": {**embedding, **base64}},
        ask("refused", top_k="many"),
        ask("elsewhere", model="other"),
        ask("long", "word " * 5000),
    ]
    answers = {line["custom_id"]: line for line in answer(write(tmp_path / "in", *lines), tmp_path / "out")}
    assert answers.keys() == {line["custom_id"] for line in lines}
    for line in lines:
        record = answers[line["custom_id"]]
        assert record.keys() == {"id", "custom_id", "response", "error"} and record["error"] is None
        response, served = record["response"], server.post(line["url"], line["body"])
        assert response.keys() == {"status_code", "request_id", "body"}
        assert response["status_code"] == served.status_code
        if served.status_code != 200:
            ErrorReply.model_validate(response["body"])
            # the two engines here have caches of different sizes
            numbers = re.compile(r"\d+")
            told = served.json()
            assert told["error"].pop("request_id") == served.headers["x-request-id"]
            said, body = (json.dumps(reply) for reply in (told, response["body"]))
            assert numbers.sub("", said) == numbers.sub("", body)
            continue
        REPLIES[line["url"]].model_validate(response["body"])
        assert response["request_id"] == response["body"]["id"]
        assert said_by(response["body"]) == said_by(served.json())


def test_lines_that_are_no_requests_end_nothing(tmp_path: Path) -> None:
    half = json.dumps(ask("half \ud800")).encode()
    lines = [b"no json", [1], {}, ask("x", url="/v1/other"), {**ask("y"), "more": 1}, {**ask("z"), "body": 1}]
    lines += [half, b'{"custom_id": "deep", "body": ' + b"[" * 200, b"", b"  ", ask("s", stream=True), ask("good")]
    source = write(tmp_path / "in", *lines)
    found = answer(source, tmp_path / "out")
    errors = {record["error"]["line"]: record for record in found if record["error"]}
    assert errors.keys() == {1, 2, 3, 4, 5, 6, 7, 8}
    assert all(record["response"] is None for record in errors.values())
    assert [errors[i]["custom_id"] for i in (1, 4, 5, 6, 7)] == [None, "x", "y", "z", None]
    assert [errors[i]["error"]["param"] for i in (3, 4, 5, 6, 7)] == ["custom_id", "url", "more", "body", "custom_id"]
    statuses = {r["custom_id"]: r["response"]["status_code"] for r in found if r["response"]}
    assert statuses == {"s": 400, "good": 200}
    assert answer(source, tmp_path / "out") == found  # lines without a custom_id are known by their numbers


def test_two_lines_with_one_custom_id_are_refused_before_the_run(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ask("a"), ask("b"), ask("a"), {"custom_id": "a"})
    said = one_sentence(cli("batch", str(source), str(tmp_path / "out"), "--offline"))
    assert "'a' is on lines 1, 3, 4" in said and "'b'" not in said
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_not_this_batchs_is_left_alone(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ask("a"))
    for content in (
        b"dear diary\n",
        b"dear diary",
        b'{"custom_id": [1], "error": null}\n',
        json.dumps(ask("a")).encode(),
    ):
        (tmp_path / "out").write_bytes(content)
        with pytest.raises(Refused, match="line 1 is no line of a batch's output"):
            Output(tmp_path / "out", survey(source))
        assert (tmp_path / "out").read_bytes() == content
    answer(source, tmp_path / "mine")
    with pytest.raises(Refused, match="line 1 answers 'a'"):
        Output(tmp_path / "mine", {"b"})
    with Output(tmp_path / "mine", {"a"}), pytest.raises(Refused, match="another run"):
        Output(tmp_path / "mine", {"a"})
    with pytest.raises(Refused, match="cannot read"):
        survey(tmp_path / "nowhere")


def test_a_line_cut_anywhere_is_answered_again_and_no_other(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ask("a"), ask("b", "other"))
    answer(source, tmp_path / "out")
    first, last = (tmp_path / "out").read_bytes().splitlines(keepends=True)
    for cut in (0, 1, 10, len(last) // 2, len(last) - 1):
        (tmp_path / "cut").write_bytes(first + last[:cut])
        with Output(tmp_path / "cut", survey(source)) as output:
            assert output.done == {json.loads(first)["custom_id"]}
        assert (tmp_path / "cut").read_bytes() == first


def test_a_full_disk_leaves_whole_lines_and_one_sentence(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ask("a"), ask("b", "other"))
    answer(source, tmp_path / "out")
    first = (tmp_path / "out").read_bytes().splitlines(keepends=True)[0]
    (tmp_path / "out").write_bytes(first)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Output(tmp_path / "out", survey(source)) as output:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(first) + 20, hard))
        try:
            with pytest.raises(Refused, match=r"cannot write .* run the same command to go on"):
                run(fake_setup(), source, output, lambda: None, print)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "out").read_bytes() == first
    assert len(answer(source, tmp_path / "out")) == 2


def test_progress_is_lines_where_there_is_no_terminal_and_a_bar_on_one(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ask("a"), {"custom_id": "b"}, ask("c"))
    for terminal, said in ((False, "2 of 3 lines, 1 with errors\n"), (True, "2/3")):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
        with Output(tmp_path / str(terminal), survey(source)) as output, progress(console, output, 3, 0) as show:
            for line in list(read(source))[:2]:
                error = ApiError(400, "no")
                output.write(line.key, answered(line, 200, "", {}) if line.key == "a" else unusable(line, error))
            show()
        assert said in console.file.getvalue()


def test_killed_and_resumed_it_gives_what_it_gives_uninterrupted(tmp_path: Path) -> None:
    draw = random.Random(1)
    assert check(fake, tmp_path, requests(30, draw, "tiny"), 2, draw) == 2


def test_sigint_finishes_what_is_open_and_another_run_goes_on(tmp_path: Path) -> None:
    source = write(tmp_path / "in", *(ask(f"{i}", f"{i}", max_tokens=40) for i in range(40)))
    target = tmp_path / "out"
    with paced(tmp_path / "pace", 0.02):  # 400 steps
        process = subprocess.Popen(fake(source, target), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        while not target.exists() or target.read_bytes().count(b"\n") < 3:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        said = process.stdout.readline()
    process.communicate(timeout=60)
    assert process.returncode == 130 and re.match(r"stopping once [1-8] open requests have finished", said)
    before = records(target)
    assert 3 < len(before) < 40 and all(r["response"]["status_code"] == 200 for r in before)
    after = answer(source, target)
    assert after[: len(before)] == before and len(after) == 40


def test_requests_that_an_engine_died_of_are_asked_again(tmp_path: Path) -> None:
    source = write(tmp_path / "in", *(ask(f"{i}", f"{i}", max_tokens=30) for i in range(12)))
    target = tmp_path / "out"

    async def killed() -> None:
        core = await CoreClient.start(fake_setup(0.005).config)
        link = EngineLink(core)
        with Output(target, survey(source)) as output:
            batch = Batch(link, text_model(), source, output, lambda: None)
            work = asyncio.ensure_future(batch.run(4))
            while not output.done:
                await asyncio.sleep(0.005)
            os.kill(core.pid, signal.SIGKILL)
            await work
        assert link.restarts == 1
        await link.close()

    asyncio.run(killed())
    assert [r["response"]["status_code"] for r in records(target)] == [200] * 12


def test_a_full_queue_is_waited_for_and_one_that_is_too_small_is_not(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ask("a"), ask("b"), ask("c"), ask("wide", n=4, seed=1, temperature=1.0))
    found = answer(source, tmp_path / "out", max_waiting=1, max_num_seqs=2)
    assert {r["custom_id"]: r["response"]["status_code"] for r in found} == {"a": 200, "b": 200, "c": 200, "wide": 429}


def test_the_page_shows_a_file_that_works_and_the_command_its_summary(tmp_path: Path, model: Path) -> None:
    page = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
    block = re.search(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1]
    program = block.replace("smollm2-135m-instruct", "tiny-chat").replace("in.jsonl", str(tmp_path / "in.jsonl"))
    exec(compile(program, "batch.md", "exec"), {})
    command = ["batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), "--model", str(model)]
    first = cli(*command, "--device", "cpu")
    assert (first.returncode, first.stdout) == (0, "3 lines: 3 answered, 0 with errors, 0 left\n"), first.stderr
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write("{}\n")
    again = cli(*command, "--device", "cpu")
    assert (again.returncode, again.stdout) == (3, "4 lines: 3 answered, 1 with errors, 0 left (3 from before)\n")


def test_pooling_is_what_a_line_says_and_else_what_the_command_says(tmp_path: Path, model: Path) -> None:
    body = {"model": "tiny-chat", "input": "one two"}
    own = {"default": {}, "mean": {"pooling": "mean"}, "last": {"pooling": "last"}}
    lines = [{**ask(name, url="/v1/embeddings"), "body": {**body, **fields}} for name, fields in own.items()]
    source, target = write(tmp_path / "in", *lines), tmp_path / "out"
    ran = cli("batch", str(source), str(target), "--model", str(model), "--device", "cpu", "--pooling", "mean")
    assert ran.returncode == 0, ran.stderr
    found = {record["custom_id"]: said_by(record["response"]["body"])[0]["embedding"] for record in records(target)}
    assert found["default"] == found["mean"] != found["last"]
