"""What the API process and the engine core say to each other.

Both directions carry one msgpack frame per step: a list of commands in, a list of events out. The structs are tagged
unions, so a frame that names an unknown message or an unknown field is a decoding error, never a guess.

    frame = encode([Submit(request_id="r1", token_ids=[1, 2, 3], params=SamplingParams(max_tokens=8))])
    [submit] = decode_commands(frame)
"""

from __future__ import annotations

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "abort"]


class SamplingParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one choice picks its tokens. Stop *strings* are text and stay in the API process (`engine.stops`)."""

    temperature: float = 1.0
    """0 is greedy; ties take the lowest token id."""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps every token."""
    min_p: float = 0.0
    seed: int | None = None
    """None draws one at submission. The same seed gives the same tokens, whatever else runs beside it."""
    max_tokens: int | None = None
    """None means up to the end of the context."""
    stop_token_ids: tuple[int, ...] = ()
    """Beside the model's own end-of-sequence tokens."""
    ignore_eos: bool = False
    logprobs: bool = False
    """Also return the log probability of each sampled token."""


class Submit(msgspec.Struct, frozen=True, tag="submit", forbid_unknown_fields=True):
    """Generate one choice. A request with n > 1 is n submissions that differ in `choice`."""

    request_id: str
    token_ids: list[int]
    params: SamplingParams
    choice: int = 0


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
    load_seconds: float = 0.0
    details: dict[str, str] = {}
    """Free-form facts for /health and `doctor`: dtype, quantization, threads, kernel choices."""


class Ready(msgspec.Struct, frozen=True, tag="ready", forbid_unknown_fields=True):
    """The core has loaded the model and accepts requests. The first event of a healthy core."""

    info: ModelInfo


class TokenOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one step gave one choice. The last one of a choice, and only that, has a `finish_reason`."""

    request_id: str
    choice: int
    token_ids: list[int]
    """Tokens to show. The stop token is not among them."""
    finish_reason: FinishReason | None = None
    stop_token: int | None = None
    """The end-of-sequence or stop token that ended the choice. It was generated, so it counts as usage."""
    logprobs: list[float] | None = None
    """One per entry of `token_ids`, when the request asked for them."""


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
    replays: int
    """Forward passes that were a replayed launch list or CUDA graph; equal to `steps` unless capture is off."""
    mixed_steps: int
    """Steps that held prefill and decode rows at once."""
    step_seconds: float
    """Total time inside `step()`."""
    kernel_seconds: float
    """The part of it spent in kernels; the rest is time outside kernels."""


class StepOutput(msgspec.Struct, frozen=True, tag="step", forbid_unknown_fields=True):
    """One step's tokens, and the state after it."""

    tokens: list[TokenOut]
    stats: StepStats


class RequestFailed(msgspec.Struct, frozen=True, tag="failed", forbid_unknown_fields=True):
    """One choice cannot go on; all others do. `status` is the HTTP status that fits; nothing more follows for this
    choice.
    """

    request_id: str
    choice: int
    status: int
    message: str


class Pong(msgspec.Struct, frozen=True, tag="pong", forbid_unknown_fields=True):
    """The answer to the `Ping` of the same number."""

    number: int


class Fatal(msgspec.Struct, frozen=True, tag="fatal", forbid_unknown_fields=True):
    """The core is about to exit and every open request is lost."""

    message: str


Event = Ready | StepOutput | RequestFailed | Pong | Fatal

_encoder = msgspec.msgpack.Encoder()
_commands = msgspec.msgpack.Decoder(list[Command])
_events = msgspec.msgpack.Decoder(list[Event])


def encode(messages: list[Command] | list[Event]) -> bytes:
    """One frame of commands or of events."""
    return _encoder.encode(messages)


def decode_commands(frame: bytes) -> list[Command]:
    """The commands of a frame; `msgspec.ValidationError` says which field is wrong."""
    return _commands.decode(frame)


def decode_events(frame: bytes) -> list[Event]:
    """The events of a frame; `msgspec.ValidationError` says which field is wrong."""
    return _events.decode(frame)
