"""Launch options: each does something in every execution it is for, or is refused by name."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton import knobs
from rtriton.backend.ptx.ptxas import AssembleError, find_ptxas

BACKENDS = ("interpret", "cpu", "emulate")


@rtriton.jit
def mul_add(x, y, z, out):
    at = tl.arange(0, 64)
    tl.store(out + at, tl.load(x + at) * tl.load(y + at) + tl.load(z + at))


@rtriton.jit
def store_seven(out):
    tl.store(out, 7.0)


def numbers(dtype: Any) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(64).astype(dtype) for _ in range(3))


def launch(monkeypatch: pytest.MonkeyPatch, backend: str, dtype: Any, **options: Any) -> tuple[np.ndarray, Any]:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    out = np.zeros(64, dtype)
    return out, mul_add[1,](*numbers(dtype), out, **options)


@pytest.mark.parametrize(("backend", "dtype"), [
    ("interpret", np.float32), ("cpu", np.float32), ("cpu", np.float64), ("emulate", np.float32),
    ("emulate", np.float64)])        # the interpreter has no wider float in which to compute an fma of f64
def test_without_fusion_a_product_and_a_sum_round_twice(backend: str, dtype: Any,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, z = numbers(dtype)
    twice = x * y + z
    once = (x.astype(np.longdouble) * y + z).astype(dtype)
    assert (once != twice).any()
    np.testing.assert_array_equal(launch(monkeypatch, backend, dtype, enable_fp_fusion=False)[0], twice)
    np.testing.assert_array_equal(launch(monkeypatch, backend, dtype)[0], once)
    with knobs.language.scope():
        knobs.language.default_fp_fusion = False
        np.testing.assert_array_equal(launch(monkeypatch, backend, dtype)[0], twice)
        np.testing.assert_array_equal(launch(monkeypatch, backend, dtype, enable_fp_fusion=True)[0], once)


def test_ptx_without_fusion_says_how_it_rounds_so_that_ptxas_does_not_fuse(monkeypatch: pytest.MonkeyPatch) -> None:
    _, made = launch(monkeypatch, "emulate", np.float32, enable_fp_fusion=False)
    assert "mul.rn.f32" in made.asm["ptx"] and "add.rn.f32" in made.asm["ptx"] and "fma" not in made.asm["ptx"]


def test_maxnreg_is_in_the_ptx_and_arch_chooses_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    _, made = launch(monkeypatch, "emulate", np.float32, maxnreg=42, arch="sm80")
    assert re.search(r"\.visible \.entry [^{;]*\.maxnreg 42", made.asm["ptx"])
    assert ".target sm_80" in made.asm["ptx"]
    assert (made.metadata.maxnreg, made.metadata.arch, made.metadata.target.arch) == (42, "sm80", 80)


def test_an_architecture_forced_by_a_knob_is_what_code_is_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with knobs.runtime.scope():
        knobs.runtime.override_arch = "sm89"
        _, made = launch(monkeypatch, "emulate", np.float32)
        assert ".target sm_89" in made.asm["ptx"] and made.metadata.target.arch == 89
        _, made = launch(monkeypatch, "emulate", np.float32, arch=80)
        assert ".target sm_80" in made.asm["ptx"]
        with pytest.raises(ValueError, match="num_ctas > 1 requires"):
            launch(monkeypatch, "emulate", np.float32, num_ctas=2)
    _, made = launch(monkeypatch, "emulate", np.float32, num_ctas=2)
    assert made.metadata.target.arch == 90


@rtriton.jit
def exponentials(x, out):
    at = tl.arange(0, 4)
    tl.store(out + at, tl.exp2(tl.load(x + at)))
    tl.store(out + 4 + at, tl.exp(tl.load(x + at)))


@pytest.mark.parametrize(("backend", "options", "kept"), [
    ("emulate", {}, False), ("emulate", {"enable_reflect_ftz": True}, False),
    ("emulate", {"enable_reflect_ftz": False}, True), ("cpu", {"enable_reflect_ftz": False}, True),
    ("interpret", {"enable_reflect_ftz": False}, True)])
def test_subnormal_exponentials_are_zero_unless_a_launch_says_otherwise(
    backend: str, options: dict[str, bool], kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    x, out = np.array([-127, -88, -130, 2], np.float32), np.zeros(8, np.float32)
    made = exponentials[1,](x, out, **options)
    wanted = np.concatenate([np.exp2(x.astype(np.float64)), np.exp(x.astype(np.float64))])
    if not kept:
        wanted[wanted < 2.0**-126] = 0
    np.testing.assert_allclose(out, wanted, rtol=2e-5, atol=0 if not kept else 2.0**-148)
    if backend == "emulate":
        assert ("ex2.approx.ftz.f32" in made.asm["ptx"]) == (not kept) and "ex2.approx" in made.asm["ptx"]


@pytest.mark.parametrize("backend", ["interpret", "cpu"])
def test_the_shape_of_a_gpu_means_nothing_on_a_cpu(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, _ = launch(monkeypatch, backend, np.float32)
    for options in ({"num_warps": 64}, {"num_ctas": 4}, {"maxnreg": 16}, {"num_stages": 9}, {"launch_pdl": True},
                    {"launch_cooperative_grid": True}):
        np.testing.assert_array_equal(launch(monkeypatch, backend, np.float32, **options)[0], wanted)


def test_more_threads_than_a_program_has_are_out_of_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(rtriton.OutOfResources, match="out of resource: threads, Required: 4096, Hardware limit: 1024"):
        launch(monkeypatch, "emulate", np.float32, num_warps=128)


@pytest.mark.parametrize(("backend", "options", "message"), [
    ("cpu", {"num_warps": 3}, "num_warps must be a power of 2, got 3"),
    ("cpu", {"num_stages": -1}, "num_stages is a whole number from 0, got -1"),
    ("cpu", {"num_stages": "many"}, "num_stages is a whole number, got 'many'"),
    ("cpu", {"extern_libs": {"mine": "mine.bc"}}, "extern_libs: mine cannot be linked"),
    ("cpu", {"ir_override": "kernel.ttgir"}, r"ir_override names a file of tile IR \(.tir\) or PTX"),
    ("emulate", {"num_ctas": 2, "arch": "sm80"}, r"num_ctas > 1 requires NVIDIA SM90\+ \(Hopper\)"),
    ("cpu", {"instrumentation_mode": "consan"}, "instrumentation_mode='consan' is not supported"),
])
def test_what_an_option_cannot_be_is_refused_by_name(backend: str, options: dict[str, Any], message: str,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=message):
        launch(monkeypatch, backend, np.float32, **options)
    with pytest.raises(AssertionError):                       # what Triton raises for some of them
        launch(monkeypatch, backend, np.float32, **options)


def test_libdevice_is_part_of_the_language(monkeypatch: pytest.MonkeyPatch) -> None:
    _, made = launch(monkeypatch, "cpu", np.float32, extern_libs={"libdevice": "libdevice.10.bc"})
    assert made.metadata.extern_libs == (("libdevice", "libdevice.10.bc"),)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_ir_override_takes_the_place_of_the_kernel(backend: str, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    out = np.zeros(1, np.float32)
    text = store_seven[1,](out).asm["ttir"]
    assert out[0] == 7
    (tmp_path / "nine.tir").write_text(text.replace("7", "9"))
    store_seven[1,](out, ir_override=str(tmp_path / "nine.tir"))
    assert out[0] == 9


def test_debug_of_jit_of_a_launch_and_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    out = np.zeros(1, np.float32)
    always = rtriton.jit(debug=True)(store_seven.fn)
    assert store_seven[1,](out).metadata.debug is False
    assert always[1,](out).metadata.debug is True
    assert always[1,](out, debug=False).metadata.debug is False
    assert store_seven[1,](out, debug=True).metadata.debug is True
    monkeypatch.setattr(knobs.runtime, "debug", True)
    assert store_seven[1,](out).metadata.debug is True


def test_ptxas_gets_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        find_ptxas()
    except AssembleError:
        pytest.skip("no ptxas")
    source = rtriton.compiler.ASTSource(store_seven, {"out": "*fp32"})
    target = rtriton.compiler.GPUTarget("cuda", 90, 32)
    plain = rtriton.compile(source, target)
    assert plain.asm["cubin"][:4] == b"\x7fELF" and 0 < plain.n_regs < 64
    with pytest.raises(rtriton.errors.PTXASError, match="no-such-option"):
        _ = rtriton.compile(source, target, {"ptx_options": "--no-such-option"}).asm["cubin"]
