"""The base of everything that is read: strict types, no unknown fields, null is absent, and a schema that says so.

A known field that this server does not have is refused by name, unless its value asks for nothing (`best_of: 1`).
What validation accepts and what the OpenAPI schema describes is the same set: tests generate requests from the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError


def known(names: str, **neutral: Any) -> dict[str, Any]:
    """Fields that OpenAI has and this server has not, each with the value that asks for nothing (none: only null)."""
    return {**dict.fromkeys(names.split()), **neutral}


def refuse(name: str, reason: str = "") -> PydanticCustomError:
    """`name`, a field of the object that is being read, is known and not supported."""
    return PydanticCustomError("unsupported", "{text}", {"text": reason, "inside": (name,)})


def wrong(message: str, *inside: str | int) -> PydanticCustomError:
    """What is at `inside` the value that is being read cannot be used."""
    return PydanticCustomError("invalid", "{text}", {"text": message, "inside": inside})


def unicode(value: str, *inside: str | int) -> str:
    r"""JSON can spell half a surrogate pair ("\ud800"); that is no character and cannot be tokenized or sent back."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise wrong("not valid Unicode: it holds half of a surrogate pair", *inside) from None
    return value


def whole(value: Any) -> Any:
    """In JSON 3.0 is a whole number too; `true` is none."""
    return int(value) if type(value) is float and value.is_integer() else value


def unicode_throughout(value: Any) -> Any:
    """The same of what is taken as it stands, a schema say, which nests no deeper than JSON may."""
    if isinstance(value, str):
        unicode(value)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        unicode_throughout(part)
    return value


T = TypeVar("T")
FIRST: Any = Field(fail_fast=True)
"""Of a list, or an object of any names: the first mistake is enough. Millions of them fit into a body, and to collect
them took seconds and gigabytes."""
Many = Annotated[list[T], FIRST]
Int = Annotated[int, BeforeValidator(whole)]
Str = Annotated[str, AfterValidator(lambda text: unicode(text))]

Json = Annotated[dict[str, Any], AfterValidator(unicode_throughout)]
"""An object whose members are not the server's to judge."""


def tag_of(field: str, same: Mapping[str, str] = {}) -> Callable[[Any], str]:
    """Which member of a union is meant, for pydantic's Discriminator: `<user>` by the value of `field`. Two values may
    mean the `same` one.

    In angle brackets, so that `errors` can tell tags, which pydantic puts between the names of fields, from these.
    """

    def tag(value: Any) -> str:
        name = value.get(field) if isinstance(value, dict) else getattr(value, field, None)
        return f"<{same.get(str(name), name)}>"

    return tag


def has_one_of(field: str, values: Sequence[str], what: str) -> BeforeValidator:
    """Says which values `field` may have, before a union is looked through for the member that has it."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and value.get(field) not in values:
            raise wrong(f"{what} has a {field}, one of {', '.join(values)}", field)
        if not isinstance(value, (dict, BaseModel)):
            raise wrong(f"{what} is an object")
        return value

    return BeforeValidator(check)


class Strict(BaseModel):
    """Strict types, no unknown fields, null is absent, known but unsupported fields named as such."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    unsupported: ClassVar[dict[str, Any]] = {}
    reasons: ClassVar[dict[str, str]] = {}
    """Of some of the unsupported fields: why, and what to do instead."""

    @model_validator(mode="before")
    @classmethod
    def _only_what_is_asked(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known_names = {field.alias or name for name, field in cls.model_fields.items()}
        asked = {}
        for name, value in data.items():
            if name in cls.unsupported:
                if value is not None and not _same(value, cls.unsupported[name]):
                    raise refuse(name, cls.reasons.get(name, ""))
            elif name not in known_names:
                raise PydanticCustomError("extra_forbidden", "unknown field", {"inside": (name,)})
            elif value is not None:
                asked[name] = value
        return asked

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        own = handler.resolve_ref_schema(schema)
        properties, required = own.setdefault("properties", {}), own.get("required", [])
        for name, value in properties.items():
            value = properties[name] = _with_limits(value)
            if name not in required and not _has_null(value):
                properties[name] = {"anyOf": [_bare(value), {"type": "null"}], **_labels(value)}
        for name, neutral in cls.unsupported.items():
            values = [None] if neutral is None else [None, neutral]
            properties[name] = {"enum": values, "description": "Not supported: only what asks for nothing."}
        return schema


def _same(value: Any, neutral: Any) -> bool:
    """Equal, and false is not 0."""
    return neutral is not None and value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def _with_limits(schema: Any) -> Any:
    """pydantic leaves its own names for the limits of a type that has a validator before it."""
    if isinstance(schema, list):
        return [_with_limits(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    named = _LIMITS if schema.get("type") in ("integer", "number") else {}
    return {named.get(key, key): _with_limits(value) for key, value in schema.items()}


_LABELS = ("title", "description", "default")


def _labels(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in _LABELS if key in schema}


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in _LABELS}


def _has_null(schema: dict[str, Any]) -> bool:
    return any(option.get("type") == "null" for option in schema.get("anyOf", ()))
