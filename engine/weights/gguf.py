"""Read a GGUF file: its metadata, its list of tensors, and the bytes of one tensor at a time.

Every count, length and offset in the file is checked against the file's size *before* anything is allocated or
read for it, and no two tensors may share bytes, so a corrupt or truncated file is a `ModelFileError` naming the byte
where it goes wrong, at the cost of reading the header. Reading takes at most twice the file, beside Python's objects
for its texts: arrays of numbers stay NumPy's, and a text beyond `LONG_TEXT`, which nothing here reads, stays bytes.

The header is walked here and not by the `gguf` package: its reader trusts all counts and takes 3.3 s for a vocabulary
of 49,152 where this takes 0.1 s. The package still decodes the rarer block types (repack.py) and is what the tests
compare with.

    with GGUFFile.open(path) as file:
        file.metadata["llama.block_count"]            # 30
        file.tensors["token_embd.weight"].shape       # (49152, 576): rows first, the file has it the other way round
        file.read("token_embd.weight")                # uint8 (49152, bytes of a row)

Tensors are read rather than mapped: a file that shrinks under a mapping kills the process, a short read is an error,
and no page of the file counts as resident memory afterwards.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engine.weights.errors import ModelFileError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_AXES = 4
MAX_NAME = 65_535  # the format's own limit for keys; tensor names are shorter still
MAX_TEXT = 64 << 20  # bytes of one metadata text: the longest met are whole tokenizer files of 20 MB
LONG_TEXT = 1 << 20  # bytes of a text that stays bytes: one wide character would make it four times as large
WINDOW = 1 << 18  # bytes that strings of an array are cut from; more would be read again than it saves
LENGTH = struct.Struct("<Q").unpack_from  # of a string, before its bytes
MAX_ITEMS = 1 << 22  # of one metadata array: the longest met are merge lists of 500,000

STRING, ARRAY, BOOL = 8, 9, 7
SCALARS = dict(enumerate(("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4", "<u1"))) | {10: "<u8", 11: "<i8", 12: "<f8"}
SMALLEST_PAIR = 8 + 4 + 1  # bytes of a key's length, a type and a one-byte value
SMALLEST_TENSOR = 8 + 4 + 8 + 4 + 8  # of a name's length, the axis count, one axis, a type and an offset


@dataclass(frozen=True)
class BlockType:
    """How a tensor type packs numbers: `elements` of a row share `size` bytes."""

    name: str
    elements: int
    size: int


TYPES = {
    0: BlockType("F32", 1, 4),
    1: BlockType("F16", 1, 2),
    2: BlockType("Q4_0", 32, 18),
    3: BlockType("Q4_1", 32, 20),
    6: BlockType("Q5_0", 32, 22),
    7: BlockType("Q5_1", 32, 24),
    8: BlockType("Q8_0", 32, 34),
    10: BlockType("Q2_K", 256, 84),
    11: BlockType("Q3_K", 256, 110),
    12: BlockType("Q4_K", 256, 144),
    13: BlockType("Q5_K", 256, 176),
    14: BlockType("Q6_K", 256, 210),
    20: BlockType("IQ4_NL", 32, 18),
    23: BlockType("IQ4_XS", 256, 136),
    30: BlockType("BF16", 1, 2),
}


@dataclass(frozen=True)
class Entry:
    """One line of the file's tensor list: `offset` counts from where the tensors begin, `at` is where the line is."""

    name: str
    type: BlockType
    shape: tuple[int, ...]
    offset: int
    at: int


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor lies: `shape` has rows first, `offset` counts from the start of the file."""

    name: str
    type: BlockType
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class GGUFFile:
    """An open file whose header has been checked."""

    def __init__(self, path: Path, handle: BinaryIO, metadata: dict[str, Any], tensors: dict[str, TensorInfo]) -> None:
        self.path = path
        self.metadata = metadata
        self.tensors = tensors
        self._handle = handle

    @staticmethod
    def open(path: str | os.PathLike[str]) -> GGUFFile:
        where = Path(path)
        try:
            handle = where.open("rb")
        except OSError as error:
            raise ModelFileError(f"{where}: cannot open the model file: {error.strerror}") from error
        try:
            return GGUFFile(where, handle, *_header(_Cursor(where, handle)))
        except BaseException:
            handle.close()
            raise

    def __enter__(self) -> GGUFFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._handle.close()

    def read(self, name: str) -> np.ndarray:
        """The bytes of one tensor as uint8 (rows, bytes of a row); a vector is one row."""
        info = self.tensor(name)
        raw = np.empty(info.nbytes, np.uint8)
        self._handle.seek(info.offset)
        got = self._handle.readinto(memoryview(raw))  # type: ignore[attr-defined]  # a file opened "rb" is buffered
        if got != info.nbytes:
            raise ModelFileError(f"{self.path}: tensor {name!r} ends after {got} of {info.nbytes} bytes")
        return raw.reshape(info.shape[0] if len(info.shape) > 1 else 1, -1)

    def tensor(self, name: str) -> TensorInfo:
        if name not in self.tensors:
            raise ModelFileError(f"{self.path}: the file has no tensor {name!r}")
        return self.tensors[name]

    def value(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """A metadata value that must be there and of `kind`."""
        if key not in self.metadata:
            raise ModelFileError(f"{self.path}: the metadata has no {key!r}")
        value = self.metadata[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ModelFileError(f"{self.path}: metadata {key!r} is {value!r:.60}, of type {type(value).__name__}")
        return value


class _Cursor:
    """Reads forward through the header; `take` refuses what the file does not hold."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self.size = os.fstat(handle.fileno()).st_size
        self.at = 0
        self._handle = handle

    def fail(self, what: str, at: int | None = None) -> ModelFileError:
        return ModelFileError(f"{self.path}: {what}, at byte {self.at if at is None else at} of {self.size}")

    def need(self, count: int, what: str) -> None:
        left = self.size - self.at
        if count > left:
            raise self.fail(f"{what} needs {count} bytes but the file has {left} left; it is truncated or corrupt")

    def take(self, count: int, what: str) -> bytes:
        self.need(count, what)
        data = self._handle.read(count)
        if len(data) != count:
            raise self.fail(f"{what}: the file shrank while it was read")
        self.at += count
        return data

    def u32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little")

    def u64(self, what: str) -> int:
        return int.from_bytes(self.take(8, what), "little")

    def string(self, what: str, limit: int) -> str:
        text = self.text(what, limit)
        assert isinstance(text, str), f"{limit} is no length of a long text"
        return text

    def text(self, what: str, limit: int) -> str | bytes:
        start = self.at
        length = self.u64(what)
        if length > limit:
            raise self.fail(f"{what} claims {length} bytes, the most is {limit}", start)
        data = self.take(length, what)
        if length > LONG_TEXT:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self.fail(f"{what} is not UTF-8 ({error.reason})", start) from error

    def strings(self, count: int, what: str, limit: int) -> list[str]:
        """So many one after the other, as `string` reads each. A vocabulary has 100 000 of them, so that they are cut
        from a window of the file; the one that a window does not hold, or that is wrong, is left to `string`.
        """
        found: list[str] = []
        while len(found) < count:
            window, used = self._handle.read(min(WINDOW, self.size - self.at)), 0
            size = len(window)
            try:
                for _ in range(count - len(found)):
                    begin = used + 8
                    if begin > size:
                        break
                    (length,) = LENGTH(window, used)
                    if length > limit or (end := begin + length) > size:
                        break
                    found.append(window[begin:end].decode())
                    used = end
            except UnicodeDecodeError:
                pass
            self.at += used
            self._handle.seek(self.at)
            if not used:
                found.append(self.string(f"item {len(found)} of {what}", limit))
        return found


