"""What docs/language.md says that no table knows: what a kernel may be written in, and where rtriton is not Triton."""

from __future__ import annotations

HEAD = """\
For people who write kernels. rtriton's kernel language is Triton's, release 3.6: the names, parameters, types and rules
below are Triton's unless [Differences](#differences) says otherwise, and [Your first kernel](first-kernel.md) is where
to begin. This page is made by `python -m tests.language.make_page` from the op table, the docstrings and the backends
themselves; a test keeps it equal to them."""

RUNNING = """\
## Programs that say `import triton`

They run unchanged, whether Triton is installed or not:

```sh
rtriton-run train.py --steps 10       # like `python train.py --steps 10`
rtriton-run -m pytest tests/          # like `python -m pytest tests/`
```

Or call `rtriton.compat.install()` before the first `import triton`: from there on, in this process, `triton` and the
modules below it (`triton.language`, `.runtime`, `.testing`, `.tools`, `.knobs`, `.compiler`) are rtriton's. Nothing is
written to site-packages. Arrays in CPU memory (torch, NumPy) run on the CPU, CUDA arrays on the GPU. `RTRITON_BACKEND`
(`interpret`, `cpu`, `emulate`, `cuda`) overrules; `TRITON_INTERPRET=1` is the interpreter, as with Triton.

New programs say `import rtriton` and `import rtriton.language as tl`, and nothing else changes."""

WRITING = """\
## What a kernel is written in

A kernel is a Python function under `@rtriton.jit` whose text is compiled: assignments (also to tuples), arithmetic,
`if`, `for` over `range`, `tl.range`, `tl.static_range` and tuples, `while`, calls of functions under `@jit`, `tl`
functions, functions under `tl.constexpr_function` and plain Python that works on what is known when compiling, named
tuples, aggregates, f-strings that are known, `assert`, `isinstance`, `len`, `min`, `max`. Functions can be arguments.
Tiles have sizes that are powers of two, known when compiling. A branch on a value that is known when compiling is
decided then, and the other side is not compiled. What Python has and kernels have not (`lambda`, `try`, `class`,
dictionaries, nested functions ...) is refused by name, with what to write instead.

More than Triton takes: `break` and `continue`, `return` from anywhere, chained comparisons, `in` and `not in` on
what is known, slices and single places of tiles.

```python
import numpy as np
import rtriton
import rtriton.language as tl

@rtriton.jit
def first_run(x, out, n, limit, MODE: tl.constexpr):
    if n == 0:
        return                                   # an early return, also inside loops
    total = 0.0
    for i in range(n):
        value = tl.load(x + i)
        if value < 0:
            continue
        if total + value > limit:
            break
        if 0 <= value <= 1:                      # chained
            total += value
    if MODE in ("last", "both"):                 # decided when compiling
        tail = tl.load(x + tl.arange(0, 8))[4:8] # a slice of a tile; [3] is one place
        total += tl.sum(tail)
    tl.store(out, total)

x = np.array([0.5, -1, 0.25, 3, 1, 1, 1, 1], np.float32)
out = np.zeros(1, np.float32)
first_run[(1,)](x, out, 8, 3.0, MODE="both")
assert out[0] == 0.75 + 4.0
```"""

OPS_HEAD = """\
## Ops, and where they run

What tile IR is made of: every function above comes down to these. *PTX* is the code of the emulator and of GPUs alike.
An op that kernels are written in and that is missing somewhere fails a test; ops without *CPU* are made by the passes
for GPUs (layouts, shared memory, tensor cores) and never reach a CPU."""

TYPES_HEAD = """\
## Types

Found by compiling a kernel for each cell, for a CPU and for sm_90a; an empty cell is a `CompilationError` at the
expression. Results of fp8, fp16 and bf16 operations are rounded after each; `tl.exp` and its kind take fp32 and fp64,
as Triton's do: cast first. `int1` is what comparisons give and masks are made of. Mixed operands are promoted by
Triton's rules, number by number (`tests/frontend/promotion_3.6.json`). fp8 products on tensor cores are of
`float8e5` and `float8e4nv`; the other three formats are multiplied as fp16. Pointers may point to any of these, and to
pointers."""

