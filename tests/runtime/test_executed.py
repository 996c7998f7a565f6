"""Kernels whose text was run by `exec`: found where the caller still holds it, refused in one sentence where not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError

TEMPLATE = """
@rtriton.jit
def kernel(x, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(x + at, VALUE)
"""


def made(value: str) -> Any:
    text = TEMPLATE.replace("VALUE", value)
    names: dict[str, Any] = {}
    exec(text, globals(), names)
    return names["kernel"]


def test_a_kernel_made_by_exec_runs() -> None:
    x = np.zeros(4, np.float32)
    made("3.0")[(1,)](x, BLOCK=4)
    assert x.tolist() == [3.0] * 4


def test_two_texts_of_one_name_are_told_apart() -> None:
    first, second = made("1.0"), made("2.0")
    x = np.zeros(4, np.float32)
    first[(1,)](x, BLOCK=4)
    assert x.tolist() == [1.0] * 4
    second[(1,)](x, BLOCK=4)
    assert x.tolist() == [2.0] * 4


def test_an_error_in_an_executed_kernel_shows_its_line() -> None:
    with pytest.raises(CompilationError) as info:
        made("nothing")[(1,)](np.zeros(4, np.float32), BLOCK=4)
    assert "nothing is not defined" in str(info.value) and "tl.store(x + at, nothing)" in str(info.value)


def test_a_text_that_nobody_holds_is_refused_in_a_sentence() -> None:
    names: dict[str, Any] = {}
    exec("".join([TEMPLATE, "\n"]).replace("VALUE", "4.0"), {"rtriton": rtriton, "tl": tl}, names)
    with pytest.raises(OSError, match="the source text of kernel cannot be read"):
        names["kernel"][(1,)](np.zeros(4, np.float32), BLOCK=4)
