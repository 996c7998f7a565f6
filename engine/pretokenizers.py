"""How text is cut into words before byte pairs are merged, by the name that a GGUF file gives in `tokenizer.ggml.pre`.

Each row was written from the model family's own published tokenizer. A name that is not in the table is an error:
another family's cutting gives valid tokens, only the wrong ones, and a model that reads them answers badly without
a sign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tokenizers import Regex, pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer


@dataclass(frozen=True)
class Cutting:
    """One family's rule. `whole_words`: a word that is in the vocabulary is taken as it is, without merging.
    `add_bos`: a document begins with the file's bos token where the file does not say whether it does."""

    make: Callable[[], PreTokenizer]
    whole_words: bool = False
    add_bos: bool = False


# Contractions in any case, letters with one leading sign, digits in threes, signs, line ends, spaces.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def _gpt2() -> PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _single_digits() -> PreTokenizer:
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])


def _by(pattern: str) -> Callable[[], PreTokenizer]:
    def make() -> PreTokenizer:
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    return make


CUTTINGS: dict[str, Cutting] = {
    "gpt-2": Cutting(_gpt2),
    "smollm": Cutting(_single_digits),
    "starcoder": Cutting(_single_digits),
    "refact": Cutting(_single_digits),
    "codeshell": Cutting(_single_digits),
    "llama-bpe": Cutting(_by(_LLAMA3), whole_words=True, add_bos=True),
    "llama3": Cutting(_by(_LLAMA3), whole_words=True, add_bos=True),
    "llama-v3": Cutting(_by(_LLAMA3), whole_words=True, add_bos=True),
    "qwen2": Cutting(_by(_QWEN2)),
}
