"""What a CPU can do, as data: the vector width, and which conversions and roundings are single instructions.

`host()` describes the machine this process runs on; the four named targets exist so that tests can read the assembly of
machines they do not run on. Everything that emits code asks a `CpuTarget`, never the machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True, slots=True)
class CpuTarget:
    """One CPU: LLVM's triple, CPU name and feature string, and the facts the emitter decides by."""

    name: str
    triple: str
    cpu: str
    features: str
    vector_bits: int
    has_fma: bool
    has_round: bool  # floor, ceil, trunc and rint of a vector are one instruction
    has_f16c: bool  # half <-> float conversion is one instruction
    has_masked: bool  # masked vector loads and stores are one instruction

    @property
    def lanes(self) -> int:
        """Lanes of a native vector of 32-bit elements."""
        return self.vector_bits // 32

    @property
    def vector_registers(self) -> int:
        return 32 if self.vector_bits == 512 or self.triple.startswith("aarch64") else 16

    @property
    def key(self) -> str:
        """What a cached object depends on."""
        return f"{self.triple}|{self.cpu}|{self.features}|{self.vector_bits}"


_AVX2 = "+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+popcnt,+movbe"
_AVX512 = _AVX2 + ",+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd"

BASELINE = CpuTarget("x86-64", "x86_64-unknown-linux-gnu", "x86-64", "", 128, False, False, False, False)
AVX2 = CpuTarget("avx2", "x86_64-unknown-linux-gnu", "x86-64", _AVX2, 256, True, True, True, True)
AVX512 = CpuTarget("avx512", "x86_64-unknown-linux-gnu", "x86-64", _AVX512, 512, True, True, True, True)
ARM64 = CpuTarget("arm64", "aarch64-unknown-linux-gnu", "generic", "+neon", 128, True, True, True, False)
NAMED = {t.name: t for t in (BASELINE, AVX2, AVX512, ARM64)}


@cache
def host() -> CpuTarget:
    """The machine this process runs on."""
    import llvmlite.binding as binding

    llvm: Any = binding
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = str(llvm.get_process_triple())
    features: dict[str, bool] = dict(llvm.get_host_cpu_features())
    flat = str(llvm.get_host_cpu_features().flatten())
    cpu = str(llvm.get_host_cpu_name())
    if triple.startswith(("aarch64", "arm64")):
        return CpuTarget("host", triple, cpu, flat, 128, True, True, True, False)
    if not triple.startswith("x86_64"):
        raise RuntimeError(f"the CPU backend knows x86-64 and arm64, this machine is {triple}")
    wide = all(features.get(f, False) for f in ("avx512f", "avx512bw", "avx512dq", "avx512vl"))
    avx2 = features.get("avx2", False) and features.get("fma", False)
    bits = 512 if wide else 256 if avx2 else 128
    return CpuTarget(
        "host", triple, cpu, flat, bits, features.get("fma", False), features.get("sse4.1", False),
        features.get("f16c", False), avx2,
    )  # fmt: skip


def named(name: str) -> CpuTarget:
    """A target by name: `host`, or one of the four that tests emit assembly for."""
    if name == "host":
        return host()
    if name not in NAMED:
        raise ValueError(f"no CPU target {name!r}: known are host, {', '.join(NAMED)}")
    return NAMED[name]


def runs_here(target: CpuTarget) -> bool:
    """Whether this machine has everything that the target's code may use."""
    if target is host():
        return True
    wanted = [f.lstrip("+") for f in target.features.split(",") if f and f != "+neon"]
    have = {f[1:] for f in host().features.split(",") if f.startswith("+")}
    return target.triple.split("-")[0] == host().triple.split("-")[0] and all(f in have for f in wanted)
