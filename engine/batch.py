"""The arrays of one step: what `model.forward(batch)` sees, and how a plan is written into them.

All arrays are views into one host buffer that is allocated once, so a step can be a recorded launch list: the
addresses never change, only the contents, and a device needs one copy per step. A step of T tokens of which R give
logits uses the views of the next larger bucket (1, 2, 4, 8 ...); what is left over is padding:

    tokens        | prompt chunk, row 0 | decode, row 1 | padding, dummy row     |
    slot_mapping  | its blocks          | its block     | slots of block 0       |

The dummy row is the last of `block_tables`; all its blocks are the dummy block, so padding neither reads nor
overwrites a live slot.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.blocks import DUMMY_BLOCK, blocks_for
from engine.scheduler import Row

Array = Any
"""A NumPy array on the CPU, a DeviceArray on a GPU."""


@dataclass(frozen=True)
class Batch:
    """T tokens in at most S rows (and one dummy row), R of which give logits and a next token."""

    input_ids: Array
    """i32[T]"""
    positions: Array
    """i32[T], the place in the sequence; a token attends to positions 0 to its own."""
    slot_mapping: Array
    """i32[T], where its key and value go: block * block_size + offset."""
    token_rows: Array
    """i32[T], its row of `block_tables`."""
    block_tables: Array
    """i32[S + 1, max_blocks]"""
    seq_lens: Array
    """i32[S + 1], keys in the cache once this step has written its own."""
    cu_seqlens_q: Array
    """i32[S + 2], row r holds tokens cu_seqlens_q[r] to cu_seqlens_q[r + 1]; padding belongs to the dummy row."""
    logits_rows: Array
    """i32[R], the token whose hidden state gives the logits."""
    temperature: Array
    """f32[R]"""
    top_k: Array
    """i32[R], 0 keeps all"""
    top_p: Array
    """f32[R]"""
    min_p: Array
    """f32[R]"""
    seeds: Array
    """u64[R]"""
    choices: Array
    """i32[R]"""
    sample_positions: Array
    """i32[R], the position of the token to be sampled."""


def bucket(count: int) -> int:
    """The smallest power of two that is at least `count`; 0 stays 0."""
    return 0 if count == 0 else 1 << (count - 1).bit_length()


@dataclass(frozen=True)
class BatchShape:
    """How large a step can be."""

    max_tokens: int
    max_rows: int
    max_blocks: int
    block_size: int


class BatchBuffers:
    """The one host buffer, and its views for each bucket."""

    def __init__(self, shape: BatchShape) -> None:
        self.shape = shape
        self._fields = _fields(shape)
        sizes = {name: _aligned(_bytes(dtype, dims)) for name, (dtype, dims) in self._fields.items()}
        # page-sized alignment is not needed, 64 bytes is: vector loads start at a field's first element
        raw = np.zeros(sum(sizes.values()) + 64, np.uint8)
        start = -raw.ctypes.data % 64
        self.host = raw[start : start + sum(sizes.values())]
        self.offsets: dict[str, int] = {}
        end = 0
        for name, size in sizes.items():
            self.offsets[name] = end
            end += size
        self._views: dict[tuple[int, int], Batch] = {}
        self.whole = self.view(bucket(shape.max_tokens), bucket(shape.max_rows))

    def view(self, tokens: int, samples: int) -> Batch:
        """The batch of `tokens` tokens and `samples` logits, both bucket sizes."""
        key = (tokens, samples)
        if key not in self._views:
            self._views[key] = Batch(**{name: self._host_view(name, tokens, samples) for name in self._fields})
        return self._views[key]

    def field(self, name: str, tokens: int, samples: int) -> tuple[int, str, tuple[int, ...]]:
        """Byte offset, dtype and shape of a field in a bucket: what a device mirror needs to make the same views."""
        dtype, dims = self._fields[name]
        if name in _PER_TOKEN:
            dims = (tokens,)
        elif name in _PER_SAMPLE:
            dims = (samples,)
        return self.offsets[name], dtype, dims

    def _host_view(self, name: str, tokens: int, samples: int) -> np.ndarray:
        offset, dtype, dims = self.field(name, tokens, samples)
        return self.host[offset : offset + _bytes(dtype, dims)].view(dtype).reshape(dims)

    def fill(self, rows: Items[Row]) -> Batch:
        """Write a plan's rows and the padding; gives the bucket's view. Logits are in the order of the rows,
        within a row first those that score the prompt, then the one that samples.
        """
        tokens = sum(row.count for row in rows)
        samples = sum(row.scores + row.samples for row in rows)
        if tokens > self.shape.max_tokens or len(rows) > self.shape.max_rows:
            raise ValueError(f"a step of {len(rows)} rows and {tokens} tokens is larger than {self.shape}")
        batch = self.view(bucket(tokens), bucket(samples))
        at = sample = 0
        for index, row in enumerate(rows):
            _fill_row(batch, index, row, at, self.shape.block_size)
            if row.scores:
                _fill_scores(batch, sample, row, at)
                sample += row.scores
            at += row.count
            if row.samples:
                _fill_sample(batch, sample, row, at - 1)
                sample += 1
        self._pad(batch, len(rows), at, sample)
        return batch

    def dummy(self, tokens: int, samples: int) -> Batch:
        """The bucket's view, all padding: what a warm-up runs."""
        batch = self.view(tokens, samples)
        self._pad(batch, 0, 0, 0)
        return batch

    def _pad(self, batch: Batch, rows: int, tokens: int, samples: int) -> None:
        dummy = self.shape.max_rows
        padding = len(batch.input_ids) - tokens
        batch.input_ids[tokens:] = 0
        batch.positions[tokens:] = 0
        batch.slot_mapping[tokens:] = DUMMY_BLOCK * self.shape.block_size + np.arange(padding) % self.shape.block_size
        batch.token_rows[tokens:] = dummy
        batch.seq_lens[rows:dummy] = 0
        batch.seq_lens[dummy] = 1
        batch.cu_seqlens_q[rows : dummy + 1] = tokens
        batch.cu_seqlens_q[dummy + 1] = tokens + padding
        batch.logits_rows[samples:] = 0
        _fill_plain(batch, slice(samples, None))


