"""What goes over the socket comes back as it was, and nothing else is understood."""

import msgspec
import pytest

from engine.config import ConfigError, EngineConfig, ModelConfig
from engine.messages import (
    Abort,
    Command,
    Down,
    Event,
    Fatal,
    Logprob,
    Ping,
    Pong,
    RequestFailed,
    SamplingParams,
    Shutdown,
    StepOutput,
    StepStats,
    Submit,
    TokenOut,
    decode_commands,
    decode_events,
    encode,
)

STATS = StepStats(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0.5, 0.25, finished={"stop": 3})
SHAPE = {
    "name": "tiny",
    "architecture": "llama",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 16,
    "context_length": 128,
}


def test_commands_come_back_as_they_were():
    params = SamplingParams(
        temperature=0.5, seed=(1 << 64) - 1, stop_token_ids=(1, 2), logprobs=2, logit_bias={7: -1.5}, grammar="{}"
    )
    submit = Submit("r", [1, 2], params, choice=3, priority=-1, account="a", cache_salt="s")
    commands: list[Command] = [submit, Abort("r"), Ping(7), Shutdown(drain=False)]
    assert decode_commands(encode(commands)) == commands


def test_events_come_back_as_they_were():
    failed = RequestFailed("r", 1, "overloaded", "later", retry_after=2.5)
    tokens = [TokenOut("r", 0, [5], logprobs=[Logprob(-0.5, 2, [(7, -0.25), (5, -0.5)])], prompt_logprobs=[None])]
    events: list[Event] = [Pong(7), Fatal("why"), failed, StepOutput(tokens, STATS), Down("killed", 0.5)]
    assert failed.status == 429
    assert decode_events(encode(events)) == events


def test_an_event_is_no_command():
    with pytest.raises(msgspec.ValidationError, match="pong"):
        decode_commands(encode([Pong(1)]))


def test_an_unknown_field_is_an_error():
    frame = msgspec.msgpack.encode([{"type": "ping", "number": 1, "extra": 2}])
    with pytest.raises(msgspec.ValidationError, match="extra"):
        decode_commands(frame)


def test_a_token_without_an_end_says_so():
    assert TokenOut("r", 0, [1]).finish_reason is None


def test_an_engine_configuration_survives_the_command_line():
    config = EngineConfig(model="m.gguf", num_blocks=7, extra={"x": 1})
    assert EngineConfig.from_json(config.to_json()) == config


def test_an_unknown_engine_option_is_named():
    with pytest.raises(ConfigError, match="max_batch"):
        EngineConfig.from_json('{"model": "m", "max_batch": 1}')


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, got 'tpu'"),
        ({"quantization": "int3"}, "quantization must"),
        ({"block_size": 12}, "power of two"),
        ({"num_blocks": 0}, "num_blocks must be at least 1, got 0"),
        ({"queue_seconds": 0.0}, "queue_seconds must be above 0, got 0.0"),
        ({"queue_seconds": float("nan")}, "queue_seconds must be above 0, got nan"),
        ({"max_num_seqs": 65, "max_batched_tokens": 64}, "at least max_num_seqs"),
    ],
)
def test_an_engine_configuration_that_cannot_work_says_why(options: dict[str, object], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        EngineConfig(model="m", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"num_kv_heads": 3}, "multiple of num_kv_heads"), ({"head_dim": 15}, "even"), ({"num_layers": 0}, "num_layers")],
)
def test_a_model_shape_that_cannot_be_says_why(change: dict[str, int], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        ModelConfig(**{**SHAPE, **change})  # type: ignore[arg-type]


def test_the_fused_projection_has_a_column_per_query_key_and_value():
    assert ModelConfig(**SHAPE).qkv_size == (4 + 2 + 2) * 16  # type: ignore[arg-type]
