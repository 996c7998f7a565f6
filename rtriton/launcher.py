"""The function that `kernel[grid](...)` calls. It is written for each kernel, as dataclasses write __init__, so that a
launch like one before costs little. For add(x, n, BLOCK: tl.constexpr = 64):

    def add(grid, /, x, n, BLOCK=64, *more, **options):
        state = launch_state()                                  # settings that a launch depends on
        if state is None or observers: return long(grid, (x, n, BLOCK), options, None)
        if x.__class__ is Tensor:                               # what x was at launches before
            v0 = x.data_ptr()
            f0 = x.dtype if x.is_cuda and not v0 & 15 else (x.dtype, v0 & 15 == 0, x.is_cuda, x.is_cpu)
        else: f0, v0 = other(0, x)
        ...
        facts = state, f0, f1, f2                               # what kernels specialise on, in its cheapest form
        entry = entries.get(facts)                              # a launch before of equal facts
        ...
        entry.launch(grid_sizes(grid), (v0, v1), ())

Where no entry is found, the long road (`JITFunction.launch`) decides how the arguments specialise, compiles, launches,
and leaves an entry here. The law that makes the short one sound: equal facts specialise equally, by
`JITFunction.argument`. Facts may tell apart more than that, which costs an entry and nothing else.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from operator import itemgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from rtriton import knobs, source
from rtriton.arguments import Argument, constant_key, leaves
from rtriton.arrays import library_of, numpy_address
from rtriton.compiled import CompiledKernel, grid_sizes
from rtriton.language.values import from_host
from rtriton.recording import observers

if TYPE_CHECKING:
    from rtriton.jit import JITFunction


class Reading(NamedTuple):
    """How an argument {x} of one class is read: its value {v}, then its facts. The forms of facts differ from class to
    class, so that none is taken for another's."""

    value: str
    facts: str
    condition: str = ""


ARRAYS = {
    "torch": Reading("{x}.data_ptr()", "{x}.dtype if {x}.is_cuda and not {v} & 15 else "
                     "({x}.dtype, {v} & 15 == 0, {x}.is_cuda, {x}.is_cpu)"),
    "numpy": Reading("$numpy_address({x})", "({x}.dtype, None) if {v} & 15 else ({x}.dtype,)"),
    "rtriton": Reading("{x}.address", "({x}.dtype.name, 0, 0) if {v} & 15 else {x}.dtype.name"),
}
NUMBERS: dict[type, Reading] = {
    int: Reading("{x}", "{v} & 15 and ({v} == 1 or 2)", " and -0x80000000 <= {x} < 0x80000000"),
    float: Reading("{x}", "'float'"),
    bool: Reading("{x}", "'bool'"),
    type(None): Reading("None", "None"),
}
ATOMS = frozenset({bool, str, type(None)})      # constexprs that are their own facts, together with their class
MOST_CLASSES = 3                                # of one parameter's arguments; further ones are read by the rule

BEGIN = """
  if $more: raise $too_many($more)
"""
LONG = "return $long($grid, {values}, $options, {facts})"
FIRST = BEGIN + "  " + LONG.replace("{facts}", "None")
SHORT = BEGIN + """
  global $last
  $state = () if $none_set($watched) and not ($touched or $enter or $leave) else $launch_state()
  if $state is None or $observers: """ + LONG.replace("{facts}", "None") + """
{read}
  $facts = $state, {all_facts}
  if $options: $facts = $facts, $frozen($options)
  $entry = $last
  if $entry.facts != $facts:
    $entry = $entries.get($facts)
    if $entry is None: """ + LONG.replace("{facts}", "$facts") + """
    $last = $entry
  for $now, $name, $seen in $entry.watched:
    if $now($name) is not $seen: """ + LONG.replace("{facts}", "$facts") + """
  if $grid.__class__ is not tuple and callable($grid): $grid = $grid({named})
  $x = $grid[0] if $grid.__class__ is tuple and len($grid) == 1 else None
  $sizes = ($x, 1, 1) if $x.__class__ is int and $x > 0 else $grid_sizes($grid)
  $values = {passed}
  $entry.launch($sizes, $values if $entry.take is None else $entry.take($values))
  return $entry.compiled
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A launch that was made: what it is found again by, what must be as it was, and what then runs."""

    facts: Any
    watched: tuple[tuple[Callable[[str], Any], str, Any], ...]
    take: Callable[[Sequence[Any]], Sequence[Any]] | None           # the run-time values out of all; None: they are all
    launch: Callable[..., None]
    compiled: CompiledKernel


