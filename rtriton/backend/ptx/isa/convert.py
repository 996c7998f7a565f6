"""Conversions between number formats, and moves (with packing and unpacking of registers)."""

from rtriton.backend.ptx.isa import INT, INT8, RND, row, width

INTEGER_RND = "rni|rzi|rmi|rpi"
BITS = "b16|b32|b64"


def _holds(type: str, other: str) -> bool:
    """Whether each value of one integer type is a value of the other."""
    if type[0] == other[0]:
        return width(type) >= width(other)
    return type[0] == "s" and width(type) > width(other)


row(f"mov t=pred|{BITS}|{INT}|f32|f64", "t = any:t")
row("mov b32", "b32 = b16*2")
row("mov b64", "b64 = b32*2")
row("mov b64", "b64 = b16*4")
row("mov b32", "b16*2 = b32")
row("mov b64", "b32*2 = b64")
row("mov b64", "b16*4 = b64")

row(f"cvt d={INT8} a={INT8}", "d+ = a+")
for type in INT8.split("|"):  # saturation is spelled only where the result cannot hold every operand
    others = [other for other in INT8.split("|") if not _holds(type, other)]
    row(f"cvt sat {type} a={'|'.join(others)}", f"{type}+ = a+")
row(f"cvt {RND} sat? d=f16|f32|f64 a={INT8}", "d+ = a+")
row(f"cvt {RND} ftz sat? f32 a={INT8}", "f32 = a+")
row(f"cvt {INTEGER_RND} sat? d={INT8} a=f16|f32|f64", "d+ = a+")
row(f"cvt {INTEGER_RND} ftz sat? d={INT8} f32", "d+ = f32")
row("cvt ftz? sat? f32 f16", "f32 = f16")
row("cvt sat? f64 a=f16|f32", "f64 = a")
row("cvt ftz? f64 f32", "f64 = f32")
row(f"cvt {RND} ftz? sat? f16 f32", "f16 = f32")
row(f"cvt {RND} ftz? sat? f32 f64", "f32 = f64")
row(f"cvt {RND} sat? f16 f64", "f16 = f64")
for type in ("f16", "f32", "f64"):  # rounding to an integral value in the same format, or none
    ftz = "ftz? " if type == "f32" else ""
    row(f"cvt {ftz}sat? {type} {type}", f"{type} = {type}")
    row(f"cvt {INTEGER_RND} {ftz}sat? {type} {type}", f"{type} = {type}")

row("cvt rn|rz relu? d=f16|bf16 f32", "d = f32")
row("cvt rn|rz relu? d=f16x2|bf16x2 f32", "d = f32 f32")
row("cvt rna tf32 f32", "b32 = f32")
row("cvt rn|rz relu? tf32 f32", "b32 = f32", sm=90, version=(7, 8))
row("cvt f32 bf16", "f32 = bf16", version=(7, 1))
row(f"cvt {RND}? d=f16|f64 bf16", "d = bf16", sm=90, version=(7, 8))
row(f"cvt {RND} bf16 a=f16|f64|{INT}", "bf16 = a+", sm=90, version=(7, 8))
row(f"cvt {INTEGER_RND} d={INT} bf16", "d+ = bf16", sm=90, version=(7, 8))
row(f"cvt {INTEGER_RND} bf16 bf16", "bf16 = bf16", sm=90, version=(7, 8))
row("cvt rn satfinite relu? d=e4m3x2|e5m2x2 f32", "d = f32 f32", sm=89, version=(8, 1))
row("cvt rn satfinite relu? d=e4m3x2|e5m2x2 f16x2", "d = f16x2", sm=89, version=(8, 1))
row("cvt rn relu? f16x2 a=e4m3x2|e5m2x2", "f16x2 = a", sm=89, version=(8, 1))
