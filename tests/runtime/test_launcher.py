"""The short road of a launch: what it finds is what the long road would choose, and it notices all that may change."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton import knobs

SCALE = tl.constexpr(3)
pytestmark = pytest.mark.usefixtures("plain_launches")


@rtriton.jit
def add(x, y, out, n, BLOCK: tl.constexpr = 16):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < n) + tl.load(y + at, mask=at < n), mask=at < n)


@rtriton.jit
def scaled(x, out):
    tl.store(out, tl.load(x) * SCALE)


@rtriton.jit
def helper(x):
    return x + 1


@rtriton.jit
def with_helper(x, out):
    tl.store(out, helper(tl.load(x)))


def fresh(kernel: rtriton.JITFunction, **options: Any) -> rtriton.JITFunction:
    return rtriton.jit(**options)(kernel.fn)


def ones(count: int = 16) -> np.ndarray:
    return np.ones(count, np.float32)


@pytest.fixture
def long_roads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels whose launches took the long road, as they do."""
    taken: list[str] = []
    plain = rtriton.JITFunction.launch

    def launch(self: rtriton.JITFunction, *args: Any) -> Any:
        taken.append(self.__name__)
        return plain(self, *args)

    monkeypatch.setattr(rtriton.JITFunction, "launch", launch)
    return taken


def test_a_third_launch_of_the_same_kind_takes_the_short_road(long_roads: list[str]) -> None:
    kernel = fresh(add)
    for count in (16, 32, 48, 64):
        x, out = ones(64), np.zeros(64, np.float32)
        compiled = kernel[(4,)](x, x, out, count)
        assert out.tolist() == [2.0] * count + [0.0] * (64 - count) and compiled.name == "add"
    assert long_roads == ["add", "add"]          # the first tells the classes of the arguments, the second their facts


# -- what it notices ---------------------------------------------------------------------------------------------------


def warm(kernel: rtriton.JITFunction, *args: Any, **options: Any) -> None:
    for _ in range(3):
        kernel[(1,)](*args, **options)


