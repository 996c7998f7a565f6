"""Every op of the table can be emitted, and what cannot be is refused with the place in the user's source."""
import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.backend.ptx import emit
from rtriton.errors import OutOfResources
from rtriton.language.table import OPS
from rtriton.target import TARGETS, Target
from tests.backend.ptx.both import compiled

REFUSED = {"assert", "print"}


def test_every_op_has_a_lowering() -> None:
    emit._load_families()
    assert set(OPS) - set(emit.LOWERINGS) == {"yield"}


@rtriton.jit
def huge(x, N: tl.constexpr):
    i = tl.arange(0, N)
    at = i[:, None] * N + i[None, :]
    tl.store(x + at, tl.trans(tl.load(x + at)))


def test_too_much_shared_memory_is_an_error_with_the_figures() -> None:
    with pytest.raises(OutOfResources, match=r"shared memory, Required: 262144, Hardware limit: 166912"):
        compiled(huge, {"x": np.zeros((256, 256), np.float32)}, {"N": 256}, "sm_80")


def test_a_gpu_gets_the_target_that_runs_best_on_it() -> None:
    assert [Target.for_capability(*c).sm for c in ((8, 0), (8, 6), (8, 9), (9, 0), (10, 0))] == [
        "sm_80", "sm_80", "sm_89", "sm_90a", "sm_90"]  # fmt: skip
    with pytest.raises(ValueError, match=r"needs a GPU of compute capability 8\.0"):
        Target.for_capability(7, 5)
    assert not TARGETS["sm_90"].has_wgmma and TARGETS["sm_90a"].has_wgmma


@rtriton.jit
def twice(x, out, n, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i, mask=i < n) * 2)


def test_what_nobody_reads_is_not_emitted() -> None:
    x = np.zeros(512, np.float32)
    module = compiled(twice, {"x": x, "out": x, "n": 512}, {"N": 512})[1]
    text = str(module)
    assert "%warpid" not in text and len(text.splitlines()) < 60
    module.verify()
