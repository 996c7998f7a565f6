"""A tiny random Llama, and its meaning: the whole sequence at once in float64, without cache, blocks or batches."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from engine.config import ModelConfig
from engine.guides import Vocabulary
from engine.weights.base import LayerWeights, ModelWeights
from ops.quant import QuantWeight, dequantize, quantize

CONFIG = ModelConfig(
    name="tiny",
    architecture="llama",
    vocab_size=96,
    hidden_size=64,
    intermediate_size=96,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    context_length=64,
    rope_base=10_000.0,
    rms_eps=1e-5,
    tied_embedding=True,
    eos_token_ids=(0,),
)


TEXT = replace(CONFIG, vocab_size=320)
"""The same with a vocabulary that can write anything: token 0 ends, 1 and 2 are special, then the bytes, then words."""
WORDS = (b'{"', b'": ', b'", "', b'"}', b"true", b"false", b"null", b"[]", b"12", b"0.5", b"  ", b"\n  ", b"\xc3\xa9")


def text_vocabulary() -> Vocabulary:
    """Of `TEXT`; what is left over of its ids is words of two letters."""
    tokens = [b"<end>", b"<a>", b"<b>", *(bytes([byte]) for byte in range(256)), *WORDS]
    pairs = (bytes(pair) for pair in itertools.product(b"abcdefgh", repeat=2))
    tokens += itertools.islice(pairs, TEXT.vocab_size - len(tokens))
    return Vocabulary(tokens, (0, 1, 2), (0,), lambda text: [3 + byte for byte in text.encode()])


def random_weights(config: ModelConfig = CONFIG, kind: str = "int4", seed: int = 0) -> ModelWeights:
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, kind: str = kind) -> QuantWeight:
        return quantize((rng.standard_normal((rows, columns)) * columns**-0.5 * 2).astype(np.float32), kind)

    def norm() -> np.ndarray:
        return rng.uniform(0.5, 1.5, config.hidden_size).astype(np.float32)

    layers = tuple(
        LayerWeights(
            attn_norm=norm(),
            qkv=matrix(config.qkv_size, config.hidden_size),
            output=matrix(config.hidden_size, config.num_heads * config.head_dim),
            ffn_norm=norm(),
            gate_up=matrix(2 * config.intermediate_size, config.hidden_size),
            down=matrix(config.hidden_size, config.intermediate_size),
        )
        for _ in range(config.num_layers)
    )
    embedding = matrix(config.vocab_size, config.hidden_size, "int8")
    return ModelWeights(embedding, layers, norm(), embedding)


def reference_logits(config: ModelConfig, weights: ModelWeights, tokens: list[int]) -> np.ndarray:
    """Logits after each token, float64 (tokens, vocabulary)."""
    return reference_hidden(config, weights, tokens) @ real(weights.head).T


def reference_hidden(config: ModelConfig, weights: ModelWeights, tokens: list[int]) -> np.ndarray:
    """Hidden states after the final norm, float64 (tokens, hidden size)."""
    stream = real(weights.embedding)[tokens]
    for layer in weights.layers:
        stream = stream + _attention(config, layer, _norm(stream, layer.attn_norm, config.rms_eps))
        normed = _norm(stream, layer.ffn_norm, config.rms_eps)
        gate, up = np.split(normed @ real(layer.gate_up).T, 2, axis=1)
        stream = stream + (gate / (1 + np.exp(-gate)) * up) @ real(layer.down).T
    return _norm(stream, weights.output_norm, config.rms_eps)


def real(weight: QuantWeight) -> np.ndarray:
    return dequantize(weight).astype(np.float64)


def _norm(x: np.ndarray, weight: Any, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(1, keepdims=True) + eps) * weight


def _attention(config: ModelConfig, layer: LayerWeights, x: np.ndarray) -> np.ndarray:
    heads, kv_heads, width = config.num_heads, config.num_kv_heads, config.head_dim
    split = (x @ real(layer.qkv).T).reshape(len(x), -1, width).swapaxes(0, 1)
    query, key, value = np.split(split, [heads, heads + kv_heads])
    query, key = _turn(query, config.rope_base), _turn(key, config.rope_base)
    key, value = (np.repeat(part, heads // kv_heads, axis=0) for part in (key, value))
    scores = query @ key.swapaxes(1, 2) / np.sqrt(width)
    scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(2, keepdims=True))
    mixed = (weights / weights.sum(2, keepdims=True)) @ value
    return mixed.swapaxes(0, 1).reshape(len(x), -1) @ real(layer.output).T


def _turn(x: np.ndarray, base: float) -> np.ndarray:
    """Element i turns with element i + width/2, by position * base**(-2i/width)."""
    half = x.shape[2] // 2
    angle = np.arange(x.shape[1])[:, None] * base ** (-np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angle)
    return np.concatenate([turned.real, turned.imag], axis=2)
