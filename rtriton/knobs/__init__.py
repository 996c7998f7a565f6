"""Every setting of rtriton: a tree of families of knobs, as `triton.knobs`, and functions for rtriton's own variables.

    from rtriton import knobs
    knobs.compilation.always_compile = True      # or TRITON_ALWAYS_COMPILE=1
    if knobs.backend() == "interpret": ...       # RTRITON_BACKEND

Everything is read when it is used. Inside rtriton only `knobs/environment.py` touches the environment.
"""
from __future__ import annotations

from pathlib import Path
from typing import Any

from rtriton.knobs import environment
from rtriton.knobs.families import (
    amd_knobs, autotuning_knobs, build_knobs, cache_knobs, compilation_knobs, language_knobs, nvidia_knobs,
    proton_knobs, redis_knobs, runtime_knobs,
)
from rtriton.knobs.fields import (
    Env, NvidiaTool, base_knobs, env, env_base, env_bool, env_class, env_int, env_nvidia_tool, env_opt_bool,
    env_opt_str, env_str, env_str_callable_default, setenv, toenv, touched,
)
from rtriton.knobs.hooks import CompileTimes, HookChain

CHECKS = ("bounds",)
BACKENDS = ("", "interpret", "cpu", "emulate", "cuda")

propagate_env: bool = True      # whether a knob that is set in Python is written to the environment too

build = build_knobs()
redis = redis_knobs()
cache = cache_knobs()
compilation = compilation_knobs()
autotuning = autotuning_knobs()
runtime = runtime_knobs()
language = language_knobs()
nvidia = nvidia_knobs()
amd = amd_knobs()
proton = proton_knobs()


def refresh_knobs() -> None:
    """Read again the two variables that are read only once: TRITON_DEBUG and TRITON_INSTRUMENTATION_MODE."""
    runtime.debug = environment.flag("TRITON_DEBUG")
    compilation.instrumentation_mode = environment.read("TRITON_INSTRUMENTATION_MODE") or ""


def backend() -> str:
    """RTRITON_BACKEND: interpret, cpu, emulate or cuda for every kernel; "" (default) picks by where the arrays are.
    RTRITON_INTERPRET=1 and TRITON_INTERPRET=1 mean interpret, unless RTRITON_BACKEND says otherwise."""
    state = (PLACE.texts(), vars(runtime).get("interpret"))
    if _last_place[0] != state:
        _last_place[:] = state, _backend()
    return _last_place[1]


PLACE = environment.Watched("RTRITON_BACKEND", "RTRITON_INTERPRET", "TRITON_INTERPRET")
_last_place: list[Any] = [None, ""]


def _backend() -> str:
    chosen = environment.read("RTRITON_BACKEND") or ""
    if not chosen and runtime.interpret:
        return "interpret"
    if chosen not in BACKENDS:
        raise ValueError(f"RTRITON_BACKEND is one of interpret, cpu, emulate, cuda, got {chosen!r}")
    return chosen


CODE = environment.Watched("TRITON_F32_DEFAULT", "TRITON_DEFAULT_FP_FUSION", "RTRITON_SKIP", "RTRITON_TARGET",
                           "RTRITON_CHECK", "TRITON_OVERRIDE_ARCH")


def code_state() -> tuple[Any, ...]:
    """What settings made code depend on: equal while none of them changes. Cheap, as every launch asks."""
    set_here = vars(language)
    return (*CODE.texts(), *set_here.items(), vars(runtime).get("override_arch"))


LAUNCH = environment.Watched(*PLACE.names, *CODE.names, "RTRITON_TRACE")


def launch_state() -> tuple[Any, ...] | None:
    """What settings a launch depends on beside its arguments: equal while none of them changes, () while all have their
    defaults. None where launches are to be looked at one by one: launch hooks, RTRITON_TRACE."""
    if LAUNCH.none_set(LAUNCH.keys) and not (touched or launch_hooks[0].calls or launch_hooks[1].calls):
        return ()                               # as launchers ask for themselves, to spare the call
    texts, set_here, set_there = LAUNCH.texts(), vars(language), vars(runtime)
    if runtime.launch_enter_hook or runtime.launch_exit_hook or (texts[-1] and launch_trace()):
        return None
    if not (set_here or set_there or any(texts)):
        return ()
    return (*texts, *set_here.items(), set_there.get("override_arch"), set_there.get("interpret"), runtime.debug)


launch_hooks = runtime_knobs.launch_enter_hook, runtime_knobs.launch_exit_hook


