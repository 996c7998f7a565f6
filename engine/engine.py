"""The engine: requests in, tokens or embeddings out. `step()` is schedule -> run -> commit.

    engine = Engine(make_runner(config))
    engine.submit(Submit("r1", [1, 2, 3], SamplingParams(max_tokens=8)))
    while engine.busy:
        events = engine.step()       # StepOutput, RequestFailed

Tokens never depend on how the work was batched: a row's sampling is keyed by (seed, choice, position), its keys and
values live in its own blocks, and blocks change owner only between steps. Nothing here is asynchronous; the core
process adds the sockets.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from engine.admission import Policy, Problem, expired, problem
from engine.blocks import BlockPool
from engine.config import ConfigError
from engine.edits import Edits
from engine.guides import GrammarError, Guide, Guides, TooComplex
from engine.messages import FinishReason, Logprob, RequestFailed, StepOutput, StepStats, Submit, TokenOut
from engine.outcomes import Outcome, outcomes
from engine.params import SamplingParams, is_plain
from engine.prefix import root
from engine.runner import DeviceLost, Runner
from engine.scheduler import Plan, Row, Scheduler
from engine.sequence import Key, Sequence

log = logging.getLogger(__name__)
SEED_MASK = (1 << 64) - 1
COMPILE_SECONDS = 0.01
"""How long a step with nothing else to do waits for grammars that are being compiled."""


@dataclass
class _Counters:
    steps: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    mixed_steps: int = 0
    step_seconds: float = 0.0
    refused: int = 0
    failed: int = 0
    finished: dict[FinishReason, int] = field(default_factory=lambda: dict.fromkeys(get_args(FinishReason), 0))


class RowError(Exception):
    """One row cannot go on; `param` is the request's field that is at fault, where one is."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Engine:
    """Continuous batching over one runner."""

    def __init__(self, runner: Runner, policy: Policy | None = None) -> None:
        self.runner = runner
        self.info = runner.info
        self.pool = BlockPool(self.info.num_blocks)
        shape = runner.buffers.shape
        self.policy = policy or Policy()
        self.store = BlockPool(runner.store_slots)
        self.scheduler = Scheduler(
            self.pool, self.info.block_size, shape.max_rows, shape.max_tokens, self.store, self.policy.prefix_cache
        )
        self._arrivals = 0
        self._sequences: dict[Key, Sequence] = {}
        self._failed: list[RequestFailed] = []
        self.guides = Guides(self.info.vocab_size, runner.vocabulary)
        self._unbegun: deque[Sequence] = deque()
        """In the order in which they came, if they may not wait for ever; some have begun or ended since."""
        self._compiling: dict[Sequence, Future[Guide]] = {}
        """Sequences that join the queue when their grammar is there."""
        self._ran = 0
        """Sequences in the batch of the last step."""
        self._changed = False
        """An abort changed the state since it was last told."""
        self._counters = _Counters()
        self.max_length = min(self.info.context_length, self.info.num_blocks * self.info.block_size)
        """Tokens that one sequence can have: the context, or the whole pool if that is smaller."""

    @property
    def busy(self) -> bool:
        """Whether `step` has something to do or to report."""
        return bool(self._sequences or self._failed or self._changed)

    def submit(self, request: Submit) -> None:
        """Queue a choice. What is wrong with it is reported by the next step as `RequestFailed`, for this choice
        alone.
        """
        key = Key(request.request_id, request.choice)
        wrong = problem(request, self.info, self.max_length)
        if key in self._sequences:
            wrong = Problem(f"request {key.request_id!r} choice {key.choice} is already running")
        wrong = wrong or self._overload(len(request.token_ids))
        if wrong is not None:
            self._fail(key, wrong)
            return
        sequence = self._sequence(key, request)
        self._sequences[key] = sequence
        if self.policy.queue_seconds is not None:
            self._unbegun.append(sequence)
        if request.params.grammar is None:
            self.scheduler.add(sequence)
        else:
            self._compiling[sequence] = self.guides.begin(request.params.grammar)

    def abort(self, request_id: str) -> None:
        """Drop every choice of a request. Unknown and finished ones are fine."""
        for key in [key for key in self._sequences if key.request_id == request_id]:
            self._drop(self._sequences[key])
            self._counters.finished["abort"] += 1
            self._changed = True

    def step(self) -> list[StepOutput | RequestFailed]:
        """Advance every sequence that the plan holds, and say what came of it."""
        started = time.perf_counter()
        self._enqueue_compiled()
        self._expire(started)
        plan = self.scheduler.schedule()
        self._ran = len(self.scheduler.running)
        for row in plan.rows:
            if row.sequence.started is None:
                row.sequence.started = started
        if len(self._sequences) > len(self._compiling) and not plan.rows:
            raise RuntimeError(f"the scheduler found nothing to do for {len(self._sequences)} sequences")
        try:
            if plan.swaps:
                self.runner.swap(plan.swaps)
            tokens = self._commit(plan, self._run(plan.rows))
        finally:
            self.scheduler.retire()  # also of a step that Ctrl-C ended
        self._count(plan, time.perf_counter() - started)
        failed, self._failed, self._changed = self._failed, [], False
        return [*failed, StepOutput(tokens=tokens, stats=self.stats())]

    def stats(self) -> StepStats:
        """The state now and the counts since the start."""
        count, runner, planned = self._counters, self.runner.counters, self.scheduler.counters
        # while others wait, the next step fills the places that this one freed: they count as taken
        ran = self._ran if self.scheduler.waiting else 0
        waiting, waiting_tokens = self._queued()
        return StepStats(
            running=max(ran, len(self.scheduler.running)),
            waiting=waiting,
            blocks_used=self.pool.used,
            blocks_total=self.pool.total,
            steps=count.steps,
            prefill_tokens=count.prefill_tokens,
            decode_tokens=count.decode_tokens,
            preemptions=planned.preemptions,
            replays=runner.replays,
            mixed_steps=count.mixed_steps,
            step_seconds=count.step_seconds,
            kernel_seconds=runner.kernel_seconds,
            waiting_tokens=waiting_tokens,
            prefix_queries=planned.prefix_queries,
            prefix_hits=planned.prefix_hits,
            swapped_out=planned.swapped_out,
            swapped_in=planned.swapped_in,
            refused=count.refused,
            failed=count.failed,
            finished=dict(count.finished),
        )

    def close(self) -> None:
        """Give back memory and threads."""
        self.guides.close()
        self.runner.close()

    def _enqueue_compiled(self) -> None:
        """Queue what waited for its grammar; a grammar that is wrong is that request's error."""
        if not self._compiling:
            return
        if len(self._compiling) == len(self._sequences):
            wait(self._compiling.values(), COMPILE_SECONDS, FIRST_COMPLETED)
        for sequence in [sequence for sequence, guide in self._compiling.items() if guide.done()]:
            compiled = self._compiling.pop(sequence)
            error = compiled.exception()
            if error is None:
                sequence.guide = compiled.result()
                self.scheduler.add(sequence)
                continue
            del self._sequences[sequence.key]
            self._fail(sequence.key, _grammar_problem(error))

    def _expire(self, now: float) -> None:
        """Give up what has waited for too long."""
        limit = self.policy.queue_seconds
        while limit is not None and self._unbegun:
            first = self._unbegun[0]
            waits = first.started is None and self._sequences.get(first.key) is first
            if waits and now - first.submitted <= limit:
                return
            self._unbegun.popleft()
            if waits:
                self._drop(first)
                self._fail(first.key, expired(limit))

    def _sequence(self, key: Key, request: Submit) -> Sequence:
        params, length = request.params, len(request.token_ids)
        seed = secrets.randbits(64) if params.seed is None else params.seed & SEED_MASK
        self._arrivals += 1
        room = self.max_length if params.max_tokens is None else length + params.max_tokens
        return Sequence(
            key=key,
            tokens=list(request.token_ids),
            prompt_length=length,
            params=params,
            seed=seed,
            max_length=min(room, self.max_length),
            stop_tokens=self._stop_tokens(params),
            plain=is_plain(params),
            edits=Edits.of(params, request.token_ids),
            arrival=self._arrivals,
            priority=request.priority,
            account=request.account,
            root=root(request.cache_salt),
            pooling=request.pooling,
            submitted=time.perf_counter(),
        )

    def _overload(self, more: int) -> Problem | None:
        count = self._counters
        computed = count.prefill_tokens + count.decode_tokens
        speed = computed / count.step_seconds if count.step_seconds else 0.0
        return self.policy.overload(*self._queued(), more, speed)

    def _queued(self) -> tuple[int, int]:
        """Sequences that wait, for their grammar or their turn, and the tokens of them."""
        waiting = self.scheduler.waiting
        compiling = sum(len(sequence.tokens) for sequence in self._compiling)
        return len(waiting) + len(self._compiling), waiting.tokens + compiling

    def _stop_tokens(self, params: SamplingParams) -> frozenset[int]:
        # a grammar's end is an end, also where the model's own habit of ending is ignored
        heeded = not params.ignore_eos or params.grammar is not None
        return frozenset(params.stop_token_ids + (self.info.eos_token_ids if heeded else ()))

    def _run(self, rows: tuple[Row, ...]) -> list[Outcome]:
        """Run the rows together; if that raises, each alone, so that only the rows at fault fail."""
        if not rows:
            return []
        try:
            return self._run_together(rows)
        except DeviceLost:
            raise
        except Exception as error:
            log.exception("a step of %d rows failed", len(rows))
            if len(rows) == 1:
                return [Outcome(error=f"{type(error).__name__}: {error}")]
        return [self._run((row,))[0] for row in rows]

    def _run_together(self, rows: tuple[Row, ...]) -> list[Outcome]:
        failed: dict[Sequence, str] = {}

        def write_masks(sequences: list[Sequence], allowed: np.ndarray) -> None:
            failed.update((sequences[line], why) for line, why in self.guides.fill(sequences, allowed).items())

        batch, extras = self.runner.buffers.fill(rows), self.runner.extras.fill(rows, write_masks)
        sampled = self.runner.run(batch, extras, self.runner.pools.fill(rows))
        return outcomes(rows, sampled, self.info.vocab_size, failed)

    def _commit(self, plan: Plan, found: list[Outcome]) -> list[TokenOut]:
        tokens: list[TokenOut] = []
        for row, outcome in zip(plan.rows, found, strict=True):
            sequence = row.sequence
            if sequence.finished:
                # aborted while the step ran
                continue
            try:
                out = self._advance(row, outcome)
            except RowError as error:
                self._fail(sequence.key, Problem(str(error), error.param, "invalid" if error.param else "failed"))
                self._drop(sequence)
                continue
            if out is not None:
                tokens.append(out)
        return tokens

    def _advance(self, row: Row, outcome: Outcome) -> TokenOut | None:
        """What a row's outcome makes of its sequence: a token, or nothing yet."""
        if outcome.error is not None:
            raise RowError(outcome.error, outcome.param)
        sequence = row.sequence
        self.scheduler.advance(row)
        sequence.prompt_scores += outcome.scores
        sequence.scored += len(outcome.scores)
        if outcome.pooled is not None:
            return self._pool(row, outcome.pooled)
        return None if outcome.token is None else self._accept(sequence, outcome.token, outcome.logprob)

    def _pool(self, row: Row, vector: np.ndarray) -> TokenOut | None:
        """Keep a sum that is not complete; a vector that is ends its sequence."""
        sequence = row.sequence
        if not row.reaches_end:
            sequence.pooled, sequence.pool_sum = row.pool_from + row.pools, vector
            return None
        self._drop(sequence)
        self._counters.finished["stop"] += 1
        return TokenOut(
            request_id=sequence.key.request_id,
            choice=sequence.key.choice,
            token_ids=[],
            finish_reason="stop",
            cached_tokens=sequence.cached,
            queue_seconds=_waited(sequence),
            embedding=vector.astype("<f4").tobytes(),
        )

    def _accept(self, sequence: Sequence, token: int, logprob: Logprob | None) -> TokenOut:
        """Append a sampled token and finish the sequence if it is the last."""
        first = sequence.generated == 0
        scores: list[Logprob | None] | None = None
        if first and sequence.params.prompt_logprobs is not None:
            scores, sequence.prompt_scores = [None, *sequence.prompt_scores], []
        reason = self._append(sequence, token)
        shown = reason != "stop" or token not in sequence.stop_tokens
        if len(sequence.tokens) > sequence.max_length:
            # max_tokens is 0: the prompt alone was wanted
            shown, token = False, -1
        if reason is not None:
            self._drop(sequence)
            self._counters.finished[reason] += 1
        return TokenOut(
            request_id=sequence.key.request_id,
            choice=sequence.key.choice,
            token_ids=[token] if shown else [],
            finish_reason=reason,
            stop_token=None if shown or token < 0 else token,
            logprobs=None if logprob is None else [logprob] if shown else [],
            prompt_logprobs=scores,
            cached_tokens=sequence.cached if first else None,
            queue_seconds=_waited(sequence) if first else None,
        )

    def _append(self, sequence: Sequence, token: int) -> FinishReason | None:
        """The sequence goes on by a token; why it ends with it, if it does."""
        sequence.tokens.append(token)
        if len(sequence.tokens) > sequence.max_length:
            return "length"
        if token in sequence.stop_tokens:
            return "stop"
        if sequence.edits is not None:
            sequence.edits.add(token)
        if sequence.guide is not None:
            try:
                sequence.guide.accept(token)
            except GrammarError as error:
                raise RowError(str(error), "grammar" if isinstance(error, TooComplex) else None) from error
            if sequence.guide.ended:
                return "stop"
        return "length" if len(sequence.tokens) >= sequence.max_length else None

    def _fail(self, key: Key, wrong: Problem) -> None:
        self._counters.refused += wrong.code == "overloaded"
        self._counters.failed += wrong.code == "failed"
        self._failed.append(RequestFailed(*key, wrong.code, wrong.message, wrong.param, wrong.retry_after))

    def _drop(self, sequence: Sequence) -> None:
        del self._sequences[sequence.key]
        compiling = self._compiling.pop(sequence, None)
        if compiling is None:
            self.scheduler.finish(sequence)
        else:
            compiling.cancel()  # or what nobody waits for would be compiled before what comes next

    def _count(self, plan: Plan, seconds: float) -> None:
        if not plan.rows:
            return
        decode = sum(row.decode for row in plan.rows)
        self._counters.steps += 1
        self._counters.decode_tokens += decode
        self._counters.prefill_tokens += plan.tokens - decode
        self._counters.mixed_steps += plan.mixed
        self._counters.step_seconds += seconds


def _grammar_problem(error: BaseException) -> Problem:
    """Of a grammar that could not be compiled: it is wrong, or this model can have none, or we do not know why."""
    if isinstance(error, (GrammarError, ConfigError, ImportError)):
        return Problem(str(error), "grammar")
    log.error("a grammar could not be compiled", exc_info=error)
    return Problem(f"the grammar could not be compiled: {type(error).__name__}: {error}", code="failed")


def _waited(sequence: Sequence) -> float:
    return (sequence.started or sequence.submitted) - sequence.submitted
