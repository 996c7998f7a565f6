"""What kernels know when compiling: constexprs, constexpr functions, functions as values, globals and closures."""
from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton.errors import CompilationError
from tests.frontend import helper_kernels
from tests.kernels.gpu import EXECUTIONS

BACKENDS = EXECUTIONS


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RTRITON_BACKEND", request.param)
    return request.param


@pytest.fixture
def on_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")


def refused(kernel: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(CompilationError) as caught:
        kernel[1,](*args, **kwargs)
    return caught.value.message


# -- constexpr on the host -------------------------------------------------------------------------------------------

def test_a_constexpr_computes_like_its_value_on_the_host() -> None:
    x = tl.constexpr(tl.constexpr(7))
    assert x.value == 7 and repr(x) == "constexpr[7]" and hash(x) == hash(7) and list(range(10))[x] == 7
    for made, wanted in ((x + 1, 8), (1 + x, 8), (x - 2, 5), (2 - x, -5), (x * 3, 21), (x / 2, 3.5), (14 / x, 2.0),
                         (x // 2, 3), (x % 4, 3), (x ** 2, 49), (2 ** x, 128), (x << 1, 14), (x >> 1, 3), (x & 3, 3),
                         (x | 8, 15), (x ^ 2, 5), (-x, -7), (+x, 7), (~x, -8), (x == 7, True), (x != 7, False),
                         (x < tl.constexpr(8), True), (x >= 8, False), (x.logical_and(0), 0), (x.logical_or(3), 7)):
        assert isinstance(made, tl.constexpr) and made.value == wanted and type(made.value) is type(wanted)
    assert bool(tl.constexpr(0)) is False and [*tl.constexpr((1, 2))] == [1, 2] and tl.constexpr([3, 4])[1].value == 4
    assert x.type == tl.constexpr_type(7) and isinstance(x.type, tl.constexpr_type)
    assert tl.constexpr(max)(1, 2) == 2
    pair = tl.constexpr((5, (6, 7)))
    assert pair.type == tl.constexpr_type((5, (6, 7))) != tl.constexpr_type((5, (6, 8)))
    assert len({pair.type, tl.constexpr_type((5, (6, 7)))}) == 1


@rtriton.jit
def types_of_known_tuples(given: tl.constexpr):
    written: tl.constexpr = (5, (6, 7))
    tl.static_assert(written.type == tl.constexpr_type((5, (6, 7))))
    tl.static_assert(given.type == written.type)
    tl.static_assert(given.type != tl.constexpr_type((5, 6)))


@pytest.mark.usefixtures("on_the_interpreter")
def test_the_type_of_a_tuple_known_when_compiling_is_the_tuple() -> None:
    types_of_known_tuples[1,]((5, (6, 7)))


# -- in kernels ------------------------------------------------------------------------------------------------------



@rtriton.jit
def arithmetic(out, N: tl.constexpr, name: tl.constexpr, dtype: tl.constexpr, nothing: tl.constexpr,
               mode: tl.constexpr, sizes: tl.constexpr, table: tl.constexpr):
    half: tl.constexpr = N // 2
    tl.static_assert(half == 8 and -N // 3 == -6 and N % 5 == 1 and N / 32 == 0.5 and 2 ** half == 256)
    tl.static_assert(name == "sum" and name != "max" and "su" in name and name.upper() == "SUM" and len(name) == 3)
    tl.static_assert(dtype == tl.float16 and dtype != tl.float32 and dtype.is_fp16())
    tl.static_assert(nothing is None and not (nothing is not None) and N is not None and nothing == None)
    tl.static_assert(mode == helper_kernels.Mode.EXACT and mode.name == "EXACT")
    tl.static_assert(sizes[0] == 4 and sizes[1][1] == 6 and len(sizes) == 2 and sizes[-1][0] == 5)
    tl.static_assert(table["wide"] == 64 and "narrow" not in table)
    tl.static_assert(f"{N:03d} {name!r} {half + 1}" == "016 'sum' 9")
    tl.static_assert(min(N, 3, 5) == 3 and max((1, N)) == 16 and abs(-N) == 16 and sum(sizes[1]) == 11)
    tl.static_assert(int(3.9) == 3 and float(3) == 3.0 and bool(N) and str(N) == "16" and round(2.6) == 3)
    tl.static_assert(isinstance(N, int) and isinstance(name, str) and isinstance(sizes, tuple))
    tl.static_assert(all((N > 1, half > 1)) and not any((N < 1, half < 1)) and tuple(reversed((1, 2))) == (2, 1))
    tl.static_assert([a * b for a, b in zip((1, 2), (3, 4), strict=True)] == (3, 8))
    tl.static_assert([i * v for i, v in enumerate((5, 6)) if i > 0] == (6,))
    tl.static_assert((N > 3 and half) == 8 and (nothing or name) == "sum" and not (nothing and tl.program_id(0)))
    x = half if N > 4 else nothing
    tl.store(out + tl.arange(0, half), x)
    tl.store(out + half, (N > 100 or tl.program_id(0) == 0).to(tl.int32))


def test_constexprs_of_every_kind_compute_in_kernels(backend: str) -> None:
    out = np.zeros(9, np.int32)
    arithmetic[1,](out, 16, "sum", tl.float16, None, helper_kernels.Mode.EXACT, [4, (5, tl.constexpr(6))],
                   {"wide": 64})
    assert out.tolist() == [8] * 8 + [1]


@rtriton.jit
def two():
    return 2.0


@rtriton.jit
def pair_of(x):
    return x, 3


@rtriton.jit
def returns(out, x):
    half = tl.load(x)
    tl.static_assert((half * 2.0).dtype == tl.float16)
    tl.static_assert((half * two()).dtype == tl.float32)      # a returned number is a scalar of the kernel
    tl.static_assert(pair_of(1.5)[0].dtype == tl.float32 and pair_of(1)[1].dtype == tl.int32)
    tl.store(out, half * two() + pair_of(1)[1])


def test_a_number_that_a_function_returns_promotes_as_a_scalar(backend: str) -> None:
    out = np.zeros(1, np.float32)
    returns[1,](out, np.array([1.5], np.float16))
    assert out[0] == 6


@rtriton.jit
def helper_with_constexpr(x, factor: tl.constexpr):
    return x * factor


@rtriton.jit
def passes_a_value_for_a_constexpr(out, n):
    tl.store(out, helper_with_constexpr(n, n))


@rtriton.jit
def sized_by(n: tl.constexpr):
    return tl.arange(0, n)


@rtriton.jit
def needs_a_constexpr(out, n):
    tl.store(out + sized_by(n), 1)


def test_a_run_time_value_may_meet_a_constexpr_parameter_but_not_a_size(backend: str) -> None:
    out = np.zeros(1, np.int32)
    passes_a_value_for_a_constexpr[1,](out, 5)
    assert out[0] == 25
    assert "arange's end must be known when compiling" in refused(needs_a_constexpr, out, 4)


@rtriton.jit
def reassigned(out, n: tl.constexpr):
    n: tl.constexpr = 3
    tl.store(out, n)


@rtriton.jit
def orders_a_nan(a: tl.constexpr, b: tl.constexpr):
    min(a, b)


@pytest.mark.usefixtures("on_the_interpreter")
def test_what_constexprs_cannot_do_is_refused_in_a_sentence() -> None:
    assert "a constexpr cannot be reassigned" in refused(reassigned, np.zeros(1, np.int32), 3)
    assert "min of nan is not decided when compiling" in refused(orders_a_nan, 1.0, float("nan"))
    assert "min of -0.0 is not decided when compiling" in refused(orders_a_nan, 1.0, -0.0)


# -- constexpr functions ---------------------------------------------------------------------------------------------

@rtriton.constexpr_function
def steps(size: int, block: int = 4) -> int:
    assert type(size) is int and type(block) is int
    return -(-size // block)


@rtriton.constexpr_function
def halves(shape: Any) -> Any:
    return [n // 2 for n in shape]


@rtriton.constexpr_function
def kind_of(x: Any) -> str:
    return "tile" if x.type.is_block() else str(x.dtype)


@rtriton.constexpr_function
def twice(x: Any) -> Any:
    return x * 2


@rtriton.constexpr_function
def fails() -> None:
    raise RuntimeError("there is no such table")


@rtriton.jit
def calls_constexpr_functions(out, n, SIZE: tl.constexpr, count: tl.constexpr = steps(tl.constexpr(40), block=10)):
    tl.static_assert(steps(SIZE) == 4 and steps(size=SIZE, block=8) == 2 and count == 4)
    tl.static_assert(halves((SIZE, 4)) == (8, 2) and halves([SIZE])[0] == 8)
    tl.static_assert(kind_of(n) == "int32" and kind_of(tl.arange(0, 4)) == "tile")
    tl.static_assert(rtriton.cdiv(SIZE, 3) == 6 and rtriton.next_power_of_2(SIZE + 1) == 32)
    tl.static_assert(math.log2(SIZE) == 4 and math.pi > 3 and int(math.sqrt(SIZE)) == 4)
    tl.static_assert(helper_kernels.plain(SIZE) == 17)
    tl.store(out + tl.arange(0, steps(SIZE)), n)


@rtriton.jit
def computes_on_a_value(n):
    twice(n)


@rtriton.jit
def fails_when_compiling():
    fails()


def test_constexpr_functions_and_plain_functions_of_modules_run_when_compiling(backend: str) -> None:
    out = np.zeros(4, np.int32)
    calls_constexpr_functions[1,](out, 7, 16)
    assert out.tolist() == [7] * 4
    assert steps(9) == 3 and steps(tl.constexpr(9), block=tl.constexpr(2)) == 5
    assert "twice works on what is known when compiling, got a value of type i32" in refused(computes_on_a_value, 5)
    assert "RuntimeError: there is no such table" in refused(fails_when_compiling)


# -- functions as values ---------------------------------------------------------------------------------------------

@rtriton.jit
def plus(a, b=10):
    return a + b


@rtriton.jit
def times(a, b=10):
    return a * b


@rtriton.jit
def combined(x, y, fn: tl.constexpr = plus):
    return fn(x, y)


@rtriton.jit(noinline=True)
def apart(x, y, fn: tl.constexpr):
    if x > y:
        return fn(x, y)
    return fn(y, x) - 1


@rtriton.jit
def functions(out, x, fn, fns: tl.constexpr, pair):
    tl.store(out, fn(x))
    tl.store(out + 1, fn(b=x, a=2))
    for i in tl.static_range(len(fns)):
        tl.store(out + 2 + i, fns[i](x, 3))
    tl.store(out + 4, pair[0](x, pair[1]))
    tl.store(out + 5, combined(x, 3) + combined(x, 3, fn=times))
    tl.store(out + 6, tl.reduce(tl.arange(0, 4) + x, 0, fn))
    tl.store(out + 7, apart(x, 3, plus))
    tl.store(out + 8, helper_kernels.nested.negated(x))
    chosen = times if x is None else plus
    tl.store(out + 9, chosen(x))


def test_kernel_functions_are_arguments_elements_and_defaults(backend: str) -> None:
    out = np.zeros(10, np.int32)
    functions[1,](out, 5, times, [plus, times], (plus, 7))
    assert out.tolist() == [50, 10, 8, 15, 12, 23, 5 * 6 * 7 * 8, 8, -5, 15]


@rtriton.jit
def power(x, n: tl.constexpr):
    if n == 0:
        return 1.0
    else:
        return power(x, n - 1) * x


@rtriton.jit
def halved(x):
    if x.shape[0] == 1:
        return x
    else:
        a, b = x.reshape((x.shape[0] // 2, 2)).split()
        return halved(a) + halved(b)


@rtriton.jit
def recursive(out, x, DEPTH: tl.constexpr):
    tl.store(out, power(x, DEPTH))
    tl.store(out + 1 + tl.arange(0, 1), halved(tl.arange(0, 32)).to(tl.float32))


@rtriton.jit
def endless(x):
    return endless(x)


@rtriton.jit
def calls_endless(x):
    endless(x)


def test_functions_recurse_on_what_is_known(backend: str) -> None:
    out = np.zeros(2, np.float32)
    recursive[1,](out, 1.125, 40)
    np.testing.assert_allclose(out, [1.125 ** 40, 31 * 16], rtol=1e-5)
    assert "a recursion must end by what is known when compiling" in refused(calls_endless, 3)


@rtriton.must_use_result("add it to something")
@rtriton.jit
def only_a_result(x):
    return x + 1


@rtriton.jit
def drops_a_result(x):
    only_a_result(x)


@rtriton.jit
def advances_nothing(x):
    block = tl.make_block_ptr(x, (16,), (1,), (0,), (16,), (0,))
    block.advance((4,))


@rtriton.jit
def waits_for_others(out):
    tl.extra.cuda.gdc_wait()
    tl.store(out, only_a_result(6))
    tl.extra.cuda.gdc_launch_dependents()


def test_a_result_that_is_all_a_call_does_must_be_used(backend: str) -> None:
    out = np.zeros(16, np.int32)
    assert refused(drops_a_result, 3) == "The result of only_a_result is not being used. add it to something"
    assert "The result of advance is not being used. it moves nothing by itself" in refused(advances_nothing, out)
    waits_for_others[1,](out)
    assert out[0] == 7


# -- globals and closures --------------------------------------------------------------------------------------------

class Box(NamedTuple):
    value: Any


KNOWN = tl.constexpr(3)
ANNOTATED: tl.constexpr = 4
PLAIN = 5
TYPE = tl.float32
current = plus


@rtriton.jit
def sees_globals(out):
    tl.store(out, KNOWN)
    tl.store(out + 2, Box(KNOWN + 1).value)
    tl.store(out + 3, tl.full((), 2.5, TYPE).to(tl.int32))
    tl.store(out + 4, helper_kernels.FACTOR)
    tl.store(out + 5, current(1, 2))


@rtriton.jit
def sees_an_annotated_global(out):
    tl.store(out, ANNOTATED)


@rtriton.jit
def sees_a_plain_global(out):
    tl.store(out, PLAIN)


def test_kernels_see_constexprs_types_classes_functions_and_modules(backend: str) -> None:
    out = np.zeros(6, np.int32)
    sees_globals[1,](out)
    assert out.tolist() == [3, 0, 4, 2, 9, 3]


@pytest.mark.usefixtures("on_the_interpreter")
def test_a_plain_global_is_refused_unless_the_environment_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out = np.zeros(1, np.int32)
    assert "Cannot access global variable PLAIN" in refused(sees_a_plain_global, out)
    assert "may change, whatever its annotation; write ANNOTATED = " in refused(sees_an_annotated_global, out)
    monkeypatch.setenv("TRITON_ALLOW_NON_CONSTEXPR_GLOBALS", "1")
    rtriton.jit(sees_a_plain_global.fn)[1,](out)
    assert out[0] == 5


@pytest.mark.usefixtures("on_the_interpreter")
@pytest.mark.parametrize(("name", "value"), [("KNOWN", tl.constexpr(30)), ("TYPE", tl.float64)])
def test_a_global_that_changes_after_compiling_is_noticed(
        name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out = np.zeros(6, np.int32)
    kernel = rtriton.jit(sees_globals.fn)
    kernel[1,](out)
    monkeypatch.setitem(globals(), name, value)
    with pytest.raises(RuntimeError, match=f"Global variable {name} has changed"):
        kernel[1,](out)
    monkeypatch.undo()
    monkeypatch.setenv("RTRITON_BACKEND", "interpret")
    kernel[1,](out)


@pytest.mark.usefixtures("on_the_interpreter")
def test_a_function_bound_anew_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    out = np.zeros(6, np.int32)
    sees_globals[1,](out)
    assert out[5] == 3
    monkeypatch.setitem(globals(), "current", times)
    sees_globals[1,](out)
    assert out[5] == 2


def test_a_kernel_closes_over_constexprs_functions_and_classes(backend: str) -> None:
    scale, fn, kind = tl.constexpr(6), times, Box

    @rtriton.jit
    def kernel(out, x):
        tl.store(out, fn(kind(x).value, scale))

    out = np.zeros(1, np.int32)
    kernel[1,](out, 7)
    assert out[0] == 42
    scale = tl.constexpr(60)
    with pytest.raises(RuntimeError, match="Global variable scale has changed"):
        kernel[1,](out, 7)
