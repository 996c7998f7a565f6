"""Launch options: their names, defaults, and what each asks of a backend.

    kernel[grid](x, n, num_warps=8, enable_fp_fusion=False)

An option does something, or is refused by name where something else was asked for. Those of the GPU (num_warps,
num_stages, num_ctas, maxnreg, launch_cooperative_grid) mean nothing on a CPU and in the interpreter, and are taken
there as in Triton's: programs run in increasing order, so that one that waits for a later one waits for ever.

num_ctas is a hint: how many CTAs of a cluster may share the work of a program. A program is one CTA here, with the same
result; one that needs the shared memory of several is OutOfResources. cluster_dims=(2, 1, 1) has neighbouring programs
run side by side as a cluster (see docs/launch.md). GPUs before sm_90 have no clusters and refuse both.

enable_reflect_ftz: exponentials of f32 on a GPU give 0 where their result is subnormal, as is fastest; False keeps it.
"""
from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod
from pathlib import Path
from typing import Any

from rtriton import knobs
from rtriton.devices import GPUTarget
from rtriton.errors import OptionError, OutOfResources, nearest
from rtriton.guards import is_list, is_mapping

MAX_THREADS = 1024      # of one program, on every GPU there is
MAX_CLUSTER = 16        # CTAs of a cluster, on Hopper

DEFAULTS: dict[str, Any] = {
    "num_warps": 4, "num_stages": 3, "num_ctas": 1, "maxnreg": None, "debug": None, "sanitize_overflow": True,
    "enable_fp_fusion": None, "launch_cooperative_grid": False, "launch_pdl": False, "ir_override": None,
    "ptx_options": None, "extern_libs": None, "arch": None, "enable_reflect_ftz": True, "cluster_dims": (1, 1, 1),
}

# Triton's options with nothing behind them: taken at their default only
FIXED: dict[str, Any] = {
    "instrumentation_mode": "", "warp_size": 32, "backend_name": "cuda",
    "ptx_version": None, "supported_fp8_dtypes": None, "deprecated_fp8_dot_operand_dtypes": None,
    "default_dot_input_precision": "tf32", "allowed_dot_input_precisions": None, "max_num_imprecise_acc_default": None,
}
GPU = ("cuda", "emulate", "ptx")


def resolve(given: Mapping[str, Any], parameters: Collection[str], debug: bool | None) -> dict[str, Any]:
    """All options of a launch. KeyError for a name that is neither option nor parameter, OptionError for a value that
    no backend takes."""
    options = dict(DEFAULTS)
    for name, value in given.items():
        if name in options:
            options[name] = value
        elif name in FIXED:
            if value is not None and value != FIXED[name]:
                raise OptionError(f"{name}={value!r} is not supported: leave it out")
        elif name not in parameters:
            known = nearest(name, (*DEFAULTS, *parameters))
            raise KeyError(f"Keyword argument {name} was specified but unrecognised{known}")
    if options["debug"] is None:
        options["debug"] = bool(debug)
    options["debug"] = bool(options["debug"]) or knobs.runtime.debug
    if given:
        _check(options)
    return options


def settled(options: dict[str, Any]) -> dict[str, Any]:
    """With what the environment says where a launch says nothing; asked for when compiling, not at each launch."""
    said: dict[str, Any] = {"enable_fp_fusion": knobs.language.default_fp_fusion, "arch": knobs.runtime.override_arch}
    return {name: said[name] if value is None and name in said else value for name, value in options.items()}


def _check(options: dict[str, Any]) -> None:
    warps = options["num_warps"]
    if not isinstance(warps, int) or warps < 1 or warps & (warps - 1):
        raise OptionError(f"num_warps must be a power of 2, got {warps!r}")
    for name in ("num_stages", "num_ctas", "maxnreg"):
        value = options[name]
        if not isinstance(value, int) and not (value is None and name == "maxnreg"):
            raise OptionError(f"{name} is a whole number, got {value!r}")
    if options["num_stages"] < 0:
        raise OptionError(f"num_stages is a whole number from 0, got {options['num_stages']}")
    ctas = options["num_ctas"]
    if not 1 <= ctas <= MAX_CLUSTER or ctas & (ctas - 1):
        raise OptionError(f"num_ctas must be a power of 2 from 1 to {MAX_CLUSTER}, got {ctas!r}")
    options["cluster_dims"] = _cluster(options["cluster_dims"])
    options["extern_libs"] = _libraries(options["extern_libs"])
    override = options["ir_override"]
    if override is not None and Path(override).suffix not in (".tir", ".ptx"):
        raise OptionError(f"ir_override names a file of tile IR (.tir) or PTX (.ptx), got {override!r}: "
                          "Triton's own IR is not read")


def _cluster(given: Any) -> tuple[int, ...]:
    """One to three sizes of a cluster of programs; those that are left out are 1."""
    sizes = tuple(given) if is_list(given) else (given,)
    if not 1 <= len(sizes) <= 3 or not all(isinstance(n, int) and n > 0 for n in sizes) or prod(sizes) > MAX_CLUSTER:
        raise OptionError(f"cluster_dims has one to three sizes, {MAX_CLUSTER} programs at most, got {given!r}")
    return (*sizes, 1, 1)[:3]


def _libraries(given: Any) -> tuple[tuple[str, str], ...] | None:
    """Bitcode libraries by name. libdevice's functions are part of the language here; nothing else can be linked."""
    if not given:
        return None
    named = tuple(given.items() if is_mapping(given) else given)
    for name, _ in named:
        if name != "libdevice":
            raise OptionError(f"extern_libs: {name} cannot be linked: write its functions in the kernel language")
    return named


def check_for(backend: str, options: Mapping[str, Any]) -> None:
    """OutOfResources for more threads than a program of this backend has."""
    if backend not in GPU:
        return
    if options["num_warps"] * 32 > MAX_THREADS:
        raise OutOfResources(options["num_warps"] * 32, MAX_THREADS, "threads")


def wants_clusters(options: Mapping[str, Any]) -> bool:
    """Are CTAs to share work, or programs to run side by side?"""
    return options["num_ctas"] > 1 or prod(options["cluster_dims"]) > 1


def need_clusters(options: Mapping[str, Any], target: GPUTarget) -> None:
    """OptionError where clusters are asked of a GPU that has none."""
    if target.backend != "cuda" or int(target.arch) >= 90:
        return
    wished = "num_ctas > 1" if options["num_ctas"] > 1 else "cluster_dims"
    raise OptionError(f"{wished} requires NVIDIA SM90+ (Hopper): got num_ctas={options['num_ctas']}, "
                      f"cluster_dims={options['cluster_dims']} for sm_{target.arch}")


def kernel_attributes(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the compiler is told: the options that code depends on."""
    made = {name: options[name] for name in ("num_warps", "num_stages", "maxnreg", "debug")}
    if not options["enable_fp_fusion"]:
        made["fp_fusion"] = False
    if not options["sanitize_overflow"]:
        made["sanitize_overflow"] = False
    if not options["enable_reflect_ftz"]:
        made["reflect_ftz"] = False
    return {name: value for name, value in made.items() if value is not None}
