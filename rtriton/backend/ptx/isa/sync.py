"""Barriers, fences, exchanges between the lanes of a warp, and control flow."""

from rtriton.backend.ptx.isa import row

row("bar sync", "= u32 u32?")
row("bar arrive", "= u32 u32")
row("bar.warp.sync", "= b32")
row("barrier sync aligned?", "= u32 u32?")
row("barrier arrive aligned?", "= u32 u32")
row("bar red popc u32", "u32 = u32 !pred")
row("bar red and|or pred", "pred = u32 !pred")
row("membar cta|gl|sys", "=")
row("fence sc|acq_rel? cta|gpu|sys", "=")
row("fence sc|acq_rel? cluster", "=", sm=90, version=(7, 8))

row("shfl.sync up|down|bfly|idx b32", "b32 pred? = b32 u32 u32 b32")
row("vote.sync all|any|uni pred", "pred = !pred b32")
row("vote.sync ballot b32", "b32 = !pred b32")
row("match.any.sync t=b32|b64", "b32 = t b32")
row("match.all.sync t=b32|b64", "b32 pred? = t b32")
row("redux.sync add|min|max t=u32|s32", "t = t b32")
row("redux.sync and|or|xor b32", "b32 = b32 b32")
row("activemask b32", "b32 =")
row("elect.sync", "b32 pred = b32", sm=90, version=(8, 0))
row("nanosleep u32", "= u32")

row("bra uni?", "= label")
row("ret uni?", "=")
row("exit", "=")
row("trap", "=")
