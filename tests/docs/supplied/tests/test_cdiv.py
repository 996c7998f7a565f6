"""A test of a program that was written for Triton."""

import triton


def test_triton_is_the_one_that_rtriton_run_gives() -> None:
    assert triton.cdiv(100, 64) == 2 and triton.jit.__module__.startswith("rtriton")
