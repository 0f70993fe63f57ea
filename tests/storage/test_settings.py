"""Settings are taken as they are written: no text for a number, and back from JSON as they went."""

from __future__ import annotations

import json
import tomllib
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError

from storage.settings import Settings


class Kind(Enum):
    """An enumeration, as a text in TOML."""

    SMALL = "small"


class Inner(Settings):
    """A table within."""

    share: float = 0.5


class Outer(Settings):
    """A field of every kind that configurations have."""

    count: int = 1
    share: float = 0.5
    on: bool = False
    most: int | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    sizes: tuple[int, ...] = ()
    weights: dict[str, float] = Field(default={})
    preset: str | int = "tiny"
    choice: Literal["a", "b"] = "a"
    kind: Kind = Kind.SMALL
    path: Path = Path()
    inner: Inner = Inner()


def outer(toml: str) -> Outer:
    return Outer(**tomllib.loads(toml))


@pytest.mark.parametrize(
    ("toml", "place", "told"),
    [
        ('count = "3"', ("count",), 'a number is wanted, not the text "3": write it without quotes'),
        ('share = "0.5"', ("share",), "a number is wanted"),
        ('share = "nan"', ("share",), "a number is wanted"),
        ('most = "3"', ("most",), "a number is wanted"),
        ("count = true", ("count",), "a number is wanted, not true"),
        ("share = false", ("share",), "a number is wanted, not false"),
        ('on = "true"', ("on",), 'true or false is wanted, not the text "true"'),
        ("on = 1", ("on",), "true or false is wanted, not 1"),
        ('pair = [0, "1"]', ("pair",), "a number is wanted"),
        ('sizes = [8, "5"]', ("sizes",), "a number is wanted"),
        ('weights = {en = "2"}', ("weights",), "a number is wanted"),
        ("preset = true", ("preset",), "a number is wanted"),
        ('inner = {share = "1"}', ("inner", "share"), "a number is wanted"),
    ],
)
def test_what_is_no_number_is_not_made_one(toml: str, place: tuple[str, ...], told: str) -> None:
    with pytest.raises(ValidationError) as error:
        outer(toml)
    [found] = error.value.errors()
    assert found["loc"] == place
    assert told in found["msg"]


FULL = """
count = 1e3
share = 1
on = true
most = 3
pair = [0, 1.5]
sizes = [8, 5]
weights = {en = 2, fr = 0.5}
preset = 3
choice = "b"
kind = "small"
path = "here"
inner = {share = 1}
"""


def test_toml_has_fewer_kinds_than_settings() -> None:
    found = outer(FULL)
    plain: dict[str, Any] = {name: getattr(found, name) for name in Outer.model_fields}
    assert plain == {
        "count": 1000, "share": 1.0, "on": True, "most": 3, "pair": (0.0, 1.5), "sizes": (8, 5),
        "weights": {"en": 2.0, "fr": 0.5}, "preset": 3, "choice": "b", "kind": Kind.SMALL, "path": Path("here"),
        "inner": Inner(share=1.0),
    }  # fmt: skip
    assert outer('preset = "3"').preset == "3"  # where a text is as good, it stays one


def test_settings_come_back_from_json_as_they_went() -> None:
    found = outer(FULL)
    assert Outer.model_validate(found.model_dump(mode="json")) == found
    assert Outer.model_validate(json.loads(found.model_dump_json())) == found
    assert Outer.model_validate_json(found.model_dump_json()) == found
    assert Outer(**found.model_dump()) == found