def test_a_changed_global_is_refused_and_an_equal_one_is_not(long_roads: list[str],
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, x, out = fresh(scaled), ones(), ones()
    warm(kernel, x, out)
    monkeypatch.setitem(globals(), "SCALE", tl.constexpr(5))
    with pytest.raises(RuntimeError, match="Global variable SCALE has changed since we compiled"):
        kernel[(1,)](x, out)
    monkeypatch.setitem(globals(), "SCALE", tl.constexpr(3))
    del long_roads[:]
    for _ in range(3):
        kernel[(1,)](x, out)
    assert out[0] == 3 and long_roads == ["scaled"]
    with pytest.raises(AttributeError, match="does not change"):
        SCALE.value = 7


def test_a_function_that_was_defined_anew_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, x, out = fresh(with_helper), ones(), ones()
    warm(kernel, x, out)
    assert out[0] == 2

    @rtriton.jit
    def another(x):
        return x + 10

    monkeypatch.setitem(globals(), "helper", another)
    warm(kernel, x, out)
    assert out[0] == 11
    another._unsafe_update_src(another.src.replace("10", "20"))
    kernel[(1,)](x, out)
    assert out[0] == 21


def test_a_closure_whose_cell_changes_is_noticed() -> None:
    amount = tl.constexpr(2)

    @rtriton.jit
    def plus(x):
        tl.store(x, tl.load(x) + amount)

    x = ones()
    warm(plus, x)
    assert x[0] == 7
    amount = tl.constexpr(3)
    with pytest.raises(RuntimeError, match="Global variable amount has changed"):
        plus[(1,)](x)


@pytest.mark.parametrize("setting", ["RTRITON_BACKEND", "TRITON_INTERPRET", "RTRITON_SKIP", "TRITON_F32_DEFAULT"])
def test_settings_are_noticed_and_their_kernels_kept_apart(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, x, out = fresh(add), ones(), ones()
    warm(kernel, x, x, out, 16)
    chosen = {"RTRITON_BACKEND": "emulate", "TRITON_INTERPRET": "1", "RTRITON_SKIP": "licm",
              "TRITON_F32_DEFAULT": "ieee"}
    before = kernel[(1,)](x, x, out, 16)
    monkeypatch.setenv(setting, chosen[setting])
    inside = [kernel[(1,)](x, x, out, 16) for _ in range(3)]
    assert len({id(c) for c in inside}) == 1 and inside[0] is not before
    assert inside[0].backend == {"RTRITON_BACKEND": "emulate", "TRITON_INTERPRET": "interpret"}.get(setting, "cpu")
    monkeypatch.delenv(setting)
    assert kernel[(1,)](x, x, out, 16) is before


def test_knobs_set_in_python_are_noticed() -> None:
    kernel, x, out = fresh(add), ones(), ones()
    warm(kernel, x, x, out, 16)
    before = kernel[(1,)](x, x, out, 16)
    with knobs.language.scope():
        knobs.language.default_fp_fusion = False
        assert kernel[(1,)](x, x, out, 16).metadata.enable_fp_fusion is False
    knobs.runtime.debug = True
    assert kernel[(1,)](x, x, out, 16).metadata.debug is True
    knobs.runtime.debug = False
    assert kernel[(1,)](x, x, out, 16) is before


def test_hooks_traces_and_captures_see_every_launch(capsys: pytest.CaptureFixture[str],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, x, out = fresh(add), ones(), ones()
    launch = kernel[(1,)]
    warm(kernel, x, x, out, 16)
    heard: list[Any] = []
    hook = heard.append
    knobs.runtime.launch_enter_hook.add(hook)
    try:
        launch(x, x, out, 16)
        launch(x, x, out, 16)
    finally:
        knobs.runtime.launch_enter_hook.remove(hook)
    assert [told.get()["name"] for told in heard] == ["add", "add"]
    with rtriton.trace() as launches:
        launch(x, x, out, 16)
    assert [one.kernel for one in launches] == ["add"]
    out[:] = 0
    with rtriton.capture() as graph:
        launch(x, x, out, 16)
    assert out[0] == 0
    graph.replay()
    assert out[0] == 2
    monkeypatch.setenv("RTRITON_TRACE", "1")
    launch(x, x, out, 16)
    assert "launch add(1, 1, 1) on cpu" in capsys.readouterr().err
    kernel.add_pre_run_hook(lambda *args, **kwargs: heard.append("before"))
    kernel[(1,)](x, x, out, 16)
    assert heard[-1] == "before"


def test_the_function_is_written_once_for_the_classes_that_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, x, out = fresh(add), ones(), ones()
    written: list[Any] = []
    plain = kernel.launcher._made
    monkeypatch.setattr(kernel.launcher, "_made", lambda *args: written.append(args) or plain(*args))
    with rtriton.trace():
        warm(kernel, x, x, out, 16)
    warm(kernel, x, x, out, 16)
    assert len(written) == 1
    warm(kernel, x, x, out, True)
    assert len(written) == 2


def test_kernels_that_were_dropped_are_compiled_again(long_roads: list[str]) -> None:
    kernel, x, out = fresh(add), ones(), ones()
    warm(kernel, x, x, out, 16)
    before = kernel[(1,)](x, x, out, 16)
    kernel.device_caches[0][0].clear()
    assert kernel[(1,)](x, x, out, 16) is not before
    (key,) = kernel.cache
    del kernel.cache[key], long_roads[:]
    kernel[(1,)](x, x, out, 16)
    assert long_roads == ["add"]


# -- calling it --------------------------------------------------------------------------------------------------------


def test_arguments_may_come_in_every_way_that_python_has(long_roads: list[str]) -> None:
    kernel, x, out = fresh(add), ones(64), np.zeros(64, np.float32)
    warm(kernel, x, x, out, 64)
    del long_roads[:]
    for call in (lambda: kernel[(4,)](x, x, out, 64), lambda: kernel[4,](out=out, y=x, n=64, x=x),
                 lambda: kernel[lambda meta: (rtriton.cdiv(meta["n"], meta["BLOCK"]),)](x, x, out, 64, 16),
                 lambda: kernel[4, 1](x, x, n=64, out=out), lambda: kernel[[4]](x, x, out, 64, BLOCK=16),
                 lambda: kernel.run(x, x, out, 64, grid=(4,)), lambda: kernel[np.int64(4), 1, 1](x, x, out, 64)):
        out[:] = 0
        call()
        assert (out == 2).all()
    assert not long_roads
    with pytest.raises(TypeError, match=r"add\(\) takes 5 positional arguments but 6 were given"):
        kernel[(4,)](x, x, out, 64, 16, 5)
    with pytest.raises(TypeError, match=r"add\(\) got multiple values for argument 'n'"):
        kernel[(4,)](x, x, out, 64, n=64)
    with pytest.raises(ValueError, match="one to three sizes that are not negative, got"):
        kernel[(-1,)](x, x, out, 64)
    with pytest.raises(TypeError, match="a grid is an integer"):
        kernel[(4.0,)](x, x, out, 64)
    out[:] = 0
    kernel[(0,)](x, x, out, 64)
    assert not out.any()


def test_options_of_a_launch_are_part_of_what_it_is_found_by() -> None:
    kernel, x, out = fresh(add), ones(), ones()
    for _ in range(3):
        assert kernel[(1,)](x, x, out, 16, num_warps=8).metadata.num_warps == 8
        assert kernel[(1,)](x, x, out, 16, num_warps=2).metadata.num_warps == 2
        assert kernel[(1,)](x, x, out, 16).metadata.num_warps == 4
    with pytest.raises(KeyError, match="num_wraps was specified but unrecognised"):
        kernel[(1,)](x, x, out, 16, num_wraps=8)


def test_parameters_may_be_called_like_anything() -> None:
    @rtriton.jit
    def odd(grid, options, self, facts, entry, _v0, __last, N: tl.constexpr):
        tl.store(grid, tl.load(options) + self + facts + entry + _v0 + __last + N)

    x, out = ones(), ones()
    for _ in range(3):
        odd[(1,)](out, x, 1, 2, 3, 4, 5, N=6)
        assert out[0] == 22
        out[0] = 0


def test_ones_and_nones_and_tuples_are_passed_as_the_kernel_takes_them() -> None:
    @rtriton.jit
    def many(out, stride, mask, pair, x, none):
        if mask is None:
            tl.store(out + stride, tl.load(x) + pair[0] + pair[1])
        else:
            tl.store(out, tl.load(mask) + stride + pair[0] + pair[1])

    x, out = ones(), np.zeros(4, np.float32)
    for _ in range(3):
        for stride, mask, pair in ((1, None, (2, 3.5)), (2, None, (1, 3)), (1, x, (16, 1)), (2, x, (1, 1))):
            out[:] = 0
            many[(1,)](out, stride, mask, pair, x, None)
            wanted = 1 + sum(pair) + (stride if mask is not None else 0)
            assert out.tolist() == [wanted if i == (stride if mask is None else 0) else 0 for i in range(4)]


def test_numbers_wider_than_before_find_another_kernel() -> None:
    @rtriton.jit
    def store(out, n):
        tl.store(out, n)

    out = np.zeros(1, np.int64)
    for n in (32, 32, 32, 1 << 40, 1 << 40, 1 << 40, -(1 << 31), -(1 << 31) - 1, 32, (1 << 63) - 1):
        store[(1,)](out, n)
        assert out[0] == n
    with pytest.raises(OverflowError, match=r"store\(\): argument 'n'"):
        store[(1,)](out, 1 << 64)


def test_threads_that_launch_at_once_do_not_mix_their_arguments() -> None:
    kernel = fresh(add)
    warm(kernel, ones(), ones(), ones(), 16)

    def work(value: float, wrong: list[float]) -> None:
        x, out = np.full(16, value, np.float32), np.zeros(16, np.float32)
        for count in range(1, 400):
            kernel[(1,)](x, x, out, count % 16 + 1)
            if out[count % 16] != 2 * value:
                wrong.append(value)

    wrong: list[float] = []
    threads = [threading.Thread(target=work, args=(float(v), wrong)) for v in range(1, 5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# -- bound kernels -----------------------------------------------------------------------------------------------------


def test_a_bound_kernel_launches_with_its_arguments_and_with_new_ones() -> None:
    kernel, x, out = fresh(add), ones(64), np.zeros(64, np.float32)
    bound = kernel.compile_for(x, x, out, 64)
    assert not out.any()
    bound[(4,)]()
    assert (out == 2).all() and bound.compiled.metadata.num_warps == 4
    other = np.zeros(64, np.float32)
    bound[lambda meta: (rtriton.cdiv(meta["n"], meta["BLOCK"]),)](n=32, out=other, y=x)
    assert other.tolist() == [2.0] * 32 + [0.0] * 32
    bound[(4,)](BLOCK=16, n=64, out=other)
    assert (other == 2).all()
    out[:] = 0
    bound[4,]()
    assert (out == 2).all()                     # new values are for one launch


@pytest.mark.parametrize(("name", "value", "message"), [
    ("n", 33, "n is i32 and was bound as i32 divisible by 16"), ("n", 1, "n is the constant 1 and was bound as i32"),
    ("n", 1 << 40, "n is i64 divisible by 16 and"), ("n", 64.0, "n is fp32 and"),
    ("BLOCK", 32, "BLOCK is the constant 32 and was bound as the constant 16"),
    ("x", np.zeros(64), r"x is \*fp64 divisible by 16 on cpu and was bound as \*fp32 divisible by 16 on cpu"),
    ("x", np.zeros(80, np.float32)[1:], r"x is \*fp32 on cpu and was bound as \*fp32 divisible by 16"),
])
def test_a_value_that_needs_another_kernel_is_refused_by_a_bound_one(name: str, value: Any, message: str) -> None:
    x = ones(64)
    bound = fresh(add).compile_for(x, x, ones(64), 64)
    with pytest.raises(ValueError, match=rf"add\(\): {message}"):
        bound[(1,)](**{name: value})
    with pytest.raises(TypeError, match=r"add\(\) has no argument 'z'"):
        bound[(1,)](z=1)


def test_captures_traces_and_hooks_see_launches_of_bound_kernels() -> None:
    x, out = ones(), np.zeros(16, np.float32)
    launch = fresh(add).compile_for(x, x, out, 16)[(1,)]
    with rtriton.capture() as graph, rtriton.trace() as launches:
        launch()
    assert out[0] == 0 and [(one.kernel, one.grid) for one in launches] == [("add", (1, 1, 1))]
    graph.replay()
    assert out[0] == 2
