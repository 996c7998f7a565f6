"""What the API process and the engine core say to each other.

Both directions carry one msgpack frame per step: a list of commands in, a list of events out. The structs are tagged
unions, so a frame that names an unknown message or an unknown field is a decoding error, never a guess.

    frame = encode([Submit(request_id="r1", token_ids=[1, 2, 3], params=SamplingParams(max_tokens=8))])
    [submit] = decode_commands(frame)
"""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.params import PoolingParams, SamplingParams

FinishReason = Literal["stop", "length", "abort"]
"""`stop`: a stop token, or the grammar's end. `length`: max_tokens or the context. `abort`: the engine gave it up."""

ErrorCode = Literal["invalid", "unsupported", "overloaded", "expired", "failed", "stopping"]
STATUS: dict[ErrorCode, int] = {
    "invalid": 400,
    "unsupported": 400,
    "overloaded": 429,
    "expired": 429,
    "failed": 500,
    "stopping": 503,
}
"""The HTTP status that fits each. `invalid`: can never be served. `overloaded`: not now; `retry_after` says when.
`expired`: it has waited for too long."""


class Submit(msgspec.Struct, frozen=True, tag="submit", forbid_unknown_fields=True):
    """Generate one choice, or embed one prompt. A request with n > 1 is n submissions that differ in `choice`."""

    request_id: str
    token_ids: list[int]
    params: SamplingParams = SamplingParams()
    choice: int = 0
    priority: int = 0
    """Lower goes first, as in vLLM. Among equals the accounts take turns, and within an account arrival decides."""
    account: str = ""
    """Whose request it is, for fairness: an opaque name that the API process makes of the key, never the key."""
    cache_salt: str = ""
    """Requests share cached prefixes only with those of the same salt."""
    pooling: PoolingParams | None = None
    """Embed the prompt, and generate nothing: `params` are the default ones."""


class Abort(msgspec.Struct, frozen=True, tag="abort", forbid_unknown_fields=True):
    """Stop every choice of a request. Unknown or finished requests are no error: abort is idempotent and gets no
    answer.
    """

    request_id: str


class Ping(msgspec.Struct, frozen=True, tag="ping", forbid_unknown_fields=True):
    """Answered by `Pong` from the engine loop itself, so an answer proves that the loop turns."""

    number: int


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown", forbid_unknown_fields=True):
    """Leave: with `drain` after every accepted request has finished, else at once. Nothing new is accepted after it."""

    drain: bool = True


Command = Submit | Abort | Ping | Shutdown


class Breakdown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a start took, by what it was for."""

    of: str
    """Whose seconds or bytes."""
    unit: Literal["s", "bytes"]
    parts: tuple[tuple[str, float], ...]
    total: float
    """Measured apart from the parts; 0 where it cannot be."""

    @property
    def other(self) -> float:
        """What the parts do not explain."""
        return self.total - sum(amount for _, amount in self.parts) if self.total else 0.0


class ModelInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the API process must know of the model that the core has loaded."""

    name: str
    vocab_size: int
    context_length: int
    """Prompt and answer together; also bounded by the KV pool."""
    block_size: int
    num_blocks: int
    """Blocks that sequences can own (the dummy block is not counted)."""
    device: str
    eos_token_ids: tuple[int, ...] = ()
    hidden_size: int = 0
    """Numbers of an embedding."""
    load_seconds: float = 0.0
    details: dict[str, str] = {}
    """Free-form facts for /health and `doctor`: dtype, quantization, threads, kernel choices."""
    startup: tuple[Breakdown, ...] = ()
    """Where the seconds of the start went, and the bytes of what was loaded."""


class Ready(msgspec.Struct, frozen=True, tag="ready", forbid_unknown_fields=True):
    """The core has loaded the model and accepts requests. The first event of a healthy core."""

    info: ModelInfo


