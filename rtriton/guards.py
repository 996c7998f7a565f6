"""Questions about compile-time objects whose answers a type checker understands.

`isinstance(x, tuple)` on an `Any` leaves the parts without a type; `is_tuple(x)` says that they are compile-time
objects again.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np


def is_tuple(x: object) -> TypeGuard[tuple[Any, ...]]:
    """A tuple: in a kernel a binding with parts."""
    return isinstance(x, tuple)


def is_list(x: object) -> TypeGuard[tuple[Any, ...] | list[Any]]:
    """A list or a tuple: what a shape or an order of axes may be written as."""
    return isinstance(x, (tuple, list))


def is_numpy(x: object) -> TypeGuard[np.ndarray[Any, Any]]:
    return isinstance(x, np.ndarray)


def is_slice(x: object) -> TypeGuard[slice[Any, Any, Any]]:
    return isinstance(x, slice)


def is_mapping(x: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(x, Mapping)
