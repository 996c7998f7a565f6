"""Whatever the text, the front end makes a kernel of it or refuses it at a place: it neither crashes nor hangs."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, note, settings

import rtriton.language as tl
from rtriton.errors import CompilationError
from rtriton.frontend.lower import lower
from rtriton.source import KernelFunction, Source
from rtriton.types import Pointer, float16, float32, int32
from rtriton.verify import verify
from tests.properties.conftest import EXAMPLES
from tests.properties.sources import mutants, soups

SECONDS = 10  # far more than any of these kernels takes: small numbers only
quick = settings(max_examples=4 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def template(x: Any, n: Any, B: tl.constexpr) -> None:
    """What the parameters of a token soup are."""


def with_text(fn: KernelFunction, text: str) -> KernelFunction:
    """A kernel function with the parameters and globals of `fn`, and other text."""
    made = KernelFunction(fn.fn)
    made.__dict__["source"] = Source(text, "random.py", 1, 0)
    return made


@contextmanager
def limited() -> Generator[None]:
    """Fail after SECONDS."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def lowers_or_refuses(fn: KernelFunction, signature: dict[str, Any], constants: dict[str, Any]) -> None:
    try:
        with limited():
            kernel = lower(fn, signature, constants, num_warps=4).kernel
    except CompilationError as error:
        assert error.span.line >= 1 and error.span.column >= 1, "a refusal without a place"
        assert error.message.strip()
        str(error)
        return
    verify(kernel, "tile")


@quick
@given(soups())
@example("def kernel(x, n, B):\n    return " + "(" * 2000 + "n" + ")" * 2000 + "\n")
@example("def kernel(x, n, B):\n    return " + "-" * 5000 + "n\n")
@example("def kernel(x, n, B):\n    " + "n = n + 1; " * 3000 + "\n")
@example("def kernel(x, n, B):\n    y = 9 ** 9 ** 9 ** 9\n")
@example("def kernel(x, n, B):\n    y = 1 << 1 << 40\n")
@example("def kernel(x, n, B):\n    return kernel(x, n, B)\n")
@example("")
@example("\n")
@example("x = 1\n")
def test_token_soup_is_lowered_or_refused_at_a_place(text: str) -> None:
    note(text)
    fn = with_text(KernelFunction(template), text)
    lowers_or_refuses(fn, {"x": Pointer(float32), "n": int32}, {"B": 4})


def types_of(fn: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Types for the parameters of a tutorial kernel, by what they are called; small block sizes."""
    numbers = {"eps": float32, "probability": float32, "scale": float32}
    arrays = "left right total out source a b c x y weight bias means rstds dx dy dweight dbias total_weight total_bias"
    types = dict.fromkeys(f"{arrays} queries keys values".split(), Pointer(float32))
    if fn.__name__ in ("matmul_kernel", "attention_kernel"):
        types = dict.fromkeys(types, Pointer(float16))
    types |= {"locks": Pointer(int32)}
    names = [p.name for p in fn.params if not p.is_constexpr]
    signature = {n: types.get(n, numbers.get(n, int32)) for n in names}
    return signature, {p.name: 16 for p in fn.params if p.is_constexpr}


@quick
@given(mutants())
def test_changed_kernels_are_lowered_or_refused_at_a_place(mutant: tuple[Any, str]) -> None:
    fn, text = mutant
    note(text)
    signature, constants = types_of(fn)
    lowers_or_refuses(with_text(fn, text), signature, constants)


def test_unchanged_kernels_are_lowered() -> None:
    from tests.properties.sources import KERNELS

    for fn in KERNELS:
        if fn.__name__ not in ("leaky", "grouped"):
            assert lower(fn, *types_of(fn)).kernel.body.ops


@pytest.mark.parametrize("text", ["def kernel(x, n, B):\n\treturn\n        n\n", "def kernel(x, n, B):\n    é = n\n"])
def test_odd_indentation_and_letters_have_an_answer(text: str) -> None:
    lowers_or_refuses(with_text(KernelFunction(template), text), {"x": Pointer(float32), "n": int32}, {"B": 4})
