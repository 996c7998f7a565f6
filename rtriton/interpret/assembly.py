"""Inline assembly in the interpreter: a small PTX module around it, run by the emulator on all elements at once.

Each element is a thread. Memory is not there: an instruction that reads or writes it is an error that names it.
"""
from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from rtriton import assembly
from rtriton.interpret.affine import Data
from rtriton.interpret.machine import Machine, meaning
from rtriton.interpret.memory import Fault
from rtriton.ir import Op
from rtriton.numerics import Array, decode, encode
from rtriton.types import DType, element_of

MEMORY = re.compile(r"\b((?:ld|st|atom|red|cp|prefetch|ldmatrix|stmatrix)\.[\w.:]+)")
BLOCK = 32


@meaning("inline_asm", "inline_asm_volatile")
def _assembly(machine: Machine, op: Op) -> Sequence[Data]:
    from rtriton.backend.ptx.emulate import emulate
    from rtriton.backend.ptx.emulate.state import EmulatorError

    touched = MEMORY.search(op.attrs["asm"])
    if touched is not None:
        raise Fault(f"inline assembly that touches memory ({touched[1]}) runs on a GPU alone")
    rules = assembly.parse_constraints(op.attrs["constraints"])
    inputs = [encode(machine.array(v), element_of(v.type)) for v in op.operands if v is not None]
    shape = np.broadcast_shapes(*(x.shape for x in inputs)) if inputs else (1,)
    count = int(np.prod(shape))
    threads = -(-count // BLOCK) * BLOCK
    words = [_words(x, shape, letter, threads) for x, letter in zip(inputs, rules.inputs, strict=True)]
    words += [np.zeros(threads, _storage(letter)) for letter in rules.outputs]
    try:
        emulate(assembly.module(op.attrs["asm"], rules), "assembly", threads // BLOCK, words)
    except (EmulatorError, ValueError) as error:
        raise Fault(f"inline assembly: {error}") from error
    results = words[len(inputs) :]
    return [_value(w[:count].reshape(shape), op, k) for k, w in enumerate(results)]


def _storage(letter: str) -> str:
    return f"u{max(1, assembly.WIDTHS[letter] // 8)}"


def _words(x: Array, shape: Sequence[int], letter: str, threads: int) -> Array:
    """The bits of a value's elements, one for each thread; the last is repeated."""
    bits = np.ascontiguousarray(x).view(_storage(letter))
    flat = np.broadcast_to(bits, tuple(shape)).reshape(-1)
    return np.concatenate((flat, np.full(threads - flat.size, flat[-1])))


def _value(bits: Array, op: Op, k: int) -> Array:
    element = element_of(op.results[k].type)
    if element.kind == "b":
        return bits != 0
    return decode(bits.view(element.storage if isinstance(element, DType) else np.int64), element)
