"""`millrace steps`: what may stand in the TOML, with its settings, told from the steps themselves."""

from __future__ import annotations

import inspect
from importlib.resources import files
from typing import Annotated, Any

import typer

from flows.options import JsonOption
from flows.printing import print_rows, show
from pipeline.step import Step, load

KINDS = ("sources", "annotators", "filters", "gathers")


def steps(
    name: Annotated[str, typer.Argument(help="One of them, for its settings: filters.language.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Lists the sources, annotators, filters and gathers; with a name, the settings of one and their defaults.

    Example: millrace steps filters.language
    """
    if not name:
        show([{"use": use, "what it does": sentence(load(use, Step))} for use in names()], as_json)
        return
    step = load(name, Step)
    told = settings(step)
    if as_json:
        show({"use": name, "what it does": inspect.getdoc(step), "settings": told}, True)
        return
    print(f"{inspect.getdoc(step)}\n")
    print_rows(told)


def names() -> list[str]:
    """Every step that comes with Millrace, as `use` names it."""
    found = []
    for kind in KINDS:
        here = files("pipeline").joinpath(kind).iterdir()
        stems = sorted(
            one.name.removesuffix(".py") for one in here if one.name.endswith(".py") and one.name[0] != "_"
        )
        found += [f"{kind}.{stem}" for stem in stems]
    return found


def sentence(step: type[Step]) -> str:
    """The first sentence of what a step says of itself."""
    return (inspect.getdoc(step) or "").strip().split("\n")[0]


def settings(step: type[Step]) -> list[dict[str, Any]]:
    """A step's settings: name, default, and what it means."""
    return [
        {
            "setting": name,
            "default": "required"
            if field.is_required()
            else repr(field.get_default(call_default_factory=True)),
            "meaning": field.description or "",
        }
        for name, field in step.model_fields.items()
    ]
