"""Moving a tile between registers and a shared buffer, by vectors, or fragments by ldmatrix and stmatrix.

An address is base + (what lane and warp give, xor what the register gives): the part of the register that cannot
meet the other's bits becomes a constant in the instruction.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator

from rtriton import layout as L
from rtriton.backend.ptx.emit import Emitter
from rtriton.backend.ptx.emit_memory import groups
from rtriton.backend.ptx.emit_pack import pack_words, unpack_bytes, unpack_halves, unpack_words, word_type
from rtriton.backend.ptx.operands import Mem, Reg
from rtriton.layout import Layout
from rtriton.layout.matrix import Matrices, matrices_of, stored_matrices
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
    e: Emitter,
    regs: list[Reg],
    type: Scalar,
    tile: Layout,
    shared: Layout,
    base: Reg,
    offset: int,
    guard: Reg | None = None,
) -> None:
    """Write a tile: of copies the owner's, or those of who passes the guard."""
    size = itemsize_of(type)
    plan = stored_matrices(tile, shared, size) if stores_matrices(e) and type.kind != "b" and guard is None else None
    if plan is not None:
        _store_matrices(e, regs, type, tile, shared, plan, base, offset)
        return
    guard = guard or e.owner(tile)
    accesses = groups(tile.registers, L.shared_vector(tile, shared, size))
    if guard is None or len(accesses) < BRANCH:
        _store_groups(e, regs, type, tile, shared, accesses, base, offset, guard)
        return
    end = e.m.label("stored")
    e.m.bra(end, pred=~guard)
    with e.scope():
        _store_groups(e, regs, type, tile, shared, accesses, base, offset, None)
    e.m.place(end)


BRANCH = 4  # predicated accesses: ptxas makes a branch of each, so that one around all of them is better


def _store_groups(
    e: Emitter,
    regs: list[Reg],
    type: Scalar,
    tile: Layout,
    shared: Layout,
    accesses: list[list[int]],
    base: Reg,
    offset: int,
    guard: Reg | None,
) -> None:
    size = itemsize_of(type)
    where = addresses(e, tile, shared, size, base, offset)
    for group in accesses:
        word, words = word_type(type, len(group))
        packed = pack_words(e, type, [regs[r] for r in group], len(group))
        address = where.at(L.xor_of(shared.offsets, tile.flat(register=group[0])) * size)
        vector = f".v{words}" if words > 1 else ""
        e.m.do(f"st.shared{vector}.{word}", address, packed[0] if words == 1 else packed, pred=guard)


def load_shared(
    e: Emitter, type: Scalar, tile: Layout, shared: Layout, base: Reg, offset: int, turned: int = 0
) -> list[Reg]:
    """Read a tile; each place the element whose index differs in the bits `turned`, none of one vector."""
    size = itemsize_of(type)
    plan = matrices_of(tile, shared, size) if type.kind != "b" and not turned else None
    if plan is not None:
        return _load_matrices(e, type, tile, shared, plan, base, offset)
    reads = Reads(e, type, tile, shared, base, offset, turned)
    return [reads.at(r) for r in range(tile.registers)]


class Reads:
    """A tile in a shared buffer, read by vectors when one of their registers is first asked for."""

    def __init__(
        self, e: Emitter, type: Scalar, tile: Layout, shared: Layout, base: Reg, offset: int, turned: int = 0
    ) -> None:
        self.e, self.type, self.tile, self.shared, self.turned = e, type, tile, shared, turned
        self.size = itemsize_of(type)
        self.where = addresses(e, tile, shared, self.size, base, offset)
        together = groups(tile.registers, L.shared_vector(tile, shared, self.size))
        self.group_of = {r: group for group in together for r in group}
        self.found: dict[int, Reg] = {}

    def at(self, register: int) -> Reg:
        if register not in self.found:
            group = self.group_of[register]
            word, words = word_type(self.type, len(group))
            element = self.tile.flat(register=group[0]) ^ self.turned
            address = self.where.at(L.xor_of(self.shared.offsets, element) * self.size)
            vector = f".v{words}" if words > 1 else ""
            loaded = self.e.m.many(f"ld.shared{vector}.{word}", address)
            self.found.update(zip(group, unpack_words(self.e, self.type, loaded, len(group)), strict=True))
        return self.found[register]


def stores_matrices(e: Emitter) -> bool:
    """Whether there is stmatrix."""
    return e.target.number >= 90


class _Walk:
    """The matrices of a tile, up to four at once: lanes 8 to 31 hand in the rows of the second to fourth."""

    def __init__(self, e: Emitter, tile: Layout, place: Callable[[int], int], plan: Matrices, base: Reg, offset: int):
        together, self.rest = plan.matrices[:2], plan.matrices[2:]
        selecting = [place(tile["register"][k]) for k in together]
        lanes = [place(b) for b in plan.rows] + selecting + [0] * (2 - len(selecting))
        self.where = Addresses(e, {"lane": lanes, "warp": [place(b) for b in tile["warp"]]}, base, offset)
        self.tile, self.place, self.plan, self.together = tile, place, plan, together
        self.form = f"m8n8.x{1 << len(together)}{'.trans' if plan.trans else ''}.shared.b16"

    def __iter__(self) -> Iterator[tuple[Mem, list[list[int]]]]:
        """An instruction's address, and the registers in each of its words."""
        for i in range(1 << len(self.rest)):
            outer = sum(1 << self.rest[k] for k in L.bits(i))
            firsts = [outer | sum(1 << self.together[k] for k in L.bits(j)) for j in range(1 << len(self.together))]
            yield self.where.at(self.place(self.tile.flat(register=outer))), [
                groups_of(first, self.plan.words) for first in firsts
            ]


def _places(shared: Layout, size: int) -> Callable[[int], int]:
    """The byte at which an element lies, by its packed coordinates."""
    return lambda element: L.xor_of(shared.offsets, element) * size


def _load_matrices(
    e: Emitter, type: Scalar, tile: Layout, shared: Layout, plan: Matrices, base: Reg, offset: int
) -> list[Reg]:
    walk = _Walk(e, tile, _places(shared, itemsize_of(type)), plan, base, offset)
    out: dict[int, Reg] = {}
    for address, words in walk:
        for word, group in zip(e.m.many(f"ldmatrix.sync.aligned.{walk.form}", address), words, strict=True):
            out.update(zip(group, split_word(e, type, word), strict=True))
    return [out[r] for r in range(tile.registers)]


def _store_matrices(
    e: Emitter, regs: list[Reg], type: Scalar, tile: Layout, shared: Layout, plan: Matrices, base: Reg, offset: int
) -> None:
    walk = _Walk(e, tile, _places(shared, itemsize_of(type)), plan, base, offset)
    for address, words in walk:
        packed = [w for group in words for w in pack_words(e, type, [regs[r] for r in group], len(group))]
        e.m.do(f"stmatrix.sync.aligned.{walk.form}", address, packed)


def groups_of(first: int, words: tuple[int, ...]) -> list[int]:
    return [first | sum(1 << words[k] for k in L.bits(j)) for j in range(1 << len(words))]


def split_word(e: Emitter, type: Scalar, word: Reg) -> list[Reg]:
    """The elements of a 32-bit word."""
    if type.bits == 32:
        return [word]
    if type.bits == 16:
        return list(unpack_halves(e, word))
    return unpack_bytes(e, type if type.kind in "iu" else BY_SHORT["u8"], word)
