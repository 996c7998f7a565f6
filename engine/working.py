"""What a step writes beside the KV cache: activations, the batch's arrays, what sampling and pooling need.

All of it is allocated before the cache, at its largest, so that the cache can have what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.batch import Array, BatchBuffers, BatchShape, bucket
from engine.config import ModelConfig
from engine.extras import ExtraBuffers
from engine.memory import Memory, Mirror, Twin
from engine.models.llama import Scratch
from engine.pooling import PoolBuffers, Pooler
from engine.sampler import Sampler
from ops.rope import rope_table


@dataclass(frozen=True, eq=False)
class Working:
    """The arrays of all steps of one runner."""

    scratch: Scratch
    rotary: Array
    buffers: BatchBuffers
    mirror: Mirror
    sampler: Sampler
    extras: ExtraBuffers
    pools: PoolBuffers
    pooler: Pooler
    fixed: Twin
    entries: Twin
    allowed: Twin

    @staticmethod
    def allocate(model: ModelConfig, shape: BatchShape, context: int, memory: Memory) -> Working:
        """For the largest bucket; `context` is the longest sequence in tokens."""
        tokens, samples = bucket(shape.max_tokens), bucket(shape.max_rows)
        buffers, extras = BatchBuffers(shape), ExtraBuffers(shape.max_rows, model.vocab_size)
        pools = PoolBuffers(shape.max_rows, model.hidden_size)
        return Working(
            Scratch.allocate(model, tokens, samples, "float32", memory),
            memory.put(rope_table(context, model.head_dim, model.rope_base, model.rope_divisors)),
            buffers,
            memory.mirror(buffers),
            Sampler(samples, model.vocab_size, memory),
            extras,
            pools,
            Pooler(pools, memory),
            memory.twin(extras.fixed),
            memory.twin(extras.entries),
            memory.twin(extras.allowed),
        )

    @property
    def arrays(self) -> list[Array]:
        """What kernels read and write; the batch's own arrays by their host side, which is as large."""
        twins = [twin.there for twin in (self.fixed, self.entries, self.allowed)]
        return [
            *vars(self.scratch).values(),
            self.rotary,
            self.buffers.host,
            *self.sampler.arrays,
            *self.pooler.arrays,
            *twins,
        ]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)