class Nothing:
    """In the place of an entry, equal to no facts."""

    facts = None


def _known(x: Any) -> Any:
    """The facts of a constexpr."""
    return constant_key(from_host(x))


def _frozen(options: Mapping[str, Any]) -> tuple[Any, ...]:
    """The facts of launch options."""
    return tuple([(name, x.__class__, x if x.__class__ is int or x.__class__ in ATOMS else repr(x))
                  for name, x in options.items()])


ENTER, LEAVE = knobs.launch_hooks
SHARED: dict[str, Any] = {
    "observers": observers, "launch_state": knobs.launch_state, "none_set": knobs.LAUNCH.none_set,
    "watched": knobs.LAUNCH.keys, "touched": knobs.touched, "enter": ENTER.calls, "leave": LEAVE.calls, "atoms": ATOMS,
    "known": _known, "frozen": _frozen, "numpy_address": numpy_address, "grid_sizes": grid_sizes,
}
_all: WeakSet[Launcher] = WeakSet()


class Launcher:
    """The function of one kernel, `function(grid, *args, **options)`, and the launches it remembers. `bind(*args,
    **options)` gives a value per parameter and the options; TypeErrors of both are Python's own."""

    def __init__(self, fn: JITFunction) -> None:
        self.fn = fn
        self.entries: dict[Any, Entry] = {}
        self.classes: list[list[type]] = [[] for _ in fn.params]
        self._written, self._lock = False, threading.Lock()
        self.prefix = "_"
        while any(name.startswith(self.prefix) for name in fn.arg_names):
            self.prefix += "_"
        self.names: dict[str, Any] = {}
        self._name(**SHARED, entries=self.entries, last=Nothing, long=fn.launch, other=self._other,
                   too_many=self._too_many)
        self._name(**{f"d{p.num}": p.default for p in fn.params if p.has_default})
        self.bind = self._made("", BEGIN + "  return {values}, $options")
        self.function = self._made("$grid, /, ", FIRST)
        _all.add(self)

    def forget(self) -> None:
        """Have every launch take the long road again."""
        self.entries.clear()
        self._name(last=Nothing)

    def remember(self, facts: Any, values: Sequence[Any], arguments: Sequence[Argument],
                 compiled: CompiledKernel) -> None:
        """Keep a launch that was made, so that its like takes the short road. `facts` are as the function found them;
        where it meets a class of an argument for the first time, it finds them otherwise from then on."""
        with self._lock:
            if self._met(values) or not self._written:
                made = self._made("$grid, /, ", SHORT)
                self.function.__code__ = made.__code__  # the same function: somebody may hold `kernel[grid]`
                self._written = True
            elif facts is not None:
                watched = tuple([watch.glance() for watch in compiled.watched])
                passed = [a for a, p in zip(arguments, self.fn.params, strict=True) if not p.is_constexpr]
                entry = Entry(facts, watched, _taking(passed), compiled.executable.launch, compiled)
                self.entries[facts] = entry
                self._name(last=entry)      # in the place of one whose watched names have other objects now

    def _met(self, values: Sequence[Any]) -> bool:
        """Note the arguments' classes; is one of them new to its parameter, and has a reading of its own?"""
        found = False
        for i, (kinds, value) in enumerate(zip(self.classes, values, strict=True)):
            kind: type[Any] = value.__class__
            if kind not in kinds and len(kinds) < MOST_CLASSES and self._reading(i, kind) is not None:
                kinds.append(kind)
                found = True
        return found

    # -- what the function calls ---------------------------------------------------------------------------------------

    def _other(self, index: int, x: Any) -> tuple[Any, Any]:
        """Facts and value of an argument for whose class there is no reading: how it specialises, by the rule."""
        made = self.fn.argument(index, x)
        flat = list(leaves([made])) if made.parts else [made]
        facts = "other", made.key, made.divisible, made.constant, tuple([a.device for a in flat])
        return facts, tuple([a.value for a in flat if not a.constant]) if made.parts else made.value

    def _too_many(self, more: Sequence[Any]) -> TypeError:
        count = len(self.fn.params)
        return TypeError(f"{self.fn.__name__}() takes {count} positional arguments but {count + len(more)} were given")

    # -- writing it ----------------------------------------------------------------------------------------------------

    def _name(self, **names: Any) -> None:
        self.names.update({self.prefix + name: value for name, value in names.items()})

    def _made(self, first: str, body: str) -> FunctionType:
        """The function whose body is `body`; in it $name is a name of ours, told apart from those of parameters."""
        params = self.fn.params
        parts = {"values": _tuple([p.name for p in params]),
                 "passed": _tuple([f"$v{p.num}" for p in params if not p.is_constexpr]),
                 "all_facts": ", ".join(f"$f{p.num}" for p in params),
                 "named": "{" + ", ".join(f"{p.name!r}: {p.name}" for p in params) + "}",
                 "read": "\n".join("  " + line for p in params for line in self._read(p.num))}
        text = f"def function({first}{self._signature()}):{body.format(**parts)}"
        found: dict[str, FunctionType] = {}
        exec(text.replace("$", self.prefix), self.names, found)
        made = found["function"]
        made.__name__ = made.__qualname__ = self.fn.__name__
        return made

    def _signature(self) -> str:
        """The kernel's parameters with their defaults."""
        kinds = self.fn.signature.parameters
        parts: list[str] = []
        for param in self.fn.params:
            if kinds[param.name].kind is Parameter.KEYWORD_ONLY and "*$more" not in parts:
                parts.append("*$more")
            parts.append(f"{param.name}=$d{param.num}" if param.has_default else param.name)
        if "*$more" not in parts:
            parts.append("*$more")
        return ", ".join([*parts, "**$options"])

    def _reading(self, index: int, kind: type) -> Reading | None:
        """How a parameter's arguments of a class are read; None: by the rule."""
        if self.fn.params[index].is_constexpr:
            return None
        if kind in NUMBERS:                     # an annotation that forces the type changes the value too
            return None if self.fn.is_forced(index) else NUMBERS[kind]
        return ARRAYS.get(library_of(kind))

    def _read(self, index: int) -> list[str]:
        """The lines that set the facts and the value of one argument."""
        x, f, v = self.fn.params[index].name, f"$f{index}", f"$v{index}"
        if self.fn.params[index].is_constexpr:
            return [f"{f} = {x} if {x}.__class__ is int else ({x}.__class__, {x}) if {x}.__class__ in $atoms "
                    f"else $known({x})"]
        lines: list[str] = []
        for i, kind in enumerate(self.classes[index]):
            reading = self._reading(index, kind)
            assert reading is not None
            self._name(**{f"c{index}_{i}": kind})
            lines.append(f"{'elif' if lines else 'if'} {x}.__class__ is $c{index}_{i}{reading.condition.format(x=x)}: "
                         f"{v} = {reading.value.format(x=x)}; {f} = {reading.facts.format(x=x, v=v)}")
        rest = f"{f}, {v} = $other({index}, {x})"
        return [*lines, f"else: {rest}"] if lines else [rest]


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(names)},)" if names else "()"


def _taking(arguments: Sequence[Argument]) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
    """What picks the values that a kernel is passed at run time: constants fall out, tuples are spread."""
    kept = [i for i, a in enumerate(arguments) if a.parts or not a.constant]
    spread = {i for i in kept if arguments[i].parts}
    if not spread and len(kept) == len(arguments):
        return None
    if not spread and len(kept) > 1:
        return itemgetter(*kept)
    return lambda values: [v for i in kept for v in (values[i] if i in spread else (values[i],))]


def _forget_all() -> None:
    for launcher in _all:
        launcher.forget()


source.on_edit.append(_forget_all)
