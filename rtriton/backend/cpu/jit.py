"""LLVM text -> machine code: parse, a short list of optimisation passes, an object file, its address in this process.

    code = load(text, host(), symbols=("kernel",))
    code.address["kernel"]            # an integer, callable through ctypes or the worker pool

There is one road, cold or cached: the object file's bytes are produced (or read from the cache directory) and linked.
The emitter has already hoisted, folded and shared what it could, so the pass list is short and holds no vectoriser.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rtriton.backend.cpu.target import CpuTarget

_LOCK = threading.Lock()
CODE_VERSION = 1  # in the cache key: raise it when the pass list or the link step changes


@dataclass(frozen=True, slots=True)
class Code:
    """Machine code linked into this process; it lives as long as this object."""

    address: dict[str, int]
    engine: Any = field(repr=False)


@cache
def _binding() -> Any:
    import llvmlite.binding as binding

    llvm: Any = binding
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    return llvm


@cache
def _machine(target: CpuTarget) -> Any:
    llvm = _binding()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="default"
    )


def optimise(text: str, target: CpuTarget) -> Any:
    """Parse, verify and optimise a module; no pass here makes vectors or unrolls, the emitter did."""
    llvm, machine = _binding(), _machine(target)
    module = llvm.parse_assembly(text)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=1)
    tuning.loop_vectorization = False
    tuning.slp_vectorization = False
    tuning.loop_unrolling = False
    tuning.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, tuning)
    passes = llvm.create_new_function_pass_manager()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    # no loop strength reduction here: the code generator runs its own, and this one breaks LCSSA form (an assertion)
    # on nests such as the sampler's
    passes.add_dead_code_elimination_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return module


def assembly(text: str, target: CpuTarget) -> str:
    """The machine's assembly of a module, for any target LLVM was built with."""
    with _LOCK:
        return str(_machine(target).emit_assembly(optimise(text, target)))


def object_bytes(text: str, target: CpuTarget) -> bytes:
    with _LOCK:
        return bytes(_machine(target).emit_object(optimise(text, target)))


def load(text: str, target: CpuTarget, symbols: tuple[str, ...], cache_dir: Path | None = None) -> Code:
    """Compile `text` (or take it from the cache) and link it; the addresses of `symbols` are ready to call."""
    image = _cached(text, target, cache_dir) if cache_dir is not None else object_bytes(text, target)
    return _link(image, target, symbols)


def _link(image: bytes, target: CpuTarget, symbols: tuple[str, ...]) -> Code:
    llvm = _binding()
    with _LOCK:
        # every engine owns its machine: MCJIT deletes the one it is given
        machine = llvm.Target.from_triple(target.triple).create_target_machine(
            cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="default"
        )
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(image))
        engine.finalize_object()
        address = {name: int(engine.get_function_address(name)) for name in symbols}
    missing = [name for name, value in address.items() if value == 0]
    if missing:
        raise RuntimeError(f"linked object holds no {', '.join(missing)}")
    return Code(address, engine)


def _cached(text: str, target: CpuTarget, cache_dir: Path) -> bytes:
    """The object from the cache, checked against its own digest; a missing or damaged entry is rebuilt. A folder that
    cannot be written only costs the next process a compilation.
    """
    version = ".".join(map(str, _binding().llvm_version_info))
    key = hashlib.sha256(f"{CODE_VERSION}|{version}|{target.key}|{text}".encode()).hexdigest()
    path = cache_dir / f"{key[:40]}.o"
    try:
        entry = path.read_bytes()
    except OSError:
        entry = b""
    if len(entry) > 32 and hashlib.sha256(entry[32:]).digest() == entry[:32]:
        return entry[32:]
    image = object_bytes(text, target)
    with contextlib.suppress(OSError):
        _keep(path, hashlib.sha256(image).digest() + image)
    return image


def _keep(path: Path, entry: bytes) -> None:
    """Written aside and renamed: a reader never sees half an entry."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(entry)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise
