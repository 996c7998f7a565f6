"""`Config`: meta-parameters and launch options to try, as @autotune takes them."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

OPTIONS = ("num_warps", "num_ctas", "num_stages", "maxnreg", "ir_override")


class Config:
    """kwargs: values of the kernel's constexprs; the rest are launch options. pre_hook(arguments by name) runs before
    each launch with them. Two are equal that launch the same, hooks included."""

    def __init__(self, kwargs: dict[str, Any], num_warps: int = 4, num_stages: int = 3, num_ctas: int = 1,
                 maxnreg: int | None = None, pre_hook: Callable[[dict[str, Any]], Any] | None = None,
                 ir_override: str | None = None) -> None:
        self.kwargs = kwargs
        self.num_warps, self.num_ctas, self.num_stages, self.maxnreg = num_warps, num_ctas, num_stages, maxnreg
        self.pre_hook, self.ir_override = pre_hook, ir_override

    def all_kwargs(self) -> dict[str, Any]:
        """What is passed to the launch."""
        made = dict(self.kwargs)
        for name in OPTIONS:
            value = getattr(self, name)
            if value is not None:
                made[name] = value
        return made

    def __str__(self) -> str:
        shown = {**self.kwargs, **{name: getattr(self, name) for name in OPTIONS if name != "ir_override"}}
        if self.ir_override is not None:
            shown["ir_override"] = self.ir_override
        return ", ".join(f"{k}: {v}" for k, v in shown.items())

    def __repr__(self) -> str:
        return f"Config({self})"

    def _identity(self) -> tuple[Any, ...]:
        return (*sorted(self.all_kwargs().items()), self.pre_hook)

    def __hash__(self) -> int:
        try:
            return hash(self._identity())
        except TypeError:                      # a value that is a list: equality tells those apart
            return hash((str(self), self.pre_hook))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self._identity() == other._identity()
