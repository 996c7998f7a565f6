"""Where kernels come from: files that change, notebooks, other decorators; and that none is ever stale."""
from __future__ import annotations

import functools
import importlib.util
import linecache
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path / "cache"))


@rtriton.jit
def at_the_top(out):
    tl.store(out, 1.0)


def run(kernel: Any, *args: Any) -> float:
    out = np.zeros(1, np.float32)
    kernel[1,](out, *args)
    return float(out[0])


def module(path: Path, text: str) -> ModuleType:
    path.write_text("import rtriton, functools\nimport rtriton.language as tl\n" + text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = made
    spec.loader.exec_module(made)
    return made


def test_a_file_edited_after_it_was_imported_does_not_change_its_kernels(tmp_path: Path) -> None:
    text = "@rtriton.jit\ndef kernel(out):\n    tl.store(out, 4.0)\n"
    made = module(tmp_path / "edited_later.py", text)
    (tmp_path / "edited_later.py").write_text("# a line\n# and another\n" + text.replace("4.0", "5.0"))
    linecache.checkcache()
    assert run(made.kernel) == 4.0
    assert run(module(tmp_path / "edited_later.py", text.replace("4.0", "6.0")).kernel) == 6.0


def test_lines_further_left_than_a_kernel_are_no_end_of_it(tmp_path: Path) -> None:
    made = module(tmp_path / "further_left.py", """
class Holder:
    @rtriton.jit
    def kernel(out):
        '''A text
that goes on here.'''
# tl.store(out, 3.0)
        tl.store(out,
  7.0)
""")
    assert run(made.Holder.kernel) == 7.0
    with pytest.raises(rtriton.CompilationError, match=r"further_left.py:10:18: missing is not defined"):
        made.Holder.kernel._unsafe_update_src(made.Holder.kernel.src.replace("out,\n", "missing,\n"))
        run(made.Holder.kernel)


def test_a_function_under_functools_wraps_is_the_kernel_that_was_written(tmp_path: Path) -> None:
    made = module(tmp_path / "wrapped.py", """
def logged(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        raise AssertionError("kernels are compiled, not called")
    return wrapper

@rtriton.jit
@logged
def kernel(out, BLOCK: tl.constexpr = 2):
    tl.store(out, 3.0 * BLOCK)

class Holder:
    @staticmethod
    @rtriton.jit
    def method(out):
        tl.store(out, 8.0)
""")
    assert run(made.kernel) == 6.0 and made.kernel.__name__ == "kernel" and made.kernel.arg_names == ["out", "BLOCK"]
    assert run(made.Holder.method) == 8.0
    launcher = functools.partial(made.kernel[1,], BLOCK=5)
    out = np.zeros(1, np.float32)
    launcher(out)
    assert out[0] == 15.0


def test_a_cell_of_a_notebook_is_a_source() -> None:
    """As IPython runs a cell: compiled under a name of its own, its text in linecache."""
    def cell(number: int, text: str, names: dict[str, Any]) -> None:
        name = f"/tmp/ipykernel_1/{number}.py"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), names)

    names: dict[str, Any] = {"rtriton": rtriton, "tl": tl, "__name__": "__main__"}
    cell(1, "@rtriton.jit\ndef helper(x):\n    return x + 1\n", names)
    cell(2, "@rtriton.jit\ndef kernel(out):\n    tl.store(out, helper(1.0))\n", names)
    assert run(names["kernel"]) == 2.0
    cell(3, "@rtriton.jit\ndef helper(x):\n    return x + 10\n", names)      # edited and run again
    assert run(names["kernel"]) == 11.0
    assert run(names["kernel"]) == 11.0


def test_a_helper_of_a_helper_that_was_defined_anew_is_noticed(tmp_path: Path) -> None:
    text = ("@rtriton.jit\ndef inner(x):\n    return x * 2\n@rtriton.jit\ndef outer(x):\n    return inner(x)\n"
            "@rtriton.jit\ndef kernel(out):\n    tl.store(out, outer(3.0))\n")
    made = module(tmp_path / "two_levels.py", text)
    assert run(made.kernel) == 6.0
    made.inner = module(tmp_path / "two_levels_anew.py", text.replace("x * 2", "x * 5")).inner
    assert run(made.kernel) == 15.0