class Logprob(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One token's place in the model's own distribution."""

    logprob: float
    rank: int
    """1 for the most likely token."""
    top: list[tuple[int, float]] = []
    """The most likely tokens with their log probabilities, best first; as many as were asked for."""


class TokenOut(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What one step gave one choice. The last one of a choice, and only that, has a `finish_reason`."""

    request_id: str
    choice: int
    token_ids: list[int]
    """Tokens to show. The stop token is not among them."""
    finish_reason: FinishReason | None = None
    stop_token: int | None = None
    """The end-of-sequence or stop token that ended the choice. It was generated, so it counts as usage."""
    logprobs: list[Logprob] | None = None
    """One per entry of `token_ids`, when the request asked for them."""
    prompt_logprobs: list[Logprob | None] | None = None
    """One per token of the prompt (None for the first), when asked for; in the first output of a choice only."""
    cached_tokens: int | None = None
    """Tokens of the prompt that were found in the prefix cache; in the first output of a choice only."""
    queue_seconds: float | None = None
    """From submission to the first step; in the first output of a choice only."""
    embedding: bytes | None = None
    """f32[hidden_size], little-endian: of a prompt that was to be embedded. It is the only output then."""


class StepStats(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Gauges (now) and counters (since start) of the engine, sent with each step."""

    running: int
    waiting: int
    blocks_used: int
    blocks_total: int
    steps: int
    prefill_tokens: int
    decode_tokens: int
    preemptions: int
    """Sequences that gave up their blocks, whether recomputed or swapped."""
    replays: int
    """Forward passes that were a replayed launch list or CUDA graph; equal to `steps` unless capture is off."""
    mixed_steps: int
    """Steps that held prefill and decode rows at once."""
    step_seconds: float
    """Total time inside `step()`."""
    kernel_seconds: float
    """The part of it spent in kernels; the rest is time outside kernels."""
    waiting_tokens: int = 0
    """Prompt tokens in the queue."""
    prefix_queries: int = 0
    """Prompt tokens that were looked up in the prefix cache, in total."""
    prefix_hits: int = 0
    """Those that were found."""
    swapped_out: int = 0
    """Blocks copied to the host for a preempted sequence, in total."""
    swapped_in: int = 0
    """Blocks copied back, in total."""
    refused: int = 0
    """Choices answered `overloaded`, in total."""
    failed: int = 0
    """Choices answered `failed`, in total."""
    finished: dict[str, int] = {}
    """Choices that ended, in total, by finish reason."""


class StepOutput(msgspec.Struct, frozen=True, tag="step", forbid_unknown_fields=True):
    """One step's tokens, and the state after it."""

    tokens: list[TokenOut]
    stats: StepStats


class RequestFailed(msgspec.Struct, frozen=True, tag="failed", forbid_unknown_fields=True):
    """One choice cannot go on; all others do. Nothing more follows for this choice."""

    request_id: str
    choice: int
    code: ErrorCode
    message: str
    param: str | None = None
    """The field of `Submit` or `SamplingParams` that is at fault, where one is."""
    retry_after: float | None = None
    """Seconds after which it may fit, when `overloaded`."""

    @property
    def status(self) -> int:
        """The HTTP status that fits."""
        return STATUS[self.code]


class Pong(msgspec.Struct, frozen=True, tag="pong", forbid_unknown_fields=True):
    """The answer to the `Ping` of the same number."""

    number: int


class Fatal(msgspec.Struct, frozen=True, tag="fatal", forbid_unknown_fields=True):
    """The core is about to exit and every open request is lost."""

    message: str


class Down(msgspec.Struct, frozen=True, tag="down", forbid_unknown_fields=True):
    """The core has died and every open request with it; the client starts another one. Said by `CoreClient.events`
    itself, since a dead core says nothing. What follows is `Ready`, or `Down` again when the restart fails.
    """

    reason: str
    retry_seconds: float
    """Until the next attempt begins."""


Event = Ready | StepOutput | RequestFailed | Pong | Fatal | Down

_encoder = msgspec.msgpack.Encoder()
_commands = msgspec.msgpack.Decoder(list[Command])
_events = msgspec.msgpack.Decoder(list[Event])


def packed(command: Command) -> msgspec.Raw:
    """A command as it will be in its frame; what cannot be is an error."""
    return msgspec.Raw(_encoder.encode(command))


def encode(messages: list[Command] | list[Event] | list[msgspec.Raw]) -> bytes:
    """One frame of commands or of events."""
    return _encoder.encode(messages)


def decode_commands(frame: bytes) -> list[Command]:
    """The commands of a frame; `msgspec.ValidationError` says which field is wrong."""
    return _commands.decode(frame)


def decode_events(frame: bytes) -> list[Event]:
    """The events of a frame; `msgspec.ValidationError` says which field is wrong."""
    return _events.decode(frame)
