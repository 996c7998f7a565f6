"""Public memory functions: `tl.load`, `tl.store`, the atomics."""
from __future__ import annotations

from typing import Any

from rtriton.ir import Value
from rtriton.language import semantic as s
from rtriton.language.blocks import BlockPointer, load_block, padding_name, store_block
from rtriton.language.table import pointee
from rtriton.language.values import METHODS, PUBLIC, Context, Public, public, unwrap
from rtriton.types import Address, Pointer, shape_of, show_type, uint64

LOAD_CACHE = ("", ".ca", ".cg", ".cv")
STORE_CACHE = ("", ".wb", ".cg", ".cs", ".wt")
EVICTION = ("", "evict_last", "evict_first")
SEMANTICS = ("acquire", "release", "acq_rel", "relaxed")
SCOPES = ("gpu", "cta", "sys")


def _one_of(value: Any, allowed: tuple[str, ...], what: str) -> str:
    text = unwrap(value) or ""
    if text not in allowed:
        raise ValueError(f"{what} is one of {', '.join(repr(a) for a in allowed)}, got {text!r}")
    return text


def _load_attrs(cache_modifier: Any, eviction_policy: Any, volatile: Any) -> dict[str, Any]:
    """How a load goes through the caches. `.cv` and volatile both read memory anew: eviction does not matter then; what
    else excludes each other in PTX (Triton leaves it to ptxas to say so) is refused."""
    cache = _one_of(cache_modifier, LOAD_CACHE, "cache_modifier")
    evict = _one_of(eviction_policy, EVICTION, "eviction_policy")
    anew = bool(unwrap(volatile))
    if anew and cache not in ("", ".cv"):
        raise ValueError(f"a volatile load passes by the caches: it takes no cache_modifier {cache!r}")
    if anew and evict:
        raise ValueError(f"a volatile load passes by the caches: it takes no eviction_policy {evict!r}")
    if cache in (".ca", ".cg"):
        _exclusive(cache, evict)
    return {name: value for name, value in (("cache", cache), ("evict", evict), ("volatile", anew)) if value}


def _store_attrs(cache_modifier: Any, eviction_policy: Any) -> dict[str, Any]:
    """How a store goes through the caches."""
    cache = _one_of(cache_modifier, STORE_CACHE, "cache_modifier")
    evict = _one_of(eviction_policy, EVICTION, "eviction_policy")
    _exclusive(cache, evict)
    return {name: value for name, value in (("cache", cache), ("evict", evict)) if value}


def _exclusive(cache: str, evict: str) -> None:
    if cache and evict:
        raise ValueError(f"cache_modifier {cache!r} and eviction_policy {evict!r} exclude each other: give one of them")


def _pointer(x: Any, what: str) -> Value:
    if not s.is_pointer(x):
        raise ValueError(f"{what} needs a pointer or a tile of pointers, got {s.describe(x)}")
    return x


def _no_mask(*given: Any) -> None:
    if any(unwrap(x) is not None for x in given):
        raise ValueError("`mask` and `other` cannot be specified for block pointers: use boundary_check and "
                         "padding_option")


def _no_boundary(boundary_check: Any, padding_option: Any) -> None:
    if unwrap(boundary_check):
        raise ValueError("boundary_check is for block pointers; give a mask to a tile of pointers")
    if unwrap(padding_option):
        raise ValueError("padding_option is for block pointers; give `other` with a mask")


@public()
def load(b: Context, pointer: Any, mask: Any = None, other: Any = None, boundary_check: Any = (),
         padding_option: Any = "", cache_modifier: Any = "", eviction_policy: Any = "", volatile: Any = False) -> Value:
    """What `pointer` points at; where `mask` is false `other`, and no access.

    pointer: *T or a tile of them; mask: i1, other: T, both stretched to the pointer's shape. Gives T or a tile of T.
    A block pointer takes boundary_check (axes that may leave the array) and padding_option (zero, nan) instead.
    ValueError for `other` without `mask`, for a pointer that is none, for unknown cache or eviction names."""
    attrs = _load_attrs(cache_modifier, eviction_policy, volatile)
    option = padding_name(padding_option)
    if isinstance(pointer, BlockPointer):
        _no_mask(mask, other)
        return load_block(b, pointer, boundary_check, option, attrs)
    pointer = _pointer(pointer, "tl.load")
    _no_boundary(boundary_check, option)
    cell = pointee(pointer.type)
    if isinstance(cell, Address) and cell.target is not None:
        words = load.fn(b, s.cast(b, pointer, Pointer(uint64)), mask, other, (), "", cache_modifier, eviction_policy,
                        volatile)
        return s.cast(b, words, cell.target)
    mask, other = unwrap(mask), unwrap(other)
    if other is not None and mask is None:
        raise ValueError("`other` cannot be provided without `mask`")
    if mask is not None:
        mask = s.truth(b, mask)
        pointer, mask = _with_mask(b, pointer, mask, "load")
    if other is not None and mask is not None:
        other = s.cast(b, s.to_value(b, other), pointee(pointer.type))
        if shape_of(other.type) and not shape_of(pointer.type):
            raise ValueError(f"load: a scalar pointer takes a scalar `other`, got {show_type(other.type)}")
        pointer, other = s.broadcast_pair(b, pointer, other)
        mask = s.broadcast_to(b, mask, shape_of(pointer.type))
    return b.build.one("load", pointer, mask, other, **attrs)


