"""Integer, floating-point, bit, comparison and selection instructions."""

from rtriton.backend.ptx.isa import INT, RND, row

BITS = "b16|b32|b64"
SIGNED = "s16|s32|s64"
COMPARE = "eq|ne|lt|le|gt|ge"
UNSIGNED = "u16|u32|u64"
FLOAT_COMPARE = "eq|ne|lt|le|gt|ge|equ|neu|ltu|leu|gtu|geu|num|nan"
HALF = "f16|f16x2"
BRAIN = "bf16|bf16x2"
SELECT = f"{BITS}|{INT}|f32|f64"

for name in ("add", "sub"):
    row(f"{name} t={INT}", "t = t t")
    row(f"{name} sat s32", "s32 = s32 s32")
row("add t=u16x2|s16x2", "t = t t", sm=90, version=(8, 0))
row(f"mul lo|hi t={INT}", "t = t t")
row(f"mad lo|hi t={INT}", "t = t t t")
for narrow, wide in (("s16", "s32"), ("u16", "u32"), ("s32", "s64"), ("u32", "u64")):
    row(f"mul wide {narrow}", f"{wide} = {narrow} {narrow}")
    row(f"mad wide {narrow}", f"{wide} = {narrow} {narrow} {wide}")
for name in ("div", "rem", "min", "max"):
    row(f"{name} t={INT}", "t = t t")
for name in ("abs", "neg"):
    row(f"{name} t={SIGNED}", "t = t")
row("sad t=s16|u16|s32|u32|s64|u64", "t = t t t")
row("dp4a s32|u32 s32|u32", "b32 = b32 b32 b32")

for name in ("and", "or", "xor"):
    row(f"{name} t=pred|{BITS}", "t = t t")
row(f"not t=pred|{BITS}", "t = t")
row("lop3 b32", "b32 = b32 b32 b32 imm")
row(f"shl t={BITS}", "t = t u32")
row(f"shr t={BITS}|{INT}", "t = t u32")
row("shf l|r wrap|clamp b32", "b32 = b32 b32 u32")
row("bfe t=s32|u32|s64|u64", "t = t u32 u32")
row("bfi t=b32|b64", "t = t t u32 u32")
row("bfind shiftamt? t=s32|u32|s64|u64", "u32 = t")
row("popc t=b32|b64", "u32 = t")
row("clz t=b32|b64", "u32 = t")
row("brev t=b32|b64", "t = t")
row("prmt b32 f4e|b4e|rc8|ecl|ecr|rc16?", "b32 = b32 b32 b32")

for compare, types in ((COMPARE, INT), ("lo|ls|hi|hs", UNSIGNED), ("eq|ne", BITS)):
    row(f"setp {compare} t={types}", "pred pred? = t t")
    row(f"setp {compare} and|or|xor t={types}", "pred pred? = t t !pred")
for type, results in (("f32", "pred pred?"), ("f64", "pred pred?"), ("f16", "pred"), ("bf16", "pred")):
    ftz = "ftz? " if type in ("f32", "f16") else ""
    sm, version = (90, (7, 8)) if type == "bf16" else (80, (7, 0))
    row(f"setp {FLOAT_COMPARE} {ftz}{type}", f"{results} = {type} {type}", sm, version)
    row(f"setp {FLOAT_COMPARE} and|or|xor {ftz}{type}", f"{results} = {type} {type} !pred", sm, version)
row(f"setp {FLOAT_COMPARE} ftz? f16x2", "pred pred = f16x2 f16x2")
row(f"setp {FLOAT_COMPARE} bf16x2", "pred pred = bf16x2 bf16x2", sm=90, version=(7, 8))
row(f"selp t={SELECT}", "t = t t pred")
row(f"slct t={SELECT} s32", "t = t t s32")
row(f"slct ftz? t={SELECT} f32", "t = t t f32")

for name in ("add", "sub", "mul"):
    row(f"{name} {RND}? ftz? sat? f32", "f32 = f32 f32")
    row(f"{name} {RND}? f64", "f64 = f64 f64")
    row(f"{name} rn? ftz? sat? t={HALF}", "t = t t")
    row(f"{name} rn? t={BRAIN}", "t = t t", sm=90, version=(7, 8))
row(f"fma {RND} ftz? sat? f32", "f32 = f32 f32 f32")
row(f"fma {RND} f64", "f64 = f64 f64 f64")
row(f"mad {RND} ftz? sat? f32", "f32 = f32 f32 f32")
row(f"mad {RND} f64", "f64 = f64 f64 f64")
row(f"fma rn ftz? sat|relu? t={HALF}", "t = t t t")
row(f"fma rn relu? t={BRAIN}", "t = t t t")
row(f"div {RND} ftz? f32", "f32 = f32 f32")
row("div full|approx ftz? f32", "f32 = f32 f32")
row(f"div {RND} f64", "f64 = f64 f64")
for name in ("abs", "neg"):
    row(f"{name} ftz? f32", "f32 = f32")
    row(f"{name} f64", "f64 = f64")
    row(f"{name} ftz? t={HALF}", "t = t")
    row(f"{name} t={BRAIN}", "t = t")
for name in ("min", "max"):
    row(f"{name} ftz? NaN? f32", "f32 = f32 f32")
    row(f"{name} f64", "f64 = f64 f64")
    row(f"{name} ftz? NaN? t={HALF}", "t = t t")
    row(f"{name} NaN? t={BRAIN}", "t = t t")
row("copysign t=f32|f64", "t = t t")
row("testp finite|infinite|number|notanumber|normal|subnormal t=f32|f64", "pred = t")

for name in ("rcp", "sqrt"):
    row(f"{name} approx|{RND} ftz? f32", "f32 = f32")
    row(f"{name} {RND} f64", "f64 = f64")
row("rcp approx ftz f64", "f64 = f64")
row("rsqrt approx ftz? f32", "f32 = f32")
row("rsqrt approx f64", "f64 = f64")
for name in ("sin", "cos", "lg2", "ex2"):
    row(f"{name} approx ftz? f32", "f32 = f32")
row(f"ex2 approx t={HALF}", "t = t")
row(f"ex2 approx ftz t={BRAIN}", "t = t", sm=90, version=(7, 8))
row(f"tanh approx t=f32|{HALF}", "t = t")
row(f"tanh approx t={BRAIN}", "t = t", sm=90, version=(7, 8))
