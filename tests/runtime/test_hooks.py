"""Hooks: what programs are told of compilations and launches, and what they can change."""
from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtriton
import rtriton.language as tl
from rtriton import knobs


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("RTRITON_BACKEND", "cpu")
    monkeypatch.setenv("RTRITON_CACHE_DIR", str(tmp_path))
    with knobs.runtime.scope(), knobs.compilation.scope():
        yield


def double(x, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(x + at, tl.load(x + at, mask=at < n) * 2, mask=at < n)


def kernel(**options: Any) -> rtriton.JITFunction:
    return rtriton.jit(**options)(double)


def ones() -> np.ndarray:
    return np.ones(16, np.float32)


def test_launch_hooks_see_every_launch_with_what_the_kernel_adds() -> None:
    def describe(grid: Any, metadata: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"grid": grid, "warps": metadata.num_warps, "bytes": arguments["x"].nbytes}

    heard: list[Any] = []
    chains = knobs.runtime.launch_enter_hook, knobs.runtime.launch_exit_hook

    def enter(told: Any) -> None:
        heard.append({k: v for k, v in told.get().items() if k != "function"})

    def leave(told: Any) -> None:
        heard.append("left " + told.get()["name"])

    chains[0].add(enter)
    chains[1].add(leave)
    try:
        made = kernel(launch_metadata=describe)
        compiled = made[(1, 1)](ones(), 16, BLOCK=16, num_warps=2)
        compiled[(1,)](ones(), 16, 16)
    finally:
        chains[0].remove(enter)
        chains[1].remove(leave)
    made[1,](ones(), 16, BLOCK=16)
    seen = {"name": "double", "stream": 0, "warps": 2, "bytes": 64}
    assert heard == [{**seen, "grid": (1, 1)}, "left double", {**seen, "grid": (1,)}, "left double"]


def test_load_hooks_surround_the_first_launch() -> None:
    heard: list[tuple[Any, ...]] = []

    def start(module: Any, function: Any, name: str, group: dict[str, str], hash: str) -> None:
        heard.append((module, function, name, hash))

    def end(module: Any, function: Any, name: str, group: dict[str, str], hash: str) -> None:
        heard.append((module is not None, function is not None, name, hash))

    knobs.runtime.kernel_load_start_hook.add(start)
    knobs.runtime.kernel_load_end_hook.add(end)
    try:
        made = kernel()
        compiled = made.warmup(ones(), 16, BLOCK=16)
        assert not heard
        for _ in range(2):
            made[1,](ones(), 16, BLOCK=16)
    finally:
        knobs.runtime.kernel_load_start_hook.remove(start)
        knobs.runtime.kernel_load_end_hook.remove(end)
    assert heard == [(None, None, "double", compiled.hash), (True, True, "double", compiled.hash)]


def test_compile_hooks_are_told_of_each_new_kernel_once() -> None:
    before: list[dict[str, Any]] = []
    after: list[dict[str, Any]] = []
    knobs.runtime.jit_cache_hook = lambda **told: before.append(told)
    knobs.runtime.jit_post_compile_hook = lambda **told: after.append(told)
    made = kernel()
    for n in (16, 32, 7, 1):
        made[1,](ones(), n, BLOCK=16)
    assert [t["compile"]["signature"]["n"] for t in before] == ["i32", "i32", "constexpr"]
    assert [t["compile"]["configs"][0] for t in before[:2]] == [
        {(0,): [["tt.divisibility", 16]], (1,): [["tt.divisibility", 16]]}, {(0,): [["tt.divisibility", 16]]}]
    assert before == after and all(t["key"] in made.device_caches[0][0] for t in before)
    assert before[0]["fn"].name == "double" and before[0]["fn"].jit_function is made
    assert before[0]["compile"]["num_warps"] == 4 and not before[0]["is_manual_warmup"]
    assert before[0]["repr"].startswith("double[num_warps=4, num_ctas=1, num_stages=3, ")


def test_a_cache_hook_that_says_so_keeps_a_kernel_from_compiling_and_running() -> None:
    knobs.runtime.jit_cache_hook = lambda **told: True
    x, made = ones(), kernel()
    assert made[1,](x, 16, BLOCK=16) is None
    assert (x == 1).all() and not made.cache


def test_what_a_hook_was_told_is_compiled_again_by_preload() -> None:
    told: list[str] = []
    knobs.runtime.jit_cache_hook = lambda **t: told.append(t["compile"]["specialization_data"])
    first = kernel().warmup(ones(), 16, BLOCK=16, num_warps=2)
    knobs.runtime.jit_cache_hook = None
    assert json.loads(told[0])["name"] == f"{__name__}.double"
    other = kernel()
    assert other.preload(told[0]).hash == first.hash
    knobs.runtime.jit_cache_hook = lambda **t: pytest.fail("compiled again")
    x = ones()
    other[1,](x, 16, BLOCK=16, num_warps=2)
    assert (x == 2).all()

    @rtriton.jit
    def another(x):
        tl.store(x, 1)

    with pytest.raises(RuntimeError, match=r"Specialization data is for .*double but trying to preload for .*another"):
        another.preload(told[0])


def test_a_listener_hears_how_long_each_part_took_and_of_cache_hits() -> None:
    heard: list[dict[str, Any]] = []
    knobs.compilation.listener = lambda **told: heard.append(told)
    kernel()[1,](ones(), 16, BLOCK=16)
    kernel()[1,](ones(), 16, BLOCK=16)
    assert [t["cache_hit"] for t in heard] == [False, True]
    first, second = (t["times"] for t in heard)
    assert [name for name, _ in first.lowering_stages] == ["tir", "cpu"]
    assert first.ir_initialization > 0 and first.total_lowering > 0 and first.store_results > 0
    assert second.total_lowering == second.store_results == 0 and 0 < second.total < first.total
    assert heard[0]["metadata"]["hash"] == heard[1]["metadata"]["hash"]
    assert heard[0]["metadata"]["target"].backend == "cpu" and heard[0]["src"].signature["x"] == "*fp32"
    (path,) = heard[0]["metadata_group"].values()
    assert Path(path).is_file()


def test_a_stage_can_be_replaced_and_the_cache_tells_it_apart() -> None:
    def inspect(*given: Any) -> Any:
        if not given:
            return "negated"
        _, stages, _, language, _ = given
        assert language == "triton" and list(stages) == ["tir", "cpu"]
        before = stages["tir"]

        def negated(made: Any, options: Any) -> Any:
            from rtriton.text import parse, show

            return parse(show(before(made, options)).replace("2.0", "-2.0"))

        stages["tir"] = negated
        return None

    x, y = ones(), ones()
    kernel()[1,](y, 16, BLOCK=16)
    knobs.runtime.add_stages_inspection_hook = inspect
    kernel()[1,](x, 16, BLOCK=16)
    assert (x == -2).all() and (y == 2).all()


def test_hooks_before_a_launch_see_its_arguments() -> None:
    made, x = kernel(), ones()
    made.add_pre_run_hook(lambda *args, **kwargs: args[0].fill(kwargs["BLOCK"]))
    made[1,](x, 16, BLOCK=16)
    assert (x == 32).all()
    with pytest.raises(TypeError, match="a hook is a function"):
        made.add_pre_run_hook(3)  # pyright: ignore[reportArgumentType]


def test_warmups_compile_in_the_background_and_launches_wait_for_theirs() -> None:
    made = kernel()
    with ThreadPoolExecutor(2) as pool, rtriton.AsyncCompileMode(pool):
        futures = [made.warmup(ones(), n, BLOCK=16, grid=(1,)) for n in (16, 7, 16)]
        assert futures[0] is futures[2] and isinstance(futures[1], rtriton.FutureKernel)
        x = ones()
        made[1,](x, 7, BLOCK=16)
        assert x.tolist() == [2] * 7 + [1] * 9
    assert len(made.cache) == 2
    with pytest.raises(RuntimeError, match="do not nest"), ThreadPoolExecutor(1) as pool, \
            rtriton.AsyncCompileMode(pool), rtriton.AsyncCompileMode(pool):
        pass


def test_a_dtype_stands_for_an_array_in_a_warmup() -> None:
    made = kernel()
    made.warmup(rtriton.MockTensor(np.float32), 16, BLOCK=16)
    made.warmup(rtriton.MockTensor(tl.float32, (4, 4)), 16, BLOCK=16)
    made.warmup(ones(), 16, BLOCK=16)
    assert len(made.cache) == 1
    assert rtriton.MockTensor(np.int8, (2, 3, 4)).stride() == (12, 4, 1)
    torch = pytest.importorskip("torch")
    made.warmup(torch.float32, 16, BLOCK=16)
    assert len(made.cache) == 1


@pytest.mark.parametrize("backend", ["interpret", "cpu", "emulate"])
def test_a_kernel_may_be_named_by_how_it_specialises(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTRITON_BACKEND", backend)
    made = kernel(repr=lambda s: f"double[{s.constants['BLOCK']}]_{s.signature['n']}")
    x = ones()
    compiled = made[1,](x, 16, BLOCK=16)
    assert compiled.name == compiled.metadata.name == "double_16__i32" and (x == 2).all()
    assert f"@{compiled.name}(" in compiled.asm["tir"]
    assert kernel(repr=lambda s: "again").warmup(x, 16, BLOCK=16).name == "again"