_PER_TOKEN = ("input_ids", "positions", "slot_mapping", "token_rows")
_PER_SAMPLE = ("logits_rows", "temperature", "top_k", "top_p", "min_p", "seeds", "choices", "sample_positions")
_FLOATS = ("temperature", "top_p", "min_p")


def _fields(shape: BatchShape) -> dict[str, tuple[str, tuple[int, ...]]]:
    tokens, samples, rows = bucket(shape.max_tokens), bucket(shape.max_rows), shape.max_rows + 1
    fields: dict[str, tuple[str, tuple[int, ...]]] = dict.fromkeys(_PER_TOKEN, ("int32", (tokens,)))
    fields["block_tables"] = ("int32", (rows, shape.max_blocks))
    fields["seq_lens"] = ("int32", (rows,))
    fields["cu_seqlens_q"] = ("int32", (rows + 1,))
    for name in _PER_SAMPLE:
        fields[name] = ("float32" if name in _FLOATS else "uint64" if name == "seeds" else "int32", (samples,))
    return fields


def _bytes(dtype: str, dims: tuple[int, ...]) -> int:
    return np.dtype(dtype).itemsize * int(np.prod(dims))


def _aligned(size: int) -> int:
    return -(-size // 64) * 64


def _fill_row(batch: Batch, index: int, row: Row, at: int, block_size: int) -> None:
    sequence, end = row.sequence, row.start + row.count
    used = blocks_for(end, block_size)
    table = batch.block_tables[index]
    table[:used] = sequence.blocks[:used]
    batch.seq_lens[index] = end
    batch.cu_seqlens_q[index] = at
    here = slice(at, at + row.count)
    batch.token_rows[here] = index
    if row.count == 1:
        # the common row: scalar writes are several times cheaper than small arrays
        batch.input_ids[at] = sequence.tokens[row.start]
        batch.positions[at] = row.start
        batch.slot_mapping[at] = sequence.blocks[row.start // block_size] * block_size + row.start % block_size
        return
    positions = np.arange(row.start, end, dtype=np.int32)
    batch.input_ids[here] = sequence.tokens[row.start : end]
    batch.positions[here] = positions
    batch.slot_mapping[here] = table[positions // block_size] * block_size + positions % block_size


def _fill_scores(batch: Batch, index: int, row: Row, token: int) -> None:
    here = slice(index, index + row.scores)
    first = token + row.score_from - row.start
    batch.logits_rows[here] = np.arange(first, first + row.scores)
    _fill_plain(batch, here)


def _fill_plain(batch: Batch, here: slice) -> None:
    """Rows whose draw nobody looks at."""
    batch.temperature[here] = 0.0
    batch.top_k[here] = 0
    batch.top_p[here] = 1.0
    batch.min_p[here] = 0.0
    batch.seeds[here] = 0
    batch.choices[here] = 0
    batch.sample_positions[here] = 0


def _fill_sample(batch: Batch, index: int, row: Row, token: int) -> None:
    params = row.sequence.params
    batch.logits_rows[index] = token
    batch.temperature[index] = params.temperature
    batch.top_k[index] = params.top_k
    batch.top_p[index] = params.top_p
    batch.min_p[index] = params.min_p
    batch.seeds[index] = row.sequence.seed
    batch.choices[index] = row.sequence.key.choice
    batch.sample_positions[index] = row.start + row.count
