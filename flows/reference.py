"""docs/reference/, told from the code: `python -m flows.reference` writes it anew (`make reference`).

Settings come from the pydantic models, commands from the command line, tables from storage.tables and the views beside
them. A test fails when a file there is not what the code tells.
"""

from __future__ import annotations

import inspect
import tempfile
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flows import steps
from flows.cli import app
from flows.config import Config
from pipeline.step import Step, load
from storage import views
from storage.derived import View
from storage.store import Store
from storage.tables import TABLES

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
MADE = "<!-- Written by `make reference` from the code: change that, not this. -->\n"


def pages() -> dict[str, str]:
    """Each file of docs/reference by its name."""
    return {
        "commands.md": commands(),
        "configuration.md": configuration(),
        "steps.md": listed_steps(),
        "tables.md": tables(),
    }


def write(folder: Path = FOLDER) -> None:
    """Writes all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def cell(value: object) -> str:
    """A text in a cell of a table."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def grid(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines: list[Sequence[object]] = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


# Settings


def configuration() -> str:
    """Every section of the TOML."""
    found = [
        f"{MADE}# Configuration\n\nOne TOML file says what to do; a setting that is unknown or out of range is refused. ",
        "What may stand beside `use` under `[[annotators]]`, `[[filters]]`, `[[gathers]]` and `[[sources]]` depends on ",
        "the step: [steps](steps.md).\n",
    ]
    found += sections(Config, "")
    return "".join(found)


def sections(model: type[BaseModel], path: str) -> Iterator[str]:
    """A model's own settings as a table, then each model in it."""
    own, inner = [], []
    for name, field in model.model_fields.items():
        nested, many = model_of(field.annotation)
        if nested is None:
            own.append((f"`{name}`", kind(field.annotation), default(field), field.description or ""))
        else:
            inner.append((name, nested, many))
    if path:
        yield f"\n## {path}\n\n{paragraph(model)}\n"
    if own:
        yield "\n" + grid(("setting", "type", "default", "meaning"), own)
    for name, nested, many in inner:
        place = f"{path.strip('[]')}.{name}".strip(".")
        yield from sections(nested, f"[[{place}]]" if many else f"[{place}]")


def model_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model that a setting holds, and whether it holds several."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation, False
    many = get_origin(annotation) in (list, tuple)
    for one in get_args(annotation):
        found, _ = model_of(one) if one is not type(None) else (None, False)
        if found is not None:
            return found, many
    return None, False


def kind(annotation: Any) -> str:
    """A type in words that TOML has."""
    names = {
        str: "string",
        int: "whole number",
        float: "number",
        bool: "true or false",
        type(None): "left out",
    }
    if annotation in names:
        return names[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(one) for one in inner if one is not type(None)))
    if origin in (list, tuple, set, frozenset):
        return f"list of {kind(inner[0])}" if inner else "list"
    if origin is dict:
        return "table"
    if str(origin).endswith("Literal"):
        return ", ".join(f'"{one}"' for one in inner)
    return (
        kind(inner[0]) if origin is not None and inner else getattr(annotation, "__name__", "table").lower()
    )


def default(field: FieldInfo) -> str:
    """What a setting is when it is left out."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined:
        return ""
    return f"`{plain(value)}`"


def plain(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return f"[{', '.join(map(plain, items))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {plain(one)}" for key, one in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def paragraph(documented: Any) -> str:
    """What a class says of itself, each of its paragraphs on a line."""
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(documented) or "").split("\n\n"))


def listed_steps() -> str:
    """Every source, annotator, filter and gather with its settings."""
    found = [f"{MADE}# Steps\n\nEach is named in the TOML by `use`; `millrace steps NAME` tells the same.\n"]
    for use in steps.names():
        step = load(use, Step)
        found.append(f"\n## {use}\n\n{paragraph(step)}\n")
        own = [
            (f"`{name}`", kind(field.annotation), default(field), field.description or "")
            for name, field in step.model_fields.items()
        ]
        if own:
            found.append("\n" + grid(("setting", "type", "default", "meaning"), own))
    return "".join(found)


# The command line


def commands() -> str:
    """Every command with its arguments and options."""
    found = [
        f"{MADE}# Commands\n\n`--json` prints one JSON document. The exit status is 0, or 1 with a line on standard ",
        "error that says what was wrong; 130 if it was stopped.\n",
    ]
    top = typer.main.get_command(app)
    found += [part for name, one in under(top) for part in command(name, one)]
    return "".join(found)


def under(group: Any, before: str = "millrace") -> Iterator[tuple[str, Any]]:
    """The commands of a group, those of the groups in it too."""
    for name, one in sorted(group.commands.items()):
        if hasattr(one, "commands"):
            yield from under(one, f"{before} {name}")
        else:
            yield f"{before} {name}", one


def command(name: str, made: Any) -> Iterator[str]:
    """A command's section."""
    arguments = [one for one in made.params if one.param_type_name == "argument"]
    words = [one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments]
    yield f"\n## {name}\n\n"
    yield f"```text\n{' '.join([name, *words])}\n```\n\n" if words else ""
    yield described(made.help or "")
    rows = [
        (f"`{', '.join(param.opts)}`", usual(param), getattr(param, "help", None) or "")
        for param in made.params
        if param.name != "help"
    ]
    if rows:
        yield "\n" + grid(("argument or option", "default", "meaning"), rows)


def described(text: str) -> str:
    """A command's help: its sentences, and its examples as they are typed."""
    said, _, examples = inspect.cleandoc(text).partition("Example")
    lines = [
        line.strip() for line in examples.removeprefix("s").removeprefix(":").splitlines() if line.strip()
    ]
    shown = "\n```sh\n" + "".join(f"{line}\n" for line in lines) + "```\n" if lines else ""
    return " ".join(said.split()) + "\n" + shown


def usual(param: Any) -> str:
    """What an option is when it is left out."""
    if param.required:
        return "required"
    value = param.default
    if callable(value) or value in (None, False, (), "") or "UNSET" in repr(value).upper():
        return ""
    return f"`{getattr(value, 'value', value)}`"


# Tables


def tables() -> str:
    """Every table, view and macro with its columns."""
    found = [
        f"{MADE}# Tables, views and macros\n\nWhat SQL sees: [questions](../queries.md). Each annotator adds a table of its "
        "own name, whose columns `DESCRIBE` shows.\n\n## Tables\n"
    ]
    for table in TABLES.values():
        rows = [
            (f"`{one.name}`", views.sql_type(one.type), views.described(one) + ("" if one.hashed else " *"))
            for one in table.columns
        ]
        keys = ", ".join(f"`{one}`" for one in table.key)
        found.append(
            f"\n### {table.name}\n\n{table.doc} Key: {keys}.\n\n{grid(('column', 'type', 'meaning'), rows)}"
        )
    found.append(
        "\n\\* says when or by which part a row was written: no content hash covers it.\n\n## Views and macros\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "store")
        with store.connect(overview=True) as db:
            found += [view(db, one) for one in (*views.derived([]), *views.OVERVIEW)]
    return "".join(found)


def view(db: Any, one: View) -> str:
    """A view's or macro's section."""
    asked = f"{one.name}({', '.join(repr(word) for word in one.takes)})" if one.takes else one.name
    told = db.sql(f"FROM {asked}")
    rows = [
        (f"`{name}`", kind_of, one.columns[name])
        for name, kind_of in zip(told.columns, told.types, strict=True)
    ]
    return f"\n### {one.call}\n\n{one.doc}\n\n{grid(('column', 'type', 'meaning'), rows)}"


if __name__ == "__main__":
    write()
