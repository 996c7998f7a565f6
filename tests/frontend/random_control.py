"""Random functions of two integers whose control flow nests and leaves in every way; they always end."""
from __future__ import annotations

from random import Random

NAMES = ("a", "b", "c")


def write_program(rng: Random) -> str:
    lines = ["def f(n, k):", *(f"    {name} = {rng.randint(-3, 3)}" for name in NAMES)]
    lines += block(rng, 1, 3, 0) + ["    return a + b * 3 + c * 7"]
    return "\n".join(lines) + "\n"


def block(rng: Random, indent: int, depth: int, loops: int) -> list[str]:
    lines: list[str] = []
    for _ in range(rng.randint(1, 4)):
        lines += statement(rng, indent, depth, loops)
    return lines


def statement(rng: Random, indent: int, depth: int, loops: int) -> list[str]:
    pad = "    " * indent
    kind = rng.choice(["assign", "assign", "leave", "if", "if", "for", "while"]) if depth else "assign"
    if kind == "leave":
        way = rng.choice(["return", *(["break", "continue"] if loops else [])])
        return [f"{pad}if {test(rng)}:", f"{pad}    {way}" + (f" {number(rng)}" if way == "return" else "")]
    if kind == "if":
        lines = [f"{pad}if {test(rng)}:", *block(rng, indent + 1, depth - 1, loops)]
        if rng.random() < 0.4:
            lines += [f"{pad}elif {test(rng)}:", *block(rng, indent + 1, depth - 1, loops)]
        return lines + ([f"{pad}else:", *block(rng, indent + 1, depth - 1, loops)] if rng.random() < 0.5 else [])
    if kind == "for":
        bounds = rng.choice([f"{rng.randint(1, 4)}", "k", f"{rng.randint(3, 6)}, -2, -2", "1, n, 3"])
        return [f"{pad}for i{indent} in range({bounds}):", *block(rng, indent + 1, depth - 1, loops + 1),
                f"{pad}    {rng.choice(NAMES)} += i{indent}"]
    if kind == "while":
        return [f"{pad}w{indent} = {rng.randint(0, 2)}", f"{pad}while w{indent} < {rng.randint(2, 5)}:",
                f"{pad}    w{indent} += 1", *block(rng, indent + 1, depth - 1, loops + 1)]
    return [f"{pad}{rng.choice(NAMES)} = {number(rng)}"]


def number(rng: Random) -> str:
    x, y = rng.choice((*NAMES, "n", "k")), rng.choice((*NAMES, "n", "k", str(rng.randint(-4, 4))))
    return f"({x} {rng.choice('+-&|^')} {y}) & 255"


def test(rng: Random) -> str:
    return f"{rng.choice((*NAMES, 'n', 'k'))} {rng.choice(('<', '>=', '==', '!='))} {rng.choice(('n', 'k', '3', '0'))}"
