"""Which blocks of the KV cache are free, and which hold something that may be asked for again. A block is a number; the
pool knows no sequences and no tensors.

Block 0 is the dummy block: padding rows write there, no sequence ever owns it.

    pool = BlockPool(4)
    a, b = pool.take(2)              # 1, 2
    pool.publish(a, name)            # its contents are known by a name from now on
    pool.give([a, b])                # b is free; a too, but what it holds can still be found
    pool.share(pool.find([name]))    # a again, with whatever other owners it has

A published block is never written again while it has its name. It loses it when it is the one that was given back the
longest ago and a block is needed for something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

DUMMY_BLOCK = 0
Name = bytes


class BlockPool:
    """Free blocks, handed out lowest number first after a start, then most recently returned first (warm in the
    cache), those with a name last of all.
    """

    def __init__(self, total: int) -> None:
        if total < 0:
            raise ValueError(f"a block pool cannot have {total} blocks")
        self.total = total
        self._free = list(range(total, 0, -1))
        self._owners = [0] * (total + 1)
        self._named: dict[Name, int] = {}
        self._names: dict[int, Name] = {}
        self._idle: dict[int, None] = {}
        """Named blocks without an owner, in the order in which they were given back."""

    @property
    def free(self) -> int:
        return len(self._free) + len(self._idle)

    @property
    def used(self) -> int:
        return self.total - self.free

    def take(self, count: int) -> list[int]:
        """`count` blocks, all or an error: callers look at `free` first."""
        if count > self.free:
            raise ValueError(f"asked for {count} KV blocks, {self.free} of {self.total} are free")
        taken = [self._free.pop() if self._free else self._forget_oldest() for _ in range(count)]
        for block in taken:
            self._owners[block] = 1
        return taken

    def give(self, blocks: Iterable[int]) -> None:
        """Return blocks. Returning one more often than it was taken or shared would let two sequences write it, so it
        is an error.
        """
        for block in blocks:
            if not 0 < block <= self.total or not self._owners[block]:
                raise ValueError(f"KV block {block} is not handed out")
            self._owners[block] -= 1
            if self._owners[block]:
                continue
            if block in self._names:
                self._idle[block] = None
            else:
                self._free.append(block)

    def publish(self, block: int, name: Name) -> None:
        """What the block holds can be found by its name from now on. The first block with a name keeps it."""
        if name not in self._named and block not in self._names:
            self._named[name], self._names[block] = block, name

    def find(self, names: Iterable[Name]) -> list[int]:
        """The blocks of the names up to the first that is not known."""
        found: list[int] = []
        for name in names:
            block = self._named.get(name)
            if block is None:
                break
            found.append(block)
        return found

    def share(self, blocks: Iterable[int]) -> None:
        """One more owner for each of them."""
        for block in blocks:
            self._idle.pop(block, None)
            self._owners[block] += 1

    def room_beside(self, blocks: Sequence[int]) -> int:
        """Blocks that could be taken once these are shared."""
        return self.free - sum(block in self._idle for block in blocks)

    def _forget_oldest(self) -> int:
        block = next(iter(self._idle))
        del self._idle[block]
        del self._named[self._names.pop(block)]
        return block


def blocks_for(tokens: int, block_size: int) -> int:
    """Blocks that hold `tokens` tokens."""
    return -(-tokens // block_size)
