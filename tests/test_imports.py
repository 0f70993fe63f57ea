"""The arrows of the house: flows → (pipeline, model) → storage, no circles, heavy things in their place."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("storage", "pipeline", "model", "flows", "dashboards", "benchmarks")
MAY_IMPORT = {
    "storage": {"storage"},
    "pipeline": {"pipeline", "storage"},
    "model": {"model", "storage"},
    "dashboards": {"dashboards", "pipeline", "storage"},
    "flows": {"flows", "pipeline", "model", "storage", "dashboards"},
    "benchmarks": set(ROOMS),
}
TORCH = {"torch", "torchvision", "open_clip", "transformers"}


@dataclass(frozen=True)
class Import:
    """One module named by an import statement."""

    name: str
    line: int
    late: bool
    """Inside a function: it runs when the function does."""


@cache
def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


@cache
def imports(module: str) -> tuple[Import, ...]:
    """What a module imports, but for the eyes of the type checker."""
    return tuple(_imports(tree(modules()[module]), late=False))


def _imports(node: ast.AST, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = "." * child.level + (child.module or "")
            yield from (Import(f"{base}.{alias.name}", child.lineno, late) for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            yield from (one for other in child.orelse for one in _imports(other, late))
        else:
            yield from _imports(child, late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


def own(name: str) -> str | None:
    """The project's module that an imported name lies in, or None."""
    while name:
        if name in modules():
            return name
        name = name.rpartition(".")[0]
    return None


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_room_is_found() -> None:
    assert {room(module) for module in modules()} == set(ROOMS)
    assert "flows.cli" in modules()


@pytest.mark.parametrize("here", ROOMS)
def test_imports_follow_the_arrows(here: str) -> None:
    wrong = [
        f"{module}:{one.line} imports {one.name}"
        for module in modules()
        if room(module) == here
        for one in imports(module)
        if room(one.name) in ROOMS and room(one.name) not in MAY_IMPORT[here]
    ]
    assert not wrong, wrong


def test_pipeline_and_model_do_not_know_each_other() -> None:
    assert "model" not in MAY_IMPORT["pipeline"]
    assert "pipeline" not in MAY_IMPORT["model"]


def test_imports_are_absolute() -> None:
    wrong = [f"{m}:{one.line}" for m in modules() for one in imports(m) if one.name.startswith(".")]
    assert not wrong, wrong


def test_prefect_lives_in_flows() -> None:
    wrong = [
        f"{module}:{one.line} imports {one.name}"
        for module in modules()
        if room(module) not in ("flows", "benchmarks")
        for one in imports(module)
        if room(one.name).startswith("prefect")
    ]
    assert not wrong, wrong


def test_torch_lives_in_the_model_and_runs_late_in_annotators() -> None:
    wrong = [
        f"{module}:{one.line} imports {one.name}"
        for module in modules()
        if room(module) not in ("model", "benchmarks")
        for one in imports(module)
        if room(one.name) in TORCH and not (module.startswith("pipeline.annotators.") and one.late)
    ]
    assert not wrong, wrong


def test_no_module_needs_itself() -> None:
    """Imports inside functions count too: a circle that is only put off is a circle."""
    needs = {m: {o for one in imports(m) if (o := own(one.name)) and o != m} for m in modules()}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(needs[module]):
                walk(other, (*path, module))
            done.add(module)

    for module in sorted(needs):
        walk(module, ())


@pytest.mark.parametrize("module", ["flows.cli", "flows.config", "flows.store_admin", "pipeline.stage"])
def test_what_a_command_imports_first_is_light(module: str) -> None:
    """`millrace --help` and `millrace sql` answer at once: Prefect takes seconds to import, torch more."""
    heavy = sorted({"prefect", "pandas", *TORCH})
    code = f"import sys, {module}; print(*[name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []
