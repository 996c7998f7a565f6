"""The text of a kernel -> tile IR, or a `CompilationError` at a place in it.

# matmul_kernel                 # whose parameters and globals it has: a kernel of the tutorials, or `template`
def kernel(x, n, B: tl.constexpr):
"""

from __future__ import annotations

import warnings
from random import Random
from typing import Any

import rtriton.language as tl
from rtriton.errors import CompilationError
from rtriton.frontend.lower import lower
from rtriton.source import KernelFunction, Source
from rtriton.types import Pointer, float16, float32, int32
from rtriton.verify import verify
from tests.fuzz.mutate import octets, words
from tests.fuzz.target import Target, words_of
from tests.properties.sources import BREAKS, KERNELS, POOL

BY_NAME = {fn.__name__: fn for fn in KERNELS}


def template(x: Any, n: Any, B: tl.constexpr) -> None:
    """What the parameters of a text without a name are."""


def run(data: bytes) -> None:
    first, _, text = data.decode("utf-8", "replace").partition("\n")
    fn = BY_NAME.get(first.removeprefix("# "))
    if fn is None:
        lowers_or_refuses(with_text(KernelFunction(template), text), {"x": Pointer(float32), "n": int32}, {"B": 4})
    else:
        lowers_or_refuses(with_text(fn, text), *types_of(fn))


def with_text(fn: KernelFunction, text: str) -> KernelFunction:
    """A kernel function with the parameters and globals of `fn`, and other text."""
    made = KernelFunction(fn.fn)
    made._source = Source(text, "random.py", 1, 0)
    assert made.source.text == text
    return made


def lowers_or_refuses(fn: KernelFunction, signature: dict[str, Any], constants: dict[str, Any]) -> None:
    """A kernel that is right, or a refusal with a place and a reason of the kernel's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kernel = lower(fn, signature, constants, num_warps=4).kernel
    except CompilationError as error:
        assert error.span.line >= 1 and error.span.column >= 1, "a refusal without a place"
        assert error.message.strip()
        assert "mistake of rtriton's" not in str(error), str(error)
        return
    verify(kernel, "tile")


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


# ---- inputs ------------------------------------------------------------------------------------------

DICTIONARY = [*POOL, *BREAKS, *words_of("kernel")]


def seeds() -> list[bytes]:
    return [f"# {name}\n{fn.source.text}".encode() for name, fn in BY_NAME.items() if fn.params[-1].is_constexpr]


def mutate(data: bytes, rng: Random) -> bytes:
    head, _, text = data.partition(b"\n")
    return head + b"\n" + (octets(text, rng) if rng.randint(0, 15) == 0 else words(text, rng, DICTIONARY))


TARGET = Target(run, seeds, mutate)
