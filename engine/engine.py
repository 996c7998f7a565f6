"""The engine: requests in, tokens out. `step()` is schedule -> run -> commit.

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
from dataclasses import dataclass

from engine.blocks import BlockPool
from engine.messages import (
    ErrorCode,
    FinishReason,
    Logprob,
    RequestFailed,
    StepOutput,
    StepStats,
    Submit,
    TokenOut,
)
from engine.params import SamplingParams, params_problem
from engine.runner import DeviceLost, Runner
from engine.scheduler import Plan, Row, Scheduler
from engine.sequence import Key, Sequence

log = logging.getLogger(__name__)
SEED_MASK = (1 << 64) - 1


@dataclass
class _Counters:
    steps: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    mixed_steps: int = 0
    step_seconds: float = 0.0


@dataclass(frozen=True)
class _Outcome:
    """What running one row gave: a token if the row samples, or why it failed."""

    token: int | None = None
    logprob: float = 0.0
    error: str | None = None


@dataclass(frozen=True)
class _Problem:
    """Why a request is not served, and which field is at fault."""

    message: str
    param: str | None = None
    code: ErrorCode = "invalid"


class Engine:
    """Continuous batching over one runner."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.info = runner.info
        self.pool = BlockPool(self.info.num_blocks)
        shape = runner.buffers.shape
        self.scheduler = Scheduler(self.pool, self.info.block_size, shape.max_rows, shape.max_tokens)
        self._sequences: dict[Key, Sequence] = {}
        self._failed: list[RequestFailed] = []
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
        problem = self._problem(key, request)
        if problem is not None:
            self._failed.append(RequestFailed(*key, problem.code, problem.message, problem.param))
            return
        sequence = self._sequence(key, request)
        self._sequences[key] = sequence
        self.scheduler.add(sequence)

    def abort(self, request_id: str) -> None:
        """Drop every choice of a request. Unknown and finished ones are fine."""
        for key in [key for key in self._sequences if key.request_id == request_id]:
            self._drop(self._sequences[key])
            self._changed = True

    def step(self) -> list[StepOutput | RequestFailed]:
        """Advance every sequence that the plan holds, and say what came of it."""
        started = time.perf_counter()
        plan = self.scheduler.schedule()
        if self._sequences and not plan.rows:
            raise RuntimeError(f"the scheduler found nothing to do for {len(self._sequences)} sequences")
        outcomes = self._run(plan.rows)
        tokens = self._commit(plan, outcomes)
        self.scheduler.retire()
        self._count(plan, time.perf_counter() - started)
        failed, self._failed, self._changed = self._failed, [], False
        return [*failed, StepOutput(tokens=tokens, stats=self.stats())]

    def stats(self) -> StepStats:
        """The state now and the counts since the start."""
        count, runner = self._counters, self.runner.counters
        return StepStats(
            running=len(self.scheduler.running),
            waiting=len(self.scheduler.waiting),
            blocks_used=self.pool.used,
            blocks_total=self.pool.total,
            steps=count.steps,
            prefill_tokens=count.prefill_tokens,
            decode_tokens=count.decode_tokens,
            preemptions=self.scheduler.preemptions,
            replays=runner.replays,
            mixed_steps=count.mixed_steps,
            step_seconds=count.step_seconds,
            kernel_seconds=runner.kernel_seconds,
        )

    def close(self) -> None:
        self.runner.close()

    def _sequence(self, key: Key, request: Submit) -> Sequence:
        params = request.params
        seed = secrets.randbits(64) if params.seed is None else params.seed & SEED_MASK
        room = self.max_length if params.max_tokens is None else len(request.token_ids) + params.max_tokens
        return Sequence(
            key=key,
            tokens=list(request.token_ids),
            prompt_length=len(request.token_ids),
            params=params,
            seed=seed,
            max_length=min(room, self.max_length),
            stop_tokens=frozenset(params.stop_token_ids + (() if params.ignore_eos else self.info.eos_token_ids)),
        )

    def _problem(self, key: Key, request: Submit) -> _Problem | None:
        """Why a request cannot be served, or None."""
        if key in self._sequences:
            return _Problem(f"request {key.request_id!r} choice {key.choice} is already running")
        if not 0 <= key.choice < 1 << 31:
            return _Problem(f"choice must be from 0 to 2147483647, got {key.choice}", "choice")
        wrong = params_problem(request.params, self.info.vocab_size)
        if wrong is not None:
            return _Problem(wrong[1], wrong[0])
        return self._prompt_problem(request.token_ids) or _unsupported(request)

    def _prompt_problem(self, token_ids: list[int]) -> _Problem | None:
        length = len(token_ids)
        if not length:
            return _Problem("the prompt has no tokens", "token_ids")
        if length >= self.max_length:
            limit = "the context holds" if self.max_length == self.info.context_length else "the KV cache holds"
            message = f"the prompt has {length} tokens, {limit} {self.max_length} including at least one to generate"
            return _Problem(message, "token_ids")
        wrong = next((token for token in token_ids if not 0 <= token < self.info.vocab_size), None)
        if wrong is not None:
            return _Problem(f"token id {wrong} is not in the vocabulary of {self.info.vocab_size}", "token_ids")
        return None

    def _run(self, rows: tuple[Row, ...]) -> list[_Outcome]:
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
                return [_Outcome(error=f"{type(error).__name__}: {error}")]
        return [self._run((row,))[0] for row in rows]

    def _run_together(self, rows: tuple[Row, ...]) -> list[_Outcome]:
        sampled = self.runner.run(self.runner.buffers.fill(rows))
        tokens, logprobs = sampled.token_ids.tolist(), sampled.logprobs.tolist()
        outcomes: list[_Outcome] = []
        at = 0
        for row in rows:
            if not row.samples:
                outcomes.append(_Outcome())
                continue
            token = tokens[at]
            if 0 <= token < self.info.vocab_size:
                outcomes.append(_Outcome(token=token, logprob=logprobs[at]))
            else:
                outcomes.append(_Outcome(error=f"the model gave no finite logits at position {row.start + row.count}"))
            at += 1
        return outcomes

    def _commit(self, plan: Plan, outcomes: list[_Outcome]) -> list[TokenOut]:
        tokens: list[TokenOut] = []
        for row, outcome in zip(plan.rows, outcomes, strict=True):
            sequence = row.sequence
            if sequence.finished:
                # aborted while the step ran
                continue
            if outcome.error is not None:
                self._failed.append(RequestFailed(*sequence.key, "failed", outcome.error))
                self._drop(sequence)
                continue
            sequence.computed = row.start + row.count
            if outcome.token is not None:
                tokens.append(self._accept(sequence, outcome.token, outcome.logprob))
        return tokens

    def _accept(self, sequence: Sequence, token: int, logprob: float) -> TokenOut:
        """Append a sampled token and finish the sequence if it is the last."""
        sequence.tokens.append(token)
        stop = token in sequence.stop_tokens
        reason: FinishReason | None = None
        if stop:
            reason = "stop"
        elif len(sequence.tokens) >= sequence.max_length:
            reason = "length"
        if reason is not None:
            self._drop(sequence)
        return TokenOut(
            request_id=sequence.key.request_id,
            choice=sequence.key.choice,
            token_ids=[] if stop else [token],
            finish_reason=reason,
            stop_token=token if stop else None,
            logprobs=([] if stop else [Logprob(logprob, 0)]) if sequence.params.logprobs is not None else None,
        )

    def _drop(self, sequence: Sequence) -> None:
        del self._sequences[sequence.key]
        self.scheduler.finish(sequence)

    def _count(self, plan: Plan, seconds: float) -> None:
        if not plan.rows:
            return
        decode = sum(row.decode for row in plan.rows)
        self._counters.steps += 1
        self._counters.decode_tokens += decode
        self._counters.prefill_tokens += plan.tokens - decode
        self._counters.mixed_steps += plan.mixed
        self._counters.step_seconds += seconds


def _unsupported(request: Submit) -> _Problem | None:
    """What is understood and does not work yet: refused by its name, never passed over."""
    for values, neutral in ((request, _PLAIN), (request.params, SamplingParams())):
        for name in _NOT_YET[type(neutral)]:
            if getattr(values, name) != getattr(neutral, name):
                return _Problem(f"{name} is not supported", name, "unsupported")
    if request.params.logprobs:
        return _Problem("logprobs above 0 are not supported", "logprobs", "unsupported")
    return None


_PLAIN = Submit("", [], SamplingParams())
_NOT_YET = {
    Submit: ("priority", "account", "cache_salt"),
    SamplingParams: (
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logit_bias",
        "min_tokens",
        "prompt_logprobs",
        "grammar",
    ),
}
