"""What the compiler must know of a GPU: differences between architectures are data, not branches.

    >>> Target.of("sm_90a").has_wgmma
    True

sm_80 (A100), sm_89 (Ada: fp8 tensor cores), sm_90 (Hopper without what only it has; newer GPUs run this through the
driver) and sm_90a (Hopper, runs nowhere else).
"""
from __future__ import annotations

from dataclasses import dataclass

KILOBYTE = 1024
REGISTERS = 65536  # of an SM, handed out to warps in units of UNIT a thread
UNIT = 8
RESERVED = 1024  # bytes of shared memory that each CTA takes besides its own


@dataclass(frozen=True)
class Target:
    """A GPU. `sm` is the name PTX has for it, `shared_bytes` the most one CTA may use."""

    sm: str
    shared_bytes: int
    warps: int  # that are resident on an SM at most
    programs: int  # CTAs, likewise
    under_way: int  # KiB from memory that keep it busy, on an SM: bandwidth times latency. Measured on an H200 alone
    mma_atoms: frozenset[str]  # element types that mma.sync multiplies, by their short names
    fp8_convert: bool  # cvt between fp8 and f16/f32
    bf16_arithmetic: bool  # add, sub, mul and comparisons of bf16, cvt from and to every type
    has_tma: bool
    has_wgmma: bool

    @property
    def name(self) -> str:
        return self.sm

    @property
    def sm_shared_bytes(self) -> int:
        """What the CTAs of an SM have together: one may have all of it but what is reserved."""
        return self.shared_bytes + RESERVED

    @property
    def number(self) -> int:
        return int(self.sm.removeprefix("sm_").rstrip("a"))

    @staticmethod
    def of(sm: str) -> Target:
        """The target with this name; a ValueError that lists them otherwise."""
        if sm not in TARGETS:
            raise ValueError(f"there is no target {sm!r}; there are {', '.join(TARGETS)}")
        return TARGETS[sm]

    @staticmethod
    def for_capability(major: int, minor: int) -> Target:
        """The target whose code runs best on a GPU of this compute capability."""
        number = major * 10 + minor
        if number < 80:
            raise ValueError(f"rtriton needs a GPU of compute capability 8.0 or later, this one is {major}.{minor}")
        if number == 90:
            return TARGETS["sm_90a"]
        return TARGETS["sm_90" if number > 90 else "sm_89" if number == 89 else "sm_80"]


_HALVES = frozenset({"f16", "bf16", "f32", "f64", "i8", "u8"})
# Of sm_89 only: Hopper multiplies fp8 by wgmma, its mma.sync of fp8 is a conversion to f16 in every instruction.
_FP8 = frozenset({"f8e4", "f8e5"})
TARGETS: dict[str, Target] = {
    t.sm: t
    for t in (
        Target("sm_80", 163 * KILOBYTE, 64, 32, 16, _HALVES, False, False, False, False),
        Target("sm_89", 99 * KILOBYTE, 48, 24, 8, _HALVES | _FP8, True, False, False, False),
        Target("sm_90", 227 * KILOBYTE, 64, 32, 48, _HALVES, True, True, True, False),
        Target("sm_90a", 227 * KILOBYTE, 64, 32, 48, _HALVES, True, True, True, True),
    )
}


def target_of(arch: int | str) -> Target:
    """The target for a compute capability as Triton writes it (90, "sm90") or PTX (`sm_90a`)."""
    name = str(arch).removeprefix("sm").removeprefix("_")
    if f"sm_{name}" in TARGETS and not name.isdigit():
        return TARGETS[f"sm_{name}"]
    if not name.rstrip("a").isdigit():
        raise ValueError(f"a GPU architecture is a compute capability (90, sm90, sm_90a), got {arch!r}")
    return Target.for_capability(*divmod(int(name.rstrip("a")), 10))
