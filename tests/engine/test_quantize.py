"""Which kind a file's matrices take in memory, and requantizing at load."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize as dequantize_blocks
from gguf.quants import quantize as quantize_blocks

from engine.models.config import read_config
from engine.quantize import IN_MEMORY, layer_kind, stored_kind
from engine.weights.base import ModelWeights, move
from engine.weights.gguf import TYPES, GGUFFile
from engine.weights.repack import decode, load_weights
from ops.quant import dequantize
from tests.make_model import write_model

RNG = np.random.default_rng(5)

# Bytes of a block that hold float16 scales: random bits there would make NaN.
SCALES = {
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,),
}  # fmt: skip


def load(path: Path, quantization: str = "none") -> ModelWeights:
    with GGUFFile.open(path) as file:
        return load_weights(file, read_config(file), quantization)


def random_blocks(kind: str, rows: int = 48, columns: int = 512) -> np.ndarray:
    block = next(block for block in TYPES.values() if block.name == kind)
    raw = RNG.integers(0, 256, (rows, columns // block.elements, block.size)).astype(np.uint8)
    for at in SCALES[kind]:
        scale = RNG.uniform(0.01, 0.1, raw.shape[:2]).astype(np.float16)
        raw[:, :, at : at + 2] = scale.view(np.uint8).reshape(*raw.shape[:2], 2)
    return raw.reshape(rows, -1)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0", "F16", "BF16", "F32"])
def test_types_with_a_kernel_keep_their_numbers_exactly(kind: str) -> None:
    type_id = gguf.GGMLQuantizationType[kind]
    raw = quantize_blocks(RNG.standard_normal((40, 96)).astype(np.float32), type_id)
    weight = decode(kind, raw.view(np.uint8).reshape(40, -1))
    assert weight.kind == IN_MEMORY[kind]
    assert np.array_equal(dequantize(weight), dequantize_blocks(raw, type_id))


def test_q4_k_becomes_int4_with_scales_rounded_to_float16() -> None:
    raw = random_blocks("Q4_K")
    real = dequantize_blocks(raw, gguf.GGMLQuantizationType.Q4_K)
    weight = decode("Q4_K", raw)
    assert weight.kind == "int4"
    # two roundings of 2^-11, of a scale times at most 15 and of a minimum, both below 0.1 * 63
    assert np.abs(dequantize(weight) - real).max() <= 0.1 * 63 * 16 * 2.0**-11


@pytest.mark.parametrize("kind", ["Q2_K", "Q3_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"])
def test_rarer_types_become_int8_within_half_a_step(kind: str) -> None:
    raw = random_blocks(kind)
    real = dequantize_blocks(raw, gguf.GGMLQuantizationType[kind])
    weight = decode(kind, raw)
    assert weight.kind == "int8"
    largest = np.abs(real).reshape(48, -1, 32).max(axis=2).repeat(32, axis=1)
    assert (np.abs(dequantize(weight) - real) <= largest * (0.5 / 127 + 1e-3)).all()


@pytest.mark.parametrize("kind", ["Q5_0", "Q5_1"])
def test_five_bit_types_become_int8_within_half_a_step(kind: str) -> None:
    type_id = gguf.GGMLQuantizationType[kind]
    raw = quantize_blocks(RNG.standard_normal((40, 96)).astype(np.float32), type_id)
    real, weight = dequantize_blocks(raw, type_id), decode(kind, raw)
    largest = np.abs(real).reshape(40, -1, 32).max(axis=2).repeat(32, axis=1)
    assert weight.kind == "int8" and (np.abs(dequantize(weight) - real) <= largest * (0.5 / 127 + 1e-3)).all()


@pytest.mark.parametrize("kind", ["fp8", "int4"])
def test_requantizing_rounds_the_layers_and_leaves_the_embedding(tmp_path: Path, kind: str) -> None:
    path = write_model(tmp_path / "m.gguf", layer_type="F16")
    before, after = load(path), load(path, kind)
    assert np.array_equal(dequantize(after.embedding), dequantize(before.embedding))
    assert after.notes == (f"14 matrices of F16 requantized to {kind}",)
    for one, other in zip(before.layers, after.layers, strict=True):
        for name in ("qkv", "output", "gate_up", "down"):
            real, rounded = dequantize(getattr(one, name)), dequantize(getattr(other, name))
            assert getattr(other, name).kind == kind
            assert 0 < np.abs(real - rounded).mean() < 0.1 * np.abs(real).mean()


def test_requantizing_to_the_kind_that_is_there_changes_nothing(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf")
    before, after = load(path), load(path, "int4")
    assert after.notes == () and np.array_equal(before.layers[0].qkv.data, after.layers[0].qkv.data)


def test_parts_of_different_types_take_the_more_precise_kind(tmp_path: Path) -> None:
    weights = load(write_model(tmp_path / "m.gguf", types={"attn_v": "Q8_0", "ffn_up": "F32"}))
    assert (weights.layers[0].qkv.kind, weights.layers[0].gate_up.kind) == ("int8", "f32")
    assert weights.notes == (
        "2 matrices of Q4_1 requantized to f32",
        "4 matrices of Q4_1 requantized to int8",
    )


def test_an_unknown_request_is_refused() -> None:
    with pytest.raises(ValueError, match="one of none, fp8, int4, got 'int2'"):
        layer_kind(["F32"], "int2")


def test_every_type_that_can_be_read_has_a_kind() -> None:
    assert {stored_kind(block.name) for block in TYPES.values()} == {"f32", "f16", "bf16", "int4", "int8"}


def test_moving_keeps_a_tied_head_one_matrix_and_counts_bytes(tmp_path: Path) -> None:
    weights = load(write_model(tmp_path / "m.gguf"))
    copies: list[np.ndarray] = []

    def copy(array: np.ndarray) -> np.ndarray:
        copies.append(array.copy())
        return copies[-1]

    moved = move(weights, copy)
    assert moved.head is moved.embedding
    assert sum(array.nbytes for array in copies) == weights.nbytes == moved.nbytes
