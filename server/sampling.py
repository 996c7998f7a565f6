"""How an answer is sampled, where it ends, how it is sent: the fields that every endpoint which generates has.

Where OpenAI has no name for something, vLLM's is taken.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from server.constraints import Constrained
from server.strict import FIRST, Int, Many, Str, wrong

MAX_BIASES = 1024
MAX_STOPS, MAX_STOP_LENGTH = 16, 1024
TOKEN_LIMIT = 2**31
"""Token ids are below it, whatever the vocabulary."""
_NUMBER = re.compile("0|[1-9][0-9]{0,9}")


def _stops_of(value: Any) -> Any:
    stops = [value] if isinstance(value, str) else value
    if isinstance(stops, list) and "" in stops:
        raise wrong("a stop string must not be empty", *(() if isinstance(value, str) else (stops.index(""),)))
    return stops


def _biases_of(value: Any) -> Any:
    """JSON's keys are texts; token ids are meant."""
    if not isinstance(value, dict):
        return value
    for key in value:
        # one token has one text: of "1" and "01" one bias would be ignored
        if isinstance(key, str) and not (_NUMBER.fullmatch(key) and int(key) < TOKEN_LIMIT):
            raise wrong("a key is a token id", key)
    return {int(key): bias for key, bias in value.items()}


_STOP = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_LENGTH}
TokenId = Annotated[Int, Field(ge=0, lt=TOKEN_LIMIT)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Stops = Annotated[
    Many[Annotated[Str, Field(max_length=MAX_STOP_LENGTH)]],
    Field(max_length=MAX_STOPS),
    BeforeValidator(_stops_of),
    WithJsonSchema({"anyOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": MAX_STOPS}]}),
]
Biases = Annotated[
    dict[TokenId, Bias],
    FIRST,
    Field(max_length=MAX_BIASES),
    BeforeValidator(_biases_of),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": "^(0|[1-9][0-9]{0,9})$"},
            "maxProperties": MAX_BIASES,
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        }
    ),
]


class SampleRequest(Constrained):
    """The fields themselves. None where the model's own default applies."""

    model: Str
    min_tokens: Int = Field(0, ge=0, lt=TOKEN_LIMIT)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: Int | None = Field(None, ge=-1, lt=TOKEN_LIMIT)
    min_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float = Field(0, ge=-2, le=2)
    frequency_penalty: float = Field(0, ge=-2, le=2)
    repetition_penalty: float = Field(1, ge=0.01, le=100)
    logit_bias: Biases = Field({})
    seed: Int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stops = Field([])
    stop_token_ids: Many[TokenId] = Field([], max_length=256)
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    ignore_eos: bool = False
    priority: Int = Field(0, ge=-(2**31), lt=2**31)
    stream: bool = False
    user: Str | None = Field(None, max_length=512)

    @property
    def choices(self) -> int:
        """Answers to each prompt."""
        return 1

    @property
    def include_usage(self) -> bool:
        """Whether a stream that need not say so ends with its usage."""
        return False
