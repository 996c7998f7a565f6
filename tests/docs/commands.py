"""What the commands in the pages' sh blocks are in a test: `python -m tests.docs.commands NAME ARGUMENTS...`.

`directory(folder)` fills a folder with one executable for each of COMMANDS and a link for each of PLAIN; with that
alone as PATH the shell runs a page's lines as they stand, and a command that is not here is not found.

Commands run for real, with what a test has in the place of what a reader has: the tiny model for the demo model, few
requests for many. What is not run is checked as far as it goes: `rtriton serve` reads its settings, the package of
`pip install` is an extra or a requirement of ours, `make` prints what it would do, a tool of ours that takes minutes
knows the options that the page gives it.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLAIN = tuple("cat chmod cp echo env grep head ls mkdir openssl rm sed sleep tail".split())
REAL = "/usr/bin:/usr/local/bin:/bin"
"""Where commands are that have a stand-in here."""
MODEL = "my.gguf"
NAME = "smollm2-135m-instruct"
"""What the pages call their model; the tiny one goes by it."""
NESTED = "RTRITON_TESTED_PAGE_NESTED"
FEWER = {"--requests": "4", "--seconds": "1", "--tokens": "4", "--prompt-words": "2:6", "--rate": "20"}
"""Options of a load, and how small they are in a test."""
HELP_ONLY = ("benchmarks.", "tests.gpu.", "tests.peers.", "tests.reference.", "tests.server.", "tests.load.")
"""Modules of ours that take minutes, a GPU or a peer: of these the options are checked."""

COMMANDS: dict[str, Callable[[list[str]], int]] = {}


def command(function: Callable[[list[str]], int]) -> Callable[[list[str]], int]:
    COMMANDS[function.__name__.replace("_", "-")] = function
    return function


def directory(folder: Path) -> Path:
    """A folder for PATH that has these commands and no other."""
    folder.mkdir()
    for name in PLAIN:
        if real := shutil.which(name):
            (folder / name).symlink_to(real)
    for name in COMMANDS:
        script = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tests.docs.commands {name} "$@"\n'
        (folder / name).write_text(script, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


# ---- our own commands --------------------------------------------------------------------------------


@command
def rtriton(arguments: list[str]) -> int:
    name, rest = arguments[0], arguments[1:]
    special = {"serve": serve, "explore": explore, "bench": bench}
    if name in special and "--help" not in rest:
        return special[name](rest)
    if name in ("generate", "batch", "demo"):
        rest = [*with_model(rest), *(["--name", NAME] if name == "batch" else [])]
    return become("-m", "server.cli", name, *rest)


def serve(arguments: list[str]) -> int:
    """Its settings are read; what is asked of a server goes to the one that conftest.py has started by this command."""
    if NESTED in os.environ:
        return become("-m", "server.cli", "serve", *arguments)
    said = [] if "--print-config" in arguments else ["--print-config"]
    return become("-m", "server.cli", "serve", *arguments, *said)


def explore(arguments: list[str]) -> int:
    """Until it says its address; then Ctrl-C."""
    line = [sys.executable, "-m", "server.cli", "explore", *arguments, "--port", "0"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        print(said, end="")
        process.send_signal(signal.SIGINT)
        ended = process.wait(30) in (0, 130, -signal.SIGINT)
    return 0 if " at http://" in said and ended else refuse("explore did not serve its page, or did not end")


def bench(arguments: list[str]) -> int:
    if arguments[:1] == ["serve"]:
        return become("-m", "server.cli", "bench", *fewer(arguments))
    if arguments[:1] == ["lifecycle"]:
        own, _, server = " ".join(arguments).partition(" -- ")
        server = server or "llama-server --port {port}"
        os.environ[NESTED] = "1"
        return become("-m", "server.cli", "bench", *fewer(own.split()), "--", *server.split())
    return become("-m", "server.cli", "bench", *with_model(arguments), "--help")


@command
def rtriton_run(arguments: list[str]) -> int:
    return become("-m", "rtriton.compat", *arguments)


@command
def rtriton_opt(arguments: list[str]) -> int:
    return become("-m", "rtriton.opt", *arguments)


# ---- what a reader has -------------------------------------------------------------------------------


@command
def python(arguments: list[str]) -> int:
    module = arguments[1] if arguments[:1] == ["-m"] else ""
    if module == "tests.replay":
        return replay(arguments[2:])
    if module.startswith(HELP_ONLY):
        said = subprocess.run([sys.executable, *arguments[:2], "--help"], cwd=ROOT, capture_output=True, text=True)
        unknown = [option for option in arguments[2:] if option.startswith("--") and option not in said.stdout]
        return refuse(f"{module} has no {unknown}") if said.returncode or unknown else 0
    return become(*arguments)


@command
def llama_server(arguments: list[str]) -> int:
    """Another server of the API, for a tool that measures any: it always says one word."""
    event = {"choices": [{"text": "word", "finish_reason": "stop"}]}
    stream = f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n"

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer("application/json", '{"data": [{"id": "word"}]}')

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer("text/event-stream", stream)

        def answer(self, kind: str, body: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

    port = int(arguments[arguments.index("--port") + 1])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()
    return 0


@command
def curl(arguments: list[str]) -> int:
    real = shutil.which("curl", path=REAL)
    if real is None:
        return without_curl(arguments)
    return os.execv(real, [real, "--silent", "--show-error", "--fail-with-body", "--max-time", "30", *arguments])


def without_curl(arguments: list[str]) -> int:
    """What curl would do, on a machine that has none; a status of 400 and more raises."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data", type=str.encode)
    parser.add_argument("-N", "-s", action="store_true")
    given = parser.parse_args(arguments)
    headers = dict(header.split(": ", 1) for header in given.headers)
    with urllib.request.urlopen(urllib.request.Request(given.url, given.data, headers), timeout=30) as answer:
        print(answer.read().decode())
    return 0


