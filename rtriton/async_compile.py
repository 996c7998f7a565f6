"""Compiling in the background: inside `with AsyncCompileMode(pool):` a warmup hands its compilation to the pool.

    with ThreadPoolExecutor(4) as pool, rtriton.AsyncCompileMode(pool):
        for block in (64, 128, 256):
            kernel.warmup(x, n, BLOCK=block, grid=(1,))     # returns at once, with a FutureKernel
        kernel[grid](x, n, BLOCK=64)                        # waits for its own compilation only
"""
from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

active_mode: ContextVar[AsyncCompileMode | None] = ContextVar("active_mode", default=None)


class FutureKernel:
    """A kernel that is being compiled."""

    def __init__(self, finalize_compile: Callable[[Any], None], future: Future[Any]) -> None:
        self.finalize_compile, self.future = finalize_compile, future
        self.kernel: Any = None

    def result(self, ignore_errors: bool = False) -> Any:
        """The compiled kernel, waited for; raises what compiling raised, or gives None with ignore_errors."""
        if self.kernel is None:
            try:
                kernel = self.future.result()
            except Exception:
                if not ignore_errors:
                    raise
                return None
            self.finalize_compile(kernel)
            self.kernel = kernel
        return self.kernel


class AsyncCompileMode:
    """Compilations of this thread go to `executor` inside; leaving waits for all of them.

    With ignore_errors those that fail raise nothing on leaving (a launch that needs one still does)."""

    def __init__(self, executor: Executor, *, ignore_errors: bool = False) -> None:
        self.executor, self.ignore_errors = executor, ignore_errors
        self.future_kernels: dict[Hashable, FutureKernel] = {}

    def submit(self, key: Hashable, compile_fn: Callable[[], Any], finalize_fn: Callable[[Any], None]) -> FutureKernel:
        """The compilation of this key: the one under way, or a new one."""
        found = self.future_kernels.get(key)
        if found is None:
            found = self.future_kernels[key] = FutureKernel(finalize_fn, self.executor.submit(compile_fn))
        return found

    def __enter__(self) -> AsyncCompileMode:
        if active_mode.get() is not None:
            raise RuntimeError("an AsyncCompileMode is active already: they do not nest")
        active_mode.set(self)
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        active_mode.set(None)
        for kernel in self.future_kernels.values():
            kernel.result(self.ignore_errors or error is not None)
