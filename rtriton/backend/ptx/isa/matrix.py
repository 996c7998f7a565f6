"""Warp-wide matrix instructions: fragments from and to shared memory, and multiply-accumulate."""

from rtriton.backend.ptx.isa import row

for count in (1, 2, 4):
    row(f"ldmatrix sync aligned m8n8 x{count} trans? shared|shared::cta b16", f"b32*{count} = [shared]")
    row(f"stmatrix sync aligned m8n8 x{count} trans? shared|shared::cta b16", f"= [shared] b32*{count}",
        sm=90, version=(7, 8))


def _mma(shape: str, result: str, operands: str, registers: tuple[int, int, int], sm: int = 80,
         version: tuple[int, int] = (7, 0)) -> None:
    """One shape and type; `registers` says how many hold a lane's share of A, B and the accumulator."""
    a, b, c = registers
    accumulator = "b32" if result == "f16" else result
    operand = "f64" if result == "f64" else "b32"
    clamp = "satfinite? " if result == "s32" else ""
    row(f"mma.sync aligned {shape} row col {clamp}{result} {operands} {result}",
        f"{accumulator}*{c} = {operand}*{a} {operand}*{b} {accumulator}*{c}", sm, version)


_mma("m16n8k8", "f32", "f16 f16", (2, 1, 4))
_mma("m16n8k8", "f16", "f16 f16", (2, 1, 2))
_mma("m16n8k16", "f32", "f16 f16", (4, 2, 4))
_mma("m16n8k16", "f16", "f16 f16", (4, 2, 2))
_mma("m16n8k8", "f32", "bf16 bf16", (2, 1, 4))
_mma("m16n8k16", "f32", "bf16 bf16", (4, 2, 4))
_mma("m16n8k4", "f32", "tf32 tf32", (2, 1, 4))
_mma("m16n8k8", "f32", "tf32 tf32", (4, 2, 4))
_mma("m16n8k16", "s32", "s8|u8 s8|u8", (2, 1, 4))
_mma("m16n8k32", "s32", "s8|u8 s8|u8", (4, 2, 4))
_mma("m16n8k32", "f32", "e4m3|e5m2 e4m3|e5m2", (4, 2, 4), sm=89, version=(8, 4))
_mma("m8n8k4", "f64", "f64 f64", (1, 1, 2))
_mma("m16n8k4", "f64", "f64 f64", (2, 1, 4), sm=90, version=(7, 8))
_mma("m16n8k8", "f64", "f64 f64", (4, 2, 4), sm=90, version=(7, 8))
_mma("m16n8k16", "f64", "f64 f64", (8, 4, 4), sm=90, version=(7, 8))
