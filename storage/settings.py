"""What every table of a configuration is: frozen, and taken as it is written."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticCustomError


class Settings(BaseModel):
    """Frozen, refuses what it does not know, and takes no text for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="wrap")
    @classmethod
    def _as_written(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        # pydantic's own strict mode would refuse lists for tuples, and with them TOML and a dumped model
        made = handler(value)
        refuse_other_kind(value, made)
        return made


def refuse_other_kind(value: Any, made: Any) -> None:
    """Holds a value as it was written against what it was taken for.

    Raises:
        PydanticCustomError: a text was taken for a number, or for true or false, or one of those for the other.
    """
    if isinstance(made, bool):
        if not isinstance(value, bool):
            raise PydanticCustomError("no_bool", "true or false is wanted, not {told}", {"told": told(value)})
    elif isinstance(made, int | float):
        if isinstance(value, bool | str | bytes):
            raise PydanticCustomError("no_number", "a number is wanted, not {told}", {"told": told(value)})
    elif isinstance(made, list | tuple) and isinstance(value, list | tuple):
        for one, other in zip(value, made, strict=True):
            refuse_other_kind(one, other)
    elif isinstance(made, dict) and isinstance(value, dict):
        for key, other in made.items():
            refuse_other_kind(value.get(key), other)


def told(value: Any) -> str:
    """A value in the words of TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'the text "{value}": write it without quotes' if isinstance(value, str) else str(value)
