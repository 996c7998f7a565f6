"""Answers to random JSON schemas at temperature 1.5, beside penalties, biases and min_tokens: every finished one
validates, every one that was cut is the beginning of one that would.

    python -m tests.engine.test_schemas 1000 [SEED]

`jsonschema` judges what is whole. What was cut is read byte by byte by a fresh parser of the schema, which knows
nothing of the tokens that the engine chose.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest

from engine import grammar
from engine.config import EngineConfig
from engine.engine import Engine
from engine.guides import Guide, GrammarError, Guides, Vocabulary
from engine.memory import HostMemory
from engine.messages import RequestFailed, SamplingParams, Submit
from engine.model_runner import build
from tests.engine.tiny_model import TEXT, random_weights, text_vocabulary

MODEL = replace(TEXT, context_length=160)
VOCABULARY = text_vocabulary()
Schema = dict[str, Any]


@dataclass
class Answer:
    """What came of one schema."""

    schema: Schema
    data: bytes = b""
    reason: str | None = None


def random_schema(rng: random.Random, depth: int = 0) -> Schema:
    """Of a few kinds, nested at most three deep. Numbers and lengths are bounded, so that answers can end."""
    kinds = ["boolean", "null", "integer", "number", "string", "pattern", "enum", "const"]
    kinds += ["object", "object", "array", "anyOf"] if depth < 3 else []
    kind = rng.choice(["object", "array", "anyOf"]) if depth == 0 else rng.choice(kinds)
    return _KINDS[kind](rng, depth)


def _object(rng: random.Random, depth: int) -> Schema:
    names = rng.sample(["a", "name", "x y", "é", "tags", 'q"'], rng.randint(0, 4))
    properties = {name: random_schema(rng, depth + 1) for name in names}
    required = [name for name in names if rng.random() < 0.6]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _array(rng: random.Random, depth: int) -> Schema:
    low, more = rng.randint(0, 2), rng.randint(0, 3)
    return {"type": "array", "items": random_schema(rng, depth + 1), "minItems": low, "maxItems": low + more}


PATTERNS = ["^[a-f]{2,5}$", "^\\d{4}-\\d{2}$", "^é?x+$"]
VALUES = [1, "one", None, True, [1, 2], {"k": "v"}, -0.5]
_KINDS: dict[str, Any] = {
    "boolean": lambda rng, depth: {"type": "boolean"},
    "null": lambda rng, depth: {"type": "null"},
    "integer": lambda rng, depth: {"type": "integer", "minimum": -rng.randint(0, 99), "maximum": rng.randint(0, 999)},
    "number": lambda rng, depth: {"type": "number", "minimum": 0, "maximum": rng.randint(1, 50)},
    "string": lambda rng, depth: {"type": "string", "maxLength": rng.randint(0, 12)},
    "pattern": lambda rng, depth: {"type": "string", "pattern": rng.choice(PATTERNS)},
    "enum": lambda rng, depth: {"enum": rng.sample(VALUES, rng.randint(1, 4))},
    "const": lambda rng, depth: {"const": rng.choice(["fixed", 7, False])},
    "object": _object,
    "array": _array,
    "anyOf": lambda rng, depth: {"anyOf": [random_schema(rng, depth + 1) for _ in range(rng.randint(1, 3))]},
}


def random_params(rng: random.Random, schema: Schema) -> SamplingParams:
    def sometimes(value: Any, otherwise: Any) -> Any:
        return value if rng.random() < 0.3 else otherwise

    most = rng.randint(8, 120)
    return SamplingParams(
        temperature=1.5,
        seed=rng.randrange(1 << 63),
        max_tokens=most,
        min_tokens=sometimes(rng.randint(1, most), 0),
        presence_penalty=sometimes(rng.uniform(-2, 2), 0.0),
        frequency_penalty=sometimes(rng.uniform(-2, 2), 0.0),
        repetition_penalty=sometimes(rng.uniform(0.5, 2), 1.0),
        logit_bias=sometimes({token: rng.choice([-100.0, 100.0]) for token in rng.sample(range(320), 40)}, {}),
        top_k=sometimes(rng.randint(1, 20), 0),
        top_p=sometimes(rng.uniform(0.2, 1), 1.0),
        ignore_eos=rng.random() < 0.2,
        grammar=grammar.json_schema(schema),
    )


def answers(count: int, seed: int) -> list[Answer]:
    """Serve that many schemas; a request that fails is an error."""
    rng = random.Random(seed)
    config = EngineConfig(model="tiny", num_blocks=200, max_num_seqs=32, max_batched_tokens=64)
    it = Engine(build(config, MODEL, random_weights(MODEL), HostMemory(), text_vocabulary))
    found = {f"r{index}": Answer(random_schema(rng)) for index in range(count)}
    waiting = list(found.items())
    while waiting or it.busy:
        for name, answer in (waiting.pop() for _ in range(min(len(waiting), 8))):
            prompt = [rng.randrange(3, 320) for _ in range(rng.randint(1, 20))]
            it.submit(Submit(name, prompt, random_params(rng, answer.schema)))
        for event in it.step():
            assert not isinstance(event, RequestFailed), (event, found[event.request_id].schema)
            for out in event.tokens:
                answer = found[out.request_id]
                answer.data += b"".join(VOCABULARY.tokens[token] for token in out.token_ids)
                answer.reason = out.finish_reason or answer.reason
    it.close()
    return list(found.values())


class Prefixes:
    """Whether bytes begin a text of a schema."""

    def __init__(self) -> None:
        tokens = [b"<end>", *(bytes([byte]) for byte in range(256))]
        vocabulary = Vocabulary(tokens, (0,), (0,), lambda text: [1 + byte for byte in text.encode()])
        self._guides = Guides(len(tokens), lambda: vocabulary)

    def begins(self, data: bytes, schema: Schema) -> bool:
        guide: Guide = self._guides.begin(grammar.json_schema(schema)).result()
        try:
            for byte in data:
                guide.accept(1 + byte)
        except GrammarError:
            return False
        return True


def check(count: int, seed: int) -> dict[str, int]:
    """How many ended for which reason; raises for the first that is wrong."""
    import jsonschema

    prefixes, counts = Prefixes(), {"stop": 0, "length": 0}
    for answer in answers(count, seed):
        assert answer.reason in counts
        counts[answer.reason] += 1
        if answer.reason == "stop":
            jsonschema.validate(json.loads(answer.data), answer.schema)
        else:
            assert prefixes.begins(answer.data, answer.schema), answer
    return counts


def test_what_ends_validates_and_what_is_cut_is_a_beginning():
    pytest.importorskip("llguidance")
    pytest.importorskip("jsonschema")
    counts = check(400, seed=1)
    assert counts["stop"] > 200
    assert counts["length"] > 50


def test_the_judge_knows_beginnings_from_others():
    pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"é": {"type": "integer"}}, "additionalProperties": False}
    prefixes = Prefixes()
    assert prefixes.begins('{"é": 1'.encode(), schema)
    assert prefixes.begins('{"é'.encode()[:-1], schema)
    assert not prefixes.begins(b'{"e', schema)
    assert not prefixes.begins(b"{}x", schema)


if __name__ == "__main__":
    print(check(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
