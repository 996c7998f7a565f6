"""The host's memory for KV blocks of preempted sequences. On a CPU it lies beside the cache, and swapping is a copy."""

from __future__ import annotations

import numpy as np

from engine.memory import Memory
from engine.models.llama import KVCache
from engine.scheduler import Swaps


class BlockStore:
    """Slots 1 to `slots`, each for one block of all layers, keys and values. Pages that no block was copied to cost
    nothing.
    """

    def __init__(self, cache: KVCache, slots: int, memory: Memory) -> None:
        self.slots = slots
        self._memory = memory
        self._pairs = [
            (array, np.zeros((slots + 1, *array.shape[1:]), np.float32)) for array in (*cache.keys, *cache.values)
        ]

    @property
    def arrays(self) -> list[np.ndarray]:
        """What lies in the host's memory."""
        return [here for _, here in self._pairs]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays)

    def move(self, swaps: Swaps) -> None:
        """Copy blocks out, then back. Nothing that uses them may be running."""
        for there, here in self._pairs:
            for block, slot in swaps.out:
                here[slot] = self._memory.fetch(there[block])
            for slot, block in swaps.back:
                self._memory.write(there[block], here[slot])
