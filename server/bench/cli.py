"""The command `rtriton bench serve`, which server/cli.py mounts; `lifecycle` shares its options of what is asked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

if TYPE_CHECKING:
    from server.bench.client import Target
    from server.bench.load import Load
    from server.bench.prompts import Prompts
    from server.bench.report import Report
    from server.bench.run import Run

DEFAULT_REQUESTS = 100
DEFAULT_WORDS = "128"
INTERRUPTED = 130
"""The status that shells give for SIGINT."""

Url = Annotated[str, typer.Argument(help="The server, with or without /v1.")]
Model = Annotated[str | None, typer.Option(help="The first one that the server lists, by default.")]
Chat = Annotated[bool, typer.Option("--chat", help="Ask /chat/completions instead of /completions.")]
Rate = Annotated[float | None, typer.Option(min=1e-6, help="Open loop: Poisson arrivals, requests a second.")]
Concurrency = Annotated[int | None, typer.Option(min=1, help="Closed loop: requests open at once; 1 by default.")]
Requests = Annotated[int | None, typer.Option(min=1, help="Stop after so many; 100 where --seconds is not given.")]
Seconds = Annotated[float | None, typer.Option(min=1e-3, help="Begin no request later; open ones are awaited.")]
Words = Annotated[str | None, typer.Option(help="Words of a prompt, N or LOW:HIGH; 128. Prompts of a file are cut.")]
Tokens = Annotated[str, typer.Option(help="Most tokens of an answer, N or LOW:HIGH.")]
File = Annotated[Path | None, typer.Option(help='Prompts, one a line; in a .jsonl file the field "prompt".')]
IgnoreEos = Annotated[bool, typer.Option("--ignore-eos", help="Answers of exactly --tokens; not all servers can.")]
Body = Annotated[str | None, typer.Option(help="A JSON object: further fields of every request.")]
Warmup = Annotated[int, typer.Option(min=0, help="Requests before the measurement, one after the other.")]
Seed = Annotated[int, typer.Option(min=0, help="Decides prompts, lengths and arrivals.")]
Timeout = Annotated[float, typer.Option(min=1e-3, help="Seconds for one request.")]
SloTtft = Annotated[float | None, typer.Option("--slo-ttft-ms", min=0, help="Time to the first token.")]
SloItl = Annotated[float | None, typer.Option("--slo-itl-ms", min=0, help="Mean time for each token after it.")]
SloE2e = Annotated[float | None, typer.Option("--slo-e2e-ms", min=0, help="From when it was due to its end.")]
Plot = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw histograms of the latencies there.")]
KeyFile = Annotated[Path | None, typer.Option(help="A file whose first line is the API key.")]
Json = Annotated[bool, typer.Option("--json", help="Print data instead of text.")]


def serve(
    url: Url = "http://127.0.0.1:8000",
    model: Model = None,
    chat: Chat = False,
    rate: Rate = None,
    concurrency: Concurrency = None,
    requests: Requests = None,
    seconds: Seconds = None,
    prompt_words: Words = None,
    tokens: Tokens = "128",
    prompts: File = None,
    ignore_eos: IgnoreEos = False,
    body: Body = None,
    warmup: Warmup = 1,
    seed: Seed = 0,
    timeout: Timeout = 600.0,
    slo_ttft_ms: SloTtft = None,
    slo_itl_ms: SloItl = None,
    slo_e2e_ms: SloE2e = None,
    plot: Plot = None,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Load a server that speaks OpenAI's API, and say what its clients saw."""
    from server.run import Refused

    need_client()
    if plot is not None:
        _need_plot(plot)
    from server.keys import read_keys
    from server.bench.client import Target
    from server.bench.report import Slo, report

    load = _load(rate, concurrency, requests, seconds, seed)
    try:
        words, asked = _prompts(prompts, prompt_words, tokens, seed)
        fields = ({"ignore_eos": True} if ignore_eos else {}) | _object(body)
        key = next(iter(read_keys(api_key_file, {})), None)
    except (ValueError, OSError) as error:
        raise Refused(str(error)) from error
    target, before = Target(_base(url), model or "", chat, fields), _load_average()
    run = asyncio.run(_until_interrupt(target, load, asked, warmup, timeout, key))
    if not run.records:
        none_due = f"no request was due within {load.seconds:g} seconds at {rate} a second"
        raise Refused("interrupted before a request was over" if run.stopped else none_due)
    made = report(run.records, Slo(slo_ttft_ms, slo_itl_ms, slo_e2e_ms), run.busy_seconds)
    if as_json:
        about = {"chat": chat, "prompt_words": words, "prompts": prompts and str(prompts), "tokens": tokens}
        about |= {"fields": fields, "warmup": warmup, "timeout": timeout}
        _print_json(run, made, load, about, before)
    else:
        _print_text(run, made)
    if plot is not None:
        _draw(run, made, plot)
    if run.stopped or not made.completed:
        raise SystemExit(INTERRUPTED if run.stopped else 1)


