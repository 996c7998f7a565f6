"""The command line: refusals are one sentence with a remedy, and a stopped server drains and ends with status 0."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from engine.config import EngineConfig
from server.gpu import Gpu
from server.run import Refused, bind, choose_device, prepare
from server.settings import Settings
from tests.load.serving import core_of

ROOT = Path(__file__).parents[2]
H200 = Gpu("usable", "", "NVIDIA H200", "12.8", (9, 0), 1 << 37)
BROKEN = Gpu("broken", "the NVIDIA driver is there, but cuInit fails with error 803")
ABSENT = Gpu("absent", "no NVIDIA driver")

SERVE = """
import sys
from engine.config import EngineConfig
from server.run import Setup, bind, serve
from server.settings import Settings
from tests.server.tiny import text_model
config = EngineConfig("fake", runner="tests.engine.fake_runner:load", block_size=4, num_blocks=64, max_num_seqs=8,
                      max_batched_tokens=16, extra={"step_seconds": 0.02})
listener = bind("127.0.0.1", 0)
port = listener.getsockname()[1]
settings = Settings(max_open=16, drain_seconds=10)
sys.exit(serve(Setup(config, text_model), listener, settings, lambda core, text: print(port, flush=True)))
"""


def cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def one_sentence(result: subprocess.CompletedProcess[str]) -> str:
    """What it said, after checking that it is one line, no traceback, and a failure."""
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("rtriton: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_a_busy_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = one_sentence(cli("serve", "--device", "cpu", "--port", str(port)))
    assert f"port {port}" in said and "--port" in said


@pytest.mark.parametrize("command", [("generate", "hi"), ("batch", "in", "out"), ("bench",), ("demo",)])
def test_commands_that_run_a_model_read_its_settings_as_the_server_does(command: tuple[str, ...]) -> None:
    result = cli(*command, "--model", "nowhere.gguf", RTRITON_DEVICE="tpu", RTRITON_PORT="not for them")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.splitlines() == [
        "rtriton: --model: wanted the path of a file that is there, got 'nowhere.gguf'",
        "rtriton: RTRITON_DEVICE: wanted one of auto, cpu, cuda, got 'tpu'",
    ]


def test_every_wrong_setting_has_a_sentence_and_no_server_starts() -> None:
    result = cli("serve", "--model", "nowhere.gguf", "--port", "70000", RTRITON_MAX_OPEN="many", RTRITON_API_KEY="sk-1")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.splitlines() == [
        "rtriton: --model: wanted the path of a file that is there, got 'nowhere.gguf'",
        "rtriton: --port: wanted a whole number from 0 to 65535, got '70000'",
        "rtriton: RTRITON_MAX_OPEN: wanted a whole number of at least 1, below 2^31, got 'many'",
    ]


def test_the_configuration_that_holds_can_be_printed_and_read_again(tmp_path: Path) -> None:
    first = cli("serve", "--print-config", "--port", "9000", "--no-prefix-cache", RTRITON_MAX_OPEN="3")
    (tmp_path / "server.toml").write_text(first.stdout)
    again = cli("serve", "--print-config", "--config", str(tmp_path / "server.toml"), "--port", "9001")
    assert {"port = 9001", "prefix_cache = false", "max_open = 3"} <= {
        line.partition("#")[0].strip() for line in again.stdout.splitlines()
    }


def test_a_corrupt_model_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 64)
    said = one_sentence(cli("generate", "hi", "--device", "cpu", "--model", str(tmp_path / "broken.gguf")))
    assert "broken.gguf" in said


def test_a_seed_out_of_range_is_a_usage_error() -> None:
    result = cli("generate", "hi", "--device", "cpu", "--model", "nowhere.gguf", "--seed", str(2**63))
    assert result.returncode == 2 and "--seed" in result.stderr and "Traceback" not in result.stderr


def test_offline_without_a_model_is_one_sentence(tmp_path: Path) -> None:
    said = one_sentence(cli("serve", "--device", "cpu", "--port", "0", "--offline", RTRITON_CACHE_DIR=str(tmp_path)))
    assert "--offline" in said and "--model" in said


def test_a_gpu_that_cannot_be_used_is_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in ("auto", "cuda"):
        with pytest.raises(Refused, match="error 803"):
            choose_device(asked, lambda: BROKEN)
    monkeypatch.setattr("server.run.installed", lambda module: False)
    with pytest.raises(Refused, match=r"H200.*cuda-python.*pip install"):
        choose_device("auto", lambda: H200)


def test_the_device_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.run.installed", lambda module: True)
    assert choose_device("auto", lambda: H200) == choose_device("cuda", lambda: H200) == "cuda"
    assert choose_device("auto", lambda: ABSENT) == "cpu" == choose_device("cpu", lambda: BROKEN)
    with pytest.raises(Refused, match="no NVIDIA driver"):
        choose_device("cuda", lambda: ABSENT)
    with pytest.raises(Refused, match="auto, cpu, cuda"):
        choose_device("gpu", lambda: ABSENT)


def test_wrong_options_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nowhere"):
        prepare(Settings(model=tmp_path / "nowhere", device="cpu"))


def test_a_share_of_a_gpu_is_refused_where_auto_finds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.run.choose_device", lambda asked: "cpu")
    for share in ({"gpu_memory_utilization": 0.5}, {"gpu_memory_reserve_gb": 1.0}):
        with pytest.raises(Refused, match=r"runs on the CPU; .*--kv-cache-mb"):
            prepare(Settings(**share))


def test_a_port_of_zero_takes_a_free_one() -> None:
    with bind("127.0.0.1", 0) as first, bind("127.0.0.1", 0) as second:
        assert first.getsockname()[1] != second.getsockname()[1] > 0


def streamed_into_sigterm(script: str, tokens: int) -> tuple[str, list[str]]:
    """The address of a server that got SIGTERM while it streamed so many tokens, and the lines that still came. It has
    ended with status 0.
    """
    with launched(script) as (process, url):
        body = {"model": "tiny", "prompt": "once", "max_tokens": tokens, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert process.wait(60) == 0
    return url, rest


@contextmanager
def launched(script: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that runs the script, and its url. It is killed where a test has failed before it ended."""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def test_sigterm_lets_open_requests_finish_and_ends_with_status_0() -> None:
    url, rest = streamed_into_sigterm(SERVE, 50)
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def test_when_the_time_to_drain_is_over_open_streams_end_with_an_error() -> None:
    script = SERVE.replace("drain_seconds=10", "drain_seconds=1").replace("0.02", "0.05")
    _, rest = streamed_into_sigterm(script, 200)
    assert "shutting down" in json.loads(rest[-1].removeprefix("data: "))["error"]["message"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the engine core")
def test_a_server_whose_engine_dies_is_ready_again_and_stops_with_status_0() -> None:
    with launched(SERVE) as (process, url):
        assert httpx.get(f"{url}/ready").status_code == 200
        os.kill(core_of(process.pid), signal.SIGKILL)
        assert until(60, lambda: restarts(url) == 1)
        assert httpx.get(f"{url}/ready").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def until(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def restarts(url: str) -> float:
    line = next(x for x in httpx.get(f"{url}/metrics").text.splitlines() if x.startswith("rtriton_engine_restarts_t"))
    return float(line.split()[-1])


def test_sigterm_while_the_model_loads_ends_it(tmp_path: Path) -> None:
    loading = tmp_path / "loading"
    slow = SERVE.replace("tests.engine.fake_runner:load", "tests.server.test_cli:load_for_ever")
    slow = slow.replace('"fake"', repr(str(loading)))
    with subprocess.Popen([sys.executable, "-c", slow], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        while not loading.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stdout is not None and process.stdout.read() == ""


def load_for_ever(config: EngineConfig) -> None:
    """A runner that is never ready; it says that it was asked for by making the model's file."""
    Path(config.model).touch()
    time.sleep(300)
