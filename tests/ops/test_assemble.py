"""Every kernel that the op cases launch assembles with NVIDIA's ptxas for each architecture that we emit for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import ops
from ops.device import tuned_for
from rtriton.backend.emulated import Emulated
from rtriton.backend.ptx.ptxas import AssembleError, assemble, find_ptxas

TARGETS = ("sm_80", "sm_89", "sm_90", "sm_90a")


def ptxas_is_there() -> bool:
    try:
        find_ptxas()
    except AssembleError:
        return False
    return True


def one_case_per_op_and_kind() -> list[ops.OpCase]:
    """Cases differ in sizes and dtypes; one for each op and way of storing its data is enough to reach every kernel."""
    found: dict[tuple[str, str], ops.OpCase] = {}
    for case in ops.ALL:
        if not case.large:
            found.setdefault((case.op, case.name.rsplit("-", 1)[-1]), case)
    return list(found.values())


@pytest.mark.skipif(not ptxas_is_there(), reason="no ptxas")
@pytest.mark.parametrize("target", TARGETS)
def test_the_kernels_of_the_ops_assemble(
    target: str, use_backend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_backend("emulate")
    monkeypatch.setenv("RTRITON_TARGET", target)
    seen: dict[str, Emulated] = {}
    monkeypatch.setattr(Emulated, "launch", lambda self, *_: seen.setdefault(self.kernel.name, self))
    with tuned_for("cuda"):
        for case in one_case_per_op_and_kind():
            case.run(**case.make(np.random.default_rng(0)))
    assert len(seen) >= 12
    for name, executable in seen.items():
        assert assemble(executable.ptx, target).usage.registers > 0, name

