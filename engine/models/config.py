"""The hyper-parameters of a model, read from its file's metadata into a `ModelConfig`.

Only what the engine computes is accepted: a Llama architecture with full rotary embedding, scaled not at all, by one
factor or as Llama 3 does, no experts and no sliding window. Anything else is a `ModelFileError` that names the key;
running on would give nonsense.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import ConfigError, ModelConfig
from engine.weights.errors import ModelFileError
from engine.weights.gguf import GGUFFile

NUMBER = (int, float)

# Texts of control tokens that end a turn or a document, besides the one the metadata name: files of instruction models
# often name only one of the two that the model was trained to stop at.
END_TEXTS = ("<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>", "<end_of_turn>", "</s>")
MAX_CONTEXT = 1 << 24  # positions: tables are sized by it, and no model has been trained on more
ROPE_FACTORS = "rope_freqs.weight"
CONTROL = 3  # the token type of markers that are never text


def read_config(file: GGUFFile) -> ModelConfig:
    """The model's shape and special tokens, checked against the tensors that have a say in them."""
    architecture = file.value("general.architecture", str)
    if architecture != "llama":
        raise ModelFileError(f"{file.path}: architecture {architecture!r} is not supported (known: llama)")
    _refuse_unsupported(file)
    hidden, heads = _positive(file, "embedding_length"), _positive(file, "attention.head_count")
    head_dim = _head_dim(file, hidden, heads)
    try:
        return ModelConfig(
            name=model_id(file.path),
            architecture=architecture,
            vocab_size=_vocabulary(file),
            hidden_size=hidden,
            intermediate_size=_positive(file, "feed_forward_length"),
            # each layer has tensors in the file, so that their number bounds a corrupt count
            num_layers=_positive(file, "block_count", most=len(file.tensors)),
            num_heads=heads,
            # the format's own rule: without the key every query head has its own key head
            num_kv_heads=_positive(file, "attention.head_count_kv", default=heads),
            head_dim=head_dim,
            context_length=_positive(file, "context_length", most=MAX_CONTEXT),
            rope_base=_real(file, "rope.freq_base", default=10_000.0),
            rope_divisors=_rope_divisors(file, head_dim // 2),
            rms_eps=_real(file, "attention.layer_norm_rms_epsilon"),
            tied_embedding="output.weight" not in file.tensors,
            bos_token_id=_token(file, "bos"),
            eos_token_ids=end_tokens(file),
        )
    except ConfigError as error:
        raise ModelFileError(f"{file.path}: {error}") from error


def model_id(path: Path) -> str:
    """The name a model is served under: its file's, without the quantization: SmolLM2-135M-Instruct.Q4_1.gguf ->
    smollm2-135m-instruct."""
    stem = re.sub(r"\.gguf$", "", path.name, flags=re.IGNORECASE)
    return re.sub(r"[.-](i?q\d\w*|f16|f32|bf16)$", "", stem, flags=re.IGNORECASE).lower() or "model"


def end_tokens(file: GGUFFile) -> tuple[int, ...]:
    """The ids at which generation ends: the ones that the metadata name, and control tokens known to mean an end."""
    ids = {token for key in ("eos", "eot", "eom") if (token := _token(file, key)) is not None}
    for token, (text, kind) in enumerate(zip(_list(file, "tokens"), _list(file, "token_type"), strict=False)):
        if kind == CONTROL and text in END_TEXTS:
            ids.add(token)
    return tuple(sorted(ids))


# ---- single values -----------------------------------------------------------------------------------


def _refuse_unsupported(file: GGUFFile) -> None:
    if file.metadata.get("llama.attention.causal", True) is not True:
        raise ModelFileError(f"{file.path}: attention that is not causal is not supported")
    for key in ("llama.expert_count", "llama.attention.sliding_window"):
        value = file.metadata.get(key, 0)
        if not isinstance(value, int) or value:
            raise ModelFileError(f"{file.path}: {key} = {value!r:.60} is not supported")


def _rope_divisors(file: GGUFFile, pairs: int) -> tuple[float, ...]:
    """What the angle of each pair is divided by. One factor for all is in the metadata, under an older key without a
    type that says so; one for each is a tensor, which converters compute for Llama 3 from its scaling's parameters.
    """
    kind = file.metadata.get("llama.rope.scaling.type", "")
    if not isinstance(kind, str) or kind not in ("", "none", "linear"):
        raise ModelFileError(f"{file.path}: rotary scaling {kind!r:.60} is not supported (known: none, linear)")
    factor = 1.0
    for key in ("rope.scaling.factor", "rope.scale_linear"):
        if kind != "none" and f"llama.{key}" in file.metadata:
            factor = _real(file, key)
            break
    if ROPE_FACTORS not in file.tensors:
        return () if factor == 1 else (factor,) * pairs
    info = file.tensor(ROPE_FACTORS)
    if info.shape != (pairs,) or info.type.name != "F32":
        got = f"{info.type.name} {info.shape}"
        raise ModelFileError(f"{file.path}: tensor {ROPE_FACTORS!r} must be {pairs} numbers of F32, it is {got}")
    each = file.read(ROPE_FACTORS).view("<f4")[0].astype(np.float64)
    if not (np.isfinite(each) & (each > 0)).all():
        raise ModelFileError(f"{file.path}: tensor {ROPE_FACTORS!r} holds factors that are not above 0 and finite")
    return tuple((each * factor).tolist())


def _vocabulary(file: GGUFFile) -> int:
    """The tokenizer's tokens. Rows of the embedding beyond them pad it to a rounder size, and stand for nothing that
    could be said.
    """
    rows = file.tensor("token_embd.weight").shape[0]
    tokens = len(_list(file, "tokens"))
    if tokens > rows:
        raise ModelFileError(f"{file.path}: the tokenizer has {tokens} tokens but the embedding only {rows} rows")
    return tokens or rows


def _token(file: GGUFFile, role: str) -> int | None:
    key = f"tokenizer.ggml.{role}_token_id"
    if key not in file.metadata:
        return None
    token = file.value(key, int)
    if not 0 <= token < _vocabulary(file):
        raise ModelFileError(f"{file.path}: {key} is {token}, outside the vocabulary of {_vocabulary(file)}")
    return token


def _list(file: GGUFFile, key: str) -> list[Any]:
    """A list of the tokenizer's, empty where the file carries no tokenizer (which `engine.tokenizer` then says)."""
    if f"tokenizer.ggml.{key}" not in file.metadata:
        return []
    return list(file.value(f"tokenizer.ggml.{key}", (list, np.ndarray)))


def _head_dim(file: GGUFFile, hidden: int, heads: int) -> int:
    if "llama.attention.key_length" in file.metadata:
        size = _positive(file, "attention.key_length")
    elif hidden % heads:
        raise ModelFileError(f"{file.path}: {heads} heads do not divide an embedding of {hidden}")
    else:
        size = hidden // heads
    for key in ("rope.dimension_count", "attention.value_length"):
        if _positive(file, key, default=size) != size:
            raise ModelFileError(f"{file.path}: llama.{key} must equal the head size {size}")
    return size


def _positive(file: GGUFFile, key: str, default: int | None = None, most: int = 2**31 - 1) -> int:
    if default is not None and f"llama.{key}" not in file.metadata:
        return default
    value = file.value(f"llama.{key}", int)
    if not 1 <= value <= most:
        raise ModelFileError(f"{file.path}: llama.{key} must be at least 1 and at most {most}, got {value}")
    return value


def _real(file: GGUFFile, key: str, default: float | None = None) -> float:
    if default is not None and f"llama.{key}" not in file.metadata:
        return default
    value = float(file.value(f"llama.{key}", NUMBER))
    if not 0 < value < float("inf"):
        raise ModelFileError(f"{file.path}: llama.{key} must be a positive number, got {value}")
    return value
