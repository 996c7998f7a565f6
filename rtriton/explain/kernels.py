"""The kernels of a Python file, and what their arguments are taken to be.

    found = kernels_of(Path("softmax.py"))
    signature_of(found["softmax"], "out=*f32,x=*f32,n=i32:16,BLOCK=1024")

A signature is said by text (`--sig`), or comes from a launch that a run of the file made, from the file's own
`SIGNATURES = {"softmax": "..."}`, and for what is left from annotations, defaults and the first configuration of
@autotune. Pointers are taken to be aligned to 16 bytes, as allocators give them (`x=*f32:1` says otherwise); numbers
are divisible by 16 only where that is said (`n=i32:16`), as at a launch with such a number.
"""
from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from rtriton.ahead import ASTSource
from rtriton.errors import RtritonError
from rtriton.jit import JITFunction
from rtriton.options import DEFAULTS
from rtriton.signature import BY_SPELLING, canonical
from rtriton.types import BY_SHORT


class ExplainError(RtritonError):
    """What was asked for cannot be explained as asked."""


@dataclass(frozen=True)
class Signature:
    """Types of run-time arguments by name, values of constants, names of what is divisible by 16, launch options."""

    types: Mapping[str, str] = field(default_factory=dict[str, str])
    constants: Mapping[str, Any] = field(default_factory=dict[str, Any])
    divisible: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    origin: str = ""
    exact: ASTSource | None = None  # what a launch compiled, where nothing else was said

    def over(self, other: Signature) -> Signature:
        """This one, and what it leaves open from another."""
        mine = {*self.types, *self.constants}
        if not mine and not self.options:
            return other
        return Signature(
            {**{n: t for n, t in other.types.items() if n not in mine}, **self.types},
            {**{n: v for n, v in other.constants.items() if n not in mine}, **self.constants},
            self.divisible | frozenset(n for n in other.divisible if n not in mine),
            {**other.options, **self.options},
            self.origin or other.origin,
            self.exact,
        )

    def source(self, fn: JITFunction) -> ASTSource:
        """What a launch with such arguments compiles."""
        if self.exact is not None:
            return self.exact
        places = {name: i for i, name in enumerate(fn.arg_names)}
        types = {n: self.types.get(n, "constexpr") for n in fn.arg_names}
        attrs = {(places[n],): [["tt.divisibility", 16]] for n in self.divisible}
        return ASTSource(fn, types, dict(self.constants), attrs)

    def text(self, fn: JITFunction) -> str:
        """As `--sig` takes it."""
        return ",".join(f"{n}={self._said(n)}" for n in fn.arg_names)

    def _said(self, name: str) -> str:
        if name not in self.types:
            value = self.constants.get(name)
            return getattr(value, "__name__", None) or getattr(value, "name", None) or repr(value)
        type, divisible = str(self.types[name]), name in self.divisible
        pointer = type.startswith("*")
        return type + (":1" if pointer and not divisible else ":16" if divisible and not pointer else "")


@dataclass(frozen=True)
class Found:
    """A kernel of a file; `tuned`: the first configuration of @autotune, `said`: what SIGNATURES says of it."""

    name: str
    fn: JITFunction
    line: int
    tuned: Signature = Signature()
    said: str = ""
    called: bool = False  # by another kernel function of the file


