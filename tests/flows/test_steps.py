"""`millrace steps` tells what may stand in the TOML, from the steps themselves."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from flows.cli import app
from flows.steps import names, sentence
from pipeline.step import Step, load


def told(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["steps", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_every_step_is_listed_with_a_sentence() -> None:
    listed = {row["use"]: row["what it does"] for row in json.loads(told("--json"))}
    assert {"sources.folder", "annotators.language", "filters.size", "gathers.near_duplicates"} <= set(listed)
    assert list(listed) == names()
    assert all(text == sentence(load(use, Step)) and text.endswith(".") for use, text in listed.items())


def test_the_settings_of_one_are_told_with_their_defaults() -> None:
    found = json.loads(told("filters.size", "--json"))
    assert {row["setting"]: row["default"] for row in found["settings"]} == {"width": "32", "height": "32"}
    assert "width" in told("filters.size")
    [path] = [
        row for row in json.loads(told("sources.folder", "--json"))["settings"] if row["setting"] == "path"
    ]
    assert path["default"] == "required"


def test_one_that_is_not_there_is_a_message() -> None:
    done = CliRunner().invoke(app, ["steps", "filters.sise"])
    assert done.exit_code == 1 and "no such module" in done.output