def _load(rate: float | None, concurrency: int | None, requests: int | None, seconds: float | None, seed: int) -> Load:
    from server.bench.load import Load
    from server.run import Refused

    if rate is not None and concurrency is not None:
        raise Refused("--rate is an open loop and --concurrency a closed one; give one of them")
    count = requests if requests is not None else DEFAULT_REQUESTS if seconds is None else float("inf")
    return Load(rate, concurrency, count, float("inf") if seconds is None else seconds, seed)


def _prompts(file: Path | None, words: str | None, tokens: str, seed: int) -> tuple[str | None, Prompts]:
    """The words of a prompt as they hold, None where those of a file are whole; and the prompts."""
    from server.bench.prompts import Lengths, Prompts, read

    texts = read(file) if file is not None else ()
    words = words if words is not None or texts else DEFAULT_WORDS
    return words, Prompts(seed, Lengths.parse(tokens), None if words is None else Lengths.parse(words), texts)


async def _until_interrupt(
    target: Target, load: Load, prompts: Prompts, warmup: int, timeout: float, key: str | None
) -> Run:
    """Measure; an interrupt ends it with what there is by then."""
    from server.bench.answer import Failed
    from server.bench.run import measure
    from server.bench.show import progress
    from server.run import Refused

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        with progress(Console(stderr=True), load) as ended:
            return await measure(target, load, prompts, warmup, timeout, key, ended, stop)
    except Failed as failed:
        raise Refused(str(failed)) from failed
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def need_client() -> None:
    from server.run import Refused, installed

    if not installed("aiohttp"):
        raise Refused("the load needs an HTTP client; run: pip install 'rtriton[serve,bench]'")


def _need_plot(path: Path) -> None:
    """Said before the load, not after it."""
    from server.run import Refused, installed

    if not installed("matplotlib"):
        raise Refused("--plot draws with matplotlib, which is not installed; run: pip install 'rtriton[bench]'")
    if path.suffix.lower() != ".png":
        raise Refused(f"--plot writes PNG files, and {path} does not end in .png")
    if not path.absolute().parent.is_dir():
        raise Refused(f"--plot cannot write {path}: there is no folder {path.parent}")


def _print_json(run: Run, made: Report, load: Load, asked: dict[str, Any], load_average: float | None) -> None:
    """`asked`: the options that say of what; `load_average`: before the run."""
    shape = {name: value for name, value in asdict(load).items() if value not in (None, float("inf"))}
    said = {"url": run.target.url, "model": run.target.model, "load": shape, "asked": asked}
    said |= {"load_average": load_average, "interrupted": run.stopped}
    print(json.dumps(said | asdict(made), indent=1))


def _print_text(run: Run, made: Report) -> None:
    from server.bench.report import Samples
    from server.bench.show import print_report

    console = Console(highlight=False, markup=False)
    console.print(_title(run))
    print_report(console, made, Samples.of(run.records))


def _draw(run: Run, made: Report, path: Path) -> None:
    from server.bench.plot import figure, write
    from server.bench.report import Samples
    from server.run import Refused

    try:
        write(figure(made, Samples.of(run.records), _title(run)), path)
    except OSError as error:
        raise Refused(f"--plot cannot write {path}: {error.strerror}") from error


def _title(run: Run) -> str:
    return f"{run.target.model} at {run.target.url}" + (" (interrupted)" if run.stopped else "")


def _load_average() -> float | None:
    """What else this machine does, as its one-minute load average, where it has one."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _base(url: str) -> str:
    """An address with its /v1, however it was written."""
    base = (url if "://" in url else f"http://{url}").rstrip("/")
    return base if base.endswith("/v1") else f"{base}/v1"


def _object(text: str | None) -> dict[str, Any]:
    try:
        found: Any = json.loads(text) if text is not None else {}
    except ValueError as error:
        raise ValueError(f"--body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("--body is a JSON object")
    return cast(dict[str, Any], found)
