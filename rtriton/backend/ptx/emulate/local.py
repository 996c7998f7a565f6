"""Local memory: bytes of each thread's own, where compilers put arrays that registers cannot index."""

import numpy as np

from rtriton.backend.ptx.emulate.state import STORAGE, Array, Index, Machine

LOCAL_BASE = 256  # an address of zero is no variable's
LOCAL_WINDOW = 0x7E << 40  # where generic addresses of local memory begin


class LocalMemory:
    """`size` bytes for each thread, addressed from LOCAL_BASE on."""

    def __init__(self, machine: Machine, size: int) -> None:
        self.machine, self.size, self.stride = machine, size, -(-size // 16) * 16

    def reset(self) -> None:
        """Fresh memory for the machine's batch of CTAs."""
        total = self.machine.threads * self.stride
        data = np.zeros(total, np.uint8)
        self.views: dict[int, Array] = {size: data.view(STORAGE[8 * size]) for size in (1, 2, 4, 8)}
        self.written = np.zeros(total, np.bool_)

    def load(self, machine: Machine, index: Index, address: Array, size: int, count: int) -> list[Array]:
        """`count` neighbouring values of `size` bytes per thread, as unsigned integers."""
        flat = self._place(index, address, size * count)
        touched = flat[:, None] + np.arange(size * count)
        missing = np.flatnonzero(~self.written[touched].all(1))
        if len(missing):
            byte = int(flat[missing[0]]) % self.stride
            machine.note(f"uninitialised read: local byte {byte} was never written", index, missing)
            self.written[touched] = True
        return [self.views[size][flat // size + i] for i in range(count)]

    def store(self, machine: Machine, index: Index, address: Array, values: list[Array], size: int) -> None:
        """Write neighbouring values of `size` bytes per thread."""
        flat = self._place(index, address, size * len(values))
        self.written[flat[:, None] + np.arange(size * len(values))] = True
        for i, value in enumerate(values):
            self.views[size][flat // size + i] = value

    def _place(self, index: Index, address: Array, total: int) -> Array:
        machine = self.machine
        offset = address - np.uint64(LOCAL_BASE)
        bad = (offset > np.uint64(self.size - total)) if self.size >= total else np.ones(len(address), np.bool_)
        bad = bad | ((address & np.uint64(total - 1)) != 0)
        if bad.any():
            lost = np.flatnonzero(bad)
            at = int(offset[lost[0]].astype(np.int64))
            raise machine.fault(f"out of bounds or misaligned: {total} bytes at byte {at} of {self.size} bytes of "
                                "local memory", index, lost)
        return offset.astype(np.intp) + machine.numbers(index) * self.stride
