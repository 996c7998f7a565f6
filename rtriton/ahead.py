"""Compiling without launching, and without the machine that the code is for.

    src = rtriton.compiler.ASTSource(kernel, {"x": "*fp32", "n": "i32", "BLOCK": "constexpr"}, {"BLOCK": 128})
    rtriton.compile(src, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8}).asm["ptx"]
    rtriton.compile("kernel.tir"); rtriton.compile("kernel.ptx")
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from rtriton import knobs
from rtriton.arguments import Argument, constant, describe_argument, flat_values, run_time_value
from rtriton.compile import Unit, compile_unit
from rtriton.compiled import CompiledKernel
from rtriton.errors import RtritonError
from rtriton.guards import is_list
from rtriton.options import resolve, settled
from rtriton.reach import code_key, digest
from rtriton.signature import canonical, str_to_ty
from rtriton.source import KernelFunction
from rtriton.devices import GPUTarget, active
from rtriton.types import DType, Pointer

Path_ = tuple[int, ...]


class Specialisation(NamedTuple):
    """What @jit's `repr` is given: the constants by parameter name, and the signature."""

    constants: dict[str, Any]
    signature: dict[str, Any]


class ASTSource:
    """A kernel function with the types of its arguments.

    signature: a type by its name (`*fp32`, `i32`, `constexpr`; a tuple of them for a tuple) per parameter; constexprs:
    the value of each constexpr, by parameter name or by place ((0,), or (0, 1) in a tuple); attrs: what is known of
    arguments by place, `{(0,): [["tt.divisibility", 16]]}`."""

    ext = "tir"

    def __init__(self, fn: Any, signature: Mapping[str, Any], constexprs: Mapping[Any, Any] | None = None,
                 attrs: Mapping[Path_, Any] | None = None) -> None:
        self.fn: KernelFunction = fn
        self.name = fn.__name__
        for key in signature:
            if not isinstance(cast("object", key), str):
                raise TypeError(f"a signature goes by parameter names, got {key!r}")
        self.signature = dict(signature)
        self.constants = {(fn.arg_names.index(k),) if isinstance(k, str) else k: v
                          for k, v in (constexprs or {}).items()}
        self.attrs = dict(attrs or {})
        if getattr(fn, "_repr", None) is not None:         # @jit's repr names each specialisation
            named = {fn.arg_names[path[0]]: value for path, value in self.constants.items()}
            self.name = re.sub(r"[^\w$]", "_", fn.repr(Specialisation(named, self.signature)))

    @staticmethod
    def of(fn: KernelFunction, arguments: Sequence[Argument]) -> ASTSource:
        """The source that a launch with these arguments compiles."""
        constants: dict[Path_, Any] = {}
        attrs: dict[Path_, Any] = {}
        names = [describe_argument(a, (i,), constants, attrs) for i, a in enumerate(arguments)]
        return ASTSource(fn, dict(zip(fn.arg_names, names, strict=True)), constants, attrs)

    def arguments(self) -> list[Argument]:
        """One argument per parameter, without values. ValueError for a parameter that the signature leaves out."""
        made: list[Argument] = []
        for i, name in enumerate(self.fn.arg_names):
            if name not in self.signature and (i,) not in self.constants:
                raise ValueError(f"the signature of {self.name} lacks the parameter {name!r}")
            made.append(self._argument(self.signature.get(name, "constexpr"), (i,), name))
        return made

    def _argument(self, type: Any, path: Path_, name: str) -> Argument:
        if is_list(type):
            parts = tuple(self._argument(part, (*path, i), name) for i, part in enumerate(type))
            kind: Any = type.__class__ if hasattr(type, "_fields") else tuple
            return Argument((kind, tuple((p.key, p.divisible) for p in parts)), False, 0, "", parts=parts)
        if type == "constexpr":
            if path not in self.constants:
                raise ValueError(f"{self.name}: '{name}' is a constexpr, and constexprs gives it no value")
            return constant(self.constants[path])
        found = str_to_ty(type)
        key = ("*k" if found.const else "*", found.element) if isinstance(found, Pointer) else found
        divisible = any(what == "tt.divisibility" and n % 16 == 0 for what, n in self.attrs.get(path, ()))
        return Argument(key, divisible, 0, "")

    @property
    def names(self) -> list[str]:
        """The parameters."""
        return self.fn.arg_names

    def hash(self) -> str:
        """A digest of the kernel's code, types and constants."""
        return digest([code_key(self.fn), str(self.attrs), str(self.signature), str(self.constants)])

    def run_time_arguments(self, args: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """What a launch passes, out of all arguments in order: addresses and numbers, and the objects they come from.
        TypeError for another number of arguments."""
        if len(args) != len(self.fn.arg_names):
            raise TypeError(f"{self.name} takes {len(self.fn.arg_names)} arguments, got {len(args)}")
        objects = flat_values([self.signature.get(n, "constexpr") for n in self.fn.arg_names], args)
        return [run_time_value(x) for x in objects], objects


class IRSource:
    """A kernel out of a file of tile IR (.tir) or PTX (.ptx)."""

    def __init__(self, path: str) -> None:
        self.path, self.ext = path, Path(path).suffix.removeprefix(".")
        self.text = Path(path).read_text(encoding="utf-8")
        if self.ext == "tir":
            from rtriton.text import parse

            self.kernel = parse(self.text)
            self.name, self.types = self.kernel.name, [v.type for v in self.kernel.params]
        elif self.ext == "ptx":
            self.kernel = None
            self.name, self.types = _ptx_entry(self.text, path)
        else:
            raise ValueError(f"a kernel is read from tile IR (.tir) or PTX (.ptx), got {path!r}")
        self.signature = {i: _shown(t) for i, t in enumerate(self.types)}

    @property
    def names(self) -> list[str]:
        """The parameters, which a file only numbers."""
        return [f"arg{i}" for i in range(len(self.types))]

    def hash(self) -> str:
        return digest([self.text])

    def run_time_arguments(self, args: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        if len(args) != len(self.types):
            raise TypeError(f"{self.name} takes {len(self.types)} arguments, got {len(args)}")
        return [run_time_value(x) for x in args], list(args)


def _shown(type: Any) -> str:
    return "*" + canonical(type.element) if isinstance(type, Pointer) else canonical(type)


PTX_TYPES = {"s8": "i8", "u8": "u8", "b8": "u8", "s16": "i16", "u16": "u16", "b16": "u16", "f16": "fp16", "s32": "i32",
             "u32": "i32", "b32": "i32", "f32": "fp32", "s64": "i64", "u64": "i64", "b64": "i64", "f64": "fp64"}


def _ptx_entry(text: str, path: str) -> tuple[str, list[DType | Pointer]]:
    """The name and parameter types of a PTX module's kernel."""
    entry = re.search(r"\.entry\s+([\w$]+)\s*\(([^)]*)\)", text)
    if entry is None:
        raise RtritonError(f"{path}: the PTX has no .entry")
    types: list[DType | Pointer] = []
    for parameter in re.findall(r"\.param\b([^,]*)", entry[2]):
        code = re.search(r"\.([subf]\d+)\b", parameter)
        if code is None or code[1] not in PTX_TYPES:
            raise RtritonError(f"{path}: a kernel parameter is a number or an address, got .param{parameter}")
        types.append(str_to_ty("*u8" if ".ptr" in parameter else PTX_TYPES[code[1]]))
    return entry[1], types


def compile(src: ASTSource | str, target: GPUTarget | None = None,
            options: Mapping[str, Any] | None = None) -> CompiledKernel:
    """Compile a kernel for `target`, or for what launches run on now. No GPU is needed: machine code (`asm["cubin"]`)
    is made by ptxas when it is first asked for, or by the driver at the first launch.

    src: an ASTSource, or the path of a .tir or .ptx file. Raises CompilationError, OptionError, ValueError for a target
    that there is no backend for."""
    if not isinstance(cast("object", src), (ASTSource, str)):
        raise TypeError(f"compile takes an ASTSource or the path of a .tir or .ptx file, got {type(src).__name__}")
    source = IRSource(src) if isinstance(src, str) else src
    resolved = resolve(options or {}, (), None)
    resolved, backend = settled(resolved), _backend(target, source)
    arguments = source.arguments() if isinstance(source, ASTSource) else None
    return compile_unit(Unit(source, arguments, resolved, backend, target))


def _backend(target: GPUTarget | None, source: ASTSource | IRSource) -> str:
    wished = knobs.backend() if target is None else ""
    if source.ext == "ptx":
        return "ptx"
    if wished:
        return wished
    found = target or active.get_current_target()
    if found.backend not in ("cuda", "cpu"):
        raise ValueError(f"there is no backend for {found.backend}: targets are cuda and cpu")
    return "cpu" if found.backend == "cpu" else "ptx" if target is not None else "cuda"