def test_an_edited_text_is_compiled_anew_wherever_it_is_used() -> None:
    @rtriton.jit
    def seven():
        return 7.0

    @rtriton.jit
    def by_name(out):
        tl.store(out, seven())

    @rtriton.jit
    def by_argument(out, fn: tl.constexpr):
        tl.store(out, fn())

    assert (run(by_name), run(by_argument, seven)) == (7.0, 7.0)
    before, key = seven.src, by_name.cache_key
    seven._unsafe_update_src(before.replace("7.0", "9.0"))
    assert (run(by_name), run(by_argument, seven)) == (9.0, 9.0)
    assert by_name.cache_key != key
    seven._unsafe_update_src(before)
    assert (run(by_name), run(by_argument, seven)) == (7.0, 7.0)
    assert by_name.cache_key == key
    with pytest.raises(AttributeError):
        seven.src = "def seven(): return 1.0"  # pyright: ignore[reportAttributeAccessIssue]


def test_what_a_constexpr_function_sees_is_part_of_the_key(tmp_path: Path) -> None:
    text = ("SIZE = {size}\n@rtriton.constexpr_function\ndef size():\n    return SIZE\n"
            "@rtriton.jit\ndef kernel(out):\n    tl.store(out, 1.0 * size())\n")
    assert run(module(tmp_path / "sized.py", text.format(size=3)).kernel) == 3.0
    assert run(module(tmp_path / "sized.py", text.format(size=4)).kernel) == 4.0


CONSTEXPR = """
import rtriton
import rtriton.language as tl
import {settings} as settings

def plain(): return 2

@rtriton.constexpr_function
def size(n={default}, *, m=1): return n * m * plain() + settings.EXTRA

@rtriton.jit
def kernel(out): tl.store(out, 1.0 * size())
"""


def sized(path: Path, name: str, default: int = 3, extra: int = 0) -> ModuleType:
    module(path / f"{name}_settings.py", f"EXTRA = {extra}\n")
    return module(path / f"{name}.py", CONSTEXPR.format(settings=f"{name}_settings", default=default))


def test_a_constexpr_function_given_another_text_means_that(tmp_path: Path) -> None:
    made = sized(tmp_path, "edited_known")

    @rtriton.jit
    def by_argument(out, fn: tl.constexpr):
        tl.store(out, 1.0 * fn())

    before, keys = made.size.src, (made.size.cache_key, made.kernel.cache_key)
    assert (run(made.kernel), run(by_argument, made.size)) == (6.0, 6.0)
    made.size._unsafe_update_src(before.replace("n * m", "n + 10 * m"))
    assert (run(made.kernel), run(by_argument, made.size), made.size(1, m=2)) == (23.0, 23.0, 41)
    assert made.size.cache_key != keys[0] and made.kernel.cache_key != keys[1]
    made.size._unsafe_update_src(before)
    assert (run(made.kernel), run(by_argument, made.size)) == (6.0, 6.0)
    assert (made.size.cache_key, made.kernel.cache_key) == keys


def test_a_closure_given_another_text_keeps_its_cells() -> None:
    one, two = 1, 2

    @rtriton.constexpr_function
    def both():
        return 10 * one + two

    @rtriton.jit
    def kernel(out):
        tl.store(out, 1.0 * both())

    assert run(kernel) == 12.0
    both._unsafe_update_src(both.src.replace("10 * one + two", "two"))
    assert run(kernel) == 2.0


@pytest.mark.parametrize("name", ["size", "plain"])
def test_plain_functions_that_are_defined_anew_are_compiled_anew(tmp_path: Path, name: str) -> None:
    made = sized(tmp_path, f"anew_{name}")
    assert run(made.kernel) == 6.0
    setattr(made, name, rtriton.constexpr_function(lambda: 7) if name == "size" else lambda: 7)
    assert run(made.kernel) == (7.0 if name == "size" else 21.0)


def test_what_constexpr_functions_default_to_and_take_out_of_modules_is_part_of_the_key(tmp_path: Path) -> None:
    assert [run(sized(tmp_path, "taken", *values).kernel) for values in ((3, 0), (4, 0), (4, 1))] == [6.0, 8.0, 9.0]


def test_a_constexpr_function_that_asks_the_machine_has_no_key() -> None:
    @rtriton.constexpr_function
    def asks():
        return os.getpid()

    with pytest.raises(RuntimeError, match=r"asks depends on .*os\.getpid.*no text can stand for"):
        asks.cache_key


