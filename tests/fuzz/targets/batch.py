"""The two files of an offline batch, each as a stranger may leave it -> lines, or `Refused`.

    input bytes \\x00--\\n output bytes

After an output was accepted, what it says is answered is a line of the input, and it can be written to.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random

from server.batch_file import Output, answered, read, survey, unusable
from server.errors import ApiError
from server.run import Refused
from tests.fuzz.mutate import octets, values
from tests.fuzz.target import Target
from tests.fuzz.targets.request import BODIES, NAMES

BETWEEN = b"\x00--\n"


def run(data: bytes) -> None:
    source, target = _files()
    asked, _, said = data.partition(BETWEEN)
    source.write_bytes(asked)
    target.write_bytes(said)
    with suppress(Refused):
        keys = survey(source)
        with Output(target, keys) as output:
            assert output.done <= set(keys)
            for line in read(source):
                if line.key not in output.done:
                    wrong = isinstance(line.asked, ApiError)
                    output.write(line.key, unusable(line, line.asked) if wrong else answered(line, 200, "r", {}))
        with Output(target, keys) as output:  # what was written is read again
            assert output.done == set(keys)


@cache
def _files() -> tuple[Path, Path]:
    folder = tempfile.TemporaryDirectory(prefix="fuzz-")
    _kept.append(folder)
    return Path(folder.name) / "in", Path(folder.name) / "out"


_kept: list[tempfile.TemporaryDirectory[str]] = []


def seeds() -> list[bytes]:
    routes = {"chat": "/v1/chat/completions", "completion": "/v1/completions"}
    lines = [
        {"custom_id": f"r{i}", "method": "POST", "url": routes[kind], "body": body}
        for i, (kind, body) in enumerate(BODIES)
        if kind in routes
    ]
    asked = b"".join(json.dumps(line).encode() + b"\n" for line in lines[:3])
    one = {"id": "batch_req_1", "custom_id": "r0", "response": {"status_code": 200, "request_id": "r", "body": {}}}
    said = json.dumps({**one, "error": None}, separators=(",", ":")).encode() + b"\n"
    return [asked + BETWEEN, asked + BETWEEN + said, asked + BETWEEN + said + said[:20], b"not json\n\n" + asked]


def mutate(data: bytes, rng: Random) -> bytes:
    if rng.randint(0, 3) == 0:
        return octets(data, rng)
    parts = [part.split(b"\n") for part in data.split(BETWEEN)]
    lines = rng.choice(parts)
    at = rng.randint(0, len(lines) - 1)
    way = rng.randint(0, 4)
    if way == 0:
        lines.insert(at, lines[rng.randint(0, len(lines) - 1)])
    elif way == 1:
        lines[at] = octets(lines[at], rng)
    else:
        lines[at] = values(
            lines[at], rng, [*NAMES, "custom_id", "r0", "r1", "line", "error", "/v1/completions", "POST"]
        )
    return BETWEEN.join(b"\n".join(part) for part in parts)


TARGET = Target(run, seeds, mutate)
