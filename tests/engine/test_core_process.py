"""The engine core in its own process: it serves, fails loudly, drains, and never outlives its parent."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq

from engine.config import EngineConfig
from engine.core_client import CoreClient, CoreDied, SyncCoreClient
from engine.core_life import Backoff, CoreProcess
from engine.messages import (
    Abort,
    Down,
    Event,
    Ping,
    Pong,
    Ready,
    RequestFailed,
    Shutdown,
    StepOutput,
    Submit,
    TokenOut,
)
from tests.engine.drive import greedy
from tests.engine.fake_runner import expected, paced

PROMPT = [5, 6, 7]
ROOT = Path(__file__).resolve().parents[2]


def fake_config(model: str = "fake", **extra: object) -> EngineConfig:
    return EngineConfig(
        model=model,
        runner="tests.engine.fake_runner:load",
        block_size=4,
        max_num_seqs=8,
        max_batched_tokens=16,
        extra=dict(extra),
    )


@pytest.fixture
def pace(tmp_path: Path) -> Path:
    return tmp_path / "pace"


@pytest.fixture
def core(pace: Path):
    client = SyncCoreClient(fake_config(step_seconds=0.002, pace=str(pace)), timeout=60)
    yield client
    client.close(drain=False)


def tokens_until_end(core: SyncCoreClient, name: str) -> list[TokenOut]:
    outs: list[TokenOut] = []
    while not outs or outs[-1].finish_reason is None:
        for event in core.receive(20):
            if isinstance(event, StepOutput):
                outs += [out for out in event.tokens if out.request_id == name]
    return outs


def gone(pid: int) -> bool:
    """The process has ended (a zombie that nobody has waited for counts)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while not gone(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def test_it_answers_with_the_models_tokens(core: SyncCoreClient):
    assert core.info.name == "fake"
    assert core.info.load_seconds > 0
    core.send(Submit("a", PROMPT, greedy(6)))
    outs = tokens_until_end(core, "a")
    assert [token for out in outs for token in out.token_ids] == expected(PROMPT, greedy(6), 6)
    assert outs[-1].finish_reason == "length"


def test_a_step_is_one_frame_for_all_requests(core: SyncCoreClient):
    core.send(*[Submit(name, [*PROMPT, ord(name)], greedy(6, ignore_eos=True)) for name in "abc"])
    frames = [core.receive() for _ in range(6)]
    assert all(len(frame) == 1 for frame in frames)
    assert [len(frame[0].tokens) for frame in frames if isinstance(frame[0], StepOutput)] == [3] * 6


def test_the_heartbeat_goes_through_a_busy_loop(core: SyncCoreClient, pace: Path):
    seen: list[Event] = []
    with paced(pace, 0.05):
        core.send(Submit("a", PROMPT, greedy(200, ignore_eos=True)))
        core.receive()
        core.send(Ping(41))
        while Pong(41) not in seen:
            seen += core.receive()
    outputs = [event for event in seen if isinstance(event, StepOutput)]
    assert all(out.finish_reason is None for output in outputs for out in output.tokens)


def test_an_abort_reaches_a_running_request(core: SyncCoreClient, pace: Path):
    used = [1]
    with paced(pace, 0.05):
        core.send(Submit("a", PROMPT, greedy(200, ignore_eos=True)))
        core.receive()
        core.send(Abort("a"), Abort("a"))
        while used[-1]:
            used += [event.stats.blocks_used for event in core.receive() if isinstance(event, StepOutput)]
    assert len(used) < 150, "it did not come to its end"


def test_an_idle_core_uses_no_processor_time(core: SyncCoreClient):
    core.send(Ping(1))
    assert core.receive() == [Pong(1)]

    def ticks() -> int:
        fields = Path(f"/proc/{core.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(0.5)
    assert ticks() - before <= 5, "of 50"


def test_the_socket_is_private_and_its_directory_goes_as_soon_as_the_core_is_connected():
    process = CoreProcess(fake_config())
    directory = Path(process.directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        process.bind(socket)
        process.spawn()
        assert socket.poll(60_000), "the core says that it is ready"
        assert not directory.exists()
        process.end(0.0)


def test_it_drains_before_it_leaves(core: SyncCoreClient):
    core.send(Submit("a", PROMPT, greedy(20, ignore_eos=True)))
    core.send(Shutdown(drain=True), Submit("late", PROMPT, greedy(5)))
    events: list[Event] = []
    with pytest.raises(CoreDied, match="status 0"):
        while True:
            events += core.receive()
    late = [event for event in events if isinstance(event, RequestFailed)]
    assert [(event.request_id, event.status) for event in late] == [("late", 503)]
    outs = [out for event in events if isinstance(event, StepOutput) for out in event.tokens]
    assert len(outs) == 20
    assert outs[-1].finish_reason == "length"


def test_without_draining_it_leaves_at_once(core: SyncCoreClient):
    core.send(Submit("a", PROMPT, greedy(200, ignore_eos=True)), Shutdown(drain=False))
    with pytest.raises(CoreDied, match="status 0"):
        while True:
            core.receive()


def test_what_stops_a_model_from_loading_is_told():
    with pytest.raises(CoreDied, match="FileNotFoundError: no such model: broken"):
        SyncCoreClient(fake_config("broken"), timeout=60)


def test_a_killed_core_is_noticed(core: SyncCoreClient):
    os.kill(core.pid, signal.SIGKILL)
    with pytest.raises(CoreDied, match="status -9"):
        core.receive(20)


@pytest.mark.parametrize("moment", ["before the core runs", "while it loads", "once it is ready"])
def test_it_dies_with_a_parent_that_is_killed_and_leaves_nothing_behind(moment: str, tmp_path: Path):
    script = (
        "import sys, time, zmq\n"
        "from engine.core_life import CoreProcess\n"
        "from tests.engine.test_core_process import fake_config\n"
        "moment = sys.argv[1]\n"
        "process = CoreProcess(fake_config(load_seconds=60.0 if moment == 'while it loads' else 0.0))\n"
        "socket = zmq.Context().socket(zmq.PAIR)\n"
        "process.bind(socket)\n"
        "process.spawn()\n"
        "if moment != 'before the core runs':\n"
        "    assert socket.poll(60_000 if moment == 'once it is ready' else 900) == (moment == 'once it is ready')\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", script, moment], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert not gone(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until_gone(pid)
    assert list(tmp_path.iterdir()) == []


def test_it_survives_the_signals_of_a_terminal(core: SyncCoreClient):
    os.kill(core.pid, signal.SIGINT)
    os.kill(core.pid, signal.SIGTERM)
    core.send(Ping(1))
    assert core.receive() == [Pong(1)]


def test_the_asyncio_client_submits_pings_aborts_and_closes():
    async def main() -> list[int]:
        client = await CoreClient.start(fake_config(step_seconds=0.002), timeout=60)
        tokens: list[int] = []
        done = asyncio.Event()

        async def pump() -> None:
            async for event in client.events():
                if isinstance(event, StepOutput):
                    for out in event.tokens:
                        if out.request_id == "a":
                            tokens.extend(out.token_ids)
                            if out.finish_reason:
                                done.set()

        reader = asyncio.create_task(pump())
        client.submit(Submit("b", PROMPT, greedy(200, ignore_eos=True)))
        client.submit(Submit("a", PROMPT, greedy(6)))
        assert await client.ping() > 0
        await asyncio.wait_for(done.wait(), 60)
        client.abort("b")
        await client.close(drain=True)
        reader.cancel()
        assert gone(client.pid)
        return tokens

    assert asyncio.run(main()) == expected(PROMPT, greedy(6), 6)


def test_a_command_that_cannot_be_sent_is_its_senders_error_and_keeps_no_other_back():
    async def main() -> list[int]:
        client = await CoreClient.start(fake_config(), timeout=60)
        client.submit(Submit("a", PROMPT, greedy(6)))
        with pytest.raises(UnicodeEncodeError):
            client.submit(Submit("b", PROMPT, greedy(6), cache_salt="\ud800"))
        with pytest.raises(OverflowError):
            client.submit(Submit("c", PROMPT, greedy(6, seed=1 << 70)))
        tokens: list[int] = []
        async with asyncio.timeout(20):
            async for event in client.events():
                assert isinstance(event, StepOutput)
                tokens += [token for out in event.tokens for token in out.token_ids]
                if any(out.finish_reason for out in event.tokens):
                    break
        await client.close(drain=False)
        return tokens

    assert asyncio.run(main()) == expected(PROMPT, greedy(6), 6)


def test_without_restarts_the_asyncio_client_ends_with_its_core():
    async def main() -> None:
        client = await CoreClient.start(fake_config(), timeout=60, restart=False)
        os.kill(client.pid, signal.SIGKILL)
        try:
            async for _ in client.events():
                pass
        finally:
            await client.close(drain=False)

    with pytest.raises(CoreDied, match="status -9"):
        asyncio.run(main())


def test_a_killed_core_is_replaced_and_what_it_was_doing_is_said_to_be_lost():
    async def main() -> tuple[list[str], list[int]]:
        client = await CoreClient.start(fake_config(step_seconds=0.002), timeout=60)
        first, story, tokens = client.pid, [], []
        client.submit(Submit("lost", PROMPT, greedy(200, ignore_eos=True)))
        async for event in client.events():
            match event:
                case StepOutput() if client.pid == first and not story:
                    story.append("tokens")
                    ping = asyncio.create_task(client.ping(30))
                    os.kill(first, signal.SIGKILL)
                case Down():
                    story.append("down")
                    assert "status -9" in event.reason
                    assert event.retry_seconds < 1
                    with pytest.raises(CoreDied):
                        client.submit(Submit("never", PROMPT, greedy(6)))
                    client.abort("lost")
                    with pytest.raises(CoreDied):
                        await ping
                case Ready():
                    story.append("ready")
                    assert client.pid != first and client.restarts == 1 and client.down is None
                    client.submit(Submit("later", PROMPT, greedy(6)))
                case StepOutput() if client.pid != first:
                    assert all(out.request_id == "later" for out in event.tokens)
                    tokens += [token for out in event.tokens for token in out.token_ids]
                    if any(out.finish_reason for out in event.tokens):
                        break
        await client.close(drain=False)
        return story, tokens

    story, tokens = asyncio.run(main())
    assert story == ["tokens", "down", "ready"]
    assert tokens == expected(PROMPT, greedy(6), 6)


def test_a_core_that_cannot_start_again_is_tried_until_it_can(tmp_path: Path):
    model = tmp_path / "fake"
    model.write_text("")

    async def main() -> list[str]:
        client = await CoreClient.start(fake_config(must_exist=str(model)), timeout=60)
        client._backoff = Backoff(first=0.01)
        model.unlink()
        os.kill(client.pid, signal.SIGKILL)
        story: list[str] = []
        async for event in client.events():
            story.append(event.reason if isinstance(event, Down) else "ready")
            if len(story) == 3:
                model.write_text("")
            if isinstance(event, Ready):
                break
        await client.close()
        return story

    story = asyncio.run(main())
    assert "status -9" in story[0]
    assert all("no such file" in reason for reason in story[1:-1])
    assert story[-1] == "ready"


def test_a_client_that_was_told_to_leave_starts_no_other_core():
    async def main() -> None:
        client = await CoreClient.start(fake_config(), timeout=60)
        os.kill(client.pid, signal.SIGKILL)
        try:
            async with asyncio.timeout(20):
                async for event in client.events():
                    assert isinstance(event, Down)
                    client.shutdown()
        finally:
            await client.close()

    with pytest.raises(CoreDied, match="status -9"):
        asyncio.run(main())


def test_a_core_for_which_the_system_has_no_process_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    async def main() -> list[str]:
        client = await CoreClient.start(fake_config(), timeout=60)
        client._backoff, spawn, story = Backoff(first=0.01), CoreProcess.spawn, []

        def no_process(process: CoreProcess) -> None:
            monkeypatch.setattr(CoreProcess, "spawn", spawn)
            raise OSError(12, "Cannot allocate memory")

        monkeypatch.setattr(CoreProcess, "spawn", no_process)
        os.kill(client.pid, signal.SIGKILL)
        async for event in client.events():
            story.append(event.reason if isinstance(event, Down) else "ready")
            if isinstance(event, Ready):
                break
        await client.close()
        return story

    killed, refused, ready = asyncio.run(main())
    assert "status -9" in killed and "Cannot allocate memory" in refused and ready == "ready"


def test_pauses_double_up_to_a_limit_and_a_long_life_ends_the_series():
    backoff = Backoff(first=0.1, most=1.0, calm=60.0)
    assert [backoff.after(lived) for lived in (1, 0, 0, 0, 0, 0)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert [backoff.after(lived) for lived in (61, 5)] == [0.1, 0.2]
