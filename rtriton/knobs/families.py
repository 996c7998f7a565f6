"""The knobs by family, as Triton groups and names them. README of each variable: docs/environment.md.

`build`, `amd`, `proton` and `redis` belong to parts of Triton that have no counterpart here (a C compiler at run time,
AMD GPUs, its profiler, a remote cache): they can be set, and nothing reads them. `cache.manager_class` and
`remote_manager_class` change what caching does, so that a compilation refuses them by name.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rtriton.knobs import environment
from rtriton.knobs.fields import (
    base_knobs, env_bool, env_class, env_int, env_nvidia_tool, env_opt_bool, env_opt_str, env_str,
    env_str_callable_default,
)
from rtriton.knobs.hooks import HookChain


class build_knobs(base_knobs):
    """How Triton calls a C compiler; rtriton has none."""

    cc = env_opt_str("CC")
    cudacrt_path = env_opt_str("TRITON_CUDACRT_PATH")
    cudart_path = env_opt_str("TRITON_CUDART_PATH")
    impl: Callable[..., str] | None = None

    @property
    def backend_dirs(self) -> set[str]:
        return {path for path in (self.cudacrt_path, self.cudart_path) if path is not None}


class redis_knobs(base_knobs):
    key_format = env_str("TRITON_REDIS_KEY_FORMAT", "triton:{key}:{filename}")
    host = env_str("TRITON_REDIS_HOST", "localhost")
    port = env_int("TRITON_REDIS_PORT", 6379)


def _home() -> str:
    return str(Path.home()) + "/"


def _own_cache(family: cache_knobs) -> str:
    """~/.cache/rtriton unless someone moved Triton's home."""
    if family.moved():
        return family.get_triton_dir("cache")
    base = environment.read("XDG_CACHE_HOME")
    return str((Path(base) if base else Path.home() / ".cache") / "rtriton")


class cache_knobs(base_knobs):
    """Folders. `dir` holds compiled kernels."""

    home_dir = env_str_callable_default("TRITON_HOME", lambda family: _home())
    dump_dir = env_str_callable_default("TRITON_DUMP_DIR", lambda family: family.get_triton_dir("dump"))
    override_dir = env_str_callable_default("TRITON_OVERRIDE_DIR", lambda family: family.get_triton_dir("override"))
    dir = env_str_callable_default("TRITON_CACHE_DIR", _own_cache, ("RTRITON_CACHE_DIR",))
    manager_class = env_class("TRITON_CACHE_MANAGER", "CacheManager")
    remote_manager_class = env_class("TRITON_REMOTE_CACHE_BACKEND", "RemoteCacheBackend")

    def get_triton_dir(self, dirname: str) -> str:
        return str(Path(self.home_dir) / ".triton" / dirname)

    def moved(self) -> bool:
        """Was a home set?"""
        return "home_dir" in vars(self) or environment.read("TRITON_HOME") is not None


class compilation_knobs(base_knobs):
    """`listener(src=, metadata=, metadata_group=, times=, cache_hit=)` is told of every compilation."""

    override = env_bool("TRITON_KERNEL_OVERRIDE")
    dump_ir = env_bool("TRITON_KERNEL_DUMP")
    dump_ir_extract_di_local_variables = env_bool("LLVM_EXTRACT_DI_LOCAL_VARIABLES")
    store_binary_only = env_bool("TRITON_STORE_BINARY_ONLY")
    always_compile = env_bool("TRITON_ALWAYS_COMPILE", also=("RTRITON_ALWAYS_COMPILE",))
    use_ir_loc = env_opt_str("USE_IR_LOC")
    enable_asan = env_bool("TRITON_ENABLE_ASAN")
    disable_line_info = env_bool("TRITON_DISABLE_LINE_INFO")
    front_end_debugging = env_bool("TRITON_FRONT_END_DEBUGGING")
    allow_non_constexpr_globals = env_bool("TRITON_ALLOW_NON_CONSTEXPR_GLOBALS")
    instrumentation_mode: str = environment.read("TRITON_INSTRUMENTATION_MODE") or ""
    listener: Callable[..., None] | None = None


