"""The two configurations of the engine: what the model is (`ModelConfig`, read from its file) and how to run it
(`EngineConfig`).

Both are frozen, and both check themselves when made, so that a wrong size is said where it was written:

    config = EngineConfig(model="smollm2.gguf", max_num_seqs=8)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

DEVICES = ("auto", "cpu", "cuda")
QUANTIZATIONS = ("none", "fp8", "int4")
NO_SHARE = "a share of memory is of a GPU's; on a CPU kv_cache_bytes or num_blocks size the cache"
_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_layers",
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "context_length",
)


class ConfigError(ValueError):
    """A configuration that cannot work; the message names the field, what it needs and what it got."""


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a Llama-architecture model and its special tokens."""

    name: str
    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    context_length: int
    rope_base: float = 10_000.0
    rope_divisors: tuple[float, ...] = ()
    """What the angles of each pair of a head are divided by; nothing where empty."""
    rms_eps: float = 1e-5
    tied_embedding: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in _SIZES:
            _at_least(self, name, 1)
        if self.num_heads % self.num_kv_heads:
            got = f"{self.num_heads} and {self.num_kv_heads}"
            raise ConfigError(f"num_heads must be a multiple of num_kv_heads, got {got}")
        if self.head_dim % 2:
            raise ConfigError(f"head_dim must be even for rotary embedding, got {self.head_dim}")

    @property
    def qkv_size(self) -> int:
        """Columns of the fused query, key and value projection."""
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim


@dataclass(frozen=True)
class EngineConfig:
    """How to run a model: where, how much memory, and how wide a step may be."""

    model: str
    device: str = "auto"
    quantization: str = "none"
    """"none" keeps the weights as the file has them; "fp8" and "int4" requantize at load."""
    max_model_len: int | None = None
    """None takes the model's context length."""
    block_size: int = 16
    num_blocks: int | None = None
    """KV blocks that sequences can own. `engine/sizing.py` says how many there are where none are named."""
    kv_cache_bytes: int | None = None
    """Memory for KV blocks instead."""
    gpu_memory_utilization: float | None = None
    """Or the share of a GPU's memory that may be in use once all is there, by this process and others."""
    gpu_memory_reserve_bytes: int = 0
    """What of that share is left alone."""
    prefix_cache: bool = True
    """Keep what full blocks hold after their sequences have ended, for prompts that begin alike."""
    swap_bytes: int = 0
    """Host memory for blocks of preempted sequences. Those that do not fit are computed anew; 0 computes all anew."""
    num_swap_blocks: int | None = None
    """The same as a number of blocks."""
    max_num_seqs: int = 64
    """Rows that one step may hold."""
    max_batched_tokens: int | None = None
    """Tokens that one step may hold: decode rows first, then chunks of prompts. None is what suits the device: a step
    must stay well below a second, since aborts and new requests wait for it."""
    max_waiting: int = 1024
    """Choices that may wait before others are answered `overloaded`."""
    max_waiting_tokens: int = 1 << 20
    """Tokens of theirs, likewise."""
    queue_seconds: float | None = None
    """How long a choice may wait for its first step before it is given up; None: for ever."""
    threads: int | None = None
    """CPU workers; None takes the cores this process may use."""
    capture: bool = True
    """Replay recorded launch lists. False launches every kernel anew, for debugging."""
    runner: str = "engine.model_runner:load"
    """`module:function` that takes this configuration and gives a runner; tests put a small model here."""
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    """Options for a runner named above other than the default; the default one takes none."""

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ConfigError(f"device must be one of {', '.join(DEVICES)}, got {self.device!r}")
        if self.quantization not in QUANTIZATIONS:
            raise ConfigError(f"quantization must be one of {', '.join(QUANTIZATIONS)}, got {self.quantization!r}")
        for name in ("block_size", "max_num_seqs", "max_waiting", "max_waiting_tokens"):
            _at_least(self, name, 1)
        for name in ("max_model_len", "num_blocks", "kv_cache_bytes", "threads", "max_batched_tokens"):
            if getattr(self, name) is not None:
                _at_least(self, name, 1)
        for name in ("swap_bytes", "num_swap_blocks", "gpu_memory_reserve_bytes"):
            if getattr(self, name) is not None:
                _at_least(self, name, 0)
        if self.queue_seconds is not None and not self.queue_seconds > 0:
            raise ConfigError(f"queue_seconds must be above 0, got {self.queue_seconds}")
        _check_memory(self)
        if self.max_batched_tokens is not None and self.max_batched_tokens < self.max_num_seqs:
            # otherwise a step could not advance every running row, and decode rows would starve
            got = f"{self.max_batched_tokens} and {self.max_num_seqs}"
            raise ConfigError(f"max_batched_tokens must be at least max_num_seqs, got {got}")
        if self.block_size & (self.block_size - 1):
            raise ConfigError(f"block_size must be a power of two, got {self.block_size}")

    def to_json(self) -> bytes:
        """For the command line of the core process."""
        return msgspec.json.encode(asdict(self))

    @staticmethod
    def from_json(text: bytes | str) -> EngineConfig:
        """The inverse of `to_json`; unknown fields and wrong types are errors."""
        fields = msgspec.json.decode(text, type=dict[str, Any])
        unknown = sorted(set(fields) - set(EngineConfig.__dataclass_fields__))
        if unknown:
            raise ConfigError(f"unknown engine option {', '.join(unknown)}")
        return msgspec.convert(fields, EngineConfig)


def _check_memory(config: EngineConfig) -> None:
    """One way to size the cache, one to size the swap, and no share of a GPU where there is none."""
    share = config.gpu_memory_utilization
    if share is not None and not 0 < share <= 1:
        raise ConfigError(f"gpu_memory_utilization must be above 0 and at most 1, got {share}")
    by_share = share is not None or config.gpu_memory_reserve_bytes > 0
    ways = {
        "num_blocks": config.num_blocks,
        "kv_cache_bytes": config.kv_cache_bytes,
        "a share of the GPU's memory": by_share,
    }
    if len(given := [name for name, value in ways.items() if value]) > 1:
        raise ConfigError(f"the KV cache is sized in one way, got {' and '.join(given)}")
    if config.swap_bytes and config.num_swap_blocks is not None:
        raise ConfigError("the swap is sized in one way, got swap_bytes and num_swap_blocks")
    if by_share and config.device == "cpu":
        raise ConfigError(f"{NO_SHARE}, got device='cpu'")


def _at_least(config: object, name: str, lowest: int) -> None:
    value = getattr(config, name)
    if value < lowest:
        raise ConfigError(f"{name} must be at least {lowest}, got {value}")
