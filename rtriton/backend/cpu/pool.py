"""Threads that run programs: a pool of native workers that Python threads enter once, with the GIL released.

    pool = current()                     # made on first use, remade after a fork, stopped at interpreter exit
    pool.launch(records_address, count)  # runs a list of launch records; returns when all programs have ended

The native side is pool_ir.py. `RTRITON_NUM_THREADS` (or the process's affinity) says how many threads, the caller
included.
"""

from __future__ import annotations

import atexit
import ctypes
import mmap
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rtriton import knobs
from rtriton.backend.cpu import jit, pool_ir, reports
from rtriton.backend.cpu.target import host

RECORD_BYTES = 8 * pool_ir.RECORD_SLOTS
SCRATCH_BYTES = 1 << 16


class Pool:
    """`threads` - 1 workers and the calling thread. One launch list runs at a time."""

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"a pool has at least one thread, got {threads}")
        code = jit.load(
            pool_ir.pool_text(host().triple),
            host(),
            ("worker_main", "launch", "wake_workers"),
            knobs.cache_dir() / "cpu",
        )
        self.code = code
        self.threads = threads
        self.lock = threading.Lock()
        self.scratch = _aligned(SCRATCH_BYTES)  # the record and arguments of a single launch
        self.memory = _aligned(pool_ir.POOL_BYTES)
        self.address = self.memory[1]
        self._error = self._word(pool_ir.ERROR)
        self.arena_bytes = 0
        self.arenas: list[Any] = []
        self.arena_table = (ctypes.c_void_p * threads)()
        self._word(pool_ir.ARENAS).value = ctypes.addressof(self.arena_table)
        self._word(pool_ir.SLEEP_ADDRESS).value = _usleep_address()
        self._launch = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(code.address["launch"])
        self._wake = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.address["wake_workers"])
        self.workers = [self._start(k) for k in range(1, threads)]
        self.reserve(1 << 16)

    def _word(self, offset: int) -> ctypes.c_uint64:
        return ctypes.c_uint64.from_address(self.address + offset)

    def _start(self, index: int) -> threading.Thread:
        entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(self.code.address["worker_main"])
        thread = threading.Thread(target=entry, args=(self.address, index), name=f"rtriton-worker-{index}", daemon=True)
        thread.start()
        return thread

    def reserve(self, nbytes: int) -> None:
        """Give every thread an arena of at least `nbytes`; kept from launch to launch."""
        if nbytes <= self.arena_bytes:
            return
        with self.lock:
            size = max(nbytes, 2 * self.arena_bytes)
            self.arenas = [_aligned(size) for _ in range(self.threads)]
            for k, (_, address) in enumerate(self.arenas):
                self.arena_table[k] = address
                header = (ctypes.c_uint64 * 2).from_address(address)
                header[0], header[1] = self.address + pool_ir.ERROR, reports.printer()
            self.arena_bytes = size

    def launch(self, records: int, count: int) -> int:
        """Run `count` records at address `records`; the error word a kernel has set (0 for none)."""
        with self.lock:
            return self._run(records, count)

    def launch_one(self, pack_into: Callable[..., None], record: Sequence[int], values: Sequence[int | float]) -> int:
        """Run one launch; `pack_into` writes its record (whose arguments follow it) and its arguments to memory."""
        memory, address = self.scratch
        with self.lock:
            pack_into(memory, 0, record[0], address + RECORD_BYTES, *record[1:], *values)
            return self._run(address, 1)

    def _run(self, records: int, count: int) -> int:
        self._launch(self.address, records, count)
        code = int(self._error.value)
        if code:
            self._error.value = 0
        return code

    def stop(self) -> None:
        """End the workers; the pool is unusable afterwards."""
        ctypes.c_uint32.from_address(self.address + pool_ir.STOP).value = 1
        self._wake(self.address)
        for thread in self.workers:
            thread.join(timeout=2.0)


def _aligned(nbytes: int) -> tuple[mmap.mmap, int]:
    """Zeroed pages and their address (page-aligned); the map keeps them alive."""
    pages = mmap.mmap(-1, nbytes)
    address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    return pages, address


def _usleep_address() -> int:
    usleep = getattr(ctypes.CDLL(None), "usleep", None)
    return 0 if usleep is None else int(ctypes.cast(usleep, ctypes.c_void_p).value or 0)


_CURRENT: list[Pool] = []
_MAKING = [threading.Lock()]


def current() -> Pool:
    """The process's pool."""
    if _CURRENT:
        return _CURRENT[0]
    with _MAKING[0]:
        if not _CURRENT:
            _CURRENT.append(Pool(knobs.num_threads()))
    return _CURRENT[0]


def set_num_threads(threads: int) -> None:
    """Replace the pool by one of `threads` threads (benchmarks and tests compare thread counts so)."""
    with _MAKING[0]:
        if _CURRENT:
            _CURRENT.pop().stop()
        _CURRENT.append(Pool(threads))


def _forget() -> None:
    """A forked child has none of the parent's threads: it makes a pool of its own when it launches."""
    _CURRENT.clear()
    _MAKING[0] = threading.Lock()


def _stop() -> None:
    if _CURRENT:
        _CURRENT.pop().stop()


os.register_at_fork(after_in_child=_forget)
atexit.register(_stop)
