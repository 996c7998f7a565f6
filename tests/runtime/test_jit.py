"""Launching: arguments, specialisation, options, grids, captured globals. Kernels run on the interpreter."""
from __future__ import annotations

import threading
from functools import partial
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.arguments import Argument
from rtriton.backend.cuda import driver
from rtriton.passes import PIPELINES
from rtriton.where import choose_backend

SCALE = tl.constexpr(3)


@pytest.fixture(autouse=True)
def on_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")


@rtriton.jit
def scaled_add(x, y, out, n, alpha, BLOCK: tl.constexpr = 64):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out + offsets, tl.load(x + offsets, mask=mask) * alpha + tl.load(y + offsets, mask=mask), mask=mask)


@rtriton.jit
def times_scale(x, out):
    tl.store(out, tl.load(x) * SCALE)


@rtriton.jit
def wide(out, n: tl.int64):
    tl.store(out, n * n)


def arrays(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random(n, np.float32), rng.random(n, np.float32), np.full(n, np.nan, np.float32)


def test_a_launch_writes_every_element_and_no_more() -> None:
    x, y, out = arrays(200)
    scaled_add[lambda meta: (rtriton.cdiv(150, meta["BLOCK"]),)](x, y, out, 150, 2.5, BLOCK=32)
    np.testing.assert_allclose(out[:150], x[:150] * np.float32(2.5) + y[:150], rtol=1e-6)
    assert np.isnan(out[150:]).all()


def test_defaults_and_keywords_fill_parameters() -> None:
    x, y, out = arrays(64)
    scaled_add[(1,)](x, y, n=64, alpha=1.0, out=out)
    np.testing.assert_allclose(out, x + y, rtol=1e-6)


def test_a_kernel_compiles_once_per_type_divisibility_and_ones() -> None:
    x, y, out = arrays(64)
    kernel = rtriton.jit(scaled_add.fn)
    for n in (32, 48, 64):
        kernel[1,](x, y, out, n, 2.0)
    assert len(kernel.cache) == 1                      # all divisible by 16
    kernel[1,](x, y, out, 33, 2.0)
    assert len(kernel.cache) == 2
    kernel[1,](x, y, out, 1, 2.0)                      # 1 becomes a constant
    assert len(kernel.cache) == 3
    kernel[1,](x.astype(np.float64), y, out, 32, 2.0)
    assert len(kernel.cache) == 4


def test_do_not_specialize_compiles_once_for_all_numbers() -> None:
    x, y, out = arrays(64)
    kernel = rtriton.jit(do_not_specialize=["n"])(scaled_add.fn)
    for n in (1, 16, 33):
        kernel[1,](x, y, out, n, 2.0)
    assert len(kernel.cache) == 1


def test_an_annotation_forces_the_type_of_a_number() -> None:
    out = np.zeros(1, np.int64)
    wide[1,](out, 3_000_000_000)
    assert out[0] == 3_000_000_000 ** 2
    wide[1,](out, 1)
    assert out[0] == 1


def test_an_unknown_option_is_refused_by_name() -> None:
    x, y, out = arrays(64)
    with pytest.raises(KeyError, match="num_wraps was specified but unrecognised, did you mean 'num_warps'"):
        scaled_add[1,](x, y, out, 64, 1.0, num_wraps=8)
    with pytest.raises(ValueError, match="num_warps must be a power of 2, got 3"):
        scaled_add[1,](x, y, out, 64, 1.0, num_warps=3)


def test_a_missing_or_doubled_argument_is_refused_by_name() -> None:
    x, y, out = arrays(64)
    with pytest.raises(TypeError, match=r"scaled_add\(\) missing 1 required positional argument: 'alpha'"):
        scaled_add[1,](x, y, out, 64)
    with pytest.raises(TypeError, match="multiple values for argument 'n'"):
        scaled_add[1,](x, y, out, 64, 1.0, n=3)


def test_an_argument_that_no_kernel_takes_is_refused_by_name() -> None:
    _, y, out = arrays(64)
    with pytest.raises(TypeError, match="argument 'x'"):
        scaled_add[1,]({"a": 1}, y, out, 64, 1.0)
    with pytest.raises(TypeError, match="arrays of complex64"):
        scaled_add[1,](np.zeros(64, np.complex64), y, out, 64, 1.0)


def test_a_grid_must_have_one_to_three_sizes() -> None:
    x, y, out = arrays(64)
    for grid in ((), (1, 1, 1, 1), (-1,)):
        with pytest.raises(ValueError, match="a grid has one to three sizes"):
            scaled_add[grid](x, y, out, 64, 1.0)
    scaled_add[0,](x, y, out, 64, 1.0)
    assert np.isnan(out).all()


def test_a_changed_global_is_noticed_at_the_next_launch() -> None:
    global SCALE
    x, out = np.ones(1, np.float32), np.zeros(1, np.float32)
    times_scale[1,](x, out)
    assert out[0] == 3
    SCALE = tl.constexpr(5)
    with pytest.raises(RuntimeError, match="Global variable SCALE has changed since we compiled"):
        times_scale[1,](x, out)
    SCALE = tl.constexpr(3)
    times_scale[1,](x, out)


def test_warmup_compiles_and_does_not_launch() -> None:
    x, y, out = arrays(64)
    compiled = scaled_add.warmup(x, y, out, 64, 1.0, grid=(1,))
    assert np.isnan(out).all()
    assert "load" in compiled.asm["tir"]
    assert compiled.asm["source"].startswith("def scaled_add(")


def test_calling_a_kernel_without_a_grid_says_how_to_launch() -> None:
    with pytest.raises(RuntimeError, match=r"launch it as scaled_add\[grid\]"):
        scaled_add(1, 2)
    with pytest.raises(RuntimeError, match="can only be called inside a kernel"):
        tl.load(3)


def test_bytes_can_be_reinterpreted_as_bf16() -> None:
    bits = (np.arange(64, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
    x = rtriton.reinterpret(bits, tl.bfloat16)
    _, _, out = arrays(64)
    scaled_add[1,](x, x, out, 64, 1.0)
    np.testing.assert_array_equal(out, 2 * np.arange(64))
    with pytest.raises(ValueError, match="cannot read uint16"):
        rtriton.reinterpret(bits, tl.float32)


def test_reinterpret_takes_the_dtypes_of_other_libraries_and_their_names() -> None:
    torch = pytest.importorskip("torch")
    bits = np.zeros(4, np.uint16)
    for dtype, wanted in ((torch.bfloat16, tl.bfloat16), (np.float16, tl.float16), (np.dtype("int16"), tl.int16),
                          ("uint16", tl.uint16)):
        assert rtriton.reinterpret(bits, dtype).dtype == wanted
    assert rtriton.reinterpret(np.zeros(4, np.uint8), torch.float8_e4m3fn).dtype == tl.float8e4nv
    with pytest.raises(TypeError, match=r"wanted a dtype of kernels, got torch\.complex64"):
        rtriton.reinterpret(bits, torch.complex64)


def test_threads_that_launch_first_at_once_compile_once() -> None:
    kernel = rtriton.jit(scaled_add.fn)
    results = [arrays(64) for _ in range(4)]
    threads = [threading.Thread(target=lambda r=r: kernel[1,](r[0], r[1], r[2], 64, 1.0)) for r in results]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(kernel.cache) == 1
    assert all(np.allclose(out, x + y) for x, y, out in results)


def test_a_trace_lists_launches_in_order() -> None:
    x, y, out = arrays(64)
    with rtriton.trace() as launches:
        scaled_add[2,](x, y, out, 64, 1.0)
        times_scale[1,](x, out)
    assert [(one.kernel, one.grid) for one in launches] == [("scaled_add", (2, 1, 1)), ("times_scale", (1, 1, 1))]


def test_every_stage_is_written_to_the_dump_folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_DUMP", str(tmp_path))
    x, y, out = arrays(64)
    rtriton.jit(scaled_add.fn)[1,](x, y, out, 64, 1.0)
    names = sorted(p.name for p in (tmp_path / "scaled_add").iterdir())
    assert names[0] == "00-frontend.tir"
    passes = [step.name for step in PIPELINES["tile"]]
    assert [n.split("-", 1)[1] for n in names[1:]] == [*(f"{p}.tir" for p in passes), "optimised.tir"]


def test_an_edited_stage_takes_the_place_of_the_made_one(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, out = arrays(64)
    monkeypatch.setenv("RTRITON_DUMP", str(tmp_path))
    rtriton.jit(scaled_add.fn)[1,](x, y, out, 64, 1.0)
    (file,) = (tmp_path / "scaled_add").glob("*-optimised.tir")
    text = file.read_text()
    assert " fma " in text
    for other in (tmp_path / "scaled_add").iterdir():
        other.unlink()
    file.write_text(text.replace("program_id {axis = 0}", "program_id {axis = 1}"))
    monkeypatch.delenv("RTRITON_DUMP")
    monkeypatch.setenv("RTRITON_OVERRIDE", str(tmp_path))
    compiled = rtriton.jit(scaled_add.fn)[1,](x, y, out, 64, 1.0)
    assert "axis = 1" in compiled.asm["tir"]


@rtriton.jit
def add_to(out, amount):
    tl.store(out, tl.load(out) + amount)


@pytest.mark.parametrize("amount", [np.bool_(True), np.float32(0.5), np.int64(-7), np.float64(2.25), np.uint8(9)])
def test_a_numpy_scalar_is_a_number_and_no_array(amount) -> None:
    out = np.full(1, 3.0, np.float32)
    add_to[1,](out, amount)
    assert out[0] == 3.0 + float(amount)


def test_an_array_of_foreign_byte_order_is_refused() -> None:
    with pytest.raises(TypeError, match="arrays of >f4 cannot be passed"):
        add_to[1,](np.zeros(1, ">f4"), 1)


@pytest.mark.parametrize("grid", [None, (1.5,), ("a",), lambda meta: (meta["amount"] / 2,)])
def test_a_grid_that_is_no_integers_is_refused(grid) -> None:
    with pytest.raises(TypeError, match="a grid is an integer or up to three of them"):
        add_to[grid](np.zeros(1, np.float32), 1)


@pytest.mark.parametrize("backend", ["interpret", "emulate"])
def test_capturing_where_nothing_can_be_recorded_is_said(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    with rtriton.capture(), pytest.raises(rtriton.LaunchError, match="cannot be captured"):
        add_to[1,](np.zeros(1, np.float32), 1)


def test_decorators_may_hold_what_the_kernel_language_has_not() -> None:
    @rtriton.autotune(configs=[rtriton.Config({"BLOCK": 16}, num_warps=1), rtriton.Config({"BLOCK": 64})], key=["n"])
    @rtriton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
    @rtriton.jit
    def tuned(x, out, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
        offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        if EVEN:
            tl.store(out + offsets, tl.load(x + offsets) + 1)
        else:
            tl.store(out + offsets, tl.load(x + offsets, mask=offsets < n) + 1, mask=offsets < n)

    for n in (64, 77):
        x, out = np.arange(n, dtype=np.float32), np.zeros(n, np.float32)
        tuned[lambda meta: (rtriton.cdiv(meta["n"], meta["BLOCK"]),)](x, out, n)
        np.testing.assert_array_equal(out, x + 1)


def test_an_error_below_a_decorator_is_on_its_own_line() -> None:
    @rtriton.heuristics({"ONE": lambda args: 1})
    @rtriton.jit
    def wrong(out, ONE: tl.constexpr):
        tl.store(out, missing)  # noqa: F821

    line = wrong.fn.fn.__code__.co_firstlineno + 3
    with pytest.raises(rtriton.CompilationError, match=f"test_jit.py:{line}:23: missing is not defined"):
        wrong[1,](np.zeros(1, np.float32))



def test_a_lambda_is_no_kernel() -> None:
    with pytest.raises(TypeError, match="is no function made by def"):
        rtriton.jit(lambda out: tl.store(out, 1.0))[1,](np.zeros(1, np.float32))


@pytest.mark.parametrize("thing", [len, dict, partial(print, 1), np.add, 5])
def test_what_has_no_source_is_no_kernel(thing: Any) -> None:
    with pytest.raises(TypeError, match="is no function made by def"):
        rtriton.jit(thing)


@pytest.mark.parametrize("grid", [2, np.int64(2), np.array(2), (np.int32(2),), [2], np.array([2])])
def test_a_grid_is_a_number_or_several(grid: Any) -> None:
    out = np.zeros(2, np.float32)
    by_program[grid](out)
    assert out.tolist() == [0, 1]


@rtriton.jit
def by_program(out):
    tl.store(out + tl.program_id(0), tl.program_id(0) * 1.0)


@rtriton.jit
def softmax_of_rows(x, out):
    at = tl.arange(0, 8)[:, None] * 8 + tl.arange(0, 8)[None, :]
    tl.store(out + at, tl.softmax(tl.load(x + at), 1))


def test_softmax_of_a_square_tile_goes_along_the_axis_named() -> None:
    x, out = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32), np.zeros((8, 8), np.float32)
    softmax_of_rows[1,](x, out)
    weight = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(out, weight / weight.sum(1, keepdims=True), rtol=1e-6)


def test_an_unknown_stage_is_answered_with_the_known_ones_each_once() -> None:
    compiled = add_to.warmup(np.zeros(1, np.float32), 2.5)
    assert compiled.asm["tir"]
    with pytest.raises(KeyError) as caught:
        compiled.asm["sass"]
    assert str(caught.value).count("tir") == 1


def test_the_machine_code_of_a_cpu_kernel_is_made_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    x, y, out = arrays(64)
    for kernel in (rtriton.jit(scaled_add.fn), rtriton.jit(scaled_add.fn)):   # compiled, then taken from the disk cache
        compiled = kernel[1,](x, y, out, 64, 1.0)
        assert "define" in compiled.asm["llvm"]
        assert "ret" in compiled.asm["asm"]
        with pytest.raises(KeyError, match="there is no stage 'ptx'"):
            compiled.asm["ptx"]


def test_arrays_in_cpu_memory_go_to_a_gpu_only_if_it_reaches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pageable, pinned, far = ([Argument(("*", tl.float32), True, n, where)] for n, where in (
        (4096, "cpu"), (8192, "cpu"), (1 << 40, "cuda")))
    number = [Argument(tl.int32, False, 4096, "")]
    monkeypatch.setattr(driver, "reaches", lambda address: address == 8192)
    monkeypatch.setenv("RTRITON_BACKEND", "cuda")
    assert choose_backend(number + pinned, "kernel") == "cuda"
    with pytest.raises(ValueError, match=r"Pointer argument \(at 1\) cannot be accessed from Triton \(cpu tensor\?\)"):
        choose_backend(number + pageable, "kernel")
    monkeypatch.setenv("RTRITON_BACKEND", "")
    assert choose_backend(far + pinned, "kernel") == "cuda"
    assert choose_backend(pageable + pinned, "kernel") == "cpu"
    with pytest.raises(ValueError, match=r"Pointer argument \(at 2\) cannot be accessed"):
        choose_backend(far + pinned + pageable, "kernel")
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    with pytest.raises(ValueError, match="needs arrays in CPU memory, got CUDA arrays"):
        choose_backend(far, "kernel")
