"""The server over the real engine: a tiny random model file, its own tokenizer and template, kernels on the CPU."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import pytest

from server.text import SAMPLING, load_text
from tests.make_model import write_model
from tests.server.test_cli import cli

ROOT = Path(__file__).parents[2]


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def test_the_model_id_comes_from_the_file(url: str) -> None:
    assert [m.id for m in client(url).models.list()] == ["tiny-chat"]


def test_streamed_and_whole_answers_are_the_same(url: str) -> None:
    messages = [{"role": "user", "content": "the rest"}]
    ask = {"model": "tiny-chat", "messages": messages, "max_tokens": 12, "temperature": 0}
    whole = client(url).chat.completions.create(**ask).choices[0].message.content
    chunks = list(client(url).chat.completions.create(**ask, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole


def test_a_seed_gives_the_same_text_alone_and_in_company(url: str) -> None:
    ask = {"model": "tiny-chat", "prompt": "and the", "max_tokens": 10, "temperature": 1.0, "top_p": 1.0, "seed": 11}
    alone = client(url).completions.create(**ask).choices[0].text

    async def together() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused") as many:
            others = [many.completions.create(**{**ask, "seed": s, "prompt": "is " * s}) for s in range(1, 5)]
            answers = await asyncio.gather(many.completions.create(**ask), *others)
        return [answer.choices[0].text for answer in answers]

    assert asyncio.run(together())[0] == alone


def test_log_probabilities_are_below_zero(url: str) -> None:
    answer = client(url).completions.create(model="tiny-chat", prompt="the", max_tokens=4, temperature=1.0, logprobs=0)
    assert all(logprob < 0 for logprob in answer.choices[0].logprobs.token_logprobs)


def test_a_prompt_that_is_too_long_is_a_400_and_the_server_goes_on(url: str) -> None:
    with pytest.raises(openai.BadRequestError):
        client(url).completions.create(model="tiny-chat", prompt="the " * 100_000)
    assert httpx.get(f"{url}/health").json()["status"] == "ok"


def test_torch_is_absent_while_it_serves(url: str) -> None:
    program = "import sys, server.web, engine.core_process, engine.model_runner; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_the_command_line_reads_settings_without_the_compiler() -> None:
    """The engine's process starts when they are read: whatever is imported before that delays all that it does."""
    program = (
        "import sys, atexit, server.cli, server.run\n"
        "atexit.register(lambda: print({'numpy', 'rtriton', 'starlette', 'pydantic'} & set(sys.modules)))\n"
        "server.cli.main()"
    )
    command = [sys.executable, "-c", program, "serve", "--print-config", "--port", "81"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "port = 81" in ended.stdout and ended.stdout.endswith("set()\n"), ended


def test_another_name_leaves_the_models_own_sampling(tmp_path: Path) -> None:
    path = Path(write_model(tmp_path / "SmolLM2-Tiny.Q4_1.gguf"))
    assert load_text(path).sampling == load_text(path, "other").sampling == SAMPLING["smollm2"]
    assert load_text(path, "other").name == "other"


def test_the_demo_asks_its_own_server_whatever_proxy_is_set(model: Path) -> None:
    nobody = "http://127.0.0.1:9"
    result = cli("demo", "hi", "--model", str(model), "--device", "cpu", http_proxy=nobody, ALL_PROXY=nobody)
    # no status: weights that nobody has trained may say nothing, which is 1
    assert result.stdout.startswith("tiny-chat: hi\n") and "tokens/s]" in result.stdout, result.stderr


def test_a_bench_that_does_not_fit_the_cache_is_one_sentence(model: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "bench", "--model", str(model), "--device", "cpu"]
    sizes = ["--batch", "1", "--prompt-tokens", "1000000", "--tokens", "2"]
    result = subprocess.run([*command, *sizes], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr.startswith("rtriton: the prompt has 1000000 tokens") and result.stderr.count("\n") == 1
