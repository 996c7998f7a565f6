"""combine: several ops become one that the machine has.

Contraction of a * b + c to fma rounds once instead of twice; it is done for floats whose product has no other use,
unless the kernel's attribute `fp_fusion` is false or the target has no fma (CPUs without one would call a function).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rtriton.ir import Builder, Kernel, Op, Value
from rtriton.passes import register
from rtriton.passes._facts import Facts, Given, Operands, reads_anew, rewrite, use_counts
from rtriton.types import DType, Scalar, element_of, shape_of

Counts = dict[Value, int]
Rule = Callable[[Op, Operands, Builder, Facts, Counts], Given]


@register
def combine(kernel: Kernel, target: Any) -> Kernel:
    """Use the machine's compound ops.

    before:  %p: 128xf32 = mul %a, %b
             %s: 128xf32 = add %p, %c
             %l: 128xf32 = load %q, %m, _
             %w: 128xf32 = where %m, %l, %z
             %n: i32 = mul %i, %eight
    after:   %s: 128xf32 = fma %a, %b, %c
             %w: 128xf32 = load %q, %m, %z
             %n: i32 = shl %i, %three
    """
    counts = use_counts(kernel)
    rules: list[Rule] = [masked_load, shifts, cast_of_cast, dot_accumulator, expand_before_broadcast]
    if kernel.attrs.get("fp_fusion", True) and getattr(target, "has_fma", True):
        rules.append(contract)

    def combined(op: Op, args: Operands, build: Builder, facts: Facts) -> Given:
        for rule in rules:
            if (given := rule(op, args, build, facts, counts)) is not None:
                return given
        return None

    return rewrite(kernel, combined)


def contract(op: Op, args: Operands, build: Builder, facts: Facts, counts: Counts) -> Given:
    """a * b + c, a * b - c, c - a * b."""
    if op.kind not in ("add", "sub") or not _contractible(element_of(op.result.type)):
        return None
    x, y = args
    product = _sole(x, "mul", facts, counts)
    if product is not None:
        a, b = product.operands
        return [build.one("fma", a, b, y if op.kind == "add" else build.one("neg", y))]
    product = _sole(y, "mul", facts, counts)
    if product is None:
        return None
    a, b = product.operands
    return [build.one("fma", a if op.kind == "add" else build.one("neg", a), b, x)]


def _contractible(element: Scalar) -> bool:
    return element.kind == "f" and element.bits >= 16


def _sole(value: Value | None, kind: str, facts: Facts, counts: Counts) -> Op | None:
    """The op of a kind that made `value`, if nothing else reads it."""
    op = facts.by(value, kind)
    return op if op is not None and value is not None and counts.get(value, 0) == 1 else None


def masked_load(op: Op, args: Operands, build: Builder, facts: Facts, counts: Counts) -> Given:
    """where(m, load(p, m), z) -> load(p, m, z), and where(m, load(p), z) too: what is not selected is not read."""
    if op.kind != "where":
        return None
    mask, loaded, other = op.operands
    load = _sole(loaded, "load", facts, counts)
    if load is None or reads_anew(load) or facts.where.get(load) != (build, facts.writes):
        return None  # elsewhere, or memory may have changed since
    pointer, *rest = load.operands
    if rest and rest[0] not in (None, mask):
        return None
    return [build.one("load", pointer, mask, other, **load.attrs)]


def shifts(op: Op, args: Operands, build: Builder, facts: Facts, counts: Counts) -> Given:
    """Integers times a power of two; unsigned integers divided by one, or their remainder."""
    if op.kind not in ("mul", "div", "rem"):
        return None
    x, y = args
    assert x is not None and y is not None
    element, number = element_of(x.type), facts.const(y)
    if (
        element.kind not in ("iu" if op.kind == "mul" else "u")
        or not number
        or number < 2
        or int(number) & int(number) - 1
    ):
        return None
    if op.kind == "rem":
        return [build.one("and", x, build.const(int(number) - 1, x.type))]
    by = build.const(int(number).bit_length() - 1, x.type)
    return [build.one("shl" if op.kind == "mul" else "shr", x, by)]


def cast_of_cast(op: Op, args: Operands, build: Builder, facts: Facts, counts: Counts) -> Given:
    """Through a type that loses nothing, a cast goes straight to its end. Integers stay floats on the way to where
    that matters: a float too large for an integer type saturates, an integer wraps, and only floats round as told."""
    inner = facts.by(args[0], "cast") if op.kind == "cast" else None
    if inner is None or inner.operands[0] is None:
        return None
    source, middle, to = element_of(inner.operands[0].type), inner.attrs["to"], op.attrs["to"]
    if not holds(middle, source):
        return None
    told = to.kind in "iu" and not holds(to, source) or op.attrs.get("rounding", "rtne") != "rtne"
    if told and middle.kind == "f" and source.kind != "f":
        return None
    if source == to:
        return [inner.operands[0]]
    return [build.one("cast", inner.operands[0], **op.attrs)]


def holds(wide: Scalar, narrow: Scalar) -> bool:
    """Does `wide` have every value of `narrow`?"""
    if not isinstance(wide, DType) or not isinstance(narrow, DType):
        return False
    if wide.kind == "f":
        whole = narrow.bits - (narrow.kind == "i")
        if narrow.kind != "f":
            return whole <= wide.fp_mantissa_width + 1 and wide.bits >= 32
        return wide.bits >= 32 and wide.bits >= narrow.bits
    if narrow.kind == "f" or wide.kind == "b":
        return False
    if narrow.kind == wide.kind:
        return wide.bits >= narrow.bits
    return narrow.kind in "bu" and wide.bits > narrow.bits


def dot_accumulator(op: Op, args: Operands, build: Builder, facts: Facts, counts: Counts) -> Given:
    """dot(a, b, 0) + c -> dot(a, b, c)."""
    if op.kind != "add":
        return None
    for mine, other in (args, args[::-1]):
        product = _sole(mine, "dot", facts, counts)
        if product is not None and facts.const(product.operands[2]) == 0:
            return [build.one("dot", product.operands[0], product.operands[1], other, **product.attrs)]
    return None


def expand_before_broadcast(op: Op, args: Operands, build: Builder, facts: Facts, counts: Counts) -> Given:
    """expand_dims(broadcast x) -> broadcast(expand_dims x), which meets a broadcast after it in one."""
    inner = facts.by(args[0], "broadcast") if op.kind == "expand_dims" else None
    if inner is None:
        return None
    grown = build.one("expand_dims", inner.operands[0], axis=op.attrs["axis"])
    return [build.one("broadcast", grown, shape=shape_of(op.result.type))]
