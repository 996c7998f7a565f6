"""Which values are worth holding: computed where they are defined instead of again in every consumer.

A lazy value is evaluated once per consumer that reaches it. It is held instead

- if it reads memory and a later op may write there before its last consumer has run;
- if a consumer stands in a loop inside the one it is defined in, or there are several consumers, and evaluating it
  costs more than reading it back (`COSTS`, in vector instructions, of everything lazy behind it).

A store that is the value's only consumer may write where it reads, place by place, as long as both use one address.
Different pointer arguments are taken not to overlap in part: equal arrays are fine, shifted views of one are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rtriton.backend.cpu.facts import HINTS, Facts
from rtriton.backend.cpu.lower import NOW, Lowering
from rtriton.ir import Block, Kernel, Op, Value
from rtriton.language.table import OPS, WRITES
from rtriton.types import element_of, shape_of

SHAPES = ("splat", "expand_dims", "broadcast", "trans", "reshape", "const", "arange", "program_id", "num_programs")
COSTS = {"exp": 16, "exp2": 14, "log": 20, "log2": 22, "sin": 25, "cos": 25, "tanh": 30, "erf": 30, "div": 6,
         "div_rn": 6, "sqrt": 6, "sqrt_rn": 6, "rsqrt": 12, "rem": 12, "load": 2, "gather": 16}  # fmt: skip
HOLD = 7  # from this cost on a value with several consumers, or one in an inner loop, is held


@dataclass(slots=True)
class _Use:
    """The consumers a value reaches: their positions in program order, whether one stands in a deeper loop, and
    whether a shape op on the way takes elements to other places."""

    last: int = -1
    consumers: set[int] = field(default_factory=set[int])
    nested: bool = False
    moved: bool = False


class Plan:
    def __init__(self, kernel: Kernel, facts: Facts) -> None:
        self.facts = facts
        self.order: dict[int, int] = {}  # id of op -> position
        self.depth: dict[Value, int] = {}
        self.uses: dict[Value, _Use] = {}
        self.writes: list[tuple[int, Op]] = []
        self.span: dict[int, int] = {}  # op with regions -> position of the last op inside
        self.held: set[Value] = set()
        self.urgent: set[Value] = set()  # held because memory changes before their last consumer
        self.loop_start: dict[Value, int] = {}
        for param in kernel.params:
            self.depth[param] = 0
        self.count = 0
        self.ops: list[tuple[Op, int, tuple[int, ...]]] = []
        self.walk(kernel.body, 0, ())

    def walk(self, block: Block, depth: int, loops: tuple[int, ...]) -> None:
        for op in block.ops:
            self.order[id(op)] = position = self.count
            self.count += 1
            self.ops.append((op, depth, loops))
            for result in op.results:
                self.depth[result] = depth
            row = OPS.get(op.kind)
            if row is not None and row.effects & WRITES and op.kind not in ("assume", "assert", "print"):
                self.writes.append((position, op))
            inner = depth + (op.kind in ("for", "while"))
            for region in op.regions:
                for param in region.params:
                    self.depth[param] = inner
                if op.kind not in ("reduce", "scan", "map"):
                    self.walk(region, inner, (*loops, position) if op.kind in ("for", "while") else loops)
            self.span[position] = self.count

    def run(self) -> None:
        for op, depth, _ in reversed(self.ops):
            position = self.order[id(op)]
            if self.is_consumer(op):
                for result in op.results:
                    self.uses.setdefault(result, _Use())
                self.reach(op, {position}, depth, position)
                continue
            result = op.results[0]
            use = self.uses.setdefault(result, _Use())
            if shape_of(result.type) and self.wanted(op, result, use, position):
                self.held.add(result)
                self.reach(op, {position}, depth, position)
                continue
            self.pass_on(op, use)

    def is_consumer(self, op: Op) -> bool:
        return (op.kind in NOW and op.kind not in ("reshape", "gather")) or op.kind == "yield" or not op.results or (
            bool(op.results) and not shape_of(op.results[0].type))  # fmt: skip

    def reach(self, op: Op, consumers: set[int], depth: int, last: int) -> None:
        for value in op.operands:
            if value is not None and shape_of(value.type):
                use = self.uses.setdefault(value, _Use())
                use.consumers |= consumers
                use.last = max(use.last, last)
                use.nested |= depth > self.depth.get(value, 0)

    def pass_on(self, op: Op, use: _Use) -> None:
        for value in op.operands:
            if value is not None and shape_of(value.type):
                behind = self.uses.setdefault(value, _Use())
                behind.consumers |= use.consumers
                behind.last = max(behind.last, use.last)
                behind.moved |= use.moved or not OPS[op.kind].elementwise
                behind.nested |= use.nested or self.depth[op.results[0]] > self.depth.get(value, 0)

    def wanted(self, op: Op, value: Value, use: _Use, position: int) -> bool:
        if not use.consumers or op.kind in SHAPES or op.kind == "addptr" or op.kind in HINTS:
            return False
        if self.overwritten(op, value, use, position):
            self.urgent.add(value)
            return True
        return (len(use.consumers) > 1 or use.nested) and self.costs(value, HOLD)

    def overwritten(self, op: Op, value: Value, use: _Use, position: int) -> bool:
        """Whether a write between the definition and the last consumer may change what the loads behind it read."""
        if op.kind != "load":
            return False
        end = self.span_of_consumers(op, use)
        for at, write in self.writes:
            if not position < at <= end:
                continue
            alone = at == end == use.last and write.kind == "store" and at in use.consumers
            if not alone or use.moved:
                if self.may_alias(op, write):
                    return True
            elif self.root(op.operands[0]) == self.root(write.operands[0]) and not self.same_address(op, write):
                return True
        return False

    def span_of_consumers(self, op: Op, use: _Use) -> int:
        """The last position at which the value may still be evaluated: a consumer in an inner loop runs again."""
        last, loops = use.last, next(l for o, _, l in self.ops if o is op)
        for o, _, inner in self.ops:
            if self.order[id(o)] in use.consumers:
                for loop in inner[len(loops) : len(loops) + 1]:
                    last = max(last, self.span[loop] - 1)
        return last

    def root(self, pointer: Value | None) -> Value | None:
        """The pointer argument (or other origin) that an address is made from."""
        while pointer is not None:
            op = self.facts.definition.get(pointer)
            if op is None or op.kind not in (*SHAPES, *HINTS, "addptr"):
                return pointer
            pointer = op.operands[0]
        return None

    def may_alias(self, load: Op, write: Op) -> bool:
        """Two different arguments may be one array: only different element types are taken to be apart."""
        if write.kind == "barrier":
            return True
        source, target = load.operands[0], write.operands[0]
        assert source is not None and target is not None
        return True if self.root(source) == self.root(target) else element_of(source.type) == element_of(target.type)

    def same_address(self, load: Op, write: Op) -> bool:
        return self.equal(load.operands[0], write.operands[0])

    def equal(self, x: Value | None, y: Value | None) -> bool:
        if x is y:
            return True
        if x is None or y is None:
            return False
        a, b = self.facts.definition.get(x), self.facts.definition.get(y)
        if (
            a is None
            or b is None
            or a.kind != b.kind
            or dict(a.attrs) != dict(b.attrs)
            or a.regions
            or a.kind == "load"
        ):
            return False
        return len(a.operands) == len(b.operands) and all(map(self.equal, a.operands, b.operands))

    def costs(self, value: Value, limit: int) -> bool:
        """Do `limit` vector instructions or more stand behind one vector of a lazy value? What is equal in all lanes is
        free. It looks no further than the limit: chains may be long."""
        total, seen, waiting = 0, set[Value](), [value]
        while waiting and total < limit:
            value = waiting.pop()
            op = self.facts.definition.get(value)
            if value in seen or op is None or not shape_of(value.type):
                continue
            seen.add(value)
            if value in self.held or self.is_consumer(op):
                total += 1
            elif op.kind in SHAPES:
                waiting.extend(v for v in op.operands if v is not None)
            elif element_of(value.type).kind != "p" and not self.simple_index(value):
                total += COSTS.get(op.kind, 1)
                waiting.extend(v for v in op.operands if v is not None)
        return total >= limit

    def simple_index(self, value: Value) -> bool:
        """Integers made only of indices and scalars: a ramp, one instruction at most."""
        if element_of(value.type).kind not in "iu":
            return False
        axis = len(shape_of(value.type)) - 1
        return self.facts.chunk(value, axis, min(4, shape_of(value.type)[axis])).stride is not None

    def sole_consumer(self, value: Value) -> Op | None:
        """The only consumer of the value, if it stands in the same loop; lazy ops may stand between."""
        use = self.uses.get(value)
        if use is None or len(use.consumers) != 1 or use.nested:
            return None
        return self.ops[next(iter(use.consumers))][0]

    def only_consumer(self, value: Value, op: Op) -> bool:
        """Whether nothing but `op` reads the value."""
        use = self.uses.get(value)
        return use is not None and use.consumers == {self.order[id(op)]}


def plan(kernel: Kernel, facts: Facts) -> Plan:
    """Decide for a whole kernel; `.held` are the lazy values to hold."""
    planner = Plan(kernel, facts)
    planner.run()
    return planner


def cheap_by_element(low: Lowering, value: Value) -> bool:
    """Whether asking for single elements is as good as for vectors: loads, constants and conversions."""
    while True:
        held = value in low.held
        op = low.facts.definition.get(value)
        if held or op is None:
            return True
        if op.kind == "load":
            mask = low.optional(op, 1)
            return mask is None or low.facts.scalar_of(mask) is not None
        if op.kind in SHAPES and op.operands:
            assert op.operands[0] is not None
            value = op.operands[0]
            if not shape_of(value.type):
                return True
        elif op.kind == "cast" and element_of(low.operand(op, 0).type).kind == "f":
            value = low.operand(op, 0)
        else:
            return op.kind == "const"
