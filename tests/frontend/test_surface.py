"""The public names of Triton 3.6's language, with their parameters: all are here, under the same names and defaults.

One line a function; a starred parameter takes any number. Facts about the interface, collected with dir and inspect.
"""
from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import pytest

import rtriton.language as tl

FUNCTIONS = """
abs(x) add(x, y, sanitize_overflow=True) advance(base, offsets) arange(start, end)
argmax(input, axis, tie_break_left=True, keep_dims=False) argmin(input, axis, tie_break_left=True, keep_dims=False)
associative_scan(input, axis, combine_fn, reverse=False) assume(cond)
atomic_add(pointer, val, mask=None, sem=None, scope=None) atomic_and(pointer, val, mask=None, sem=None, scope=None)
atomic_cas(pointer, cmp, val, sem=None, scope=None) atomic_max(pointer, val, mask=None, sem=None, scope=None)
atomic_min(pointer, val, mask=None, sem=None, scope=None) atomic_or(pointer, val, mask=None, sem=None, scope=None)
atomic_xchg(pointer, val, mask=None, sem=None, scope=None) atomic_xor(pointer, val, mask=None, sem=None, scope=None)
bitonic_merge(x, dim=None, descending=0) broadcast(input, other) broadcast_to(input, *shape)
cast(input, dtype, fp_downcast_rounding=None, bitcast=False) cat(input, other, can_reorder=False) cdiv(x, div) ceil(x)
clamp(x, min, max, propagate_nan=NONE) condition(arg1, disable_licm=False) cos(x) cumprod(input, axis=0, reverse=False)
cumsum(input, axis=0, reverse=False, dtype=None) debug_barrier() device_assert(cond, msg='', mask=None)
device_print(prefix, *args, hex=False) div_rn(x, y)
dot(input, other, acc=None, input_precision=None, allow_tf32=None, max_num_imprecise_acc=None, out_dtype=fp32)
dot_scaled(lhs, lhs_scale, lhs_format, rhs, rhs_scale, rhs_format, acc=None, fast_math=False, lhs_k_pack=True,
    rhs_k_pack=True, out_dtype=fp32)
erf(x) exp(x) exp2(x) expand_dims(input, axis) fdiv(x, y, ieee_rounding=False) flip(x, dim=None) floor(x) fma(x, y, z)
full(shape, value, dtype) gather(src, index, axis) histogram(input, num_bins, mask=None)
inline_asm_elementwise(asm, constraints, args, dtype, is_pure, pack) interleave(a, b) join(a, b)
load(pointer, mask=None, other=None, boundary_check=(), padding_option='', cache_modifier='', eviction_policy='',
    volatile=False)
load_tensor_descriptor(desc, offsets) log(x) log2(x) make_block_ptr(base, shape, strides, offsets, block_shape, order)
make_tensor_descriptor(base, shape, strides, block_shape, padding_option='zero')
map_elementwise(scalar_fn, *args, pack=1)
max(input, axis=None, return_indices=False, return_indices_tie_break_left=True, keep_dims=False)
max_constancy(input, values) max_contiguous(input, values) maximum(x, y, propagate_nan=NONE)
min(input, axis=None, return_indices=False, return_indices_tie_break_left=True, keep_dims=False)
minimum(x, y, propagate_nan=NONE) mul(x, y, sanitize_overflow=True) multiple_of(input, values) num_programs(axis)
pair_uniform_to_normal(u1, u2) permute(input, *dims) philox(seed, c0, c1, c2, c3, n_rounds=10)
philox_impl(c0, c1, c2, c3, k0, k1, n_rounds=10) program_id(axis) rand(seed, offset, n_rounds=10)
rand4x(seed, offset, n_rounds=10) randint(seed, offset, n_rounds=10) randint4x(seed, offset, n_rounds=10)
randn(seed, offset, n_rounds=10) randn4x(seed, offset, n_rounds=10)
range(arg1, arg2=None, step=None, num_stages=None, loop_unroll_factor=None, disallow_acc_multi_buffer=False,
    flatten=False, warp_specialize=False, disable_licm=False)
ravel(x, can_reorder=False) reduce(input, axis, combine_fn, keep_dims=False)
reduce_or(input, axis, keep_dims=False) reshape(input, *shape, can_reorder=False) rsqrt(x) sigmoid(x) sin(x)
softmax(x, dim=None, keep_dims=False, ieee_rounding=False) sort(x, dim=None, descending=0) split(a) sqrt(x) sqrt_rn(x)
static_assert(cond, msg='') static_print(*values, sep=' ', end='\\n', file=None, flush=False)
static_range(arg1, arg2=None, step=None)
store(pointer, value, mask=None, boundary_check=(), cache_modifier='', eviction_policy='')
store_tensor_descriptor(desc, offsets, value) sub(x, y, sanitize_overflow=True)
sum(input, axis=None, keep_dims=False, dtype=None) swizzle2d(i, j, size_i, size_j, size_g) topk(x, k, dim=None)
trans(input, *dims) uint_to_uniform_float(x) umulhi(x, y) view(input, *shape) where(condition, x, y)
xor_sum(input, axis=None, keep_dims=False) zeros(shape, dtype) zeros_like(input)
pointer_type(element_ty, address_space=1, const=False) block_type(element_ty, shape) tuple_type(types, fields=None)
constexpr(value) constexpr_type(value)
"""
TYPES = """void int1 int8 int16 int32 int64 uint8 uint16 uint32 uint64 float8e5 float8e5b16 float8e4nv float8e4b8
float8e4b15 float16 bfloat16 float32 float64 pi32_t dtype const tensor tuple slice tensor_descriptor str_to_ty
PropagateNan TRITON_MAX_TENSOR_NUMEL""".split()
METHODS = """__add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __floordiv__ __rfloordiv__
__mod__ __rmod__ __neg__ __invert__ __and__ __rand__ __or__ __ror__ __xor__ __rxor__ __lshift__ __rlshift__ __rshift__
__rrshift__ __gt__ __ge__ __lt__ __le__ __eq__ __ne__ __not__ __getitem__ logical_and logical_or to broadcast_to trans
permute split view reshape expand_dims cast store advance atomic_cas atomic_xchg atomic_add atomic_max atomic_min
atomic_and atomic_or atomic_xor exp log cos sin sqrt rsqrt abs reduce associative_scan gather histogram cdiv sigmoid
softmax ravel max argmax min argmin sum xor_sum reduce_or cumsum cumprod sort flip item exp2 log2 erf floor ceil
sqrt_rn""".split()
MODULES = {
    "core": "_aggregate builtin extern constexpr tensor load program_id base_value is_builtin _unwrap_if_constexpr",
    "math": "abs ceil cos div_rn erf exp exp2 fdiv floor fma log log2 rsqrt sin sqrt sqrt_rn umulhi",
    "standard": "argmax argmin cdiv cumsum max min sum softmax sort sigmoid zeros flip topk",
    "random": "philox philox_impl rand rand4x randint randint4x randn randn4x pair_uniform_to_normal",
    "target_info": "current_target is_cuda cuda_capability_geq is_hip is_hip_cdna3 is_hip_cdna4",
    "extra.libdevice": "exp sqrt",
    "extra.cuda": "libdevice globaltimer smid num_warps num_threads gdc_wait gdc_launch_dependents",
    "extra.cuda.libdevice": "exp sqrt",
}
# Other than Triton's on purpose: an axis may be left out here, and descending is written as the bool it is.
LENIENT = {"reduce_or": {"axis": None}, "sort": {"descending": False}, "bitonic_merge": {"descending": False}}


