"""From settings to a running server: which model, which device, which socket.

    setup = prepare(settings := Settings(device="auto"))        # fetches the demo model where none is named
    serve(setup, bind("127.0.0.1", 8000), settings, ...)

What cannot work is `Refused`, one sentence with its remedy. The engine's process starts first of all: it loads the
weights while this one imports the web framework (which is why that happens inside functions here) and reads the
vocabulary.
"""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine import heap
from engine.config import DEVICES, ConfigError, EngineConfig
from engine.core_client import CoreClient, CoreDied
from engine.sizing import GIB
from server.access import Access, access_for, is_loopback
from server.gpu import Gpu, probe
from server.keys import VARIABLE, BadKeys, read_ring
from server.limits import Limiter
from server.refused import Refused
from server.settings import SHARE, Settings
from server.startup import Start
from server.tls import Tls, tls_from
from server.usage import limiter_of

if TYPE_CHECKING:
    from engine.fetch import Progress
    from server.text import TextModel

log = logging.getLogger("rtriton.server")
UNREAD_SECONDS = 120
"""After which the system closes a connection whose other end takes nothing."""


@dataclass(frozen=True)
class Setup:
    """A model to run: how the engine shall run it, and how to load its text half."""

    config: EngineConfig
    load: Callable[[], TextModel]
    """May take a second; raises what is wrong with the file."""


def prepare(settings: Settings, progress: Progress | None = None) -> Setup:
    """Find the model and check the settings before anything slow starts."""
    device = choose_device(settings.device)
    for name in SHARE:
        if device == "cpu" and getattr(settings, name) is not None:
            remedy = "size the cache by --kv-cache-mb or --num-gpu-blocks"
            raise Refused(f"{name} is a share of a GPU's memory, and the model runs on the CPU; {remedy}")
    path = settings.model or _demo_model(settings.offline, progress)
    if not path.is_file():
        raise Refused(f"there is no model file {path}; --model takes the path of a GGUF file")
    try:
        config = EngineConfig(
            model=str(path),
            device=device,
            quantization=settings.quantization,
            max_model_len=settings.max_model_len,
            num_blocks=settings.num_gpu_blocks,
            kv_cache_bytes=None if settings.kv_cache_mb is None else settings.kv_cache_mb << 20,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            gpu_memory_reserve_bytes=int((settings.gpu_memory_reserve_gb or 0) * GIB),
            swap_bytes=(settings.swap_mb or 0) << 20,
            num_swap_blocks=settings.num_cpu_blocks,
            prefix_cache=settings.prefix_cache,
            queue_seconds=settings.queue_timeout,
            max_num_seqs=settings.max_num_seqs,
            max_batched_tokens=settings.max_batched_tokens,
            threads=settings.threads,
        )
    except ConfigError as error:
        raise Refused(str(error)) from error
    return Setup(config, lambda: _load_text(path, settings))


def _demo_model(offline: bool, progress: Progress | None) -> Path:
    from engine.fetch import FetchError, demo_model

    try:
        return demo_model(offline, progress)
    except FetchError as error:
        raise Refused(str(error)) from error


def _load_text(path: Path, settings: Settings) -> TextModel:
    from engine.chat_template import ChatTemplateError
    from engine.weights.errors import ModelFileError
    from server.text import load_text

    try:
        return load_text(path, settings.name, settings.chat_template, settings.pooling)
    except (ModelFileError, ChatTemplateError) as error:
        raise Refused(str(error)) from error


def access_of(listener: socket.socket, key_file: Path | None, hosts: Sequence[str]) -> Access:
    """Who may ask what listens there. The keys leave the environment with that: no process started here needs them."""
    try:
        keys = read_ring(key_file, os.environ)
    except BadKeys as error:
        raise Refused(str(error)) from None
    os.environ.pop(VARIABLE, None)
    address = listener.getsockname()[0]
    if not keys and not is_loopback(address):
        log.warning("%s can be reached from other machines and no API key is set: anyone may ask", address)
    return access_for(address, keys, hosts)


