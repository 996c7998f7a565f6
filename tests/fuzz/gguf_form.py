"""A GGUF file as lists that can be changed and written again, right or wrong. Written from the format's own page; it
shares nothing with the reader that it tests.

    form = tiny()                       # a whole model in four thousand bytes
    form.pairs["llama.block_count"] = (U32, 7)
    data = written(form)
"""

from __future__ import annotations

import struct
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutate import EDGES, ODD, octets
from tests.fuzz.target import LARGEST

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
SIZES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22)}
SIZES |= {"Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110)}
SIZES |= {"Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "IQ4_NL": (20, 32, 18)}
SIZES |= {"IQ4_XS": (23, 256, 136), "BF16": (30, 1, 2)}
"""Type -> its number, the numbers in a block, the bytes of one."""


@dataclass
class Tensor:
    """One line of the tensor list; `dims` as the file has them, the row's length first."""

    name: str
    dims: list[int]
    type: int
    offset: int = 0


@dataclass
class Form:
    """What a file says. A pair is (type, value); an array's value is (type of items, items)."""

    pairs: dict[str, tuple[int, Any]] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)
    data: bytes = b""
    lies: dict[str, int] = field(default_factory=dict)
    """Counts and lengths that are written instead of the true ones, by what they count."""


def written(form: Form) -> bytes:
    """The file."""
    lies = form.lies
    out = [b"GGUF", struct.pack("<I", lies.get("version", 3))]
    out.append(struct.pack("<QQ", lies.get("tensors", len(form.tensors)), lies.get("pairs", len(form.pairs))))
    for key, (kind, value) in form.pairs.items():
        out += [_text(key, lies.get("key")), struct.pack("<I", kind), _value(kind, value, lies)]
    for tensor in form.tensors:
        out += [_text(tensor.name, None), struct.pack("<I", lies.get("axes", len(tensor.dims)))]
        out += [struct.pack("<Q", dim % 2**64) for dim in tensor.dims]
        out.append(struct.pack("<IQ", tensor.type % 2**32, tensor.offset % 2**64))
    head = b"".join(out)
    alignment = form.pairs.get("general.alignment", (U32, 32))[1]
    whole = isinstance(alignment, int) and 0 < alignment <= 4096
    return head + bytes(-len(head) % (alignment if whole else 32)) + form.data


def _text(text: str, lie: int | None) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(raw) if lie is None else lie) + raw


def _value(kind: int, value: Any, lies: dict[str, int]) -> bytes:
    if kind == STRING:
        return _text(str(value), lies.get("text"))
    if kind == ARRAY:
        items_kind, items = value if isinstance(value, tuple) else (U8, [1, 2])
        head = struct.pack("<IQ", items_kind, lies.get("items", len(items)))
        return head + b"".join(_value(items_kind, item, lies) for item in items)
    if kind not in CODES:
        return bytes(4)
    number = value if isinstance(value, (int, float)) else 0
    code = CODES[kind]
    if code in "fd":
        try:
            return struct.pack("<" + code, float(number))
        except OverflowError:
            return struct.pack("<" + code, float("inf"))
    width = 8 * struct.calcsize("<" + code)
    whole = int(number) if abs(number) < 2**70 else 0
    return struct.pack("<" + code.upper(), whole % (1 << width))


# ---- a whole model, as small as they come ------------------------------------------------------------


def tiny(
    layer: str = "Q8_0",
    embedding: str = "F32",
    tied: bool = True,
    cutting: str = "gpt-2",
    hidden: int = 0,
    inner: int = 32,
) -> Form:
    """A Llama of one layer and 16 tokens. `hidden` 0 is the least that suits the block types."""
    head = 2
    if not hidden:
        hidden = max(32, SIZES[layer][1], SIZES[embedding][1])
        if hidden == 256 and embedding == "F32":
            embedding = "Q8_0"  # the file stays small
    form = Form(_pairs(hidden, inner, head, cutting))
    rng = np.random.default_rng(0)
    rows = len(form.pairs["tokenizer.ggml.tokens"][1][1])
    _add(form, rng, "token_embd.weight", embedding, hidden, rows)
    _add(form, rng, "blk.0.attn_norm.weight", "F32", hidden)
    for part, columns, of in (
        ("attn_q", hidden, head), ("attn_k", hidden, head), ("attn_v", hidden, head), ("ffn_gate", hidden, inner),
        ("ffn_up", hidden, inner), ("ffn_down", inner, hidden),
    ):  # fmt: skip
        fits = columns % SIZES[layer][1] == 0
        _add(form, rng, f"blk.0.{part}.weight", layer if fits else "Q4_0", columns, of)
    _add(form, rng, "blk.0.attn_output.weight", "F32", head, hidden)
    _add(form, rng, "blk.0.ffn_norm.weight", "F32", hidden)
    _add(form, rng, "output_norm.weight", "F32", hidden)
    if not tied:
        _add(form, rng, "output.weight", embedding, hidden, rows)
    return form


