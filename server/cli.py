"""The command line: rtriton serve | generate | batch | bench | doctor | demo | explain | explore.

This file says what the options are (those about model and server are settings, `server/settings.py`); `run`, `oneshot`,
`batch`, `doctor` and `demo` do the work and are imported when called, so that `--help` is quick. `explain`, `explore`
and what `server.bench` has are only mounted here. What cannot work ends with one sentence on standard error and status
1; settings that cannot be used with one sentence for each, and status 2.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

try:
    import typer
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn
except ModuleNotFoundError as missing:
    raise SystemExit(f"rtriton: the package {missing.name} is missing; run: pip install 'rtriton[serve]'") from None

from server.bench.cli import serve as bench_serve
from server.bench.cli_life import lifecycle
from server.explain import explain
from server.explore import explore
from server.flags import OfCommands, OfTexts, flags_of_settings, takes_settings
from server.refused import Refused
from server.settings import Settings, rows
from server.sources import Effective, Mistakes

if TYPE_CHECKING:
    from engine.core_client import CoreClient
    from server.run import Setup
    from server.startup import Start
    from server.text import TextModel

about = "LLM engine and server on rtriton's kernels."
app = typer.Typer(cls=OfCommands, add_completion=False, no_args_is_help=True, help=about)
log = logging.getLogger("rtriton.server")
errors = Console(stderr=True, highlight=False, soft_wrap=True)

MODEL = ("model", "device", "offline", "quantization", "threads")
"""The settings of every command that runs a model."""


@app.command(cls=OfTexts)
@flags_of_settings
def serve(found: Effective) -> None:
    """Serve a model over the OpenAI API.

    Each option is also a variable (RTRITON_MAX_OPEN for --max-open)
    and a key (max_open) of the TOML file that --config names.
    A flag goes before a variable, a variable before the file.
    """
    from engine import logs
    from server import run
    from server.startup import Start

    start_up, settings = Start(), found.settings
    logs.configure(settings.log_level, settings.log_format)
    for warning in found.warnings:
        log.warning("%s", warning)
    listener = run.bind(settings.host, settings.port)
    metrics = None if settings.metrics_port is None else run.bind(settings.host, settings.metrics_port)
    access = run.access_of(listener, settings.api_key_file, settings.allowed_host)
    with start_up.watch.phase("finding the model"):
        setup = _prepare(settings)
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "http" if settings.ssl_certfile is None else "https"
    url = f"{scheme}://{shown}:{listener.getsockname()[1]}"
    raise SystemExit(
        run.serve(
            setup,
            listener,
            settings,
            lambda core, text: _say_ready(url, core, text, bool(access.keys), start_up),
            access,
            metrics,
            start_up,
        )
    )


@app.command()
@takes_settings(*MODEL, "chat_template")
def generate(
    prompt: Annotated[str, typer.Argument(help="What to say to the model.")],
    raw: Annotated[bool, typer.Option("--raw", help="Continue the text itself, without the chat template.")] = False,
    max_tokens: Annotated[int, typer.Option(min=1)] = 256,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    seed: Annotated[int | None, typer.Option(min=-(2**63), max=2**63 - 1)] = None,
    *,
    settings: Settings,
) -> None:
    """Answer one prompt and exit."""
    import asyncio

    from server import oneshot
    from server.errors import ApiError

    fields = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    setup = _prepare(settings)
    try:
        speed = asyncio.run(oneshot.generate(setup, prompt, raw, fields, lambda text: print(text, end="", flush=True)))
    except ApiError as error:
        raise Refused(error.message) from error
    print()
    first = speed.first_token * 1000
    errors.print(f"[dim]{speed.tokens} tokens, first after {first:.0f} ms, then {speed.rate:.1f} tokens/s[/dim]")


@app.command()
@takes_settings(*(row.name for row in rows() if row.group in ("Model", "Batching and memory")))
def batch(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Requests, one a line, in OpenAI's batch format.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Answers, one a line; a run goes on where it ends.")],
    *,
    settings: Settings,
) -> None:
    """Answer a file of requests without a server; status 3 if some have no answer, 130 if stopped."""
    from server.batch import run as run_batch
    from server.batch_file import Output, survey
    from server.batch_progress import progress

    keys = survey(source)
    with Output(target, keys) as output:
        before, stopped = len(output.done), False
        if before < len(keys):
            setup = _prepare(settings)
            with progress(errors, output, len(keys)) as show:
                stopped = run_batch(setup, source, output, show, lambda text: errors.print(f"rtriton: {text}"))
    left = len(keys) - len(output.done)
    print(
        f"{len(keys)} lines: {len(output.done) - output.failed} answered, {output.failed} with errors, {left} left"
        + (f" ({before} from before)" if before else "")
    )
    if stopped and left:
        errors.print("rtriton: run the same command to go on", markup=False)
        raise SystemExit(130)
    raise SystemExit(3 if output.failed else 0)


bench_app = typer.Typer(add_completion=False, invoke_without_command=True)
app.add_typer(bench_app, name="bench")


@bench_app.callback()
@takes_settings(*MODEL)
def bench(
    context: typer.Context,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Requests at once; may be repeated.")] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1)] = 128,
    tokens: Annotated[int, typer.Option(min=2)] = 128,
    *,
    settings: Settings,
) -> None:
    """Measure prefill and decode of a model on this machine, one JSON line per batch size; or another command."""
    if context.invoked_subcommand is not None:
        if given := [name for name in context.params if _is_given(context, name)]:
            option, command = "--" + given[0].replace("_", "-"), context.invoked_subcommand
            raise typer.BadParameter(f"{option} belongs to `bench` alone; options of `{command}` follow it")
        return
    import asyncio
    import json
    from dataclasses import asdict

    from server import oneshot
    from server.errors import ApiError

    setup = _prepare(settings)
    try:
        rows = asyncio.run(oneshot.bench(setup, batch or [1, 8], prompt_tokens, tokens))
    except ApiError as error:
        raise Refused(error.message) from error
    for row in rows:
        print(json.dumps({key: round(value, 4) for key, value in asdict(row).items()}))


bench_app.command("serve")(bench_serve)
bench_app.command("lifecycle")(lifecycle)


@app.command()
def doctor() -> None:
    """Say what this machine has and what rtriton makes of it."""
    from server.doctor import report

    raise SystemExit(report(Console(highlight=False, soft_wrap=True)))


@app.command()
@takes_settings("model", "device", "offline")
def demo(
    prompt: Annotated[str, typer.Argument(help="What to ask.")] = "What is 2+2?",
    *,
    settings: Settings,
) -> None:
    """Start a server, ask it one thing through the official OpenAI client, and stop it."""
    from server.demo import run_demo

    raise SystemExit(run_demo(prompt, settings.model, settings.device, settings.offline))


app.command()(explain)
app.command()(explore)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether an option is on the command line itself."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _prepare(settings: Settings) -> Setup:
    """The model, with a progress bar where it has to be fetched."""
    from server import run

    columns = ("fetching the demo model", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=errors, transient=True)
    task = bar.add_task("fetch")

    def progress(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        return run.prepare(settings, progress)
    finally:
        # only where it began: a bar that never ran would still write its line end
        if bar.live.is_started:
            bar.stop()


def _say_ready(url: str, core: CoreClient, text: TextModel, keyed: bool, start_up: Start) -> None:
    """Where the start's seconds and bytes went, and what to do next, ready to paste."""
    from server.startup import context, line, table

    breakdowns = start_up.breakdowns(core.info.startup)
    for it in breakdowns:
        log.info("%s", line(it))
    name, info, sampling = text.name, core.info, text.sampling
    header, key = (" -H 'Authorization: Bearer YOUR_KEY'", "YOUR_KEY") if keyed else ("", "unused")
    say = Console(highlight=False, soft_wrap=True, markup=False)
    say.print(f"{table(breakdowns)}\n\n{context(info)}")
    say.print(
        f"""
{name} on {info.device}, loaded in {info.load_seconds:.1f} s, serving at {url}
By default temperature is {sampling.temperature:g} and top_p {sampling.top_p:g}.
Chat with it and watch it: {url}/   Documentation: {url}/docs

  curl -N {url}/v1/chat/completions -H 'Content-Type: application/json'{header} \\
    -d '{{"model": "{name}", "stream": true, "messages": [{{"role": "user", "content": "What is 2+2?"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  answer = client.chat.completions.create(
      model="{name}", messages=[{{"role": "user", "content": "What is 2+2?"}}]
  )
  print(answer.choices[0].message.content)
"""
    )
    sys.stdout.flush()


def main() -> None:
    """The entry point of the `rtriton` command."""
    try:
        app()
    except Refused as refused:
        errors.print(f"rtriton: {refused}", markup=False)
        raise SystemExit(1) from None
    except Mistakes as mistakes:
        for line in mistakes.lines:
            errors.print(f"rtriton: {line}", markup=False)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