# ---- the header --------------------------------------------------------------------------------------


def _header(cursor: _Cursor) -> tuple[dict[str, Any], dict[str, TensorInfo]]:
    magic = cursor.take(4, "the magic number")
    if magic != MAGIC:
        raise cursor.fail(f"not a GGUF file: it begins with {magic!r}, not {MAGIC!r}", 0)
    version = cursor.u32("the version")
    if version not in VERSIONS:
        hint = "; the file is big-endian" if version & 0xFFFF == 0 else ""
        raise cursor.fail(f"GGUF version {version} is not supported (known: {VERSIONS}){hint}", 4)
    tensor_count = _count(cursor, "the tensor count", SMALLEST_TENSOR)
    pair_count = _count(cursor, "the metadata count", SMALLEST_PAIR)
    metadata = _metadata(cursor, pair_count)
    entries = [_tensor_entry(cursor) for _ in range(tensor_count)]
    alignment = _alignment(cursor, metadata)
    data_start = -(-cursor.at // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for entry in entries:
        if entry.name in tensors:
            raise cursor.fail(f"tensor {entry.name!r} is listed twice", entry.at)
        tensors[entry.name] = _placed(cursor, entry, data_start, alignment)
    _check_apart(cursor, tensors.values())
    return metadata, tensors


def _count(cursor: _Cursor, what: str, smallest: int) -> int:
    start = cursor.at
    count = cursor.u64(what)
    if count * smallest > cursor.size - cursor.at:
        raise cursor.fail(f"{what} is {count}, more than the file can hold", start)
    return count


def _metadata(cursor: _Cursor, count: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for index in range(count):
        start = cursor.at
        key = cursor.string(f"the key of metadata entry {index}", MAX_NAME)
        if key in values:
            raise cursor.fail(f"metadata {key!r} is there twice", start)
        values[key] = _value(cursor, cursor.u32(f"the type of {key!r}"), key)
    return values


def _value(cursor: _Cursor, type_id: int, key: str) -> Any:
    if type_id == STRING:
        return cursor.text(f"the text of {key!r}", MAX_TEXT)
    if type_id == ARRAY:
        return _array(cursor, key)
    return _scalars(cursor, type_id, 1, key)[0].item()


def _array(cursor: _Cursor, key: str) -> list[str] | np.ndarray:
    item_type = cursor.u32(f"the item type of {key!r}")
    start = cursor.at
    if item_type == ARRAY:
        raise cursor.fail(f"metadata {key!r} is an array of arrays, which no known model uses", start)
    count = _count(cursor, f"the length of {key!r}", 8 if item_type == STRING else 1)
    if count > MAX_ITEMS:
        raise cursor.fail(f"metadata {key!r} claims {count} items, the most is {MAX_ITEMS}", start)
    if item_type != STRING:
        return _scalars(cursor, item_type, count, key)
    return cursor.strings(count, repr(key), MAX_NAME)


def _scalars(cursor: _Cursor, type_id: int, count: int, key: str) -> np.ndarray:
    if type_id not in SCALARS:
        raise cursor.fail(f"metadata {key!r} has the unknown value type {type_id}")
    dtype = np.dtype(SCALARS[type_id])
    start = cursor.at
    values = np.frombuffer(cursor.take(count * dtype.itemsize, f"metadata {key!r}"), dtype)
    if type_id != BOOL:
        return values
    if values.size and values.max() > 1:
        raise cursor.fail(f"metadata {key!r} holds a truth value other than 0 and 1", start)
    return values.astype(bool)


def _alignment(cursor: _Cursor, metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1) or alignment > cursor.size:
        raise cursor.fail(f"general.alignment must be a power of two within the file, got {alignment!r}")
    return alignment


# ---- the tensor list ---------------------------------------------------------------------------------


def _tensor_entry(cursor: _Cursor) -> Entry:
    start = cursor.at
    name = cursor.string("a tensor's name", MAX_NAME)
    axes = cursor.u32(f"the axis count of tensor {name!r}")
    if not 1 <= axes <= MAX_AXES:
        raise cursor.fail(f"tensor {name!r} has {axes} axes, the format allows 1 to {MAX_AXES}", start)
    sizes = struct.unpack(f"<{axes}Q", cursor.take(8 * axes, f"the shape of tensor {name!r}"))
    type_id = cursor.u32(f"the type of tensor {name!r}")
    if type_id not in TYPES:
        known = ", ".join(block.name for block in TYPES.values())
        raise cursor.fail(f"tensor {name!r} has type {type_id}, which is not supported (known: {known})", start)
    return Entry(name, TYPES[type_id], tuple(reversed(sizes)), cursor.u64(f"the offset of tensor {name!r}"), start)


def _placed(cursor: _Cursor, entry: Entry, start: int, alignment: int) -> TensorInfo:
    block, named = entry.type, f"tensor {entry.name!r} ({entry.type.name} {entry.shape})"
    elements = prod(entry.shape)  # Python's integers do not wrap: a product past the file's size is just too large
    if elements == 0 or entry.shape[-1] % block.elements:
        raise cursor.fail(f"{named} does not divide into blocks of {block.elements}", entry.at)
    nbytes = elements // block.elements * block.size
    if entry.offset % alignment:
        raise cursor.fail(f"{named} lies at offset {entry.offset}, not a multiple of {alignment}", entry.at)
    end = start + entry.offset + nbytes
    if end > cursor.size:
        raise cursor.fail(f"{named} ends at byte {end}; the file is truncated or corrupt", entry.at)
    return TensorInfo(entry.name, block, entry.shape, start + entry.offset, nbytes)


def _check_apart(cursor: _Cursor, tensors: Iterable[TensorInfo]) -> None:
    """No two share bytes: a small file could otherwise say that it holds thousands of layers."""
    end, before = 0, ""
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        if tensor.offset < end:
            raise cursor.fail(f"tensors {before!r} and {tensor.name!r} share bytes", tensor.offset)
        end, before = tensor.offset + tensor.nbytes, tensor.name
