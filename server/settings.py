"""Every setting of `rtriton serve`, declared once.

A line of `Settings` is a flag (`--max-open`), a variable (`RTRITON_MAX_OPEN`), a key of the file that `--config` names
(`max_open = 64`), a line of `--print-config` and an attribute for whoever needs its value:

    max_open: int = row(whole(1), 256, "Requests", "Generations open at once before requests are refused.")
                        kind      default  group      help

To add one: write that line, use `settings.max_open` in `server/cli.py` or `server/run.py`, and have its row written
into the table of docs/server.md by `python -m tests.server.test_settings`. What two settings ask of each other is a
`Rule`. A secret is no setting: flags can be seen by every user of the machine, and files get copied; a file of secrets
is one (`api_key_file`).

`server/sources.py` reads them: flag before variable before file before default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_args

from engine.config import DEVICES, QUANTIZATIONS
from engine.logs import FORMATS
from engine.params import Pooling
from engine.sizing import KV_CACHE_BYTES, UTILIZATION
from server.setting_kinds import FILE, NEW_FILE, SWITCH, TEXT, TEXTS, Row, choice, number, row, whole

SECRETS = ("api_key", "ssl_keyfile_password")
"""Variables of the server that are no settings: their values are never shown, and no file has them."""
OTHERS = (
    "ALWAYS_COMPILE", "BACKEND", "CACHE_DIR", "CHECK", "DUMP", "INTERPRET", "NUM_THREADS", "OVERRIDE", "PTXAS", "SKIP",
    "TARGET", "TRACE", "VERIFY",
)  # fmt: skip
"""`RTRITON_` variables of the compiler (docs/environment.md), which are not ours to judge."""


@dataclass(frozen=True)
class Settings:
    """The values of all settings; the commands that run a model without a server take some of them."""

    model: Path | None = row(
        FILE, None, "Model", "A GGUF file. Without it the demo model is fetched once (93 MB).", "the demo model"
    )
    name: str | None = row(TEXT, None, "Model", "The model id of requests.", "the file's name")
    device: str = row(choice(*DEVICES), "auto", "Model", "Where it runs; auto takes a GPU that is there.")
    offline: bool = row(SWITCH, False, "Model", "Never fetch a model.")
    quantization: str = row(
        choice(*QUANTIZATIONS), "none", "Model", "none keeps the file's weights; fp8 and int4 requantize at load."
    )
    chat_template: str | None = row(TEXT, None, "Model", "A path, or a built-in name.", "the file's own")
    pooling: str | None = row(
        choice(*get_args(Pooling)), None, "Model", "How embeddings are made where a request does not say.",
        "the file's own, else last",
    )  # fmt: skip
    max_model_len: int | None = row(whole(2), None, "Model", "Tokens of prompt and answer together.", "the model's")
    threads: int | None = row(whole(1, 1024), None, "Model", "CPU workers.", "the cores this process may use")

    max_num_seqs: int = row(whole(1), 64, "Batching and memory", "Generations in one step.")
    max_batched_tokens: int | None = row(
        whole(1), None, "Batching and memory", "Tokens in one step.", "what suits the device"
    )
    gpu_memory_utilization: float | None = row(
        number(0, 1),
        None,
        "Batching and memory",
        "The share of a GPU's memory that may be in use; what the model leaves of it is the KV cache.",
        f"{UTILIZATION:g} on a GPU",
    )
    gpu_memory_reserve_gb: float | None = row(
        number(0, 1 << 20), None, "Batching and memory", "GiB of that share that are left alone.", "nothing"
    )
    kv_cache_mb: int | None = row(
        whole(1),
        None,
        "Batching and memory",
        "MiB for keys and values, instead of a share of a GPU.",
        f"{KV_CACHE_BYTES >> 20} on a CPU",
    )
    num_gpu_blocks: int | None = row(
        whole(1), None, "Batching and memory", "The same as a number of blocks, on a CPU too.", "what fits"
    )
    swap_mb: int | None = row(
        whole(0), None, "Batching and memory", "MiB of host memory for generations that had to give way.", "none"
    )
    num_cpu_blocks: int | None = row(whole(0), None, "Batching and memory", "The same as a number of blocks.", "none")
    prefix_cache: bool = row(SWITCH, True, "Batching and memory", "Keep what prompts that begin alike have in common.")

    host: str = row(TEXT, "127.0.0.1", "Network", "The address to listen on.")
    port: int = row(whole(0, 65535), 8000, "Network", "0 takes a free one and says which.")
    metrics_port: int | None = row(
        whole(0, 65535), None, "Network", "/metrics is at this port instead, and needs no key.", "the API's port"
    )
    allowed_host: tuple[str, ...] = row(TEXTS, (), "Network", "A name of this server, beside localhost.")
    api_key_file: Path | None = row(
        FILE, None, "Network", "API keys, one a line; also $RTRITON_API_KEY.", "no key is needed"
    )
    ssl_certfile: Path | None = row(FILE, None, "Network", "The certificate to serve https with, in PEM format.")
    ssl_keyfile: Path | None = row(FILE, None, "Network", "Its private key.", "in the certificate's file")
    ssl_keyfile_password_file: Path | None = row(
        FILE, None, "Network", "A file with the key's password; also $RTRITON_SSL_KEYFILE_PASSWORD."
    )
    ssl_ca_certs: Path | None = row(FILE, None, "Network", "Clients need a certificate that one of these has signed.")

    max_open: int = row(whole(1), 256, "Requests", "Generations open at once before requests are refused.")
    drain_seconds: int = row(whole(0), 30, "Requests", "How long SIGTERM lets open requests go on.")
    request_timeout: float | None = row(number(0), None, "Requests", "Seconds that a generation may take in all.")
    queue_timeout: float | None = row(number(0), None, "Requests", "Seconds that one may wait for its first step.")
    engine_timeout: float = row(
        number(0), 300.0, "Requests", "An engine that has work and is silent for so many seconds is started anew."
    )
    limit_rpm: int | None = row(whole(1), None, "Limits of each key", "Requests a minute.")
    limit_tpm: int | None = row(whole(1), None, "Limits of each key", "Tokens a minute, of prompts and answers.")
    limit_tpd: int | None = row(whole(1), None, "Limits of each key", "Tokens a day (UTC).")
    limit_concurrent: int | None = row(whole(1), None, "Limits of each key", "Requests open at once.")
    quota_file: Path | None = row(
        NEW_FILE, None, "Limits of each key", "Where the day's tokens are kept over restarts.", "they are not"
    )

    log_level: str = row(choice("debug", "info", "warning", "error"), "info", "Log", "What is worth a line.")
    log_format: str = row(choice(*FORMATS), "text", "Log", "json writes one object a line.")


@dataclass(frozen=True)
class Rule:
    """What settings ask of each other: says what is wrong with their values, or nothing. `given` has the names of
    those that do not have their value from the default.
    """

    names: tuple[str, ...]
    wrong: Callable[[Settings, Set[str]], str | None]


def _ports(settings: Settings, given: Set[str]) -> str | None:
    port = settings.port
    return f"wanted two ports, got {port} for both" if port and port == settings.metrics_port else None


def _step(settings: Settings, given: Set[str]) -> str | None:
    most, rows = settings.max_batched_tokens, settings.max_num_seqs
    if most is None or most >= rows:
        return None
    # otherwise a step could not advance every running row
    return f"wanted at least as many tokens as generations in one step, got {most} and {rows}"


def _one_of(*names: str) -> Rule:
    said = "size the same memory, which is done in one way"
    return Rule(names, lambda settings, given: said if given >= set(names) else None)


def _on_a_gpu(name: str) -> Rule:
    said = "only a GPU's memory is shared out; on a CPU kv_cache_mb or num_gpu_blocks size the cache"
    return Rule((name, "device"), lambda settings, given: said if name in given and settings.device == "cpu" else None)


def _beside_certificate(name: str) -> Rule:
    """TLS is served where there is a certificate; without one this setting would be passed over."""

    def wrong(settings: Settings, given: Set[str]) -> str | None:
        if getattr(settings, name) is None or settings.ssl_certfile is not None:
            return None
        return "wanted a certificate where there is something that belongs to one, got none"

    return Rule((name, "ssl_certfile"), wrong)


SHARE = ("gpu_memory_utilization", "gpu_memory_reserve_gb")
RULES = (
    Rule(("port", "metrics_port"), _ports),
    Rule(("max_batched_tokens", "max_num_seqs"), _step),
    _one_of("kv_cache_mb", "num_gpu_blocks"),
    _one_of("swap_mb", "num_cpu_blocks"),
    *(_one_of(share, size) for share in SHARE for size in ("kv_cache_mb", "num_gpu_blocks")),
    *(_on_a_gpu(share) for share in SHARE),
    *map(_beside_certificate, ("ssl_keyfile", "ssl_keyfile_password_file", "ssl_ca_certs")),
)


def rows() -> tuple[Row, ...]:
    """All settings, in the order of `Settings`."""
    return tuple(Row(it.name, *it.metadata["row"]) for it in fields(Settings))


def contradictions(settings: Settings, given: Set[str], wrong: Set[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The names of settings that contradict each other, and how; not those of which one is `wrong` by itself."""
    for rule in RULES:
        if not wrong & set(rule.names) and (said := rule.wrong(settings, given)):
            yield rule.names, said
