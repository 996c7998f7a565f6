"""Kernels beside torch: in custom operators, under torch.compile, behind autograd; and torch is never imported."""
from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import rtriton
import rtriton.language as tl

torch: Any = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    torch._dynamo.reset()


@rtriton.autotune(configs=[rtriton.Config({"BLOCK": 64})], key=[])
@rtriton.jit
def doubled(x, out, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < n) * 2, mask=at < n)


def twice(x: Any) -> Any:
    out = torch.empty_like(x)
    doubled[lambda meta: (rtriton.cdiv(meta["n"], meta["BLOCK"]),)](x, out, x.numel())
    return out


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_torch_compile_runs_around_a_launch(backend: str) -> None:
    def around(x: Any) -> Any:
        return twice(x + 1) - 3

    x = torch.arange(100.0)
    assert torch.equal(torch.compile(around, backend=backend)(x), (x + 1) * 2 - 3)


def test_a_whole_graph_is_refused_with_what_to_do() -> None:
    with pytest.raises(Exception, match="put the launch into a torch"):
        torch.compile(twice, backend="eager", fullgraph=True)(torch.arange(10.0))


def test_a_custom_operator_may_launch_kernels_inside_a_whole_graph() -> None:
    operator = torch.library.custom_op("rtriton_test::twice", twice, mutates_args=(), schema="(Tensor x) -> Tensor")
    operator.register_fake(torch.empty_like)
    x = torch.arange(100.0)
    found = torch.compile(lambda x: operator(x) + 1, backend="aot_eager", fullgraph=True)(x)
    assert torch.equal(found, x * 2 + 1)


def test_triton_op_refuses_what_is_not_tritons_and_takes_it_where_rtriton_stands_for_triton() -> None:
    with pytest.raises(RuntimeError, match="wrap_triton only works on functions annotated with"):
        torch.library.wrap_triton(doubled.fn)
    program = """
import rtriton.compat; rtriton.compat.install()
import torch, triton, triton.language as tl
from tests.runtime.test_torch import doubled

@torch.library.triton_op("rtriton_test::again", mutates_args={})
def again(x: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    torch.library.wrap_triton(doubled)[(2,)](x, out, x.numel())
    return out

assert torch.equal(again(torch.arange(100.)), torch.arange(100.) * 2)
assert torch.equal(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(3)), torch.full((3,), 2.))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_tensor_that_needs_gradients_is_memory_like_any_other() -> None:
    found = twice(torch.ones(10, requires_grad=True))
    assert torch.equal(found, torch.full((10,), 2.0)) and not found.requires_grad


def test_torch_is_not_imported_for_arrays_of_others() -> None:
    program = """
import sys, numpy as np, rtriton
from rtriton.testing import do_bench
exec('''import rtriton, rtriton.language as tl
@rtriton.jit
def store(x):
    tl.store(x, 1.0)
''', names := {})
x = np.zeros(1, np.float32)
do_bench(lambda: names["store"][1,](x), warmup=0, rep=0)
rtriton.autotune(configs=[rtriton.Config({}), rtriton.Config({}, num_warps=1)], key=[])(names["store"])[1,](x)
assert x[0] == 1 and "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
