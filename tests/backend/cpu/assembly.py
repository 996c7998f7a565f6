"""Reads emitted assembly: its calls, its innermost loops, the arithmetic in them."""

from __future__ import annotations

import re

# packed and scalar float arithmetic of each target, on registers of its full width
PACKED = {
    "x86-64": r"\b(add|mul|sub|div|max)ps\b.*%xmm",
    "avx2": r"\bv(add|mul|sub|div|max|fmadd\w*|fnmadd\w*)ps\b.*%ymm",
    "avx512": r"\bv(add|mul|sub|div|max|fmadd\w*|fnmadd\w*)ps\b.*%zmm",
    "arm64": r"\bf(add|mul|sub|div|mla|mls)\s+v\d+\.4s",
}
SCALAR = {
    "x86-64": r"\b(add|mul|sub|div)ss\b",
    "avx2": r"\bv(add|mul|sub|div|fmadd\w*|fnmadd\w*)ss\b",
    "avx512": r"\bv(add|mul|sub|div|fmadd\w*|fnmadd\w*)ss\b",
    "arm64": r"\bf(add|mul|sub|div|madd|msub)\s+s\d+",
}
_CALL = re.compile(r"^\s*(callq?|bl|blr)\b")
_BRANCH = re.compile(r"^\s*(j\w+|b(?:\.\w+)?|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#\w+,)\s+(\.LBB\w+)")


def instructions(asm: str) -> list[str]:
    """Lines that are instructions or labels."""
    lines = [line.split("#")[0].rstrip() if "%" in line else line.rstrip() for line in asm.splitlines()]
    return [line for line in lines if line.strip() and (not line.strip().startswith(".") or line.startswith(".LBB"))]


def calls(asm: str) -> list[str]:
    return [line.strip() for line in instructions(asm) if _CALL.match(line)]


def innermost_loops(asm: str) -> list[list[str]]:
    """The bodies of loops that contain no other loop."""
    lines = instructions(asm)
    at = {line.rstrip(":"): k for k, line in enumerate(lines) if line.endswith(":")}
    spans: list[tuple[int, int]] = []
    for k, line in enumerate(lines):
        found = _BRANCH.match(line)
        if found and at.get(found.group(2), k + 1) <= k:
            spans.append((at[found.group(2)], k))
    inner = [s for s in spans if not any(t != s and s[0] <= t[0] and t[1] <= s[1] for t in spans)]
    return [lines[a : b + 1] for a, b in inner]


def count(pattern: str, lines: list[str]) -> int:
    return sum(bool(re.search(pattern, line)) for line in lines)


def packed_loops(asm: str, target: str) -> list[list[str]]:
    """Innermost loops that compute on whole vectors and not on single floats."""
    loops = innermost_loops(asm)
    return [loop for loop in loops if count(PACKED[target], loop) and not count(SCALAR[target], loop)]
