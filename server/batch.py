"""`rtriton batch`: the requests of a file through the engine, without HTTP.

    keys = survey(source)                          # every custom_id once
    with Output(target, keys) as output:           # what an earlier run has finished stays
        stopped = run(setup, source, output, show, say)

A request is read, prepared and answered by the server's own functions, so that its answer is what the server would
have sent. Enough of them are open at once to keep the engine's batch full. One that was open when the engine died is
asked again, and then one at a time: should it be what the engine dies of, it takes no others along for ever.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from server.batch_file import Asked, Line, Output, Record, answered, invalid, read, refused, unusable
from server.embeddings import EmbeddingRequest, prepare_embedding
from server.errors import ApiError
from server.link import EngineLink
from server.metrics import Metrics
from server.oneshot import running
from server.prepare import prepare_chat, prepare_completion
from server.protocol import ChatRequest, CompletionRequest
from server.responses import ResponsesRequest, prepare_response
from server.run import Refused, Setup
from server.sampling import SampleRequest
from server.stream import Generation, deltas, folded
from server.text import TextModel

log = logging.getLogger("rtriton.server")
TRIES = 3
"""How often a request is asked that the engine died of, or with."""
EVERYTHING = 1 << 30
"""Generations that may be open: the engine's own queue is the limit, and what it refuses comes again."""


def run(setup: Setup, source: Path, output: Output, show: Callable[[], None], say: Callable[[str], None]) -> bool:
    """Answer every line of `source` that `output` has not; true if it was stopped before the last one.

    `show` is called with every line written, `say` with what the user must know. SIGINT and SIGTERM let what is open
    finish; a second one drops it.
    """
    try:
        return asyncio.run(_run(setup, source, output, show, say))
    except KeyboardInterrupt:  # while the model was loading
        return True


async def _run(
    setup: Setup, source: Path, output: Output, show: Callable[[], None], say: Callable[[str], None]
) -> bool:
    gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with running(setup, EVERYTHING, gone.set_result) as (link, text):
        batch = Batch(link, text, source, output, show)
        work = asyncio.ensure_future(batch.run(2 * setup.config.max_num_seqs))

        def stop() -> None:
            if batch.stopping:
                work.cancel()
            else:
                batch.stopping = True
                say(f"stopping once {batch.open} open requests have finished; again drops them")

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            work.cancel()
            raise Refused(f"the engine has stopped: {gone.result()}; run the same command to go on")
        if not work.cancelled():
            work.result()
        return batch.stopping


class Batch:
    """The lines of a file on their way through an engine."""

    def __init__(
        self, link: EngineLink, text: TextModel, source: Path, output: Output, show: Callable[[], None]
    ) -> None:
        self.stopping = False
        """Set it to take no further line."""
        self.open = 0
        self._link = link
        self._text = text
        self._metrics = Metrics(text.name, lambda: link.stats, lambda: link.restarts)
        self._lines = (line for line in read(source) if line.key not in output.done)
        self._output = output
        self._show = show
        self._again = asyncio.Lock()
        self._asking = 0
        """Requests that the engine has, or is refusing."""

    async def run(self, at_once: int) -> None:
        """Answer the lines, so many at once."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(self._work())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _work(self) -> None:
        while not self.stopping and (line := next(self._lines, None)) is not None:
            self.open += 1
            record = await self._record(line)
            self.open -= 1
            self._output.write(line.key, record)
            self._show()
            await asyncio.sleep(0)  # many bad lines in a row must not keep signals waiting

    async def _record(self, line: Line) -> Record:
        if isinstance(line.asked, ApiError):
            return unusable(line, line.asked)
        try:
            body = await self._answer(line.asked)
        except ApiError as error:
            return refused(line, error)
        except Exception:
            log.exception("line %d failed", line.number)
            return refused(line, ApiError(500, "The request failed; the log says why."))
        return answered(line, 200, body["id"], body)

    async def _answer(self, asked: Asked) -> dict[str, Any]:
        """The whole answer; what may pass (429, 503) is waited for."""
        try:
            return await self._once(asked)
        except ApiError as error:
            if error.status not in (429, 503):
                raise
            last = error
        async with self._again:
            tries = 1
            while tries < TRIES:
                if last.status == 429:
                    await asyncio.sleep(last.retry_after or 1)
                while self._link.failure is not None:
                    await asyncio.sleep(0.1)
                try:
                    return await self._once(asked)
                except ApiError as error:
                    if error.status not in (429, 503):
                        raise
                    last = error
                # a queue that is full of others empties; one that is too small for this request never fits it
                tries += last.status == 503 or not self._asking
        raise last

    async def _once(self, asked: Asked) -> dict[str, Any]:
        generation = await _prepared(asked, self._text, self._link)
        self._asking += 1
        try:
            async with aclosing(deltas(self._link, generation, self._metrics)) as source:
                return await folded(generation, source)
        except ApiError as error:
            raise error.said_of(generation.fields) from None
        finally:
            self._asking -= 1


_GENERATES: dict[str, tuple[type[SampleRequest], Callable[..., Awaitable[Generation]]]] = {
    "/v1/chat/completions": (ChatRequest, prepare_chat),
    "/v1/completions": (CompletionRequest, prepare_completion),
    "/v1/responses": (ResponsesRequest, prepare_response),
}


async def _prepared(asked: Asked, text: TextModel, link: EngineLink) -> Generation:
    """The request as its route reads it; `ApiError` says what is wrong with it."""
    try:
        if asked.url == "/v1/embeddings":
            request, width = EmbeddingRequest.model_validate(asked.body), link.info.hidden_size
            generation = await prepare_embedding(request, text, link.context, width)
        else:
            kind, prepare = _GENERATES[asked.url]
            generation = await prepare(kind.model_validate(asked.body), text, link.context)
    except ValidationError as error:
        raise invalid(error) from None
    if generation.stream:
        message = "`stream` is not supported in a batch: a line has one whole answer."
        raise ApiError(400, message, param="stream", code="unsupported_field")
    return generation
