"""Moving a tile between registers and a shared buffer, by vectors, or by ldmatrix into fragments.

An address is base + (what lane and warp give, xor what the register gives): the part of the register that cannot
meet the other's bits becomes a constant in the instruction.
"""
from __future__ import annotations

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter
from rtriton.backend.ptx.emit_memory import groups
from rtriton.backend.ptx.emit_pack import pack_words, unpack_bytes, unpack_halves, unpack_words, word_type
from rtriton.backend.ptx.operands import Mem, Reg
from rtriton.layout import Layout
from rtriton.layout.matrix import MatrixLoad, matrix_load
from rtriton.types import BY_SHORT, Scalar


class Addresses:
    """Addresses in a shared buffer for a set of run-time columns (lane and warp bits) and register constants."""

    def __init__(self, e: Emitter, columns: dict[str, list[int]], base: Reg, offset: int) -> None:
        self.e, self.base, self.offset = e, base, offset
        self.varies = e.linear(columns)
        self.reach = 0
        for column in (c for listed in columns.values() for c in listed):
            self.reach |= column

    def at(self, constant: int) -> Mem:
        """The address whose register part is `constant` bytes."""
        meets, apart = constant & self.reach, constant & ~self.reach
        place = self.varies
        if place is None:
            return Mem(self.base, self.offset + constant)
        if meets:
            place = self.e.pure("xor.b32", place, meets)
        return Mem(self.e.pure("add.u32", self.base, place), self.offset + apart)


def addresses(e: Emitter, tile: Layout, shared: Layout, itemsize: int, base: Reg, offset: int) -> Addresses:
    columns = {dim: [L.xor_of(shared.offsets, b) * itemsize for b in tile[dim]] for dim in ("lane", "warp")}
    return Addresses(e, columns, base, offset)


def itemsize_of(type: Scalar) -> int:
    return max(8, type.bits) // 8


def store_shared(
    e: Emitter, regs: list[Reg], type: Scalar, tile: Layout, shared: Layout, base: Reg, offset: int
) -> None:
    """Write a tile; of copies the owner's."""
    size = itemsize_of(type)
    where = addresses(e, tile, shared, size, base, offset)
    guard = e.owner(tile)
    for group in groups(tile.registers, L.shared_vector(tile, shared, size)):
        word, words = word_type(type, len(group))
        packed = pack_words(e, type, [regs[r] for r in group], len(group))
        address = where.at(L.xor_of(shared.offsets, tile.flat(register=group[0])) * size)
        vector = f".v{words}" if words > 1 else ""
        e.m.do(f"st.shared{vector}.{word}", address, packed[0] if words == 1 else packed, pred=guard)


def load_shared(e: Emitter, type: Scalar, tile: Layout, shared: Layout, base: Reg, offset: int) -> list[Reg]:
    """Read a tile."""
    size = itemsize_of(type)
    plan = matrix_load(tile, shared, size) if type.kind != "b" else None
    if plan is not None:
        return _load_matrices(e, type, tile, shared, plan, base, offset)
    where = addresses(e, tile, shared, size, base, offset)
    out: dict[int, Reg] = {}
    for group in groups(tile.registers, L.shared_vector(tile, shared, size)):
        word, words = word_type(type, len(group))
        address = where.at(L.xor_of(shared.offsets, tile.flat(register=group[0])) * size)
        vector = f".v{words}" if words > 1 else ""
        loaded = e.m.many(f"ld.shared{vector}.{word}", address)
        out.update(zip(group, unpack_words(e, type, loaded, len(group)), strict=True))
    return [out[r] for r in range(tile.registers)]


def _load_matrices(
    e: Emitter, type: Scalar, tile: Layout, shared: Layout, plan: MatrixLoad, base: Reg, offset: int
) -> list[Reg]:
    """ldmatrix, up to four matrices at once: lanes 8 to 31 hand in the rows of the second to fourth."""
    size = itemsize_of(type)

    def place(b: int) -> int:
        return L.xor_of(shared.offsets, b) * size

    together, rest = plan.matrices[:2], plan.matrices[2:]
    selecting = [place(tile["register"][k]) for k in together]
    lanes = [place(b) for b in plan.rows] + selecting + [0] * (2 - len(selecting))
    where = Addresses(e, {"lane": lanes, "warp": [place(b) for b in tile["warp"]]}, base, offset)
    trans = ".trans" if plan.trans else ""
    out: dict[int, Reg] = {}
    for i in range(1 << len(rest)):
        outer = sum(1 << rest[k] for k in L.bits(i))
        address = where.at(place(tile.flat(register=outer)))
        words = e.m.many(f"ldmatrix.sync.aligned.m8n8.x{1 << len(together)}{trans}.shared.b16", address)
        for j, word in enumerate(words):
            first = outer | sum(1 << together[k] for k in L.bits(j))
            for r, reg in zip(groups_of(first, plan.words), split_word(e, type, word), strict=True):
                out[r] = reg
    return [out[r] for r in range(tile.registers)]


def groups_of(first: int, words: tuple[int, ...]) -> list[int]:
    return [first | sum(1 << words[k] for k in L.bits(j)) for j in range(1 << len(words))]


def split_word(e: Emitter, type: Scalar, word: Reg) -> list[Reg]:
    """The elements of a 32-bit word."""
    if type.bits == 32:
        return [word]
    if type.bits == 16:
        return list(unpack_halves(e, word))
    return unpack_bytes(e, type if type.kind in "iu" else BY_SHORT["u8"], word)
