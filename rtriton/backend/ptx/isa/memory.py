"""Loads, stores, atomics, asynchronous copies, and address conversions."""

from rtriton.backend.ptx.isa import row

NARROW = "b8|b16|b32|s8|u8|s16|u16|s32|u32|f32"
WIDE = f"{NARROW}|b64|s64|u64|f64"
EVICT = "L1::evict_normal|L1::evict_unchanged|L1::evict_first|L1::evict_last|L1::no_allocate"
PREFETCH = "L2::64B|L2::128B|L2::256B"
SHARED = "shared|shared::cta"
HINT = "L2::cache_hint"

# (opcode with its modifiers, state space, what follows the address, first PTX version). Order as the PTX ISA has it.
LOADS = (
    ("weak? global ca|cg|cs|lu|cv?", "global", "", (7, 0)),
    ("param", "param", "", (7, 0)),
    (f"weak? global ca|cg|cs|lu|cv? {PREFETCH}", "global", "", (7, 4)),
    (f"weak? global {EVICT} {PREFETCH}?", "global", "", (7, 4)),
    (f"weak? global {EVICT}? {HINT} {PREFETCH}?", "global", " b64", (7, 4)),
    ("global ca|cg|cs? nc", "global", "", (7, 0)),
    (f"global nc {EVICT}? {PREFETCH}?", "global", "", (7, 4)),
    (f"global nc {EVICT}? {HINT} {PREFETCH}?", "global", " b64", (7, 4)),
    (f"volatile s=global|{SHARED}", "s", "", (7, 0)),
    (f"relaxed|acquire cta|gpu|sys s=global|{SHARED}", "s", "", (7, 0)),
    (f"weak? s={SHARED}", "s", "", (7, 0)),
    ("", "generic", "", (7, 0)),
)
STORES = (
    ("weak? global wb|cg|cs|wt?", "global", "", (7, 0)),
    (f"weak? global {EVICT}", "global", "", (7, 4)),
    (f"weak? global {EVICT}? {HINT}", "global", " b64", (7, 4)),
    (f"volatile s=global|{SHARED}", "s", "", (7, 0)),
    (f"relaxed|release cta|gpu|sys s=global|{SHARED}", "s", "", (7, 0)),
    (f"weak? s={SHARED}", "s", "", (7, 0)),
    ("", "generic", "", (7, 0)),
)
for vector, types in (("v=v2?", WIDE), ("v=v4", NARROW)):  # at most 16 bytes in one access
    for how, space, policy, version in LOADS:
        row(f"ld {how} {vector} t={types}", f"t+*v = [{space}]{policy}", version=version)
    for how, space, policy, version in STORES:
        row(f"st {how} {vector} t={types}", f"= [{space}] t+*v{policy}", version=version)

SEM = "relaxed|acquire|release|acq_rel"
# ptxas takes sem, scope and space in any order. The second is how Triton writes its atomics (and how tools look for
# them), the third its compare-and-swap.
ORDERS = (f"atom {SEM}? cta|gpu|sys? s=global|{SHARED}", f"atom s=global cta|gpu|sys {SEM}",
          f"atom s=global {SEM} cta|gpu|sys")
RED = f"red relaxed|release? cta|gpu|sys? s=global|{SHARED}"
for where, result in (*((order, "t ") for order in ORDERS[:2]), (RED, "")):
    row(f"{where} add t=u32|s32|u64|f32|f64", f"{result}= [s] t")
    row(f"{where} min|max t=u32|s32|u64|s64", f"{result}= [s] t")
    row(f"{where} and|or|xor t=b32|b64", f"{result}= [s] t")
    row(f"{where} inc|dec t=u32", f"{result}= [s] t")
    row(f"{where} add noftz t=f16|f16x2", f"{result}= [s] t")
    row(f"{where} add noftz t=bf16|bf16x2", f"{result}= [s] t", sm=90, version=(7, 8))
for order in ORDERS[:2]:
    row(f"{order} exch t=b32|b64", "t = [s] t")
for order in (ORDERS[0], ORDERS[2]):
    row(f"{order} cas t=b16|b32|b64", "t = [s] t t")
for how, result in ((f"atom {SEM}? cta|gpu|sys? global", "t*v "), (f"atom global cta|gpu|sys {SEM}", "t*v "),
                    ("red relaxed|release? cta|gpu|sys? global", "")):
    row(f"{how} add v=v2|v4 t=f32", f"{result}= [global] t*v", sm=90, version=(8, 1))

row("cp.async ca|cg shared|shared::cta global", "= [shared] [global] imm u32?")
row(f"cp.async ca|cg shared|shared::cta global {PREFETCH}", "= [shared] [global] imm u32?", version=(7, 4))
row(f"cp.async ca|cg shared|shared::cta global {HINT} {PREFETCH}?", "= [shared] [global] imm u32 b64", version=(7, 4))
row("cp.async commit_group", "=")
row("cp.async wait_group", "= imm")
row("cp.async wait_all", "=")

row("cvta t=global|shared|local|const u64", "b64 = any:b64")
row("cvta to global|shared|local|const u64", "b64 = b64")
row("prefetch global L1|L2", "= [global]")
row("createpolicy fractional L2::evict_last|L2::evict_normal|L2::evict_first|L2::evict_unchanged b64",
    "b64 = imm?", version=(7, 4))
