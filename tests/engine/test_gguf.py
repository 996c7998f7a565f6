"""GGUF files: read as the `gguf` package reads them, and refused with a place when they are corrupt or truncated."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize as dequantize_blocks

from engine.models.config import model_id, read_config
from engine.tokenizer import Tokenizer
from engine.weights.errors import ModelFileError
from engine.weights.gguf import TYPES, WINDOW, GGUFFile
from engine.weights.repack import load_weights
from ops.quant import dequantize
from ops.rope import rope_table
from tests.engine.tiny_model import reference_logits
from tests.make_model import write_model
from tests.reference.numpy_llama import NumpyLlama

STRING, UINT32, ARRAY, BOOL = 8, 4, 9, 7


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


# ---- reading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 9, 64, WINDOW])
def test_metadata_and_tensors_equal_those_of_the_gguf_package(
    tiny: Path, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.weights.gguf.WINDOW", window)
    theirs = gguf.GGUFReader(str(tiny))
    with GGUFFile.open(tiny) as ours:
        fields = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
        lists = {key: list(value) for key, value in ours.metadata.items() if isinstance(value, np.ndarray)}
        assert ours.metadata | lists == fields
        assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
        for tensor in theirs.tensors:
            info = ours.tensors[tensor.name]
            assert info.shape == tuple(int(n) for n in reversed(tensor.shape))
            assert info.type.name == tensor.tensor_type.name
            assert np.array_equal(ours.read(tensor.name).ravel(), tensor.data.view(np.uint8).ravel())


def test_block_types_are_those_of_the_format() -> None:
    for number, block in TYPES.items():
        kind = gguf.GGMLQuantizationType(number)
        assert (kind.name, gguf.GGML_QUANT_SIZES[kind]) == (block.name, (block.elements, block.size))


def test_the_configuration_says_the_shape_and_the_ends(tiny: Path) -> None:
    with GGUFFile.open(tiny) as file:
        config = read_config(file)
    assert (config.hidden_size, config.num_layers, config.num_heads, config.num_kv_heads) == (64, 2, 4, 2)
    assert (config.head_dim, config.vocab_size, config.context_length) == (16, 287, 256)
    assert config.tied_embedding and config.bos_token_id == 1
    assert config.eos_token_ids == (0, 2)  # <|im_end|> by the metadata, <|endoftext|> by its text


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct"),
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "llama-3.2-1b-instruct"),
        ("my-model-F16.GGUF", "my-model"),
        ("plain.gguf", "plain"),
    ],
)
def test_a_model_is_named_after_its_file(file: str, name: str) -> None:
    assert model_id(Path(file)) == name


# ---- weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer_type", ["Q4_0", "Q4_1", "Q8_0", "F16", "BF16", "F32"])
def test_matrices_are_the_files_in_half_split_order(tmp_path: Path, layer_type: str) -> None:
    path = write_model(tmp_path / "m.gguf", layer_type=layer_type, tied=False)
    theirs = {t.name: dequantize_blocks(t.data, t.tensor_type) for t in gguf.GGUFReader(str(path)).tensors}
    with GGUFFile.open(path) as file:
        weights = load_weights(file, read_config(file))
    assert np.array_equal(dequantize(weights.embedding), theirs["token_embd.weight"])
    assert np.array_equal(dequantize(weights.head), theirs["output.weight"])
    assert np.array_equal(weights.output_norm, theirs["output_norm.weight"])
    layer, at = weights.layers[1], "blk.1."
    assert np.array_equal(dequantize(layer.down), theirs[at + "ffn_down.weight"])
    assert np.array_equal(dequantize(layer.output), theirs[at + "attn_output.weight"])
    assert np.array_equal(layer.attn_norm, theirs[at + "attn_norm.weight"])
    both = np.concatenate([theirs[at + "ffn_gate.weight"], theirs[at + "ffn_up.weight"]])
    assert np.array_equal(dequantize(layer.gate_up), both)
    qkv, head = dequantize(layer.qkv), 16
    for row in range(64):  # row 2i + s of a head in the file is row s*8 + i in memory
        start, within = row // head * head, row % head
        assert np.array_equal(qkv[start + within % 2 * 8 + within // 2], theirs[at + "attn_q.weight"][row])
    assert np.array_equal(qkv[-32:], theirs[at + "attn_v.weight"])
    assert weights.notes == ()


def test_half_split_rotation_of_loaded_weights_equals_interleaved_rotation_of_the_files(tiny: Path) -> None:
    tokens = np.random.default_rng(3).integers(0, 287, 20).tolist()
    with GGUFFile.open(tiny) as file:
        config = read_config(file)
        ours = reference_logits(config, load_weights(file, config), tokens)
    theirs = NumpyLlama.load(tiny, np.float64).logits(tokens)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def llama3_frequencies(size: int, base: float, factor: float, low: float, high: float, context: int) -> np.ndarray:
    """Frequencies as Llama 3 publishes its scaling: long waves are slowed down, short ones left, others in between."""
    speed = base ** (-np.arange(0, size, 2) / size)
    turns = context * speed / (2 * np.pi)
    between = (turns - low) / (high - low)
    mixed = (1 - between) * speed / factor + between * speed
    return np.where(turns < low, speed / factor, np.where(turns > high, speed, mixed))


def test_rotary_embedding_is_scaled_as_llama_3_does(tmp_path: Path) -> None:
    wanted = llama3_frequencies(16, 10_000.0, factor=8.0, low=1.0, high=4.0, context=64)
    factors = 10_000.0 ** (-np.arange(0, 16, 2) / 16) / wanted
    assert 1 == factors[0] < factors[2] < factors[-1] == 8
    path = write_model(tmp_path / "m.gguf", rope_factors=tuple(factors.tolist()))
    with GGUFFile.open(path) as file:
        config = read_config(file)
        load_weights(file, config)
    table = rope_table(40, 16, config.rope_base, config.rope_divisors)
    angles = np.arange(40)[:, None] * wanted
    np.testing.assert_allclose(table, np.concatenate([np.cos(angles), np.sin(angles)], axis=1), atol=1e-5)


@pytest.mark.parametrize(
    "extra",
    [
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
        {"llama.rope.scaling.factor": 4.0},
        {"llama.rope.scale_linear": 4.0},
    ],
    ids=["linear", "without a type", "the older key"],
)
def test_rotary_embedding_is_scaled_by_one_factor(tmp_path: Path, extra: dict[str, object]) -> None:
    with GGUFFile.open(write_model(tmp_path / "m.gguf", extra=extra)) as file:
        assert read_config(file).rope_divisors == (4.0,) * 8
    with GGUFFile.open(write_model(tmp_path / "n.gguf", extra=extra | {"llama.rope.scaling.type": "none"})) as file:
        assert read_config(file).rope_divisors == ()


@pytest.mark.parametrize(("factors", "message"), [((2.0,) * 7, "8 numbers of F32, it is F32"), ((0.0,) * 8, "above 0")])
def test_factors_of_rotary_embedding_that_make_no_sense_are_refused(
    tmp_path: Path, factors: tuple[float, ...], message: str
) -> None:
    path = write_model(tmp_path / "m.gguf", rope_factors=factors)
    with GGUFFile.open(path) as file, pytest.raises(ModelFileError, match=f"rope_freqs.weight.*{message}"):
        read_config(file)


def test_a_tied_head_is_the_embedding_itself(tiny: Path) -> None:
    with GGUFFile.open(tiny) as file:
        weights = load_weights(file, read_config(file))
    assert weights.head is weights.embedding


def test_a_vocabulary_that_is_not_a_multiple_of_16_is_padded_with_zeros(tiny: Path) -> None:
    with GGUFFile.open(tiny) as file:
        embedding = load_weights(file, read_config(file)).embedding
    assert embedding.shape == (287, 64) and embedding.tiles == 18
    assert not embedding.scale[-1, :, 15:].any()


def test_rows_that_pad_the_embedding_are_no_tokens(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", tied=False, padding=33)
    theirs = {t.name: dequantize_blocks(t.data, t.tensor_type) for t in gguf.GGUFReader(str(path)).tensors}
    with GGUFFile.open(path) as file:
        config = read_config(file)
        weights = load_weights(file, config)
    assert config.vocab_size == 287 and len(theirs["output.weight"]) == 320
    assert np.array_equal(dequantize(weights.embedding), theirs["token_embd.weight"][:287])
    assert np.array_equal(dequantize(weights.head), theirs["output.weight"][:287])


# ---- corrupt files -----------------------------------------------------------------------------------


def header(tensors: int = 0, pairs: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def tensor(
    name: str = "t", sizes: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0, axes: int | None = None
) -> bytes:
    count = len(sizes) if axes is None else axes
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", count, *sizes, kind, offset)


HUGE = 2**62
BAD = {
    "empty file": (b"", "magic number needs 4 bytes but the file has 0 left"),
    "another format": (b"PK\x03\x04" + bytes(40), r"not a GGUF file: it begins with b'PK.*at byte 0"),
    "old version": (header(version=1) + bytes(40), "version 1 is not supported"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "tensor count": (header(tensors=HUGE), "tensor count is 4611686018427387904, more than .* hold, at byte 8"),
    "pair count": (header(pairs=HUGE), "metadata count is 4611686018427387904.*at byte 16"),
    "key length": (header(pairs=1) + struct.pack("<Q", HUGE) + bytes(40), "key of metadata entry 0 claims"),
    "key past the end": (header(pairs=1) + struct.pack("<Q", 60) + bytes(40), "needs 60 bytes but the file has 40"),
    "text length": (header(pairs=1) + text("k") + struct.pack("<IQ", STRING, HUGE), "text of 'k' claims"),
    "text not UTF-8": (header(pairs=1) + text("k") + struct.pack("<I", STRING) + text(b"\xff"), "'k' is not UTF-8"),
    "value type": (header(pairs=1) + text("k") + struct.pack("<IQ", 99, 0), "'k' has the unknown value type 99"),
    "truth value": (header(pairs=1) + text("k") + struct.pack("<IB", BOOL, 2), "truth value other than 0 and 1"),
    "array length": (
        header(pairs=1) + text("k") + struct.pack("<IIQ", ARRAY, UINT32, HUGE),
        "length of 'k' is 4611686018427387904, more than the file can hold",
    ),
    "array just too long": (
        header(pairs=1) + text("k") + struct.pack("<IIQ", ARRAY, UINT32, 3) + bytes(8),
        "metadata 'k' needs 12 bytes but the file has 8 left",
    ),
    "array of texts": (
        header(pairs=1) + text("k") + struct.pack("<IIQ", ARRAY, STRING, 2) + text("") + struct.pack("<Q", HUGE),
        "item 1 of 'k' claims",
    ),
    "array of arrays": (header(pairs=1) + text("k") + struct.pack("<IIQ", ARRAY, ARRAY, 1), "array of arrays"),
    "key twice": (header(pairs=2) + (text("k") + struct.pack("<II", UINT32, 1)) * 2, "'k' is there twice"),
    "no axes": (header(tensors=1) + tensor(sizes=(), axes=0) + bytes(8), "0 axes, the format allows 1 to 4"),
    "many axes": (header(tensors=1) + tensor(axes=2**32 - 1), "4294967295 axes"),
    "tensor type": (header(tensors=1) + tensor(kind=99), "type 99, which is not supported"),
    "size that wraps": (header(tensors=1) + tensor(sizes=(2**32, 2**32, 32)), "truncated or corrupt"),
    "no elements": (header(tensors=1) + tensor(sizes=(32, 0)), "does not divide into blocks"),
    "part of a block": (header(tensors=1) + tensor(sizes=(33,), kind=3), "does not divide into blocks of 32"),
    "offset not aligned": (header(tensors=1) + tensor(offset=8) + bytes(200), "offset 8, not a multiple of 32"),
    "offset past the end": (header(tensors=1) + tensor(offset=HUGE) + bytes(200), "truncated or corrupt"),
    "data cut short": (header(tensors=1) + tensor() + bytes(100), "ends at byte .*truncated or corrupt"),
    "shared bytes": (
        header(tensors=2) + tensor() + tensor("u", offset=96) + bytes(300),
        "tensors 't' and 'u' share bytes, at byte 192",
    ),
    "tensor twice": (header(tensors=2) + tensor() * 2 + bytes(300), "listed twice"),
    "alignment": (header(pairs=1) + text("general.alignment") + struct.pack("<II", UINT32, 3), "power of two"),
    "alignment of zero": (header(pairs=1) + text("general.alignment") + struct.pack("<II", UINT32, 0), "power of two"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_corrupt_header_is_refused_with_what_and_where(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=message) as caught:
            GGUFFile.open(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ") and "at byte" in str(caught.value)


def test_a_file_cut_anywhere_is_refused(tiny: Path, tmp_path: Path) -> None:
    content, path = tiny.read_bytes(), tmp_path / "cut.gguf"
    for length in [*range(0, 9000, 61), *range(9000, len(content), 2111), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            GGUFFile.open(path)


def test_flipped_bytes_are_read_or_refused_but_never_crash(tiny: Path, tmp_path: Path) -> None:
    content, path = tiny.read_bytes(), tmp_path / "flipped.gguf"
    rng = np.random.default_rng(11)
    refused = 0
    for _ in range(300):
        damaged = np.frombuffer(content, np.uint8).copy()
        at = rng.integers(0, 9000, rng.integers(1, 4))  # the header
        damaged[at] = rng.integers(0, 256, at.size)
        path.write_bytes(damaged.tobytes())
        try:
            with GGUFFile.open(path) as file:
                load_weights(file, read_config(file))
                Tokenizer.from_metadata(file.metadata)
        except ModelFileError:
            refused += 1
    assert refused > 20


def test_a_file_that_shrinks_after_opening_is_an_error_not_a_crash(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "shrinks.gguf"
    path.write_bytes(tiny.read_bytes())
    with GGUFFile.open(path) as file:
        with path.open("r+b") as handle:
            handle.truncate(20_000)
        with pytest.raises(ModelFileError, match=r"tensor 'output_norm.weight' ends after 0 of 256 bytes"):
            file.read("output_norm.weight")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.gguf: cannot open the model file: No such file"):
        GGUFFile.open(tmp_path / "none.gguf")


def test_scales_that_are_not_finite_are_refused(tiny: Path, tmp_path: Path) -> None:
    with GGUFFile.open(tiny) as file:
        at = file.tensors["blk.1.ffn_down.weight"].offset
    content = bytearray(tiny.read_bytes())
    content[at : at + 2] = b"\xff\xff"
    (tmp_path / "nan.gguf").write_bytes(content)
    with GGUFFile.open(tmp_path / "nan.gguf") as file, pytest.raises(ModelFileError, match=r"ffn_down.*not finite"):
        load_weights(file, read_config(file))


# ---- models that the engine does not compute ---------------------------------------------------------

UNSUPPORTED = {
    "experts": ({"llama.expert_count": 8}, "llama.expert_count = 8 is not supported"),
    "sliding window": ({"llama.attention.sliding_window": 512}, "sliding_window = 512 is not supported"),
    "rotary scaling": ({"llama.rope.scaling.type": "yarn"}, "rotary scaling 'yarn' is not supported"),
    "scaling by nothing": ({"llama.rope.scaling.factor": 0.0}, "rope.scaling.factor must be a positive number, got 0"),
    "attention to what follows": ({"llama.attention.causal": False}, "not causal is not supported"),
    "partial rotary": ({"llama.attention.key_length": 32}, "rope.dimension_count must equal the head size 32"),
    "zero": ({"llama.attention.value_length": 0}, "value_length must be at least 1 and at most .*, got 0"),
    "end outside": ({"tokenizer.ggml.eot_token_id": 287}, "eot_token_id is 287, outside the vocabulary of 287"),
    "end of a wrong type": ({"tokenizer.ggml.eot_token_id": "2"}, "eot_token_id' is '2', of type str"),
    "type": ({"llama.attention.key_length": "16"}, "'llama.attention.key_length' is '16', of type str"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_a_model_that_would_give_wrong_tokens_is_refused(tmp_path: Path, case: str) -> None:
    extra, message = UNSUPPORTED[case]
    with (
        GGUFFile.open(write_model(tmp_path / "m.gguf", extra=extra)) as file,
        pytest.raises(ModelFileError, match=message),
    ):
        read_config(file)


def test_a_scaling_that_is_no_text_is_refused(tiny: Path) -> None:
    with GGUFFile.open(tiny) as file, pytest.raises(ModelFileError, match=r"rotary scaling array\(\[0, 1\]\) is not"):
        file.metadata["llama.rope.scaling.type"] = np.arange(2)
        read_config(file)


def refuses(file: GGUFFile, change: Callable[[GGUFFile], None], message: str) -> None:
    change(file)
    with file, pytest.raises(ModelFileError, match=message):
        load_weights(file, read_config(file))


def test_missing_extra_and_misshapen_tensors_are_named(tiny: Path) -> None:
    refuses(
        GGUFFile.open(tiny), lambda f: f.tensors.pop("blk.1.attn_q.weight") and None, "no tensor 'blk.1.attn_q.weight'"
    )
    refuses(
        GGUFFile.open(tiny),
        lambda f: f.tensors.update({"blk.0.attn_q.bias": f.tensors["output_norm.weight"]}),
        "'blk.0.attn_q.bias' is not part of the Llama models supported",
    )
    refuses(
        GGUFFile.open(tiny),
        lambda f: f.metadata.update({"llama.feed_forward_length": 128}),
        r"'blk.0.ffn_gate.weight' has shape \(96, 64\), the metadata say \(128, 64\)",
    )
    refuses(
        GGUFFile.open(tiny), lambda f: f.metadata.update({"general.architecture": "mamba"}), "'mamba' is not supported"
    )
    refuses(
        GGUFFile.open(tiny),
        lambda f: f.metadata.update({"llama.block_count": 2**31 - 1}),
        "block_count must be at least 1 and at most 20, got 2147483647",
    )
    refuses(GGUFFile.open(tiny), lambda f: f.metadata.pop("llama.block_count") and None, "no 'llama.block_count'")