def test_a_changed_default_is_another_kernel(tmp_path: Path) -> None:
    text = ("VALUE = {value}\n@rtriton.jit\ndef helper(x, y: tl.constexpr = VALUE):\n    return x + y\n"
            "@rtriton.jit\ndef kernel(out):\n    tl.store(out, helper(1.0))\n")
    assert run(module(tmp_path / "defaults.py", text.format(value=3)).kernel) == 4.0
    assert run(module(tmp_path / "defaults.py", text.format(value=5)).kernel) == 6.0


def test_settings_that_change_code_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = rtriton.jit(at_the_top.fn)
    run(kernel)
    for name, value in (("TRITON_DEFAULT_FP_FUSION", "0"), ("TRITON_F32_DEFAULT", "ieee"), ("RTRITON_SKIP", "cse")):
        before = len(kernel.cache)
        monkeypatch.setenv(name, value)
        run(kernel)
        run(kernel)
        assert len(kernel.cache) == before + 1, name


def test_another_cache_manager_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path / "managers.py", "class CacheManager: pass\n")
    monkeypatch.setenv("TRITON_CACHE_MANAGER", "managers:CacheManager")
    with pytest.raises(ValueError, match=r"knobs.cache.manager_class is not supported"):
        run(rtriton.jit(at_the_top.fn))


def test_kernels_are_pickled_by_name_and_errors_by_value() -> None:
    assert pickle.loads(pickle.dumps(at_the_top)) is at_the_top

    @rtriton.jit
    def local(out):
        tl.store(out, missing)  # noqa: F821

    with pytest.raises(pickle.PicklingError, match="define kernels at the top of a module"):
        pickle.dumps(local)
    with pytest.raises(rtriton.CompilationError) as caught:
        run(local)
    for error in (caught.value, rtriton.OutOfResources(3, 2, "threads"), rtriton.errors.AutotunerError("no"),
                  rtriton.errors.OptionError("x")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error)


def test_an_error_told_in_tritons_way_is_the_same_after_pickling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtriton.KernelError, "as_triton", True)

    @rtriton.jit
    def local(out):
        tl.store(out, missing)  # noqa: F821

    with pytest.raises(rtriton.CompilationError, match="at 2:18:") as caught:
        run(local)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_threads_compile_different_kernels_side_by_side() -> None:
    @rtriton.jit
    def store(out, N: tl.constexpr):
        tl.store(out, 1.0 * N)

    found: dict[int, float] = {}

    def work(n: int) -> None:
        found[n] = run(store, n)

    threads = [threading.Thread(target=work, args=(n,)) for n in (*range(2, 8), *range(2, 8))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: float(n) for n in range(2, 8)} and len(store.cache) == 6


def test_processes_that_hammer_one_cache_all_get_it_right(tmp_path: Path) -> None:
    program = tmp_path / "hammer.py"
    program.write_text("""
import sys, numpy as np, rtriton, rtriton.language as tl

@rtriton.jit
def store(out, N: tl.constexpr):
    tl.store(out, 1.0 * N)

out = np.zeros(1, np.float32)
for n in range(2, 10):
    store[1,](out, n)
    assert out[0] == n
""")
    running = [subprocess.Popen([sys.executable, str(program)], env={**os.environ,
               "PYTHONPATH": str(Path(rtriton.__file__).parents[1])}) for _ in range(3)]
    assert [p.wait(120) for p in running] == [0, 0, 0]
    left = [p for p in (tmp_path / "cache" / "kernels").rglob("*") if p.is_file()]
    assert len(left) == 8 and all(len(p.name) == 64 for p in left)


PLAIN = 3


def test_plain_globals_are_allowed_where_the_environment_says_so_and_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    global PLAIN

    @rtriton.jit
    def kernel(out):
        tl.store(out, PLAIN * 1.0)

    with pytest.raises(rtriton.CompilationError, match="Cannot access global variable PLAIN"):
        run(kernel)
    monkeypatch.setenv("TRITON_ALLOW_NON_CONSTEXPR_GLOBALS", "1")
    assert run(rtriton.jit(kernel.fn)) == 3.0
    again = rtriton.jit(kernel.fn)
    assert run(again) == 3.0
    PLAIN = 4
    with pytest.raises(RuntimeError, match="PLAIN has changed since we compiled this kernel, from 3 to 4"):
        run(again)
    assert run(rtriton.jit(kernel.fn)) == 4.0
    PLAIN = 3