class autotuning_knobs(base_knobs):
    """`cache` keeps what was measured on disk, `print` says what is tried and chosen."""

    cache = env_bool("TRITON_CACHE_AUTOTUNING")
    print = env_bool("TRITON_PRINT_AUTOTUNING")


class runtime_knobs(base_knobs):
    """`debug` is read once, when rtriton is imported (and by refresh_knobs): it stands in the way of every launch."""

    interpret = env_bool("TRITON_INTERPRET", also=("RTRITON_INTERPRET",))
    debug: bool = environment.flag("TRITON_DEBUG")
    override_arch = env_opt_str("TRITON_OVERRIDE_ARCH")

    # one chain for all copies of the family: a hook outlives a scope, as in Triton
    launch_enter_hook = HookChain()
    launch_exit_hook = HookChain(reversed=True)
    kernel_load_start_hook = HookChain()
    kernel_load_end_hook = HookChain(reversed=True)
    jit_cache_hook: Callable[..., Any] | None = None
    jit_post_compile_hook: Callable[..., Any] | None = None
    add_stages_inspection_hook: Callable[..., Any] | None = None


class language_knobs(base_knobs):
    """What kernels mean where they do not say: the precision of a float32 dot, whether x * y + z is one fma."""

    fp32_default = env_opt_str("TRITON_F32_DEFAULT")
    default_fp_fusion = env_bool("TRITON_DEFAULT_FP_FUSION", True)


class nvidia_knobs(base_knobs):
    """The CUDA toolkit's programs and how they are called."""

    cuobjdump = env_nvidia_tool("cuobjdump")
    nvdisasm = env_nvidia_tool("nvdisasm")
    ptxas = env_nvidia_tool("ptxas", ("RTRITON_PTXAS",))
    ptxas_blackwell = env_nvidia_tool("ptxas-blackwell")
    dump_nvptx = env_bool("NVPTX_ENABLE_DUMP")
    disable_ptxas_opt = env_bool("DISABLE_PTXAS_OPT")
    ptxas_options = env_opt_str("PTXAS_OPTIONS")
    mock_ptx_version = env_opt_str("TRITON_MOCK_PTX_VERSION")
    dump_ptxas_log = env_bool("TRITON_DUMP_PTXAS_LOG")
    libdevice_path = env_opt_str("TRITON_LIBDEVICE_PATH")
    libcuda_path = env_opt_str("TRITON_LIBCUDA_PATH")


class amd_knobs(base_knobs):
    use_buffer_ops = env_bool("AMDGCN_USE_BUFFER_OPS", True)
    use_buffer_atomics = env_bool("AMDGCN_USE_BUFFER_ATOMICS", True)
    buffer_ops_analyze_small_tensor_range = env_bool("AMDGCN_ANALYZE_SMALL_TENSOR_RANGE")
    dump_amdgcn = env_bool("AMDGCN_ENABLE_DUMP")
    libhip_path = env_opt_str("TRITON_LIBHIP_PATH")
    use_block_pingpong = env_opt_bool("TRITON_HIP_USE_BLOCK_PINGPONG")
    use_in_thread_transpose = env_opt_bool("TRITON_HIP_USE_IN_THREAD_TRANSPOSE")
    use_async_copy = env_bool("TRITON_HIP_USE_ASYNC_COPY")
    scalarize_packed_fops = env_bool("AMDGCN_SCALARIZE_PACKED_FOPS")


class proton_knobs(base_knobs):
    disable = env_bool("TRITON_PROTON_DISABLE")
    cupti_lib_dir = env_str("TRITON_CUPTI_LIB_PATH", "")
    enable_nvtx = env_bool("TRITON_ENABLE_NVTX", True)
