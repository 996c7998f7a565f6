"""What is asked, from a seed, and what the right answer is: that of the same model, alone, in this process.

A pool of requests is asked again and again by many clients, so that each answer is computed alone once.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import grammar
from engine.config import EngineConfig
from engine.llm import LLM
from engine.messages import SamplingParams
from tests.load.serving import NAME

WORDS = "the and then he is on in a re en other long sort of thing 12 é \n".split(" ")
PATTERN = "(the|and|in)( [a-z]{1,8}){2,6}"


@dataclass(frozen=True)
class Asked:
    """One request, and its answer."""

    body: dict[str, Any]
    text: str
    reason: str
    logprobs: list[float] | None

    def payload(self, stream: bool) -> bytes:
        """The request's body as it is sent."""
        extra = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        return json.dumps({**self.body, **extra}).encode()


def pool(model: Path, count: int, seed: int) -> list[Asked]:
    """That many requests with their answers."""
    rng = random.Random(seed)
    bodies = [_body(rng) for _ in range(count)]
    found: list[Asked] = []
    # one after the other and without a prefix cache: nothing of one request can be in another one's answer
    with LLM(EngineConfig(model=str(model), device="cpu", num_blocks=64, prefix_cache=False, max_num_seqs=1)) as llm:
        for body in bodies:
            [answer] = llm.generate([body["prompt"]], _params(body))
            chances = None if answer.logprobs is None else [each.logprob for each in answer.logprobs]
            found.append(Asked(body, answer.text, answer.finish_reason, chances))
    return found


def _body(rng: random.Random) -> dict[str, Any]:
    def sometimes(**fields: Any) -> dict[str, Any]:
        return fields if rng.random() < 0.2 else {}

    stem = "the other thing is long and then " * rng.choice([0, 0, 1, 3])
    return {
        "model": NAME,
        "prompt": stem + " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 12))),
        "max_tokens": rng.randint(4, 32),
        "temperature": rng.choice([0, 0.7, 1.2]),
        "top_p": 1.0,
        "seed": rng.randrange(1 << 62),
        "ignore_eos": rng.random() < 0.7,
        **sometimes(frequency_penalty=0.8, repetition_penalty=1.2),
        **sometimes(logit_bias={"100": 3.0, "50": -50.0}),
        **sometimes(min_tokens=4),
        **sometimes(guided_regex=PATTERN),
        **sometimes(logprobs=0),
        **sometimes(priority=rng.randint(-1, 1)),
    }


def _params(body: dict[str, Any]) -> SamplingParams:
    named = "max_tokens temperature top_p seed ignore_eos frequency_penalty repetition_penalty min_tokens logprobs"
    return SamplingParams(
        **{name: body[name] for name in named.split() if name in body},
        logit_bias={int(token): bias for token, bias in body.get("logit_bias", {}).items()},
        grammar=grammar.regex(PATTERN) if "guided_regex" in body else None,
    )


MALFORMED = (
    b"",
    b"{",
    b"[1]",
    b'{"model": "tiny-load"}',
    b'{"model": "tiny-load", "prompt": 5}',
    b'{"model": "tiny-load", "prompt": "a", "max_tokens": "many"}',
    b'{"model": "tiny-load", "prompt": "a", "unheard_of": 1}',
    b'{"model": "another", "prompt": "a"}',
    b'{"model": "tiny-load", "prompt": "\\ud800"}',
    b"\xff\xfe",
)
"""Each of them is the client's fault and answered as such."""
