"""From a violation to one line that names the key, the value found and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from qunlearn.config.base import ConfigError

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], content: Mapping[str, Any], *, where: str, prefix: str = "") -> M:
    """Build `model` from `content`; every problem becomes one line ``<where>: <key> = <value>: <what is allowed>``.

    Raises:
        ConfigError: with all problems found.
    """
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        lines = [f"{where}: {_explain(detail, model, prefix)}" for detail in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from None


def _explain(detail: ErrorDetails, model: type[BaseModel], prefix: str) -> str:
    # pydantic puts the tag of a discriminated union into the location; a person never wrote that key.
    location = [str(part) for part in detail["loc"]]
    key = ".".join(filter(None, [prefix, *_without_tags(location, model)]))
    if detail["type"] == "extra_forbidden":
        allowed = sorted(_keys_beside(location, model))
        return f"{key} = {_short(detail['input'])}: unknown key; allowed here: {', '.join(allowed)}"
    if detail["type"] == "missing":
        return f"{key}: missing; it must be given"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _explain_choice(detail, key, _options_at(location, model))
    if detail["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return f"{key} = {_short(detail['input'])}: must be a block of settings, one `key: value` a line"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):
        return f"{key}: {message}" if key else message
    return f"{key} = {_short(detail['input'])}: {message}"


def _explain_choice(detail: ErrorDetails, key: str, options: Iterable[str]) -> str:
    """A block whose `kind` or `source` is wrong or missing."""
    chooser = str(detail["ctx"]["discriminator"]).strip("'")
    allowed = ", ".join(options)
    if chooser not in detail["input"]:
        return f"{key}.{chooser}: missing; it must be one of {allowed}"
    return f"{key}.{chooser} = {_short(detail['input'][chooser])}: must be one of {allowed}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _walk(location: list[str], model: type[BaseModel]) -> tuple[list[str], type[BaseModel] | None]:
    """Follow `location` through the models: the keys a person wrote, and the model that holds the last key."""
    keys: list[str] = []
    current: type[BaseModel] | None = model
    holder = current
    options: dict[str, type[BaseModel]] = {}
    for part in location:
        if options and part in options:
            current, options = options[part], {}
            continue
        keys.append(part)
        holder = current
        if current is None or part not in current.model_fields:
            current, options = None, {}
            continue
        current, options = _models_of(current.model_fields[part].annotation)
    return keys, holder


def _models_of(annotation: Any) -> tuple[type[BaseModel] | None, dict[str, type[BaseModel]]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, {}
    options: dict[str, type[BaseModel]] = {}
    members = getattr(annotation, "__args__", ())
    if len(members) == 2 and type(None) in members:
        return _models_of(next(one for one in members if one is not type(None)))
    for member in members:
        if not (isinstance(member, type) and issubclass(member, BaseModel)):
            nested = _models_of(member)[1]
            options.update(nested)
            continue
        for name in ("kind", "source"):
            if name in member.model_fields:
                for tag in getattr(member.model_fields[name].annotation, "__args__", ()):
                    options[str(tag)] = member
    return None, options


def _options_at(location: list[str], model: type[BaseModel]) -> list[str]:
    """The tags of the discriminated union at `location`."""
    keys, holder = _walk(location, model)
    return list(_models_of(holder.model_fields[keys[-1]].annotation)[1]) if holder and keys else []


def _without_tags(location: list[str], model: type[BaseModel]) -> list[str]:
    return _walk(location, model)[0]


def _keys_beside(location: list[str], model: type[BaseModel]) -> set[str]:
    holder = _walk(location, model)[1]
    return {field.alias or name for name, field in holder.model_fields.items()} if holder else set()