def _pairs(hidden: int, inner: int, head: int, cutting: str) -> dict[str, tuple[int, Any]]:
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcehntĠĊ", "th", "the", "Ġthe", "<own>"]
    kinds = [3, 3, 3, *[1] * (len(tokens) - 4), 4]
    return {
        "general.architecture": (STRING, "llama"),
        "general.alignment": (U32, 32),
        "llama.block_count": (U32, 1),
        "llama.context_length": (U32, 64),
        "llama.embedding_length": (U32, hidden),
        "llama.feed_forward_length": (U32, inner),
        "llama.attention.head_count": (U32, 1),
        "llama.attention.head_count_kv": (U32, 1),
        "llama.attention.key_length": (U32, head),
        "llama.attention.value_length": (U32, head),
        "llama.rope.dimension_count": (U32, head),
        "llama.rope.freq_base": (F32, 10000.0),
        "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, cutting),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
        "tokenizer.ggml.token_type": (ARRAY, (I32, kinds)),
        "tokenizer.ggml.merges": (ARRAY, (STRING, ["t h", "th e", "Ġ the"])),
        "tokenizer.ggml.bos_token_id": (U32, 1),
        "tokenizer.ggml.eos_token_id": (U32, 2),
        "tokenizer.ggml.add_bos_token": (BOOL, 1),
        "tokenizer.chat_template": (STRING, "{% for m in messages %}{{ m.content }}{% endfor %}"),
    }


def _add(form: Form, rng: np.random.Generator, name: str, kind: str, columns: int, *rows: int) -> None:
    number, elements, size = SIZES[kind]
    count = columns // elements * (rows[0] if rows else 1)
    raw = rng.integers(0, 60, (count, size), np.uint8)  # no exponent is large: real numbers stay finite
    form.tensors.append(Tensor(name, [columns, *rows], number, len(form.data)))
    form.data += raw.tobytes() + bytes(-raw.size % 32)


# ---- changes -----------------------------------------------------------------------------------------


def read(data: bytes) -> Form | None:
    """The form of a file that is right; None where it is not."""
    try:
        return _read(data)
    except (struct.error, UnicodeDecodeError, IndexError, KeyError, ValueError, MemoryError):
        return None


def _read(data: bytes) -> Form:
    at = 24

    def take(code: str) -> Any:
        nonlocal at
        value = struct.unpack_from("<" + code, data, at)[0]
        at += struct.calcsize("<" + code)
        return value

    def text() -> str:
        nonlocal at
        size = take("Q")
        raw = data[at : at + size]
        if len(raw) != size:
            raise ValueError
        at += size
        return raw.decode()

    def value(kind: int) -> Any:
        if kind == STRING:
            return text()
        if kind == ARRAY:
            items_kind, count = take("I"), take("Q")
            if count > LARGEST:
                raise ValueError
            return items_kind, [value(items_kind) for _ in range(count)]
        return take(CODES[kind])

    tensor_count, pair_count = struct.unpack_from("<QQ", data, 8)
    if max(tensor_count, pair_count) > LARGEST:
        raise ValueError
    form = Form()
    for _ in range(pair_count):
        key, kind = text(), take("I")
        form.pairs[key] = kind, value(kind)
    for _ in range(tensor_count):
        name, axes = text(), take("I")
        form.tensors.append(Tensor(name, [take("Q") for _ in range(axes % 9)], take("I"), take("Q")))
    form.data = data[at + -at % 32 :]
    return form


