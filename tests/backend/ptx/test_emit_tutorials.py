"""The tutorial kernels, from source to PTX: right in the emulator, accepted by ptxas for every target."""
import pytest

from rtriton.backend.ptx.emit import lower_to_ptx
from rtriton.backend.ptx.emulate import emulate
from rtriton.backend.ptx.ptxas import assemble
from rtriton.passes import run_pipeline
from rtriton.target import TARGETS, Target
from tests.kernels.examples import examples

NAMES = [e.name for e in examples()]


@pytest.mark.parametrize("target", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_kernel_gives_what_numpy_gives(name: str, target: str) -> None:
    example = next(e for e in examples() if e.name == name)
    module = lower_to_ptx(run_pipeline(example.kernel, None, "tile"), Target.of(target))
    emulate(module, None, example.grid, example.args)
    example.check()


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("name", NAMES)
def test_ptxas_accepts_a_tutorial_kernel(name: str, target: str) -> None:
    example = next(e for e in examples() if e.name == name)
    module = lower_to_ptx(run_pipeline(example.kernel, None, "tile"), Target.of(target))
    assert assemble(str(module), target).usage.spills == 0
