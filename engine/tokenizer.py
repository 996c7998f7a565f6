"""Text to token ids and back, from the vocabulary that a GGUF file carries.

Byte-level BPE runs in the `tokenizers` library. Control tokens (`<|im_end|>`, ...) are kept *out* of its vocabulary, so
that no text can ever turn into one; they exist only where they are asked for:

    tokenizer = Tokenizer.from_metadata(metadata, path)
    tokenizer.encode("<|im_end|>")                        # plain text: 7 ordinary tokens
    tokenizer.encode("<|im_end|>", allow_special=True)    # [2]
    tokenizer.encode_guarded(rendered)                    # a chat template's output: its own markers, and user's text

    stream = tokenizer.stream()
    "".join(stream.feed([t]) for t in ids) + stream.finish() == tokenizer.decode(ids)      # for any ids

Decoding joins the tokens' bytes and reads them as UTF-8, an incremental decoder for streams: exact for any token
sequence, and no token is decoded twice.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import AddedToken
from tokenizers import Tokenizer as Library
from tokenizers.models import BPE

from engine.pretokenizers import CUTTINGS
from engine.weights.errors import ModelFileError

# Token types in `tokenizer.ggml.token_type`.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
KEY = "tokenizer.ggml."
LONG = 16_384
"""Characters from which on other threads have to run beside, which the library lets them only while it has a batch."""


@dataclass(frozen=True)
class Guarded:
    """Text in which special tokens count, except that `guard`, a character found nowhere else, breaks up
    the ones that must stay text. Made by `engine.chat_template`."""

    text: str
    guard: str

    @property
    def plain(self) -> str:
        """The text as a reader should see it."""
        return self.text.replace(self.guard, "")


class Tokenizer:
    """A vocabulary with its rules; safe to share between threads."""

    def __init__(self, library: Library, tokens: list[str], types: list[int], specials: SpecialIds) -> None:
        self._library = library
        self._tokens = tokens
        self._types = types
        # made when asked for: a start wants those of two tokens, a grammar all of them
        self._bytes: list[bytes | None] = [None] * len(tokens)
        self.specials = specials
        # a control token of one character is never looked for: nothing could keep it apart from text
        self._control = {text: i for i, text in enumerate(tokens) if types[i] == CONTROL and len(text) > 1}
        # the longest first: one control token's text may begin another's
        alternatives = sorted(self._control, key=len, reverse=True)
        self._control_pattern = re.compile("|".join(map(re.escape, alternatives))) if alternatives else None

    @staticmethod
    def from_metadata(metadata: dict[str, Any], path: object = "model file") -> Tokenizer:
        """Built from a file's `tokenizer.ggml.*` keys; `path` is named in errors."""
        vocabulary = _vocabulary(metadata, path)
        return Tokenizer(_library(vocabulary), vocabulary.tokens, vocabulary.types, _special_ids(metadata, path))

    # ---- text -> ids ----

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of `text`. Special-token text is plain text unless `allow_special`. No token is added."""
        if allow_special:
            return self._encode_around(text, guard="")
        text = _scalars_only(text)
        if len(text) > LONG:
            return self._library.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return self._library.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts at once, in parallel."""
        found = self._library.encode_batch([_scalars_only(text) for text in texts], add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def encode_prompt(self, text: str) -> list[int]:
        """`encode`, after the token that the model expects a document to begin with, where the file asks for one."""
        first = [self.specials.bos] if self.specials.add_bos and self.specials.bos is not None else []
        return first + self.encode(text)

    def encode_document(self, text: str, limit: int | None = None) -> list[int]:
        """`encode` of a text that is whole, as embeddings are made of: between the tokens that the file asks for, of
        which one may end it. Of more than `limit` tokens the last ones of the text are left out.
        """
        first = [self.specials.bos] if self.specials.add_bos and self.specials.bos is not None else []
        last = [self.specials.eos] if self.specials.add_eos and self.specials.eos is not None else []
        room = None if limit is None else max(limit - len(first) - len(last), 0)
        return [*first, *self.encode(text)[:room], *last][:limit]

    def encode_guarded(self, rendered: Guarded) -> list[int]:
        """Special tokens where the template wrote them; the guarded ones stay text."""
        return self._encode_around(rendered.text, rendered.guard)

    def _encode_around(self, text: str, guard: str) -> list[int]:
        """Cut at control tokens first, then take the guard out: what it broke up is whole again, and plain."""
        ids: list[int] = []
        at = 0
        for match in self._control_pattern.finditer(text) if self._control_pattern else ():
            ids += self._encode_piece(text[at : match.start()], guard)
            ids.append(self._control[match.group()])
            at = match.end()
        return ids + self._encode_piece(text[at:], guard)

    def _encode_piece(self, text: str, guard: str) -> list[int]:
        plain = text.replace(guard, "") if guard else text
        return self.encode(plain) if plain else []

    # ---- ids -> text ----

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of `ids`; control tokens are left out unless `skip_special` is false."""
        return b"".join(self.token_bytes(i, skip_special) for i in ids).decode("utf-8", "replace")

    def stream(self, *, skip_special: bool = True, shown: frozenset[int] = frozenset()) -> TokenStream:
        """Decodes tokens as they come; control tokens are left out as by `decode`, but for those that are `shown`."""
        return TokenStream(self, skip_special, shown)

    def control_ids(self, texts: Iterable[str]) -> dict[str, int]:
        """Of these texts the ones that are control tokens, with their ids."""
        return {text: self._control[text] for text in texts if text in self._control}

    def token_bytes(self, token: int, skip_special: bool = False) -> bytes:
        """The bytes that one token stands for; alone they need not be whole characters."""
        if not 0 <= token < len(self._tokens):
            raise ValueError(f"token id {token} is outside the vocabulary of {len(self._tokens)}")
        if skip_special and self._types[token] == CONTROL:
            return b""
        found = self._bytes[token]
        if found is None:
            found = self._bytes[token] = self._bytes_of(token)
        return found

    def _bytes_of(self, token: int) -> bytes:
        text, table = self._tokens[token], _BYTE_OF
        # control and user-defined tokens are written as themselves, all others in the byte alphabet
        literal = self._types[token] in (CONTROL, USER_DEFINED) or any(c not in table for c in text)
        return text.encode() if literal else bytes(table[c] for c in text)

    # ---- about the vocabulary ----

    @property
    def vocab_size(self) -> int:
        return len(self._tokens)

    @property
    def special_texts(self) -> list[str]:
        """The texts of all control tokens."""
        return list(self._control)

    def is_special(self, token: int) -> bool:
        return self._types[token] == CONTROL

    def token_text(self, token: int) -> str:
        """One token as text, for logprobs: bytes that are no whole character show as the replacement character."""
        return self.token_bytes(token).decode("utf-8", "replace")


@dataclass(frozen=True)
class SpecialIds:
    """The tokens that the file gives a role; None where it names none."""

    bos: int | None
    eos: int | None
    unknown: int | None
    padding: int | None
    add_bos: bool
    add_eos: bool
    """A whole text ends with `eos`."""


class TokenStream:
    """Ids in, text out as soon as its characters are whole."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True, shown: frozenset[int] = frozenset()) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._shown = shown
        self._waiting = b""

    def feed(self, ids: Iterable[int]) -> str:
        """The text that `ids` complete; the bytes of an unfinished character wait for the next call."""
        data, skip, shown = self._waiting, self._skip_special, self._shown
        for token in ids:  # nearly always one: cheaper than to join
            data += self._tokenizer.token_bytes(token, skip and token not in shown)
        text, used = codecs.utf_8_decode(data, "replace")
        self._waiting = data[used:]
        return text

    def finish(self) -> str:
        """What still waits; an unfinished character shows as the replacement character."""
        data, self._waiting = self._waiting, b""
        return data.decode("utf-8", "replace")


# ---- building ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Vocabulary:
    tokens: list[str]
    types: list[int]
    merges: list[tuple[str, str]]
    cutting: str


def _vocabulary(metadata: dict[str, Any], path: object) -> _Vocabulary:
    model = metadata.get(KEY + "model")
    if model is None:
        raise ModelFileError(f"{path}: the file carries no tokenizer ({KEY}model is missing)")
    if not isinstance(model, str) or model != "gpt2":
        raise ModelFileError(f"{path}: tokenizer model {model!r} is not supported (known: gpt2, byte-level BPE)")
    cutting = metadata.get(KEY + "pre")
    if not isinstance(cutting, str) or cutting not in CUTTINGS:
        raise ModelFileError(f"{path}: unknown pre-tokenizer {cutting!r} ({KEY}pre; known: {', '.join(CUTTINGS)})")
    tokens = _strings(metadata, "tokens", path)
    types = metadata.get(KEY + "token_type")
    if isinstance(types, np.ndarray):
        types = types.tolist()
    if not isinstance(types, list) or len(types) != len(tokens) or not all(isinstance(t, int) for t in types):
        raise ModelFileError(f"{path}: {KEY}token_type must be one number per token, of which there are {len(tokens)}")
    texts = {text for text, kind in zip(tokens, types, strict=True) if kind != CONTROL}
    return _Vocabulary(tokens, types, _merges(_strings(metadata, "merges", path), texts, path), cutting)


def _strings(metadata: dict[str, Any], key: str, path: object) -> list[str]:
    values = metadata.get(KEY + key)
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise ModelFileError(f"{path}: {KEY}{key} must be a list of texts")
    if key == "tokens" and len(set(values)) != len(values):
        raise ModelFileError(f"{path}: {KEY}{key} holds the same token twice")
    return values


def _merges(lines: list[str], known: set[str], path: object) -> list[tuple[str, str]]:
    merges: list[tuple[str, str]] = []
    for line in lines:
        left, space, right = line.partition(" ")
        if not space or not {left, right, left + right} <= known:
            raise ModelFileError(f"{path}: merge {line!r} is not two tokens of text that make a third")
        merges.append((left, right))
    return merges


def _library(vocabulary: _Vocabulary) -> Library:
    cutting = CUTTINGS[vocabulary.cutting]
    words = {text: i for i, text in enumerate(vocabulary.tokens) if vocabulary.types[i] != CONTROL}
    library = Library(BPE(words, vocabulary.merges, ignore_merges=cutting.whole_words))
    library.pre_tokenizer = cutting.make()
    own = [text for i, text in enumerate(vocabulary.tokens) if vocabulary.types[i] == USER_DEFINED]
    # tokens that the model's makers added beside the merges: part of ordinary text, found before it is cut
    library.add_tokens([AddedToken(text, normalized=False, special=False) for text in own])
    return library


def _special_ids(metadata: dict[str, Any], path: object) -> SpecialIds:
    size = len(metadata[KEY + "tokens"])

    def one(name: str) -> int | None:
        token = metadata.get(f"{KEY}{name}_token_id")
        if token is not None and not (isinstance(token, int) and 0 <= token < size):
            raise ModelFileError(f"{path}: {KEY}{name}_token_id is {token!r}, the vocabulary has {size} tokens")
        return token

    add_bos = metadata.get(KEY + "add_bos_token", CUTTINGS[metadata[KEY + "pre"]].add_bos)
    add_eos = metadata.get(KEY + "add_eos_token", False)
    if not isinstance(add_bos, bool) or not isinstance(add_eos, bool):
        raise ModelFileError(f"{path}: {KEY}add_bos_token and {KEY}add_eos_token must be truth values")
    return SpecialIds(one("bos"), one("eos"), one("unknown"), one("padding"), add_bos, add_eos)


def _byte_alphabet() -> dict[str, int]:
    """The byte-level alphabet: printable Latin-1 bytes are themselves, the others follow from U+0100 on in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


def _scalars_only(text: str) -> str:
    """A lone surrogate (JSON allows writing one) has no UTF-8; it becomes the replacement character."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_BYTE_OF = _byte_alphabet()
