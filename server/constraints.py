"""Fields that say what form an answer must have, and the one constraint that they come to.

    request.constraint      # Constraint("json", {"type": "object"}, "response_format"), or None

OpenAI has `response_format`; vLLM has `structured_outputs` and the older `guided_*`. At most one of them may ask for
something. `server.grammar` makes a grammar of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from server.strict import Many, Str, Strict, has_one_of, tag_of, unicode_throughout, wrong

Kind = Literal["json", "regex", "choice", "grammar"]


def _schema(value: Any) -> Any:
    if not isinstance(value, dict | bool):
        raise wrong("a schema is an object, or a truth value")
    return unicode_throughout(value)


def _schema_or_text(value: Any) -> Any:
    if not isinstance(value, dict | bool | str):
        raise wrong("a schema is an object, a truth value, or the text of one of these")
    return unicode_throughout(value)


# said before a union is looked through, whose members have names of their own in errors
Schema = Annotated[dict[str, Any] | bool, BeforeValidator(_schema)]
SchemaText = Annotated[dict[str, Any] | bool | str, BeforeValidator(_schema_or_text)]
ANY_OBJECT: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True)
class Constraint:
    """What an answer must match, and the field that asked for it."""

    kind: Kind
    value: Any
    param: str


class JsonSchema(Strict):
    """A schema with a label; `strict` or not, the answer is held to it. The model sees neither."""

    name: Str = Field(max_length=64)
    description: Str | None = None
    schema_: Schema = Field(ANY_OBJECT, alias="schema")
    strict: bool = True


class TextFormat(Strict):
    """Any text."""

    type: Literal["text"]


class ObjectFormat(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Strict):
    """JSON of a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


_FORMATS = ("text", "json_object", "json_schema")


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("<text>")]
    | Annotated[ObjectFormat, Tag("<json_object>")]
    | Annotated[SchemaFormat, Tag("<json_schema>")],
    Discriminator(tag_of("type")),
    has_one_of("type", _FORMATS, "a response format"),
]


class StructuredOutputs(Strict):
    """vLLM's newer form; exactly one of its fields."""

    json_: SchemaText | None = Field(None, alias="json")
    regex: Str | None = None
    choice: Many[Str] | None = Field(None, min_length=1)
    grammar: Str | None = None
    json_object: bool = False

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        if len(list(_asked_by(self))) != 1:
            raise wrong("give exactly one of json, regex, choice, grammar, json_object")
        return self


def _asked_by(outputs: StructuredOutputs) -> list[Constraint]:
    where = "structured_outputs."
    asked = [
        Constraint("json", outputs.json_, where + "json"),
        Constraint("regex", outputs.regex, where + "regex"),
        Constraint("choice", outputs.choice, where + "choice"),
        Constraint("grammar", outputs.grammar, where + "grammar"),
        Constraint("json", ANY_OBJECT if outputs.json_object else None, where + "json_object"),
    ]
    return [one for one in asked if one.value is not None]


class Constrained(Strict):
    """vLLM's fields. What OpenAI calls the field beside them differs between endpoints."""

    structured_outputs: StructuredOutputs | None = None
    guided_json: SchemaText | None = None
    guided_regex: Str | None = None
    guided_choice: Many[Str] | None = Field(None, min_length=1)
    guided_grammar: Str | None = None

    @model_validator(mode="after")
    def _one_constraint(self) -> Constrained:
        asked = self._constraints()
        if len(asked) > 1:
            raise wrong(f"`{asked[0].param}` already says what the answer must match", asked[1].param)
        return self

    @property
    def format_asked(self) -> list[Constraint]:
        """What OpenAI's own field asks for."""
        return []

    @property
    def constraint(self) -> Constraint | None:
        """The one thing that all fields ask for, if they ask for any."""
        return next(iter(self._constraints()), None)

    def _constraints(self) -> list[Constraint]:
        """Everything that the fields ask for: one thing, or nothing, in a valid request."""
        asked = list(self.format_asked)
        if self.structured_outputs is not None:
            asked += _asked_by(self.structured_outputs)
        for kind in _GUIDED:
            value = getattr(self, f"guided_{kind}")
            if value is not None:
                asked.append(Constraint(kind, value, f"guided_{kind}"))
        return asked


_GUIDED: tuple[Kind, ...] = ("json", "regex", "choice", "grammar")


def of_format(format: ResponseFormat | None) -> list[Constraint]:
    """What `response_format` asks for."""
    match format:
        case ObjectFormat():
            return [Constraint("json", ANY_OBJECT, "response_format")]
        case SchemaFormat(json_schema=schema):
            return [Constraint("json", schema.schema_, "response_format.json_schema.schema")]
        case _:
            return []