def dump_dir() -> Path | None:
    """RTRITON_DUMP, or Triton's TRITON_KERNEL_DUMP=1 with TRITON_DUMP_DIR: a folder to write every stage of every
    compiled kernel into."""
    return environment.path("RTRITON_DUMP") or (Path(cache.dump_dir) if compilation.dump_ir else None)


def override_dir() -> Path | None:
    """RTRITON_OVERRIDE, or TRITON_KERNEL_OVERRIDE=1 with TRITON_OVERRIDE_DIR: a folder to read edited stages from."""
    return environment.path("RTRITON_OVERRIDE") or (Path(cache.override_dir) if compilation.override else None)


def skipped_passes() -> frozenset[str]:
    """RTRITON_SKIP: comma-separated passes to leave out (for ablations)."""
    return frozenset(p.strip() for p in (environment.read("RTRITON_SKIP") or "").split(",") if p.strip())


def checks() -> frozenset[str]:
    """RTRITON_CHECK=bounds: kernels check that accesses are inside of their arrays, and a launch that is not raises."""
    chosen = frozenset(c.strip() for c in (environment.read("RTRITON_CHECK") or "").split(",") if c.strip())
    if wrong := chosen - set(CHECKS):
        raise ValueError(f"RTRITON_CHECK is any of {', '.join(CHECKS)}, got {', '.join(sorted(wrong))!r}")
    return chosen


def verify_each_pass() -> bool:
    """RTRITON_VERIFY=1: verify the IR after every pass, not only at the end."""
    return environment.flag("RTRITON_VERIFY")


def always_compile() -> bool:
    """Do not read the disk cache?"""
    return bool(compilation.always_compile)


def cache_dir() -> Path:
    """RTRITON_CACHE_DIR or TRITON_CACHE_DIR, else $TRITON_HOME/.triton/cache, else $XDG_CACHE_HOME/rtriton, else
    ~/.cache/rtriton."""
    return Path(cache.dir)


def num_threads() -> int:
    """RTRITON_NUM_THREADS, else the processors this process may run on."""
    text = environment.read("RTRITON_NUM_THREADS")
    if not text:
        return environment.processors()
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"RTRITON_NUM_THREADS is a positive number, got {text!r}")
    return int(text)


def ptxas() -> str:
    """RTRITON_PTXAS or TRITON_PTXAS_PATH, or what knobs.nvidia.ptxas was set to: the ptxas to use before any other
    that is found ("": none was named)."""
    return vars(nvidia).get("ptxas") or environment.read("RTRITON_PTXAS", "TRITON_PTXAS_PATH") or ""


def disassembler() -> str:
    """TRITON_NVDISASM_PATH, or what knobs.nvidia.nvdisasm was set to: the nvdisasm to use before any other that is
    found ("": none was named)."""
    return vars(nvidia).get("nvdisasm") or environment.read("TRITON_NVDISASM_PATH") or ""


def f32_default_precision() -> str:
    """TRITON_F32_DEFAULT: the precision of a float32 `dot` that names none (default tf32)."""
    return language.fp32_default or "tf32"


def launch_trace() -> bool:
    """RTRITON_TRACE=1: print each launch (kernel, grid) to standard error."""
    return environment.flag("RTRITON_TRACE")


def target() -> str:
    """RTRITON_TARGET, or Triton's TRITON_OVERRIDE_ARCH (`sm90`): the GPU architecture that code is made for where no
    GPU says (default sm_90a)."""
    chosen = environment.read("RTRITON_TARGET")
    if chosen:
        return chosen
    forced = runtime.override_arch
    if not forced:
        return "sm_90a"
    name = "sm_" + forced.removeprefix("sm").removeprefix("_")
    return "sm_90a" if name == "sm_90" else name


__all__ = [
    "BACKENDS", "CHECKS", "CompileTimes", "Env", "HookChain", "NvidiaTool", "amd", "amd_knobs", "autotuning",
    "autotuning_knobs", "base_knobs", "build", "build_knobs", "cache", "cache_knobs", "compilation",
    "compilation_knobs", "env", "env_base", "env_bool", "env_class", "env_int", "env_nvidia_tool", "env_opt_bool",
    "env_opt_str", "env_str", "env_str_callable_default", "language", "language_knobs", "nvidia", "nvidia_knobs",
    "propagate_env", "proton", "proton_knobs", "redis", "redis_knobs", "refresh_knobs", "runtime", "runtime_knobs",
    "setenv", "toenv", "touched",
]
