"""The text of a module: the only place where PTX strings are made.

Places of the user's program are `.loc` lines; code of a function that was inlined says where it was called, so that
profilers show it under the user's line: `.loc 2 81 25, function_name inlined_0, inlined_at 1 11 9`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from rtriton.backend.ptx.module import LOCAL, PREFIX, SHARED, Label, Located, Module, Param
from rtriton.backend.ptx.names import file_string, symbol


def show(module: Module) -> str:
    """The module as ptxas and the driver read it."""
    places = _Places()
    body = list(_body(module, places))
    return "\n".join([*_head(module), *_interface(module), "{", *_registers(module), *body, "}", "",
                      *places.tables(), ""])


def _head(module: Module) -> Iterator[str]:
    major, minor = module.version
    yield f".version {major}.{minor}"
    yield f".target {module.target}"
    yield ".address_size 64"
    yield ""
    if module.shared_bytes:
        # Swizzle patterns of up to 1024 bytes are relative to the buffer's start, so it must be that aligned.
        yield f".extern .shared .align 1024 .b8 {SHARED}[];"
    yield from module.externs
    for content, name in module.texts.items():
        data = content.encode() + b"\0"
        yield f".global .align 1 .b8 {name}[{len(data)}] = {{{', '.join(map(str, data))}}};"


def _interface(module: Module) -> Iterator[str]:
    lines = [f"    .param {_param(param)}" for param in module.params]
    yield f".visible .entry {symbol(module.name)}(" + ("" if lines else ")")
    if lines:
        yield ",\n".join(lines)
        yield ")"
    yield f".reqntid {32 * module.num_warps}"
    if module.maxnreg is not None:
        yield f".maxnreg {module.maxnreg}"


def _param(param: Param) -> str:
    if param.pointer:
        return f".{param.type} .ptr .global .align {param.align} {param.name}"
    return f".{param.type} {param.name}"


def _registers(module: Module) -> Iterator[str]:
    if module.local_bytes:
        yield f"    .local .align 8 .b8 {LOCAL}[{module.local_bytes}];"
    for kind, count in module.counts.items():
        yield f"    .reg .{kind} {PREFIX[kind]}<{count}>;"


@dataclass
class _Places:
    """The `.loc` lines of a body, and the tables of files and functions that they point into."""

    files: dict[str, int] = field(default_factory=dict[str, int])
    functions: dict[str, str] = field(default_factory=dict[str, str])
    said: dict[tuple[int, int, int], Located] = field(default_factory=dict[tuple[int, int, int], Located])

    def lines(self, span: Located) -> Iterator[str]:
        """What says `span`. The assembler looks a caller up among the places before, so those come first."""
        caller = span.caller
        if caller is not None and self.said.get(self.place(caller)) != caller:
            yield from self.lines(caller)
        self.said[self.place(span)] = span
        text = "    .loc {} {} {}".format(*self.place(span))
        if caller is not None:
            name = self.functions.setdefault(span.function or "function", f"inlined_{len(self.functions)}")
            text += ", function_name {}, inlined_at {} {} {}".format(name, *self.place(caller))
        yield text

    def place(self, span: Located) -> tuple[int, int, int]:
        return self.files.setdefault(span.file, len(self.files) + 1), span.line, span.col

    def tables(self) -> Iterator[str]:
        yield from (f'.file {number} "{file_string(name)}"' for name, number in self.files.items())
        if self.functions:
            yield from (".section .debug_str", "{")
            for function, name in self.functions.items():
                yield f"{name}:"
                yield f".b8 {', '.join(map(str, (*function.encode(), 0)))}"
            yield "}"


def _body(module: Module, places: _Places) -> Iterator[str]:
    now: Located | None = None
    for item in module.body:
        if isinstance(item, Label):
            yield f"{item}:"
        else:
            if item.span and item.span != now:
                now = item.span
                yield from places.lines(now)
            yield "    " + str(item).replace("\n", "\n    ")
