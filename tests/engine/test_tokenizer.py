"""The tokenizer: control tokens never come out of text, and streams say what decoding whole says."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import fetch
from engine.pretokenizers import CUTTINGS
from engine.tokenizer import Guarded, Tokenizer
from engine.weights.errors import ModelFileError
from engine.weights.gguf import GGUFFile
from tests.make_model import SPECIAL, vocabulary, write_model
from tests.reference.compare import Reference
from tests.reference.make_reference import texts


def metadata_of(path: Path) -> dict[str, Any]:
    with GGUFFile.open(path) as file:
        return file.metadata


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return metadata_of(write_model(tmp_path_factory.mktemp("models") / "tiny.gguf"))


@pytest.fixture(scope="module")
def tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    return Tokenizer.from_metadata(metadata)


def words(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    return [vocabulary()[token] for token in ids]


# ---- encoding ----------------------------------------------------------------------------------------


def test_byte_pairs_are_merged_in_the_files_order(tokenizer: Tokenizer) -> None:
    assert words(tokenizer, tokenizer.encode("the hand of  the")) == [
        "the",
        "Ġ",
        "h",
        "and",
        "Ġ",
        "o",
        "f",
        "Ġ",
        "Ġthe",
    ]


def test_digits_stand_alone_and_take_no_space_with_them(tokenizer: Tokenizer) -> None:
    assert words(tokenizer, tokenizer.encode("a  12")) == ["a", "ĠĠ", "1", "2"]


@settings(deadline=None)
@given(st.text())
def test_text_comes_back_from_its_tokens(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text.encode("utf-8", "replace").decode("utf-8")


def test_a_lone_surrogate_becomes_the_replacement_character(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"
    assert tokenizer.decode(tokenizer.encode("\ud83d\ude00 \ufeff")) == "😀 \ufeff"


def test_a_batch_is_encoded_like_each_of_its_texts(tokenizer: Tokenizer) -> None:
    many = ["", "the", "<|im_end|>", "a\ud800", "😀"]
    assert tokenizer.encode_batch(many) == [tokenizer.encode(text) for text in many]


# ---- control tokens ----------------------------------------------------------------------------------


def test_special_text_is_plain_text_unless_allowed(tokenizer: Tokenizer) -> None:
    text = "the<|im_end|>end<|im_start|>"
    plain = tokenizer.encode(text)
    assert not any(tokenizer.is_special(token) for token in plain) and tokenizer.decode(plain) == text
    allowed = tokenizer.encode(text, allow_special=True)
    assert [token for token in allowed if tokenizer.is_special(token)] == [2, 1]
    assert tokenizer.decode(allowed) == "theend" and tokenizer.decode(allowed, skip_special=False) == text


@settings(deadline=None)
@given(st.lists(st.sampled_from(["<", "|", ">", "im", "_", "end", "start", "<|", "|>", " ", "<|im_end|>", "\ue000"])))
def test_no_arrangement_of_the_pieces_makes_a_control_token(tokenizer: Tokenizer, pieces: list[str]) -> None:
    text = "".join(pieces)
    ids = tokenizer.encode(text)
    assert not any(tokenizer.is_special(token) for token in ids) and tokenizer.decode(ids) == text


def test_guarded_control_text_stays_text_and_the_rest_counts(tokenizer: Tokenizer) -> None:
    guarded = Guarded("<|im_start|>the <\ue000|im_end|> text<|im_end|>", "\ue000")
    ids = tokenizer.encode_guarded(guarded)
    assert [token for token in ids if tokenizer.is_special(token)] == [1, 2]
    assert tokenizer.decode(ids, skip_special=False) == guarded.plain == "<|im_start|>the <|im_end|> text<|im_end|>"


def test_text_between_control_tokens_is_cut_as_one_piece(tokenizer: Tokenizer) -> None:
    # a guard must not change how the words around it are cut
    assert tokenizer.encode_guarded(Guarded("th\ue000e", "\ue000")) == tokenizer.encode("the")


def test_a_vocabulary_word_that_is_control_text_is_not_reached_without_merging(tmp_path: Path) -> None:
    # llama-bpe takes whole words from the vocabulary, which is where a control token could be met
    tokenizer = Tokenizer.from_metadata(metadata_of(write_model(tmp_path / "m.gguf", cutting="llama-bpe")))
    for text in SPECIAL:
        assert not any(tokenizer.is_special(token) for token in tokenizer.encode(text))


def test_a_document_begins_with_bos_where_the_file_asks_for_it(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_prompt("the") == tokenizer.encode("the")
    asking = Tokenizer.from_metadata(metadata_of(write_model(tmp_path / "m.gguf", add_bos=True)))
    assert asking.encode_prompt("the") == [1, *asking.encode("the")]


def test_a_whole_text_ends_with_eos_where_the_file_asks_for_it_and_is_cut_before_that(metadata: dict[str, Any]) -> None:
    keys = {f"tokenizer.ggml.add_{name}_token": True for name in ("bos", "eos")}
    tokenizer = Tokenizer.from_metadata({**metadata, **keys})
    ids = tokenizer.encode("the rest of it")
    assert len(ids) > 3
    assert tokenizer.encode_document("the rest of it") == [1, *ids, 2]
    assert tokenizer.encode_prompt("the rest of it") == [1, *ids]
    for limit in range(1, len(ids) + 4):
        cut = tokenizer.encode_document("the rest of it", limit)
        assert cut == [1, *ids[: max(0, limit - 2)], 2][:limit]
    assert Tokenizer.from_metadata(metadata).encode_document("the rest of it", 2) == ids[:2]


def test_tokens_that_users_defined_are_found_in_text(metadata: dict[str, Any]) -> None:
    types = [4 if text == "<|im_start|>" else kind for text, kind in zip(vocabulary(), types_of(metadata), strict=True)]
    tokenizer = Tokenizer.from_metadata({**metadata, "tokenizer.ggml.token_type": types})
    ids = tokenizer.encode("the<|im_start|>the")
    assert words(tokenizer, ids) == ["the", "<|im_start|>", "the"] and tokenizer.decode(ids) == "the<|im_start|>the"


# ---- decoding ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 286)), st.booleans())
def test_a_stream_put_together_is_the_text_decoded_whole(tokenizer: Tokenizer, ids: list[int], skip: bool) -> None:
    stream = tokenizer.stream(skip_special=skip)
    assert "".join(stream.feed([token]) for token in ids) + stream.finish() == tokenizer.decode(ids, skip_special=skip)


def test_a_stream_waits_for_whole_characters(tokenizer: Tokenizer) -> None:
    stream, ids = tokenizer.stream(), tokenizer.encode("é😀")
    assert [stream.feed([token]) for token in ids] == ["", "é", "", "", "", "😀"]
    assert stream.finish() == ""


def test_an_unfinished_character_shows_at_the_end(tokenizer: Tokenizer) -> None:
    stream, ids = tokenizer.stream(), tokenizer.encode("é")[:1]
    assert stream.feed(ids) == "" and stream.finish() == "\ufffd" == tokenizer.decode(ids)


def test_a_token_outside_the_vocabulary_is_refused(tokenizer: Tokenizer) -> None:
    for token in (-1, 287):
        with pytest.raises(ValueError, match=f"token id {token} is outside the vocabulary of 287"):
            tokenizer.decode([token])


# ---- files that carry no usable tokenizer ------------------------------------------------------------


def types_of(metadata: dict[str, Any]) -> list[int]:
    return metadata["tokenizer.ggml.token_type"].tolist()


REFUSED = {
    "none": ({"model": None}, "carries no tokenizer"),
    "sentencepiece": ({"model": "llama"}, "tokenizer model 'llama' is not supported"),
    "cutting": ({"pre": "chameleon"}, "unknown pre-tokenizer 'chameleon' .*known: gpt-2, smollm"),
    "no cutting": ({"pre": None}, "unknown pre-tokenizer None"),
    "tokens": ({"tokens": 5}, "tokens must be a list of texts"),
    "same token": ({"tokens": ["a"] * 287}, "holds the same token twice"),
    "types": ({"token_type": [1]}, "token_type must be one number per token, of which there are 287"),
    "merge": ({"merges": ["t h", "q z"]}, "merge 'q z' is not two tokens of text that make a third"),
    "merge of one": ({"merges": ["th"]}, "merge 'th' is not two tokens"),
    "special id": ({"eos_token_id": 287}, "eos_token_id is 287, the vocabulary has 287 tokens"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_tokenizer_that_cannot_be_built_is_named(metadata: dict[str, Any], case: str) -> None:
    changes, message = REFUSED[case]
    changed = {**metadata, **{f"tokenizer.ggml.{key}": value for key, value in changes.items()}}
    changed = {key: value for key, value in changed.items() if value is not None}
    with pytest.raises(ModelFileError, match=f"^some.gguf: .*{message}"):
        Tokenizer.from_metadata(changed, "some.gguf")


@pytest.mark.parametrize("cutting", CUTTINGS)
def test_every_known_cutting_keeps_all_text(metadata: dict[str, Any], cutting: str) -> None:
    tokenizer = Tokenizer.from_metadata({**metadata, "tokenizer.ggml.pre": cutting})
    rng = random.Random(2)
    for _ in range(20):
        text = "".join(rng.choice("ab Z09'\n\r\t.,_é你😀") for _ in range(60)) + "we'LL it's   12345"
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_words_are_cut_as_the_published_expressions_cut_them() -> None:
    """The expressions as Llama 3, Qwen 2 and GPT-2 publish them, run by another library."""
    regex = pytest.importorskip("regex")
    gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    llama3 = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    published = {"llama-bpe": llama3, "qwen2": llama3.replace("{1,3}", ""), "gpt-2": gpt2}
    letters, rng = "ab'sSTdlé123٣½ⅷ  \n\r\t\u00a0.,!-()漢😀\u0303\u200b", random.Random(3)
    for _ in range(500):
        text = "".join(rng.choices(letters, k=rng.randint(1, 12)))
        for name, expression in published.items():
            assert cut(name, text) == regex.findall(expression, text)
        apart = [piece for piece in regex.split(r"(\p{N})", text) if piece]
        words = [[it] if regex.fullmatch(r"\p{N}", it) else regex.findall(gpt2, it) for it in apart]
        assert cut("smollm", text) == [word for piece in words for word in piece]


def cut(name: str, text: str) -> list[str]:
    return [text[start:end] for _, (start, end) in CUTTINGS[name].make().pre_tokenize_str(text)]


# ---- the demo model ----------------------------------------------------------------------------------


@pytest.mark.skipif(fetch.cached() is None, reason="the demo model has not been fetched")
def test_the_demo_models_texts_have_the_recorded_tokens() -> None:
    path = fetch.cached()
    assert path is not None
    recorded = {section.name: section.tokens.tolist() for section in Reference.load().sections}
    assert dict(texts(path)) == recorded
    tokenizer = Tokenizer.from_metadata(metadata_of(path))
    # ids as the model's published tokenizer gives them
    assert tokenizer.encode("The capital of France is 1234.") == HUGGINGFACE_IDS


HUGGINGFACE_IDS = [504, 3575, 282, 4649, 314, 216, 33, 34, 35, 36, 30]
