"""Loads, stores, atomics, asynchronous copies, and address conversions."""

from rtriton.backend.ptx.isa import INT8, SCOPE, row

BITS8 = "b8|b16|b32|b64"
ANY = f"{BITS8}|{INT8}|f32|f64"
EVICT = "L1::evict_normal|L1::evict_unchanged|L1::evict_first|L1::evict_last|L1::no_allocate"
PREFETCH = "L2::64B|L2::128B|L2::256B"
SHARED = "shared|shared::cta"
HINT = "L2::cache_hint"

row(f"ld param v=v2|v4? t={ANY}", "t+*v = [param]")
row(f"ld weak? global ca|cg|cs|lu|cv? v=v2|v4? t={ANY}", "t+*v = [global]")
row(f"ld weak? global ca|cg|cs|lu|cv? {PREFETCH}? v=v2|v4? t={ANY}", "t+*v = [global]", version=(7, 4))
row(f"ld weak? global nc? {EVICT}? {PREFETCH}? v=v2|v4? t={ANY}", "t+*v = [global]", version=(7, 4))
row(f"ld weak? global nc? {EVICT}? {HINT} {PREFETCH}? v=v2|v4? t={ANY}", "t+*v = [global] b64", version=(7, 4))
row(f"ld global ca|cg|cs nc v=v2|v4? t={ANY}", "t+*v = [global]")
row(f"ld volatile s=global|{SHARED} v=v2|v4? t={ANY}", "t+*v = [s]")
row(f"ld relaxed|acquire {SCOPE} s=global|{SHARED} v=v2|v4? t={ANY}", "t+*v = [s]")
row(f"ld weak? s={SHARED} v=v2|v4? t={ANY}", "t+*v = [s]")
row(f"ld v=v2|v4? t={ANY}", "t+*v = [generic]")

row(f"st weak? global wb|cg|cs|wt? v=v2|v4? t={ANY}", "= [global] t+*v")
row(f"st weak? global {EVICT} v=v2|v4? t={ANY}", "= [global] t+*v", version=(7, 4))
row(f"st weak? global {EVICT}? {HINT} v=v2|v4? t={ANY}", "= [global] t+*v b64", version=(7, 4))
row(f"st volatile s=global|{SHARED} v=v2|v4? t={ANY}", "= [s] t+*v")
row(f"st relaxed|release {SCOPE} s=global|{SHARED} v=v2|v4? t={ANY}", "= [s] t+*v")
row(f"st weak? s={SHARED} v=v2|v4? t={ANY}", "= [s] t+*v")
row(f"st v=v2|v4? t={ANY}", "= [generic] t+*v")

SEM = "relaxed|acquire|release|acq_rel"
for name, result, sem in (("atom", "t ", SEM), ("red", "", "relaxed|release")):
    where = f"{name} {sem}? {SCOPE}? s=global|{SHARED}"
    row(f"{where} add t=u32|s32|u64|f32|f64", f"{result}= [s] t")
    row(f"{where} min|max t=u32|s32|u64|s64", f"{result}= [s] t")
    row(f"{where} and|or|xor t=b32|b64", f"{result}= [s] t")
    row(f"{where} inc|dec t=u32", f"{result}= [s] t")
    row(f"{where} add noftz t=f16|f16x2", f"{result}= [s] t")
    row(f"{where} add noftz t=bf16|bf16x2", f"{result}= [s] t", sm=90, version=(7, 8))
    vector = "t*v " if result else ""
    row(f"{name} {sem}? {SCOPE}? global add v=v2|v4 t=f32", f"{vector}= [global] t*v", sm=90, version=(8, 1))
row(f"atom {SEM}? {SCOPE}? s=global|{SHARED} exch t=b32|b64", "t = [s] t")
row(f"atom {SEM}? {SCOPE}? s=global|{SHARED} cas t=b16|b32|b64", "t = [s] t t")

row(f"cp.async ca shared|shared::cta global {PREFETCH}?", "= [shared] [global] imm u32?")
row(f"cp.async cg shared|shared::cta global {PREFETCH}?", "= [shared] [global] imm u32?")
row(f"cp.async ca|cg shared|shared::cta global {HINT} {PREFETCH}?", "= [shared] [global] imm u32 b64", version=(7, 4))
row("cp.async commit_group", "=")
row("cp.async wait_group", "= imm")
row("cp.async wait_all", "=")

row("cvta t=global|shared|local|const u64", "b64 = any:b64")
row("cvta to global|shared|local|const u64", "b64 = b64")
row("prefetch global L1|L2", "= [global]")
row("createpolicy fractional L2::evict_last|L2::evict_normal|L2::evict_first|L2::evict_unchanged b64",
    "b64 = imm?", version=(7, 4))
