"""Ways to change an input: any bytes, the words of a text, the values of JSON. Each gives a new one.

data = words(data, rng, ("for", "tl.load("))        # rng is a random.Random: the search's, or hypothesis' own
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.fuzz.target import LARGEST

EDGES = [0, 1, 2, 3, 7, 8, 31, 32, 127, 128, 255, 256, 1023, 4096, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
EDGES += [2**32, 2**53, 2**60, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
NUMBERS = "0 1 -1 2 7 64 1000 65536 2147483647 2147483648 -2147483649 4294967296 9223372036854775808 1e3 1e308 1e999"
NUMBERS += f" 0.1 -0.0 nan inf 0x7fffffff {'9' * 400} 1{'0' * 5000} 1_000 1e-400"
ODD = [
    "\x00",
    "\t",
    "\r",
    "\x0c",
    "é",
    "\u2028",
    "\u202e",
    "\ud7ff",
    "\ufeff",
    "𝒳",
    "\U0010ffff",
    "a\u0301",
    "'",
    '"',
    "\\",
]
WORD = re.compile(r"\s+|\w+|[^\w\s]")
OPEN = {"(": ")", "[": "]", "{": "}", "-": "", "not ": "", "~": "", '"': '"', "<": ">"}


def octets(data: bytes, rng: Random) -> bytes:
    """Some bytes changed, put in, taken out, repeated or cut off."""
    made = bytearray(data)
    at, size = rng.randint(0, len(made)), rng.choice([1, 1, 2, 4, 8, 16, 64])
    way = rng.randint(0, 5)
    if way == 0 and at < len(made):
        made[at] ^= 1 << rng.randint(0, 7)
    elif way == 1:
        made[at:at] = bytes(rng.randint(0, 255) for _ in range(size))
    elif way == 2:
        del made[at : at + size]
    elif way == 3:
        width = rng.choice([1, 2, 4, 8])
        made[at : at + width] = (rng.choice(EDGES) % (1 << 8 * width)).to_bytes(width, "little")
    elif way == 4:
        other = rng.randint(0, len(made))
        made[at:at] = made[other : other + size * 4]
    else:
        del made[at:]
    return bytes(made[:LARGEST])


def words(data: bytes, rng: Random, dictionary: Sequence[str]) -> bytes:
    """The words of a text, one to four of them changed."""
    tokens = WORD.findall(data.decode("utf-8", "replace"))
    for _ in range(rng.randint(1, 4)):
        tokens = _word(tokens or ["\n"], rng, dictionary)
    return "".join(tokens).encode("utf-8", "replace")[:LARGEST]


def _word(tokens: list[str], rng: Random, dictionary: Sequence[str]) -> list[str]:
    at, other = rng.randint(0, len(tokens) - 1), rng.randint(0, len(tokens) - 1)
    way = rng.randint(0, 9)
    if way == 0:
        del tokens[at]
    elif way == 1:
        tokens[at] = rng.choice(dictionary)
    elif way == 2:
        tokens.insert(at, " " + rng.choice(dictionary) + " ")
    elif way == 3:
        tokens[at], tokens[other] = tokens[other], tokens[at]
    elif way == 4:
        del tokens[min(at, other) : min(at, other) + 1 + abs(at - other) % 12]
    elif way == 5:
        piece = tokens[other : other + rng.randint(1, 12)]
        tokens[at:at] = piece * rng.choice([1, 1, 2, 50])
    elif way == 6:
        numbers = [i for i, token in enumerate(tokens) if token.isdigit()] or [at]
        tokens[rng.choice(numbers)] = rng.choice(NUMBERS.split())
    elif way == 7:
        tokens[at] = rng.choice(ODD)
    elif way == 8:
        mark, depth = rng.choice(list(OPEN)), rng.choice([1, 2, 10, 100, 2000])
        tokens[at] = mark * depth + tokens[at] + OPEN[mark] * depth
    else:
        lines = "".join(tokens).splitlines(keepends=True) or ["\n"]
        lines.insert(rng.randint(0, len(lines)), lines[rng.randint(0, len(lines) - 1)])
        tokens = WORD.findall("".join(lines))
    return tokens


VALUES: list[Callable[[Random], Any]] = [
    lambda r: None, lambda r: r.choice([True, False]), lambda r: r.choice(EDGES) * r.choice([1, -1]),
    lambda r: r.choice([0.0, -0.0, 0.5, 1e308, 5e-324, -1.5]), lambda r: "", lambda r: [], lambda r: {},
    lambda r: r.choice(ODD) * r.choice([1, 5, 3000]), lambda r: "\ud800", lambda r: {"type": r.choice(["text", 1])},
    lambda r: [r.choice(EDGES)] * r.choice([1, 5, 300]), lambda r: {r.choice(ODD): 1}, lambda r: "x" * 20_000,
    lambda r: {"$ref": "#"}, lambda r: "<|im_start|>", lambda r: [[]] * 3, lambda r: {"a": {"a": {"a": []}}},
]  # fmt: skip


def values(data: bytes, rng: Random, names: Sequence[str]) -> bytes:
    """A value of JSON changed; `names` are names and texts that mean something there."""
    try:
        root = [json.loads(data)]
    except (ValueError, RecursionError):
        return words(data, rng, [f'"{name}"' for name in names])
    for _ in range(rng.randint(1, 3)):
        _value(root, rng, names)
    try:
        return json.dumps(root[0]).encode()[:LARGEST]
    except (ValueError, RecursionError):
        return data


def _value(root: list[Any], rng: Random, names: Sequence[str]) -> None:
    holders = _holders(root)
    holder = rng.choice(holders)
    key = rng.randint(0, len(holder) - 1) if isinstance(holder, list) else rng.choice(list(holder))
    way = rng.randint(0, 6)
    if way == 0 and holder is not root:
        del holder[key]
    elif way == 1:
        holder[key] = rng.choice(VALUES)(rng)
    elif way == 2:
        holder[key] = rng.choice(names)
    elif way == 3:
        other = rng.choice(holders)
        value = rng.choice(other) if isinstance(other, list) else rng.choice(list(other.values()))
        holder[key] = json.loads(json.dumps(value))
    elif way == 4:
        found: Any = holder[key]
        for _ in range(rng.choice([1, 2, 90, 110])):
            found = [found] if rng.randint(0, 1) else {rng.choice(names): found}
        holder[key] = found
    elif isinstance(holder, dict):
        holder[rng.choice(names)] = rng.choice(VALUES)(rng) if way == 5 else holder[key]
    elif holder is not root:
        holder.insert(key, rng.choice(VALUES)(rng) if way == 5 else holder[key])


def _holders(root: list[Any]) -> list[Any]:
    found: list[Any] = []
    left: list[Any] = [root]
    while left:
        value = left.pop()
        if isinstance(value, (list, dict)) and value:
            found.append(value)
            left += value.values() if isinstance(value, dict) else value
    return found
