"""The text of a module: the only place where PTX strings are made."""

from collections.abc import Iterator

from rtriton.backend.ptx.module import LOCAL, PREFIX, SHARED, Comment, Inst, Label, Located, Module, Param


def show(module: Module) -> str:
    """The module as ptxas and the driver read it."""
    files = _files(module)
    return "\n".join([*_head(module), *_interface(module), "{", *_registers(module), *_body(module, files), "}", "",
                      *(f'.file {number} "{_escaped(name)}"' for name, number in files.items()), ""])


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
    yield f".visible .entry {module.name}(" + ("" if lines else ")")
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


def _files(module: Module) -> dict[str, int]:
    names = (item.span.file for item in module.body if isinstance(item, Inst) and item.span)
    return {name: number for number, name in enumerate(dict.fromkeys(names), 1)}


def _body(module: Module, files: dict[str, int]) -> Iterator[str]:
    place: tuple[str, int, int] | None = None
    for item in module.body:
        if isinstance(item, Label):
            yield f"{item}:"
        elif isinstance(item, Comment):
            yield from (f"    // {line}" for line in item.text.splitlines())
        else:
            if item.span and _place(item.span) != place:
                place = _place(item.span)
                yield f"    .loc {files[place[0]]} {place[1]} {place[2]}"
            yield "    " + str(item).replace("\n", "\n    ")


def _place(span: Located) -> tuple[str, int, int]:
    return span.file, span.line, span.col


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')
