"""Which blocks of the KV cache are free. A block is a number; the pool knows no sequences and no tensors.

Block 0 is the dummy block: padding rows write there, no sequence ever owns it.

    pool = BlockPool(4)
    a, b = pool.take(2)      # 1, 2
    pool.give([a, b])
"""

from __future__ import annotations

from collections.abc import Iterable

DUMMY_BLOCK = 0


class BlockPool:
    """Free blocks, handed out lowest number first after a start, then most recently returned first (warm in the
    cache).
    """

    def __init__(self, total: int) -> None:
        if total < 1:
            raise ValueError(f"a block pool needs at least one block, got {total}")
        self.total = total
        self._free = list(range(total, 0, -1))
        self._owned = [False] * (total + 1)

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def used(self) -> int:
        return self.total - len(self._free)

    def take(self, count: int) -> list[int]:
        """`count` blocks, all or an error: callers look at `free` first."""
        if count > len(self._free):
            raise ValueError(f"asked for {count} KV blocks, {len(self._free)} of {self.total} are free")
        taken = [self._free.pop() for _ in range(count)]
        for block in taken:
            self._owned[block] = True
        return taken

    def give(self, blocks: Iterable[int]) -> None:
        """Return blocks. Returning one twice would let two sequences share it, so it is an error."""
        for block in blocks:
            if not 0 < block <= self.total or not self._owned[block]:
                raise ValueError(f"KV block {block} is not handed out")
            self._owned[block] = False
            self._free.append(block)


def blocks_for(tokens: int, block_size: int) -> int:
    """Blocks that hold `tokens` tokens."""
    return -(-tokens // block_size)
