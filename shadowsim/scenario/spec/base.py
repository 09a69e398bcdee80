"""What every model is made of: mappings that know their keys, unions by shape, quantities."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, model_validator

# Tags of variants: names that no key has, for pydantic puts them between the keys of a path.
MAPPING, LIST, TEXT, TRUTH, NUMBER = "<mapping>", "<list>", "<text>", "<truth>", "<number>"

Seconds = Annotated[float, Field(ge=0, le=1_000_000)]
Duration = Annotated[float, Field(gt=0, le=1_000_000)]
Factor = Annotated[float, Field(gt=0, le=1_000)]
Rate = Annotated[float, Field(gt=0, le=10_000_000)]
Share = Annotated[float, Field(ge=0, le=1)]


def shape(value: Any) -> str:
    """The tag of a value: which variant of a union its author evidently meant."""
    for kind, tag in ((dict, MAPPING), (list, LIST), (str, TEXT), (bool, TRUTH)):
        if isinstance(value, kind):
            return tag
    return MAPPING if value is None or isinstance(value, BaseModel) else NUMBER


BY_SHAPE = Discriminator(shape)


class Spec(BaseModel):
    """A mapping of the language; `flags` are the keys that mean something without a value."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    flags: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _no_value_is_absent(cls, data: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, dict):
            return data
        filled = data | {key: {} for key in cls.flags if data.get(key, "") is None}
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {k: value for k, value in filled.items() if value is not None or k not in known}


def one_of(kinds: tuple[str, ...], *others: tuple[str, ...]) -> ConfigDict:
    """The settings of a mapping that needs exactly one of these keys, and one of each `others`."""
    extra: dict[str, JsonValue] = dict(_needs(kinds))
    if others:
        extra["allOf"] = [_needs(keys) for keys in others]
    return ConfigDict(json_schema_extra=extra)


def _needs(kinds: tuple[str, ...]) -> dict[str, JsonValue]:
    return {"oneOf": [{"required": [kind]} for kind in kinds]}