def _with_mask(b: Context, pointer: Value, mask: Value, what: str) -> tuple[Value, Value]:
    if shape_of(mask.type) and not shape_of(pointer.type):
        raise ValueError(f"{what}: a scalar pointer takes a scalar mask, got {show_type(mask.type)}")
    return s.broadcast_pair(b, pointer, mask)


@public(method=True)
def store(b: Context, pointer: Any, value: Any, mask: Any = None, boundary_check: Any = (), cache_modifier: Any = "",
          eviction_policy: Any = "") -> None:
    """Write `value`, cast to the pointer's element type, where `mask` holds. Through *i1 the byte 1 is written for what
    is not zero as an i8, else 0. ValueError where value or mask have more elements than there are pointers.

    A block pointer takes boundary_check, the axes along which what lies outside of the array is not written."""
    attrs = _store_attrs(cache_modifier, eviction_policy)
    if isinstance(pointer, BlockPointer):
        _no_mask(mask)
        s.need_writable(pointer.base)
        store_block(b, pointer, value, boundary_check, attrs)
        return
    pointer = _pointer(pointer, "tl.store")
    _no_boundary(boundary_check, "")
    s.need_writable(pointer)
    if isinstance(pointee(pointer.type), Address):
        value, pointer = s.cast(b, value, uint64), s.cast(b, pointer, Pointer(uint64))
    given, mask = s.to_value(b, value), unwrap(mask)
    if shape_of(given.type) and not shape_of(pointer.type):
        raise ValueError(f"store: a scalar pointer takes a scalar value, got {show_type(given.type)}")
    shape = shape_of(pointer.type)
    if mask is not None:
        pointer, mask = _with_mask(b, pointer, s.truth(b, mask), "store")
        if shape != shape_of(pointer.type):
            raise ValueError(f"store: the pointers are {s.show(shape)}, too few for a mask {show_type(mask.type)}")
    number = s.broadcast_to(b, s.stored(b, given, pointee(pointer.type)), shape)
    b.build.op("store", pointer, number, mask, **attrs)


BlockPointer.methods["store"] = METHODS["store"]


def _atomic_attrs(sem: Any, scope: Any) -> dict[str, Any]:
    return {"sem": _one_of(unwrap(sem) or "acq_rel", SEMANTICS, "sem"),
            "scope": _one_of(unwrap(scope) or "gpu", SCOPES, "scope")}


def _atomic(how: str, doc: str) -> None:
    def fn(b: Context, pointer: Any, val: Any, mask: Any = None, sem: Any = None, scope: Any = None) -> Value:
        target = _pointer(pointer, f"tl.atomic_{how}")
        s.need_writable(target)
        element = pointee(target.type)
        if element.bits < 16 or (element.bits == 16 and (element.is_int() or how != "add")):
            raise ValueError(f"atomic_{how} does not support {show_type(element)}")
        if element.is_floating() and how in ("and", "or", "xor"):
            raise ValueError(f"atomic_{how} needs integers, got {show_type(element)}")
        value, mask = s.cast(b, s.to_value(b, val), element), unwrap(mask)
        if mask is not None:
            target, mask = _with_mask(b, target, s.truth(b, mask), f"atomic_{how}")
        value = s.broadcast_to(b, value, shape_of(target.type))
        return b.build.one("atomic_rmw", target, value, mask, how=how, **_atomic_attrs(sem, scope))

    fn.__name__, fn.__doc__ = f"atomic_{how}", doc
    PUBLIC[f"atomic_{how}"] = METHODS[f"atomic_{how}"] = Public(fn, True)


for _how, _what in (("add", "Add"), ("max", "Take the maximum"), ("min", "Take the minimum"), ("and", "And"),
                    ("or", "Or"), ("xor", "Xor"), ("xchg", "Exchange")):
    _atomic(_how, f"{_what} `val` to what is at `pointer`, atomically; gives the old value.")


@public(method=True)
def atomic_cas(b: Context, pointer: Any, cmp: Any, val: Any, sem: Any = None, scope: Any = None) -> Value:
    """Write `val` where the old value equals `cmp`, atomically; gives the old value."""
    target = _pointer(pointer, "tl.atomic_cas")
    s.need_writable(target)
    element = pointee(target.type)
    if element.bits not in (16, 32, 64):
        raise ValueError(f"atomic_cas supports elements of 16, 32 and 64 bits, got {show_type(element)}")
    compare = s.broadcast_to(b, s.cast(b, s.to_value(b, cmp), element), shape_of(target.type))
    value = s.broadcast_to(b, s.cast(b, s.to_value(b, val), element), shape_of(target.type))
    return b.build.one("atomic_cas", target, compare, value, **_atomic_attrs(sem, scope))


@public()
def debug_barrier(b: Context) -> None:
    """Every thread of the program waits here for the others."""
    b.build.op("barrier")
