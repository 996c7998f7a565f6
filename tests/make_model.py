"""Write tiny Llama models in GGUF, with random weights and a working byte-level tokenizer, for tests that need a file.

    path = write_model(tmp_path / "tiny.gguf")  # Q4_1 layers, Q8_0 embedding, tied, chat template
    path = write_model(tmp_path / "f32.gguf", layer_type="F32", tied=False, add_bos=True)

The same arguments give the same bytes. The file is written by the `gguf` package, so that reading it back tests our
reader against something that is not ours.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import quantize

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = (
    "t h", "th e", "Ġ the", "i n", "Ġ a", "e r", "o n", "a n", "an d", "Ġ and", "r e", "Ġ s", "Ġ w", "Ġ c",
    "o u", "in g", "e n", "Ġ t", "Ġt o", "o r", "l l", "h e", "Ġ he", "Ċ Ċ", "Ġ Ġ", "s t", "i s", "Ġ is",
)  # fmt: skip
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class TinyModel:
    """The shape and contents of one file."""

    layers: int = 2
    hidden: int = 64
    intermediate: int = 96
    heads: int = 4
    kv_heads: int = 2
    context: int = 256
    rope_base: float = 10_000.0
    rope_factors: tuple[float, ...] = ()
    """One for each pair of a head, as converters write them for Llama 3."""
    layer_type: str = "Q4_1"
    """The type of the layers' matrices; a key of `types` overrides it for one part."""
    embedding_type: str = "Q8_0"
    types: dict[str, str] = field(default_factory=dict)
    """Part -> type, such as {"attn_v": "Q8_0"}."""
    tied: bool = True
    padding: int = 0
    """Rows of the embedding and the head beyond the vocabulary."""
    seed: int = 0
    cutting: str = "smollm"
    add_bos: bool = False
    chat_template: str | None = CHAT_TEMPLATE
    extra: dict[str, object] = field(default_factory=dict)
    """Further metadata (text, whole number, real number or truth value)."""


def write_model(path: str | os.PathLike[str], **changes: object) -> Path:
    """Write a `TinyModel(**changes)`; the path, for chaining."""
    model = TinyModel(**changes)  # type: ignore[arg-type]  # the dataclass refuses names that it does not have
    writer = gguf.GGUFWriter(os.fspath(path), "llama")
    _write_shape(writer, model)
    _write_tokenizer(writer, model)
    for name, (values, kind) in tensors(model).items():
        type_id = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, quantize(values, type_id), raw_dtype=type_id)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)


def vocabulary() -> list[str]:
    """Special tokens, the 256 bytes in the byte alphabet, then what the merges make."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + i) for i, byte in enumerate(others)}
    return [*SPECIAL, *(letters[byte] for byte in range(256)), *(line.replace(" ", "") for line in MERGES)]


def tensors(model: TinyModel) -> dict[str, tuple[np.ndarray, str]]:
    """Name -> (float32 values before rounding, type), in the file's order and row order."""
    rng = np.random.default_rng(model.seed)
    head = model.hidden // model.heads
    shapes = {
        "attn_q": (model.hidden, model.hidden),
        "attn_k": (model.kv_heads * head, model.hidden),
        "attn_v": (model.kv_heads * head, model.hidden),
        "attn_output": (model.hidden, model.hidden),
        "ffn_gate": (model.intermediate, model.hidden),
        "ffn_up": (model.intermediate, model.hidden),
        "ffn_down": (model.hidden, model.intermediate),
    }

    def matrix(rows: int, columns: int, size: float) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) * size / np.sqrt(columns)).astype(np.float32)

    def norm() -> tuple[np.ndarray, str]:
        return (1 + 0.1 * rng.standard_normal(model.hidden)).astype(np.float32), "F32"

    found = {"token_embd.weight": (matrix(len(vocabulary()) + model.padding, model.hidden, 8.0), model.embedding_type)}
    for layer in range(model.layers):
        at = f"blk.{layer}."
        found[at + "attn_norm.weight"], found[at + "ffn_norm.weight"] = norm(), norm()
        for part, shape in shapes.items():
            # larger than trained weights: attention and the gates then matter for what a tiny model says next
            found[f"{at}{part}.weight"] = matrix(*shape, 2.0), model.types.get(part, model.layer_type)
    found["output_norm.weight"] = norm()
    if model.rope_factors:
        found["rope_freqs.weight"] = np.array(model.rope_factors, np.float32), "F32"
    if not model.tied:
        found["output.weight"] = matrix(len(vocabulary()) + model.padding, model.hidden, 8.0), model.embedding_type
    return found


def _write_shape(writer: gguf.GGUFWriter, model: TinyModel) -> None:
    writer.add_name("Tiny test model")
    writer.add_block_count(model.layers)
    writer.add_context_length(model.context)
    writer.add_embedding_length(model.hidden)
    writer.add_feed_forward_length(model.intermediate)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_rope_freq_base(model.rope_base)
    writer.add_rope_dimension_count(model.hidden // model.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(vocabulary()))
    add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool}
    for key, value in model.extra.items():
        add[type(value)](key, value)  # type: ignore[operator]


def _write_tokenizer(writer: gguf.GGUFWriter, model: TinyModel) -> None:
    tokens = vocabulary()
    control, normal = int(gguf.TokenType.CONTROL), int(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(model.cutting)
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in SPECIAL else normal for token in tokens])
    writer.add_token_merges(list(MERGES))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(model.add_bos)
    if model.chat_template is not None:
        writer.add_chat_template(model.chat_template)


if __name__ == "__main__":
    print(write_model(sys.argv[1]))