def signatures() -> dict[str, list[tuple[str, str]]]:
    """(parameter, its default as text) of each function in FUNCTIONS."""
    found: dict[str, list[tuple[str, str]]] = {}
    text, depth = "", 0
    for part in FUNCTIONS.replace("\n", " "):
        depth += (part == "(") - (part == ")")
        text += part
        if part == ")" and depth == 0:
            name, _, rest = text.strip().partition("(")
            fields = [p.strip() for p in rest[:-1].replace("()", "<>").split(", ") if p.strip()]
            found[name] = [(p.partition("=")[0], p.partition("=")[2].replace("<>", "()")) for p in fields]
            text = ""
    return found


def described(fn: Any) -> list[tuple[str, str]]:
    made: list[tuple[str, str]] = []
    for p in inspect.signature(fn).parameters.values():
        default = getattr(p.default, "value", p.default)
        if default is p.empty:
            shown = ""
        elif default == tl.PropagateNan.NONE:
            shown = "NONE"
        else:
            shown = str(default) if isinstance(default, tl.dtype) else repr(default)
        made.append((("*" if p.kind is p.VAR_POSITIONAL else "") + p.name, shown))
    return made


@pytest.mark.parametrize("name", signatures())
def test_a_public_function_has_the_parameters_and_defaults_of_its_namesake(name: str) -> None:
    lenient = {k: repr(v) for k, v in LENIENT.get(name, {}).items()}
    wanted = [(p, lenient.get(p, default)) for p, default in signatures()[name]]
    assert described(getattr(tl, name)) == wanted


def test_every_type_and_class_is_there() -> None:
    assert [name for name in TYPES if not hasattr(tl, name)] == []


def test_every_method_of_tensors_is_there() -> None:
    assert [name for name in METHODS if name not in tl.METHODS] == []


@pytest.mark.parametrize("path", MODULES)
def test_a_module_of_the_language_has_its_names(path: str) -> None:
    module: Any = tl
    for part in path.split("."):
        module = getattr(module, part)
        assert isinstance(module, ModuleType)
    for name in MODULES[path].split():
        assert hasattr(module, name), name
        assert path == "core" or name in dir(module), name


def test_the_modules_can_be_imported_by_name() -> None:
    from rtriton.language.core import _aggregate, constexpr_type
    from rtriton.language.extra.cuda import libdevice
    from rtriton.language.math import exp
    from rtriton.language.standard import sum as tl_sum

    assert (constexpr_type, exp, tl_sum) == (tl.constexpr_type, tl.exp, tl.sum)
    assert _aggregate is tl.core._aggregate and libdevice.tanh is tl.extra.cuda.libdevice.tanh