def load(path: Path) -> ModuleType:
    """The file as a module, of its package if it is in one; `import triton` in it gives rtriton."""
    path = path.resolve()
    if not path.is_file():
        raise ExplainError(f"there is no file {path}")
    if is_for_triton(path):
        from rtriton import compat

        compat.install()
    root, parts = path.parent, [path.stem]
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    sys.path.insert(0, str(root))
    try:
        if len(parts) > 1:
            return importlib.import_module(".".join(parts))
        # not under its bare name, which may be that of a module that everyone imports
        spec = importlib.util.spec_from_file_location(f"explained_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(root))


def is_for_triton(path: Path) -> bool:
    """Whether a file imports triton."""
    return re.search(r"^\s*(import|from)\s+triton\b", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


def kernels_of(module: ModuleType) -> dict[str, Found]:
    """The @jit functions that a module defines, in the order of the file, those that others call marked."""
    said: Mapping[str, str] = getattr(module, "SIGNATURES", {})
    found: dict[str, Found] = {}
    for name, value in vars(module).items():
        fn, tuned = _unwrapped(value)
        if fn is not None and fn.__module__ == module.__name__:
            found[name] = Found(name, fn, fn.source.first_line, tuned, said.get(name, ""))
    if unknown := set(said) - set(found):
        raise ExplainError(f"SIGNATURES names {', '.join(sorted(unknown))}, which {module.__file__} does not define")
    called = {callee for kernel in found.values() for callee in _names_in(kernel.fn) if callee != kernel.name}
    ordered = sorted(found.values(), key=lambda kernel: kernel.line)
    return {kernel.name: replace(kernel, called=kernel.name in called) for kernel in ordered}


def _unwrapped(value: Any) -> tuple[JITFunction | None, Signature]:
    """The kernel below @autotune and @heuristics, and what its first configuration says."""
    tuned = Signature()
    while value is not None and not isinstance(value, JITFunction):
        if configs := getattr(value, "configs", None):
            options = {n: getattr(configs[0], n) for n in ("num_warps", "num_stages")}
            tuned = Signature(constants=dict(configs[0].kwargs), options=options, origin="the first configuration")
        value = getattr(value, "fn", None)
    return value, tuned


def _names_in(fn: JITFunction) -> set[str]:
    tree = ast.parse(fn.source.text)
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def choose(found: Mapping[str, Found], name: str, file: Path) -> Found:
    """The kernel of a name, or the only one that is no helper of others."""
    if name in found:
        return found[name]
    own = [kernel for kernel in found.values() if not kernel.called] or list(found.values())
    if not name and len(own) == 1:
        return own[0]
    if not found:
        raise ExplainError(f"{file} defines no kernel: no function with @jit")
    what = f"{file} has no kernel {name!r}" if name else f"{file} has several kernels: say which"
    raise ExplainError(f"{what}; there are {', '.join(f'{file.name}::{kernel}' for kernel in found)}")


def signature_of(kernel: Found, text: str = "", launched: Signature | None = None) -> Signature:
    """What the arguments are: from `text`, a launch, the file, in this order. ExplainError names what is missing."""
    signature = read_signature(text, kernel.fn)
    for further in (launched, read_signature(kernel.said, kernel.fn, "SIGNATURES"), kernel.tuned, annotated(kernel.fn)):
        signature = signature.over(further) if further is not None else signature
    missing = [p for p in kernel.fn.params if p.name not in signature.types and p.name not in signature.constants]
    if missing:
        kinds = ["1024" if p.is_constexpr else "*f32" if p is missing[0] else "i32" for p in missing]
        wanted = ",".join(f"{p.name}={kind}" for p, kind in zip(missing, kinds, strict=True))
        raise ExplainError(f"{kernel.name}: say what {', '.join(p.name for p in missing)} "
                           f"{'is' if len(missing) == 1 else 'are'}, as in --sig \"{wanted}\" (or i32:16 for numbers "
                           "that are divisible by 16), or use --run, so that the file's launches say it")
    return signature


def annotated(fn: JITFunction) -> Signature:
    """What annotations and defaults say."""
    types: dict[str, str] = {}
    constants: dict[str, Any] = {}
    for param in fn.params:
        if param.is_constexpr:
            if param.has_default:
                constants[param.name] = getattr(param.default, "value", param.default)
        elif (type := _type_name(str(getattr(param.annotation, "name", param.annotation)))) is not None:
            types[param.name] = type
        elif param.has_default and param.default is None:
            constants[param.name] = None
    return Signature(types, constants, frozenset(n for n, t in types.items() if t.startswith("*")), {}, "annotations")


def read_signature(text: str, fn: JITFunction, origin: str = "--sig") -> Signature:
    """`x=*f32,n=i32:16,BLOCK=1024`; launch options (num_warps=8) may stand among the arguments."""
    types: dict[str, str] = {}
    constants: dict[str, Any] = {}
    options: dict[str, Any] = {}
    divisible: set[str] = set()
    constexprs = {p.name for p in fn.params if p.is_constexpr}
    for item in _items(text):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not value:
            raise ExplainError(f"{origin}: wanted NAME=TYPE or NAME=VALUE, got {item!r}")
        if name in DEFAULTS and name not in fn.arg_names:
            options[name] = _value(value, fn, name, origin)
            continue
        if name not in fn.arg_names:
            raise ExplainError(f"{origin}: {fn.__name__} has no argument {name!r}; it has {', '.join(fn.arg_names)}")
        word, _, factor = value.partition(":")
        type = None if name in constexprs else _type_name(word)
        if type is None:
            constants[name] = _value(value, fn, name, origin)
            continue
        if factor and not factor.isdigit():
            raise ExplainError(f"{origin}: {name} is divisible by a number, got {factor!r}")
        types[name] = type
        if int(factor or (16 if type.startswith("*") else 1)) % 16 == 0:
            divisible.add(name)
    return Signature(types, constants, frozenset(divisible), options, origin if types or constants else "")


def _items(text: str) -> Iterator[str]:
    """Parts between commas that stand in no brackets or quotes."""
    depth, quoted, start = 0, "", 0
    for i, c in enumerate(text):
        if quoted:
            quoted = "" if c == quoted else quoted
        elif c in "'\"":
            quoted = c
        elif c == "," and not depth:
            yield text[start:i].strip()
            start = i + 1
        else:
            depth += (c in "([{") - (c in ")]}")
    if text[start:].strip():
        yield text[start:].strip()


def _type_name(text: str) -> str | None:
    """The canonical name of a type, None for what names none."""
    stars, name = ("*" if text.startswith("*") else ""), text.lstrip("*").removeprefix("tl.")
    const = name.startswith("k") and name[1:] in (*BY_SPELLING, *BY_SHORT)
    name = name[1:] if const else name
    dtype = BY_SPELLING.get(name) or BY_SHORT.get(name)
    if dtype is None or (const and not stars):
        return None
    return f"{stars}{'k' if const else ''}{canonical(dtype)}"


def _value(text: str, fn: JITFunction, name: str, origin: str) -> Any:
    """A constant: a literal, a dtype, or something that the kernel's module defines."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    dtype = BY_SPELLING.get(text.removeprefix("tl.")) or BY_SHORT.get(text)
    if dtype is not None:
        return dtype
    defined = vars(sys.modules[fn.__module__]) if fn.__module__ in sys.modules else {}
    if text in defined:
        return defined[text]
    raise ExplainError(f"{origin}: {name}={text} is neither a type, a literal nor a name of its module")
