"""What runs a batch: arrays in, token ids out. A runner knows tensors and kernels, and no requests.

The engine asks for one by the name in `EngineConfig.runner`; `engine/model_runner.py` has the default one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from engine.batch import Batch, BatchBuffers
from engine.config import ConfigError, EngineConfig
from engine.extras import ExtraBuffers, Extras
from engine.guides import Vocabulary
from engine.messages import ModelInfo
from engine.pooling import PoolBuffers, Pools
from engine.scheduler import Swaps


class DeviceLost(RuntimeError):
    """Nothing can run any more (a sticky device error): the engine core ends instead of failing rows one by one."""


@dataclass(frozen=True)
class Details:
    """More of each token, and the most likely ones."""

    ranks: np.ndarray
    """i32[R]"""
    top_ids: np.ndarray
    """i32[R, K]; as many entries are valid as were wanted"""
    top_logprobs: np.ndarray
    """f32[R, K]"""


@dataclass(frozen=True)
class Sampled:
    """What one step sampled, one entry per logits row of the batch, padding included."""

    token_ids: np.ndarray
    """i32[R]; a negative id means that the logits were not finite."""
    logprobs: np.ndarray
    """f32[R]"""
    details: Details | None = None
    """Only for a step with extras."""
    pooled: np.ndarray | None = None
    """f32[P, hidden size], only for a step with pools: one line per row that pools, then padding."""


@dataclass
class RunnerCounters:
    """What the runner has done since it was made."""

    replays: int = 0
    kernel_seconds: float = 0.0


class Runner(Protocol):
    """The interface that the engine drives."""

    info: ModelInfo
    buffers: BatchBuffers
    extras: ExtraBuffers
    pools: PoolBuffers
    counters: RunnerCounters
    store_slots: int
    """Blocks that the host's memory can keep for preempted sequences."""

    def swap(self, swaps: Swaps) -> None:
        """Copy blocks to the host's memory or back, before the step that the plan is for."""
        ...

    def run(self, batch: Batch, extras: Extras | None = None, pools: Pools | None = None) -> Sampled:
        """Write the batch's keys and values, and sample after each of its logits rows, as `extras` says beside the
        batch; pool what `pools` says. Running a batch twice is running it once.
        """
        ...

    def vocabulary(self) -> Vocabulary:
        """What grammars need to know of the tokens. `ConfigError` where nothing is known."""
        ...

    def close(self) -> None:
        """Give back memory and threads."""
        ...


def find_runner(config: EngineConfig) -> Callable[[EngineConfig], Runner]:
    """What makes the runner that the configuration names; imports it."""
    module, _, name = config.runner.partition(":")
    factory = getattr(importlib.import_module(module), name, None) if name else None
    if factory is None:
        raise ConfigError(f"runner must be 'module:function' that exists, got {config.runner!r}")
    return cast(Callable[[EngineConfig], Runner], factory)


def make_runner(config: EngineConfig) -> Runner:
    """The runner that the configuration names."""
    return find_runner(config)(config)