def changed(data: bytes, rng: Random) -> bytes:
    """Another file: one to three changes of what it says, or of its bytes."""
    form = read(data)
    if form is None or rng.randint(0, 3) == 0:
        return octets(data, rng)
    for _ in range(rng.randint(1, 3)):
        _change(form, rng)
    return written(form)[:LARGEST]


def _change(form: Form, rng: Random) -> None:
    way = rng.randint(0, 10)
    if way <= 3 and form.pairs:
        key = rng.choice(list(form.pairs))
        form.pairs[key] = _other(*form.pairs[key], rng)
    elif way == 4 and form.pairs:
        del form.pairs[rng.choice(list(form.pairs))]
    elif way == 5:
        what = rng.choice(["version", "tensors", "pairs", "key", "axes", "text", "items"])
        form.lies[what] = rng.choice(EDGES) % (2**32 if what in ("version", "axes") else 2**64)
    elif way == 6:
        form.data = octets(form.data, rng)
    elif way == 7:
        text = rng.choice(["tokenizer.ggml.", "llama.", "general.", ""]) + rng.choice(["pre", "x", "rope.scaling.type"])
        form.pairs[text] = rng.choice([(STRING, "linear"), (ARRAY, (ARRAY, [(U8, [1, 2])] * 3)), (F64, float("nan"))])
    elif form.tensors:
        _other_tensor(form, rng)


def _other(kind: int, value: Any, rng: Random) -> tuple[int, Any]:
    """A pair, its type or its value another."""
    way = rng.randint(0, 5)
    if way == 0:
        return rng.randint(0, 13), value
    if kind == ARRAY and isinstance(value, tuple):
        items_kind, items = value[0], list(value[1])
        if way == 1 or not items:
            return ARRAY, (rng.randint(0, 13), items)
        at = rng.randint(0, len(items) - 1)
        if way == 2:
            return ARRAY, (items_kind, items[:at])
        if way == 3:
            return ARRAY, (items_kind, items + [items[at]] * rng.choice([1, 40]))
        items[at] = _other(items_kind, items[at], rng)[1]
        return ARRAY, (items_kind, items)
    if kind == STRING:
        text = str(value)
        at = rng.randint(0, len(text))
        return STRING, text[:at] + rng.choice([*ODD, "<|im_end|>", " ", "Ġ", "a" * 2000]) + text[
            at + rng.randint(0, 3) :
        ]
    edges = [*EDGES, -1, -(2**31), 0.0, -1.0, float("inf"), float("nan"), 1e-300]
    return kind, rng.choice(edges)


def _other_tensor(form: Form, rng: Random) -> None:
    at = rng.randint(0, len(form.tensors) - 1)
    tensor, way = form.tensors[at], rng.randint(0, 7)
    if way == 0:
        tensor.type = rng.choice([*(number for number, _, _ in SIZES.values()), 4, 9, 31, 2**31])
    elif way == 1 and tensor.dims:
        tensor.dims[rng.randint(0, len(tensor.dims) - 1)] = rng.choice(EDGES)
    elif way == 2:
        tensor.dims = tensor.dims[:-1] if rng.randint(0, 1) else [*tensor.dims, rng.choice([0, 1, 2, 2**32])]
    elif way == 3:
        tensor.offset = rng.choice([*EDGES, *(other.offset for other in form.tensors)])
    elif way == 4:
        tensor.name = rng.choice([other.name for other in form.tensors])
    elif way == 5:
        tensor.name += rng.choice([*ODD, "x", ""])
    elif way == 6:
        del form.tensors[at]
    else:
        # many layers of the same bytes
        _more_layers(form, rng.choice([2, 8, 60]))


def _more_layers(form: Form, count: int) -> None:
    first = [tensor for tensor in form.tensors if tensor.name.startswith("blk.0.")]
    form.tensors = [tensor for tensor in form.tensors if not tensor.name.startswith("blk.")]
    for layer in range(count):
        for tensor in deepcopy(first):
            tensor.name = tensor.name.replace("blk.0.", f"blk.{layer}.")
            form.tensors.append(tensor)
    form.pairs["llama.block_count"] = (U32, count)
