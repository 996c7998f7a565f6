"""The law that the short road of a launch stands on: arguments of equal facts specialise equally, whatever they are."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.arguments import run_time
from rtriton.tools.tensor_descriptor import TensorDescriptor

pytestmark = pytest.mark.usefixtures("plain_launches")


class Color(enum.IntEnum):
    RED = 1
    BLUE = 32


def numbers() -> list[Any]:
    edges = [s * (1 << b) + d for b in (0, 4, 7, 8, 15, 16, 31, 32, 62) for d in (-1, 0, 1) for s in (1, -1)]
    return [*edges, (1 << 63) - 1, -(1 << 63), 1 << 63, (1 << 64) - 1, True, False, 0.0, -0.0, 1.0, 1.5, float("nan"),
            float("inf"), None, np.int8(1), np.int32(16), np.int64(1 << 40), np.uint8(1), np.float32(1.5),
            np.float64(1), np.bool_(True), Color.RED, Color.BLUE]


def numpy_arrays() -> list[np.ndarray]:
    room = np.zeros(64, np.uint8)
    start = -room.ctypes.data % 16
    views = [room[start + shift : start + shift + 16].view(dtype) for shift in (0, 4, 8) for dtype in
             (np.float32, np.int32, np.uint8, np.float16)]
    readable = np.zeros(4, np.float32)
    readable.flags.writeable = False
    return [*views, readable, np.zeros((4, 4), np.float32)[:, ::2], np.zeros(0, np.float32), np.zeros(2, bool)]


def torch_tensors() -> list[Any]:
    torch = pytest.importorskip("torch")
    room = torch.zeros(64)
    return [room, room[1:], room[4:], room.to(torch.bfloat16), room.to(torch.int64), room.to(torch.bool),
            room.reshape(8, 8).T, torch.nn.Parameter(room), torch.zeros(0)]


def other_arguments() -> list[Any]:
    x = np.zeros((4, 16), np.float32)
    return [(1, 2), (1, True), (1.0, x), (x, 16), (x, 1),
            rtriton.reinterpret(np.zeros(4, np.uint16), tl.bfloat16), TensorDescriptor.from_tensor(x, [4, 16]),
            tl.float32, "text", tl.constexpr(4), [16, 32], (), kernel_of(None)]


def kernel_of(annotation: Any, **options: Any) -> rtriton.JITFunction:
    def one(x):
        pass

    if annotation is not None:
        one.__annotations__["x"] = annotation
    return rtriton.jit(**options)(one)


def facts_and_values(kernel: rtriton.JITFunction, x: Any) -> tuple[Any, Any]:
    """What the kernel's function finds of an argument. It would have gone the long road with it, had it no entry."""
    found: list[Any] = []
    names, prefix = kernel.launcher.names, kernel.launcher.prefix

    class Spy:
        facts = None
        watched = ()
        take = None
        compiled = None

        @staticmethod
        def launch(sizes: Any, values: Any) -> None:
            found.append(values)

    class Entries(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            hash(key)                                   # as a dict would
            found.append(key)
            return Spy

    before = names[prefix + "entries"]
    names[prefix + "entries"] = Entries()
    try:
        kernel[(1,)](x)
    finally:
        names[prefix + "entries"] = before
        kernel.launcher.forget()
    return found[0], found[1]


def met(kernel: rtriton.JITFunction, examples: Sequence[Any]) -> None:
    """Have the kernel's function written for the classes of these."""
    for x in [object(), *examples]:
        kernel.launcher.remember(None, [x], [], None)     # pyright: ignore[reportArgumentType]


ANNOTATIONS = [(None, {}), (tl.constexpr, {}), (tl.int64, {}), (tl.float32, {}), ("i8", {}), ("*fp16", {}),
               (tl.const, {}), (None, {"do_not_specialize": ["x"]}), (None, {"do_not_specialize_on_alignment": ["x"]})]
POPULATIONS: dict[str, Callable[[], list[Any]]] = {
    "numbers": numbers, "numpy": numpy_arrays, "torch": torch_tensors, "others": other_arguments}


@pytest.mark.parametrize("population", POPULATIONS)
@pytest.mark.parametrize(("annotation", "options"), ANNOTATIONS, ids=lambda x: str(x))
def test_equal_facts_specialise_equally_and_values_are_those_of_the_rule(annotation: Any, options: Any,
                                                                         population: str) -> None:
    """The law that the short road stands on, over all pairs, whichever classes the function was written for."""
    array = np.ones(16, np.float32)
    examples = [*POPULATIONS[population](), 7, array]
    for first in (examples, [1, 2.0, True], [array, None, 3], []):
        kernel = kernel_of(annotation, **options)
        met(kernel, first)
        rules: dict[Any, Any] = {}
        for x in examples:
            rule, passed = by_the_rule(kernel, x)
            try:
                facts, values = facts_and_values(kernel, x)
            except (TypeError, ValueError, OverflowError):
                assert rule == "refused", x
                continue
            assert rules.setdefault(facts, rule) == rule, (x, facts)
            if rule != "refused" and passed:
                spread = values[0] if isinstance(values[0], tuple) else values
                assert repr(list(spread)) == repr(passed), x


def by_the_rule(kernel: rtriton.JITFunction, x: Any) -> tuple[Any, list[Any]]:
    """How the long road specialises, and the numbers that it passes."""
    try:
        made = kernel.argument(0, x)
        rule = made.key, made.divisible, made.constant, tuple(a.device for a in made.parts) or made.device
        hash(rule)
    except (TypeError, ValueError, OverflowError):
        return "refused", []
    return rule, run_time([made], [x])[0]
