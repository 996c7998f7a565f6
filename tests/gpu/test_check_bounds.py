"""RTRITON_CHECK=bounds on a GPU: planted faults are told by argument, line, offset and program; the GPU lives on."""

from __future__ import annotations

import numpy as np
import pytest

import ops
from ops.device import tuned_for
from rtriton.array import DeviceArray
from rtriton.errors import BoundsError
from tests.gpu.test_tutorials import gpu_is_there
from tests.ops.test_cases import _assert_near, _back, _moved
from tests.runtime.test_check_bounds import counted, floats, line_of, shifted, swapped, walked

pytestmark = pytest.mark.skipif(not gpu_is_there(), reason="no GPU")


@pytest.fixture(autouse=True)
def _checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "")
    monkeypatch.setenv("RTRITON_CHECK", "bounds")


def there(array: np.ndarray) -> DeviceArray:
    return DeviceArray.from_numpy(array)


def test_loads_and_stores_past_the_end_are_told_and_do_not_happen() -> None:
    x, out = there(floats(500)), there(np.full(500, 7, np.float32))
    with pytest.raises(BoundsError) as error:
        shifted[4,](x, out, 500, 10, BLOCK=128)
    ((text, span),) = error.value.found
    assert span.line == line_of("the load")
    assert text == ("out of bounds: load of 4 bytes at byte 2000 of x, which has 2000: 4 bytes past its end; first in "
                    "program (3, 0, 0)")
    np.testing.assert_array_equal(out.numpy(), [*floats(500)[10:], *[0] * 10])
    with pytest.raises(BoundsError) as error:
        shifted[(2, 2)](x[:128], there(floats(128))[:64], 300, 1000, BLOCK=128)
    assert [span.line for _, span in error.value.found] == [line_of("the load"), line_of("the store")]
    shifted[4,](x, out, 490, 10, BLOCK=128)  # the GPU is well


def test_views_reach_as_far_as_their_allocation() -> None:
    whole, out = there(floats(600)), there(np.zeros(500, np.float32))
    shifted[4,](whole[100:], out, 500, -100, BLOCK=128)
    np.testing.assert_array_equal(out.numpy(), floats(600)[:500])
    with pytest.raises(BoundsError, match="at byte -404 of x, which has 2000: 4 bytes before its memory"):
        shifted[4,](whole[100:], out, 500, -101, BLOCK=128)


def test_atomics_are_checked() -> None:
    counts = there(np.zeros(4, np.int32))
    with pytest.raises(BoundsError, match="atomic of 4 bytes at byte 36 of counts"):
        counted[1,](there(np.array([0, 1, 1, 9, 3, 0, 0, 0], np.int32)), counts, 5, BLOCK=8)
    assert counts.numpy().tolist() == [4, 2, 0, 1]
    lock = there(np.zeros(4, np.int32))
    with pytest.raises(BoundsError, match="atomic of 4 bytes at byte 16 of lock"):
        swapped[1,](lock, 4)
    assert lock.numpy()[1:].tolist() == [0, 0, 0]


def test_pointers_are_followed_through_choices_and_loops() -> None:
    x, y, out = there(floats(256)), there(floats(256)), there(np.zeros(64, np.float32))
    walked[1,](x, y, out, 4, 64, 1, BLOCK=64)
    np.testing.assert_array_equal(out.numpy(), floats(256).reshape(4, 64).sum(0))
    with pytest.raises(BoundsError, match=r"at byte 1024 of y, which has 1024: 4 bytes past its end \(nor in x\)"):
        walked[1,](x, y, out, 5, 64, 0, BLOCK=64)


def test_kernels_with_their_arguments_are_checked() -> None:
    step = shifted.compile_for(there(floats(600)), there(np.zeros(500, np.float32)), 500, 100, BLOCK=128)
    step[4,]()
    with pytest.raises(BoundsError, match="at byte 2400 of x, which has 2400"):
        step[4,](by=200)


def test_tensors_of_torch_are_checked() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no GPU")
    x, out = torch.arange(500, device="cuda", dtype=torch.float32), torch.zeros(500, device="cuda")
    with pytest.raises(BoundsError, match="at byte 2000 of x, which has 2000"):
        shifted[4,](x, out, 500, 10, BLOCK=128)


def one_case_per_op() -> list[ops.OpCase]:
    return list({case.op: case for case in ops.ALL if not case.large}.values())


@pytest.mark.parametrize("case", one_case_per_op(), ids=str)
def test_the_ops_are_in_bounds(case: ops.OpCase) -> None:
    inputs = case.make(np.random.default_rng(7))
    with tuned_for("cuda"):
        got = case.run(**{name: _moved(value, "cuda") for name, value in inputs.items()})
    rtol, atol = case.gpu_rtol or case.rtol, case.gpu_atol or case.atol
    for have, want in zip(got, case.reference(**case.make(np.random.default_rng(7))), strict=True):
        _assert_near(_back(have), want, rtol, atol)
