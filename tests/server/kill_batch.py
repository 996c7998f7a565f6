"""Kill `rtriton batch` again and again: what it has written in the end equals what an uninterrupted run writes.

    python -m tests.server.kill_batch                    # 500 lines, ten kills, a tiny random model on the CPU
    python -m tests.server.kill_batch --lines 50 --kills 3 --seed 7

Kills are SIGKILL, at moments drawn over the whole run: a random number of lines is waited for and then a random time.
A kill seldom meets a write half done, so every other time the last line is cut short as if it had.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.engine.fake_runner import paced

ROOT = Path(__file__).parents[2]
Command = Callable[[Path, Path], list[str]]
WORDS = "the rest is and in a sea of words that he or she sings on the way to town".split()


def requests(count: int, draw: random.Random, model: str) -> list[dict[str, Any]]:
    """Chats and completions, greedy and seeded, and here and there one that is refused."""
    lines: list[dict[str, Any]] = []
    for i in range(count):
        text = " ".join(draw.choices(WORDS, k=draw.randint(1, 30)))
        body: dict[str, Any] = {"model": model, "max_tokens": draw.randint(1, 24)}
        body |= {"temperature": 0} if draw.random() < 0.5 else {"temperature": 1, "seed": draw.randrange(1 << 40)}
        body |= {"n": 2, "logprobs": 1} if i % 7 == 3 else {}
        chat = i % 2 == 0 and "n" not in body
        body |= {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
        body |= {"top_k": "many"} if i % 20 == 11 else {}
        url = "/v1/chat/completions" if chat else "/v1/completions"
        lines.append({"custom_id": f"line-{i}", "method": "POST", "url": url, "body": body})
    return lines


def answers(path: Path) -> dict[str, Any]:
    """What an output says of each `custom_id`, without what is drawn anew or depends on the company."""
    found: dict[str, Any] = {}
    for raw in path.read_bytes().splitlines():
        record = json.loads(raw)
        assert record["custom_id"] not in found, f"{record['custom_id']} was answered twice"
        response = record["response"]
        body = response["body"]
        for name in ("id", "created"):
            body.pop(name, None)
        body.get("usage", {}).pop("prompt_tokens_details", None)
        found[record["custom_id"]] = (response["status_code"], body, record["error"])
    return found


def check(command: Command, folder: Path, lines: list[dict[str, Any]], kills: int, draw: random.Random) -> int:
    """Compare the runs; the number of kills that met a run with lines left, which is all of them."""
    source, whole, target = folder / "in.jsonl", folder / "whole.jsonl", folder / "out.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    subprocess.run(command(source, whole), cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    expected = answers(whole)
    assert expected.keys() == {line["custom_id"] for line in lines}, "the uninterrupted run left lines out"
    assert any(status == 200 for status, *_ in expected.values())
    met = 0
    for kill in range(kills):
        done = _lines(target)
        with paced(folder / "pace", 0.03):  # heeded by the fake model: it is not done before it is killed
            process = subprocess.Popen(command(source, target), cwd=ROOT, stdout=subprocess.DEVNULL)
            _wait(process, target, done + draw.randint(0, (len(lines) - done) // (kills - kill + 1)))
            time.sleep(draw.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            met += process.wait() == -signal.SIGKILL
        if kill % 2:
            _cut(target, draw)
    subprocess.run(command(source, target), cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    resumed = answers(target)
    wrong = [name for name in expected if resumed.get(name) != expected[name]]
    assert resumed.keys() == expected.keys() and not wrong, f"after {met} kills these differ: {wrong[:5]}"
    return met


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _wait(process: subprocess.Popen[bytes], path: Path, count: int) -> None:
    while process.poll() is None and _lines(path) < count:
        time.sleep(0.002)


def _cut(path: Path, draw: random.Random) -> None:
    """As a kill in the middle of the last write would have left it."""
    data = path.read_bytes() if path.exists() else b""
    if data.endswith(b"\n"):
        begin = data.rfind(b"\n", 0, -1) + 1
        path.write_bytes(data[: draw.randrange(begin, len(data))])


def main() -> None:
    """The whole check from the command line."""
    from tests.make_model import write_model

    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--lines", type=int, default=500)
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder / "tiny.gguf")
        rest = ["--model", str(model), "--name", "tiny", "--device", "cpu", "--threads", "1", "--max-num-seqs", "8"]

        def command(source: Path, target: Path) -> list[str]:
            return [sys.executable, "-m", "server.cli", "batch", str(source), str(target), *rest]

        met = check(command, folder, requests(asked.lines, draw, "tiny"), asked.kills, draw)
    print(f"{asked.lines} lines, {met} kills in the middle: the resumed output equals the uninterrupted one")
    if met != asked.kills:
        raise SystemExit(f"{asked.kills - met} runs had ended before they were killed")


if __name__ == "__main__":
    main()
