"""What every block of the configuration is made of."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ConfigError(ValueError):
    """A configuration that cannot be used; the message has one line per problem."""


class Strict(BaseModel):
    """Base of every block: unknown keys are errors, values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _switches_are_no_numbers(cls, content: Any) -> Any:
        # Python counts true as 1, so that `epochs: yes` would mean one epoch.
        for name, value in content.items() if isinstance(content, dict) else ():
            annotation = cls.model_fields[name].annotation if name in cls.model_fields else Any
            wanted = annotation in (bool, Any) or any(a is bool or isinstance(a, bool) for a in get_args(annotation))
            if not wanted and any(isinstance(part, bool) for part in (value if isinstance(value, list) else [value])):
                raise ValueError(f"{name} = {value}: true and false (also yes, no, on, off) have no meaning here")
        return content


Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every random generator in use accepts."""
