"""What every step promises, and the hash of its code held to its version.

After a change that cannot alter results, or together with a raised version: `python -m tests.test_contract`
blesses it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pyarrow as pa
import pytest
from pydantic import BaseModel, ValidationError

import pipeline
from pipeline.step import Annotator, Filter, Gather, Source, Step, load
from pipeline.web.source import WebSource

ROOMS: dict[str, type[Step] | tuple[type[Step], ...]] = {
    "annotators": Annotator,
    "filters": Filter,
    "gathers": Gather,
    "sources": (Source, WebSource),
}
BLESSED = Path(__file__).with_name("blessed.json")
SHARED = {"pipeline.step", "pipeline"}
"""Modules that every step imports and that say nothing of its results."""


def uses() -> list[str]:
    """Every step by the name that a configuration gives it: "filters.size"."""
    found = []
    for room in ROOMS:
        package = importlib.import_module(f"pipeline.{room}")
        found += [f"{room}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    return sorted(found)


def step_of(use: str) -> type[Step]:
    return load(use, ROOMS[use.split(".")[0]])


def make(use: str, **settings: Any) -> Step:
    """The step with the least settings that it accepts."""
    step = step_of(use)
    needed = {
        name: _any(field.annotation) for name, field in step.model_fields.items() if field.is_required()
    }
    return step(**(needed | settings))


def _any(annotation: Any) -> Any:
    if get_origin(annotation) is tuple:
        return ()
    return "x" if annotation is str or str in get_args(annotation) else annotation()


def imports(path: Path) -> Iterator[str]:
    """Modules of `pipeline` that a module imports, now or later."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        for name in [module, *(f"{module}.{name}" if module else name for name in names)]:
            if name.startswith("pipeline.") and name not in SHARED and source_of(name).is_file():
                yield name


def source_of(module: str) -> Path:
    return Path(pipeline.__path__[0], *module.split(".")[1:]).with_suffix(".py")


def code_hash(use: str) -> str:
    """sha256 of the step's module and of all in `pipeline` that it imports; comments do not count."""
    todo, seen = [f"pipeline.{use}"], set()
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += imports(source_of(module))
    trees = [ast.dump(bare(source_of(module))) for module in sorted(seen)]
    return hashlib.sha256("\n".join(trees).encode()).hexdigest()[:16]


def bare(path: Path) -> ast.AST:
    """A module's syntax tree without docstrings and other lone strings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [n for n in body if not _lone_string(n)]  # type: ignore[attr-defined]
    return tree


def _lone_string(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@pytest.mark.parametrize("use", uses())
def test_loads_by_name(use: str) -> None:
    step = step_of(use)
    assert step.module() == use
    assert step.name() == use.rsplit(".", 1)[-1]


@pytest.mark.parametrize("use", uses())
def test_says_what_it_does(use: str) -> None:
    step = step_of(use)
    assert step.__doc__ and step.__doc__ != Step.__doc__ and step.__doc__.strip().split("\n")[0].endswith(".")
    assert sys.modules[step.__module__].__doc__


@pytest.mark.parametrize("use", uses())
def test_forbids_unknown_settings(use: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        make(use, no_such_setting=1)


@pytest.mark.parametrize("use", uses())
def test_is_frozen(use: str) -> None:
    step = make(use)
    for name in type(step).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(step, name, getattr(step, name))


def other(value: Any, annotation: Any = None) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case tuple() | list():
            return (*value, "x")
        case dict():
            return {**value, "x": "x"}
        case BaseModel():
            return value.model_copy(update={n: other(getattr(value, n)) for n in type(value).model_fields})
        case None:
            return "x" if str in get_args(annotation) else {"x": "x"} if "dict" in str(annotation) else 1
        case _:
            return f"{value}x"


@pytest.mark.parametrize("use", uses())
def test_fingerprint_covers_each_setting(use: str, tmp_path: Path) -> None:
    step = make(use)
    models = dict.fromkeys(step.needs, "weights")
    before = step.fingerprint(models)
    assert make(use).fingerprint(models) == before
    for name, field in type(step).model_fields.items():
        value = other(getattr(step, name), field.annotation)
        changed = step.model_copy(update={name: value}).fingerprint(models)
        assert (changed == before) == (name in (*step.unfingerprinted, *step.files)), name
    for name in step.files:  # what it holds counts, not where it lies
        here, there = (tmp_path / f"{name}-{place}" for place in ("here", "there"))
        for place in (here, there):
            place.write_bytes(b"weights")
        one, other_place = (step.model_copy(update={name: str(place)}) for place in (here, there))
        held = one.fingerprint(models)
        assert held == other_place.fingerprint(models) != before, name
        here.write_bytes(b"other weights")
        assert one.fingerprint(models) != held, name
    for name in step.needs:
        assert step.fingerprint(models | {name: "other weights"}) != before
    assert step.unfingerprinted <= set(type(step).model_fields)
    newer = type(
        step.__class__.__name__, (type(step),), {"version": step.version + 1, "__module__": step.__module__}
    )
    assert newer(**step.model_dump()).fingerprint(models) != before


@pytest.mark.parametrize("use", [use for use in uses() if use.startswith("annotators.")])
def test_annotator_declares_its_columns(use: str) -> None:
    step = step_of(use)
    assert step.key in ("sample_id", "image_id")  # type: ignore[attr-defined]
    columns: pa.Schema = step.columns  # type: ignore[attr-defined]
    assert columns.names and step.key not in columns.names  # type: ignore[attr-defined]
    for column in columns:
        assert (column.metadata or {}).get(b"doc"), f"{column.name} has no doc"


@pytest.mark.parametrize("use", uses())
def test_changed_code_has_a_new_version(use: str) -> None:
    blessed = json.loads(BLESSED.read_text(encoding="utf-8"))
    now = {"version": step_of(use).version, "code": code_hash(use)}
    assert blessed.get(use) == now, (
        f"the code behind {use} changed: raise its `version` if any result can differ, "
        "and bless it with `python -m tests.test_contract`"
    )


def test_a_comment_changes_no_hash_and_a_number_does(tmp_path: Path) -> None:
    first, second, third = tmp_path / "a.py", tmp_path / "b.py", tmp_path / "c.py"
    first.write_text('"""One."""\nX = 1\n')
    second.write_text('"""Two."""\n# why\nX = 1\n"""After."""\n')
    third.write_text('"""One."""\nX = 2\n')
    assert ast.dump(bare(first)) == ast.dump(bare(second)) != ast.dump(bare(third))


def bless() -> None:
    """Writes down every step's version and code hash."""
    blessed = {use: {"version": step_of(use).version, "code": code_hash(use)} for use in uses()}
    BLESSED.write_text(json.dumps(blessed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    bless()
