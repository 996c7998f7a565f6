"""In which kind each matrix of a file is kept in memory.

As the file has it where the kernels read that directly (`IN_MEMORY`); block types without a kernel of their own become
the nearest kind that loses next to nothing, and a note says so. `--quantization fp8|int4` rounds the layers' matrices
again. The embedding and the output head stay as the file has them: they are read row by row, one wrong row is one wrong
word, and in the small models that this is for they are 8-bit already.
"""

from __future__ import annotations

from ops.quant import QuantWeight, dequantize, quantize

IN_MEMORY = {
    "F32": "f32",
    "F16": "f16",
    "BF16": "bf16",
    "Q4_0": "int4",
    "Q4_1": "int4",
    "Q4_K": "int4",  # its groups are 32 long too; only their scales are rounded, to float16
    "Q8_0": "int8",
}
OTHERWISE = "int8"  # Q5_*, Q6_K and the like: 8 bits hold what 5 or 6 bits said to within half a step of 1/127
REQUESTS = ("none", "fp8", "int4")
_BY_PRECISION = ("int4", "fp8", "int8", "bf16", "f16", "f32")


def stored_kind(file_type: str) -> str:
    """The kind that a matrix of `file_type` is kept in when nothing is asked for."""
    return IN_MEMORY.get(file_type, OTHERWISE)


def layer_kind(file_types: list[str], requested: str) -> str:
    """The kind for a layer matrix stacked from parts of `file_types`: the requested one, or the most precise part's."""
    if requested not in REQUESTS:
        raise ValueError(f"quantization must be one of {', '.join(REQUESTS)}, got {requested!r}")
    if requested != "none":
        return requested
    return max((stored_kind(name) for name in file_types), key=_BY_PRECISION.index)


def conversion_note(file_type: str, kind: str, count: int) -> str | None:
    """One sentence where `count` matrices of the file changed kind on the way in."""
    matrices = "1 matrix" if count == 1 else f"{count} matrices"
    if file_type == "Q4_K" and kind == "int4":
        return f"{matrices} of Q4_K kept as int4, group scales rounded to float16"
    if stored_kind(file_type) != kind or file_type not in IN_MEMORY:
        return f"{matrices} of {file_type} requantized to {kind}"
    return None


def requantize(weight: QuantWeight, kind: str) -> QuantWeight:
    """`weight` rounded to `kind`; the same object where it has that kind already."""
    if weight.kind == kind:
        return weight
    return quantize(dequantize(weight), kind)
