"""From the blocks of a GGUF file to the matrices of `ModelWeights`.

Every matrix is read, reordered and packed (`ops/quant.py` has the layout) before the next is read, so a load never
holds more than one matrix twice. Quantized codes are moved, not recomputed: `int4` holds exactly the file's Q4_0 and
Q4_1, `int8` exactly its Q8_0.

**Rotary order.** llama.cpp's converter interleaves the query and key rows of each head, because its kernels turn
elements (2i, 2i + 1) together. Here rows are put back in the half-split order of the original checkpoints,
element i turning with i + head_dim/2: two contiguous halves are what SIMD lanes want, and the row order is free since
scales run along K. With head_dim = 2h, row `2i + s` of a head in the file is row `s*h + i` here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from engine.config import ModelConfig
from engine.models.config import ROPE_FACTORS
from engine.quantize import conversion_note, layer_kind, requantize, stored_kind
from engine.weights.base import LayerWeights, ModelWeights
from engine.weights.errors import ModelFileError
from engine.weights.gguf import GGUFFile, TensorInfo
from ops.quant import (
    DENSE,
    LANES,
    QuantWeight,
    aligned_empty,
    dense,
    dense_dtype,
    dequantize,
    pack_int4,
    pack_int8,
    quantize,
    stacked,
)

SLAB = 16 << 10  # bytes of the file that are converted at once
Progress = Callable[[int, int], None]  # layers done, layers in all


def load_weights(
    file: GGUFFile,
    config: ModelConfig,
    quantization: str = "none",
    progress: Progress | None = None,
    reading: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> ModelWeights:
    """Read all of a Llama model; tensors that are missing, extra or of the wrong shape are errors. The file is read
    inside of `reading()`, so that its time can be told from that of repacking.
    """
    _check_names(file, config)
    load = _Loader(file, config, quantization, reading)
    embedding = load.table("token_embd.weight")
    layers: list[LayerWeights] = []
    for index in range(config.num_layers):
        layers.append(load.layer(index))
        if progress is not None:
            progress(index + 1, config.num_layers)
    head = embedding if config.tied_embedding else load.table("output.weight")
    return ModelWeights(embedding, tuple(layers), load.vector("output_norm.weight"), head, load.notes())


def _check_names(file: GGUFFile, config: ModelConfig) -> None:
    wanted = {"token_embd.weight", "output_norm.weight"} | (set() if config.tied_embedding else {"output.weight"})
    parts = ("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down")
    wanted |= {f"blk.{i}.{part}.weight" for i in range(config.num_layers) for part in parts}
    for missing in sorted(wanted - set(file.tensors)):
        raise ModelFileError(f"{file.path}: the file has no tensor {missing!r}, which a Llama model needs")
    for extra in sorted(set(file.tensors) - wanted - {ROPE_FACTORS}):
        raise ModelFileError(f"{file.path}: tensor {extra!r} is not part of the Llama models supported here")


class _Loader:
    """Reads the pieces of one model and counts what it converted."""

    def __init__(
        self,
        file: GGUFFile,
        config: ModelConfig,
        quantization: str,
        reading: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.file = file
        self._reading = reading
        self.config = config
        self.quantization = quantization
        self.converted: Counter[tuple[str, str]] = Counter()

    def layer(self, index: int) -> LayerWeights:
        c, at = self.config, f"blk.{index}."
        q_rows, kv_rows = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
        return LayerWeights(
            attn_norm=self.vector(at + "attn_norm.weight"),
            qkv=self.matrix(
                c.hidden_size,
                (at + "attn_q.weight", q_rows, c.num_heads),
                (at + "attn_k.weight", kv_rows, c.num_kv_heads),
                (at + "attn_v.weight", kv_rows, None),
            ),
            output=self.matrix(q_rows, (at + "attn_output.weight", c.hidden_size, None)),
            ffn_norm=self.vector(at + "ffn_norm.weight"),
            gate_up=self.matrix(
                c.hidden_size,
                (at + "ffn_gate.weight", c.intermediate_size, None),
                (at + "ffn_up.weight", c.intermediate_size, None),
            ),
            down=self.matrix(c.intermediate_size, (at + "ffn_down.weight", c.hidden_size, None)),
        )

    def matrix(self, k: int, *parts: tuple[str, int, int | None]) -> QuantWeight:
        """Parts (name, rows, heads to put back in half-split order) stacked along their rows."""
        infos = [self._shaped(name, (rows, k)) for name, rows, _ in parts]
        blocks = []
        for info, (_, _, heads) in zip(infos, parts, strict=True):
            rows = self._read(info.name)
            blocks.append(rows if heads is None else half_split(rows, heads))
        kind = layer_kind([info.type.name for info in infos], self.quantization)
        for info in infos:
            self.converted[info.type.name, kind] += 1
        if len({info.type for info in infos}) == 1:
            whole = self._decode(infos[0], np.concatenate(blocks))
            return self._rounded(infos, lambda: requantize(whole, kind))
        real = [dequantize(self._decode(info, rows)) for info, rows in zip(infos, blocks, strict=True)]
        return self._rounded(infos, lambda: quantize(np.concatenate(real), kind))

    def table(self, name: str) -> QuantWeight:
        """The embedding or the output head, in the kind that the file has, without the rows that pad it."""
        info, tokens = self.file.tensor(name), self.config.vocab_size
        if len(info.shape) != 2 or info.shape[0] < tokens or info.shape[1] != self.config.hidden_size:
            wanted = (tokens, self.config.hidden_size)
            raise ModelFileError(f"{self.file.path}: tensor {name!r} has shape {info.shape}, the metadata say {wanted}")
        self.converted[info.type.name, stored_kind(info.type.name)] += 1
        return self._decode(info, self._read(name)[:tokens])

    def vector(self, name: str) -> np.ndarray:
        info = self.file.tensor(name)
        if info.shape != (self.config.hidden_size,) or info.type.name not in ("F32", "F16", "BF16"):
            raise ModelFileError(
                f"{self.file.path}: tensor {name!r} must be {self.config.hidden_size} real numbers, "
                f"it is {info.type.name} {info.shape}"
            )
        values = decode(info.type.name, self._read(name)).data[0]
        out = aligned_empty(values.shape, np.dtype(np.float32))
        out[...] = values
        return out

    def notes(self) -> tuple[str, ...]:
        lines = (conversion_note(*pair, count) for pair, count in sorted(self.converted.items()))
        return tuple(line for line in lines if line is not None)

    def _read(self, name: str) -> np.ndarray:
        with self._reading():
            return self.file.read(name)

    def _shaped(self, name: str, shape: tuple[int, int]) -> TensorInfo:
        info = self.file.tensor(name)
        if info.shape != shape:
            raise ModelFileError(f"{self.file.path}: tensor {name!r} has shape {info.shape}, the metadata say {shape}")
        return info

    def _rounded(self, infos: list[TensorInfo], rounding: Callable[[], QuantWeight]) -> QuantWeight:
        try:
            return rounding()
        except ValueError as error:
            names = ", ".join(repr(info.name) for info in infos)
            raise ModelFileError(f"{self.file.path}: tensors {names}: {error}") from error

    def _decode(self, info: TensorInfo, rows: np.ndarray) -> QuantWeight:
        try:
            weight = decode(info.type.name, rows)
        except ValueError as error:
            raise ModelFileError(f"{self.file.path}: tensor {info.name!r} ({info.type.name}): {error}") from error
        for scales in (weight.scale, weight.minimum):
            if scales is not None and not np.isfinite(scales).all():
                raise ModelFileError(f"{self.file.path}: tensor {info.name!r} holds scales that are not finite numbers")
        return weight


def half_split(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undo the interleaving of each head's rows; `rows` is (heads * head_dim, anything)."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


# ---- block types -------------------------------------------------------------------------------------


def decode(file_type: str, rows: np.ndarray) -> QuantWeight:
    """Raw rows of one tensor, uint8 (N, bytes of a row), as the kind `stored_kind(file_type)`."""
    kind = stored_kind(file_type)
    if kind in DENSE:
        return dense(rows.view(dense_dtype(kind)))
    if file_type in _MOVED:
        return _MOVED[file_type](rows)
    convert = _q4_k if file_type == "Q4_K" else lambda slab: quantize(_decode_with_package(file_type, slab), kind)
    # some rows at a time: on their way numbers are up to twelve times as large as in the file
    count = max(LANES, SLAB // max(1, rows.shape[1]) // LANES * LANES)
    slabs = (rows[first : first + count] for first in range(0, len(rows), count))
    return stacked((convert(slab) for slab in slabs), len(rows))


def _q4_0(rows: np.ndarray) -> QuantWeight:
    blocks = rows.reshape(rows.shape[0], -1, 18)
    scale = _half(blocks, 0)
    # w = d * (q - 8) as d * q + m; times 8 only moves the exponent, so m is exact unless it overflows
    return pack_int4(blocks[:, :, 2:], scale, -8 * scale.astype(np.float32))


def _q4_1(rows: np.ndarray) -> QuantWeight:
    blocks = rows.reshape(rows.shape[0], -1, 20)
    return pack_int4(blocks[:, :, 4:], _half(blocks, 0), _half(blocks, 2))


def _q8_0(rows: np.ndarray) -> QuantWeight:
    blocks = rows.reshape(rows.shape[0], -1, 34)
    return pack_int8(blocks[:, :, 2:].view(np.int8), _half(blocks, 0))


def _q4_k(rows: np.ndarray) -> QuantWeight:
    """256 numbers: two float16, eight 6-bit scales and minima in 12 bytes, then codes, 64 numbers in each 32 bytes."""
    blocks = rows.reshape(rows.shape[0], -1, 144)
    scales, minima = _six_bit_pairs(blocks[:, :, 4:16])
    scale = _half(blocks, 0).astype(np.float32)[..., None] * scales
    minimum = -_half(blocks, 2).astype(np.float32)[..., None] * minima
    pairs = blocks[:, :, 16:].reshape(rows.shape[0], -1, 4, 32)
    codes = np.stack([pairs & 15, pairs >> 4], axis=3).reshape(rows.shape[0], -1, 32)
    groups = (rows.shape[0], -1)
    return pack_int4(codes[..., :16] | codes[..., 16:] << 4, scale.reshape(groups), minimum.reshape(groups))


def _six_bit_pairs(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """12 bytes -> eight scales, eight minima: the first four are low bits of bytes 0-3 and 4-7; of the last four, low
    halves lie in bytes 8-11 (scale low, minimum high) and the two upper bits on top of bytes 0-7."""
    first, second, third = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    scales = np.concatenate([first & 63, third & 15 | (first >> 6) << 4], axis=-1)
    minima = np.concatenate([second & 63, third >> 4 | (second >> 6) << 4], axis=-1)
    return scales, minima


def _half(blocks: np.ndarray, at: int) -> np.ndarray:
    """The float16 at byte `at` of each block, which is even as a block's size is: a view."""
    return blocks.view(np.float16)[..., at // 2]


def _decode_with_package(file_type: str, rows: np.ndarray) -> np.ndarray:
    from gguf.constants import GGMLQuantizationType  # 0.2 s to import, and only rarer files need it
    from gguf.quants import dequantize as dequantize_blocks

    return dequantize_blocks(rows, GGMLQuantizationType[file_type])


_MOVED: dict[str, Callable[[np.ndarray], QuantWeight]] = {"Q4_0": _q4_0, "Q4_1": _q4_1, "Q8_0": _q8_0}