DIFFERENCES_HEAD = """\
## Differences

Deliberate ones between rtriton and Triton 3.6. What is not here and differs is a mistake: please report it."""

DIFFERENCES = [
    ("Language", "`break`, `continue`, early `return`, chained comparisons, `in`, slices of tiles",
     "taken; Triton refuses them, and `return` in loops"),
    ("Language", "a value known when compiling", "is itself in a kernel: `isinstance(x, tl.constexpr)` and "
     "`isinstance(x, int)` both hold for an integer"),
    ("Language", "`noinline=True`", "taken, and inlined: there are no calls in the code, "
     "results are the same; tiles may be passed"),
    ("Language", "`flatten`, `warp_specialize`, `disallow_acc_multi_buffer`, `disable_licm` of `tl.range`",
     "hints, which nothing acts on yet; `num_stages` and `loop_unroll_factor` do what they say"),
    ("Functions", "`tl.cat`", "keeps the order with `can_reorder=True` too"),
    ("Functions", "functions given to `tl.reduce`", "must commute as well as associate: the order is the machine's"),
    ("Functions", "`tl.softmax`", "divides along the axis that it was asked for, also in square tiles; the result has "
     "the shape of its argument whatever `keep_dims` is"),
    ("Functions", "`tl.sort`, `tl.topk`", "lose no element where NaNs are; NaNs count as the largest"),
    ("Functions", "`tl.extra.libdevice`", "written in the language, within 2 ulp, in every execution; no library is "
     "linked: `extern_elementwise` finds ours by the symbol; there are no Bessel functions"),
    ("Functions", "`tl.inline_asm_elementwise` on a CPU", "translated from PTX; an instruction that is not known is an "
     "error at the call"),
    ("Functions", "`tl.extra.cuda.globaltimer`, `smid` on a CPU", "the processor's ticks, and 0"),
    ("Types", "`float8e4b8`, `float8e5b16`", "converted and multiplied everywhere; Triton refuses them on "
     "NVIDIA's GPUs"),
    ("Types", "fp8 to integers", "works: through fp32, truncated and saturated"),
    ("Types", "floats to integers out of range", "saturate, NaN gives 0, in every execution"),
    ("Types", "dots of 8-bit integers", "a sum outside int32 is undefined: tensor cores saturate, CPUs wrap"),
    ("Memory", "modifiers of loads and stores that exclude each other in PTX", "refused by name; Triton leaves it to "
     "ptxas"),
    ("Memory", "tensor descriptors", "pointers and masks on every target for now, no TMA; made in kernels they need no "
     "memory, so that the allocator of `set_allocator` is kept and not asked"),
    ("Launches", "`num_ctas`", "a hint: a program is one CTA"),
    ("Launches", "`launch_cooperative_grid` on a CPU", "programs run in increasing order: one that waits for a later "
     "one waits for ever"),
    ("Launches", "`enable_reflect_ftz=False` and options with nothing behind them", "refused by name, or taken at "
     "their default"),
    ("Launches", "GPUs", "NVIDIA of compute capability 8.0 and later"),
    ("Stages", "`asm[\"ttir\"]`", "our tile IR, as `asm[\"tir\"]`; `asm[\"llir\"]` is LLVM IR on a CPU; there is no "
     "`ttgir`"),
    ("Stages", "text of Triton's IR", "not read: `ir_override` and `compile` take `.tir` and `.ptx`"),
    ("Errors", "messages", "our own words, with the line, the caret and where the operands came from; the classes have "
     "Triton's names. Under `rtriton-run` places are also given in Triton's way"),
]  # fmt: skip
"""(about, what, how it is here)"""