async def start(setup: Setup) -> tuple[CoreClient, TextModel]:
    """Both halves of a model, loaded side by side. What is wrong with the file is said by the text half alone."""
    starting = asyncio.ensure_future(CoreClient.start(setup.config))
    try:
        text = await asyncio.to_thread(setup.load)
        return await starting, text
    except CoreDied as error:
        raise Refused(f"the engine did not start: {error}") from error
    finally:
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})


def choose_device(asked: str, gpu: Callable[[], Gpu] = probe) -> str:
    """`auto` takes a GPU that is there. One that is there and cannot be used is refused, never passed over."""
    if asked not in DEVICES:
        raise Refused(f"--device is one of {', '.join(DEVICES)}, got {asked!r}")
    if asked == "cpu":
        return "cpu"
    found = gpu()
    if found.state == "usable":
        if not installed("cuda.bindings"):
            remedy = "pip install 'rtriton[cuda]', or run with --device cpu"
            raise Refused(f"a GPU ({found.name}) is here, but the package cuda-python is not: {remedy}")
        return "cuda"
    if found.state == "broken":
        raise Refused(f"a GPU cannot be used: {found.reason}; mend that, or run with --device cpu")
    if asked == "cuda":
        raise Refused(f"--device cuda needs a GPU: {found.reason}; run with --device cpu")
    return "cpu"


def installed(module: str) -> bool:
    """Whether the module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """The listening address, taken before the model is loaded: a busy port is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # connections inherit it: one whose client has stopped reading cannot be closed in any other way
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * UNREAD_SECONDS)
    try:
        listener.bind((host, port))
        # two servers may bind one port with SO_REUSEADDR until one listens, so listening is the test
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Refused(f"port {port} on {host} is in use; stop what uses it, or choose another --port") from error
        raise Refused(f"cannot listen on {host} port {port}: {error.strerror}; choose another --host") from error
    return listener


def serve(
    setup: Setup,
    listener: socket.socket,
    settings: Settings,
    on_ready: Callable[[CoreClient, TextModel], None],
    access: Access | None = None,
    metrics: socket.socket | None = None,
    start_up: Start | None = None,
) -> int:
    """Serve until told to stop; the exit status. Of the settings those count that are not in `setup`, the listeners or
    `access`. `metrics` is where `/metrics` is, if not beside the API; `start_up` learns where the time goes.
    """
    tls, limiter = tls_from(settings), limiter_of(settings)
    access = access or access_for(listener.getsockname()[0])
    if metrics is not None:
        access = replace(access, metrics_port=metrics.getsockname()[1])
    heap.growing()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(
                _serve(setup, listener, settings, on_ready, access, limiter, tls, metrics, start_up or Start())
            )
    except KeyboardInterrupt:
        return 0
    finally:
        heap.grown()


async def _serve(
    setup: Setup,
    listener: socket.socket,
    settings: Settings,
    on_ready: Callable[[CoreClient, TextModel], None],
    access: Access,
    limiter: Limiter,
    tls: Tls | None,
    metrics: socket.socket | None,
    start_up: Start,
) -> int:
    with start_up.watch.phase("engine and tokenizer"):
        started = await _start_unless_stopped(setup, start_up)
    if started is None:
        return 0
    core, text = started
    # uvicorn raises what it caught again once it has drained; a clean stop is no death by signal
    signal.signal(signal.SIGTERM, lambda *_: None)

    from server.web import run_app

    def ready() -> None:
        heap.grown()
        on_ready(core, text)

    listeners = [listener] if metrics is None else [listener, metrics]
    return await run_app(core, text, listeners, settings, ready, access, limiter, tls)


async def _start_unless_stopped(setup: Setup, start_up: Start) -> tuple[CoreClient, TextModel] | None:
    """None where SIGTERM came while the model was loading."""

    def load() -> TextModel:
        with start_up.beside() as watch:
            with watch.phase("importing the web framework"):
                import server.web  # noqa: F401 - a second of imports, done while the weights load
            with watch.phase("reading tokenizer and template"):
                return setup.load()

    starting = asyncio.ensure_future(start(Setup(setup.config, load)))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, starting.cancel)
    await asyncio.wait({starting})
    loop.remove_signal_handler(signal.SIGTERM)
    return None if starting.cancelled() else starting.result()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not installed("uvloop"):
        return None
    import uvloop

    return uvloop.new_event_loop