@command
def pip(arguments: list[str]) -> int:
    """Nothing is installed: what would be is an extra of ours, or a package that an extra asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    entries = [entry for group in (project["dependencies"], *extras.values()) for entry in group]
    asked = [re.split(r"[^\w.-]", entry)[0] for entry in entries]
    if arguments[:1] != ["install"]:
        return refuse(f"pip {shlex.join(arguments)} is not known")
    for wanted in arguments[1:]:
        found = re.fullmatch(r"(?:\.|rtriton)(?:\[([\w,]+)\])?", wanted)
        if found and set(filter(None, (found[1] or "").split(","))) <= extras.keys():
            continue
        if wanted not in ("-e", "--upgrade", *asked):
            return refuse(f"{wanted} is no extra of pyproject.toml, and no package that it asks for")
    return 0


@command
def make(arguments: list[str]) -> int:
    """It prints what it would do; what is passed on to `rtriton serve` is read there."""
    real = shutil.which("make", path=REAL)
    assert real is not None
    said = subprocess.run([real, "-n", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    if said.returncode:
        return refuse(said.stderr)
    given = dict(a.split("=", 1) for a in arguments if "=" in a)
    if "serve" in arguments and "ARGS" in given:
        return become("-m", "server.cli", "serve", *shlex.split(given["ARGS"]), "--print-config")
    return 0


# ---- how -------------------------------------------------------------------------------------------------


def become(*arguments: str) -> int:
    """This process becomes Python with these arguments."""
    os.execv(sys.executable, [sys.executable, *arguments])


def with_model(arguments: list[str]) -> list[str]:
    """The tiny model in the place of the demo model."""
    return arguments if "--model" in arguments else [*arguments, "--model", MODEL, "--device", "cpu"]


def fewer(arguments: list[str]) -> list[str]:
    """A load that takes a moment."""
    given = [FEWER.get(before, value) for before, value in zip(["", *arguments], arguments, strict=False)]
    return given if {"--requests", "--seconds"} & {*given} else [*given, "--requests", FEWER["--requests"]]


def replay(arguments: list[str]) -> int:
    """Of one kernel, and a record of this checkout in the place of each commit: tests/replay compares those."""
    record = Path("checkout.json").resolve()
    run = [sys.executable, "-m", "tests.replay"]
    if not record.exists():
        subprocess.run([*run, "record", str(record), "--only", "softmax_tile_kernel"], cwd=ROOT, check=True)
    if arguments[0] == "record":
        return subprocess.run([*run, *arguments, "--help"], cwd=ROOT, stdout=subprocess.DEVNULL).returncode
    return subprocess.run([*run, "diff", str(record), str(record), *arguments[3:]], cwd=ROOT).returncode


def refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(COMMANDS[sys.argv[1]](sys.argv[2:]))
