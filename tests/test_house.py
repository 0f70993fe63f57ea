"""House rules that a machine can keep: names, lengths, docstrings, and nothing that runs what it reads."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("storage", "pipeline", "model", "flows", "dashboards", "benchmarks")
LONGEST = 420
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "os.system", "os.popen", "torch.load", "yaml.load", "tempfile.mktemp"}


@cache
def sources(*folders: str) -> tuple[Path, ...]:
    return tuple(sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def test_what_is_not_python_is_installed_with_its_package() -> None:
    """Where Millrace runs from a checkout, nobody notices that a wheel lacks it."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for room in ROOMS:
        there = {
            path for path in (ROOT / room).rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")
        }
        packed = {path for pattern in declared.get(room, ()) for path in (ROOT / room).glob(pattern)}
        assert there == packed, room


def test_no_file_is_a_drawer_of_odds_and_ends() -> None:
    assert [p for p in sources(*ROOMS) if p.stem in ("utils", "util", "helpers", "misc", "common")] == []


def test_files_can_be_read_in_one_sitting() -> None:
    long = {str(p.relative_to(ROOT)): n for p in sources(*ROOMS, "tests") if (n := lines(p)) > LONGEST}
    assert not long, long


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def test_modules_say_what_they_are() -> None:
    silent = [p for p in sources(*ROOMS) if p.name != "__init__.py" and not ast.get_docstring(tree(p))]
    assert not silent, silent


def test_classes_say_what_they_are() -> None:
    silent = [
        f"{place(path, node)} {node.name}"
        for path in sources(*ROOMS)
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not silent, silent


def test_flows_are_not_named_after_the_standard_library() -> None:
    """Prefect puts a flow's folder on the path: a tokenize.py there breaks Python itself."""
    assert [p for p in sources("flows") if p.stem in sys.stdlib_module_names] == []


def test_nothing_runs_when_a_module_is_imported() -> None:
    wrong = [
        place(path, node)
        for path in sources(*ROOMS)
        for node in tree(path).body
        if isinstance(node, ast.For | ast.While | ast.With)
        or (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant))
    ]
    assert not wrong, wrong


def test_nothing_runs_what_it_reads() -> None:
    wrong = []
    for path in sources(*ROOMS, "tests"):
        for node in ast.walk(tree(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            unsafe = {name.split(".")[0] for name in names} & UNSAFE_MODULES
            if isinstance(node, ast.Call):
                shell = any(k.arg == "shell" and not is_false(k.value) for k in node.keywords)
                unsafe |= ({ast.unparse(node.func)} & UNSAFE_CALLS) | ({"shell"} if shell else set())
            wrong += [f"{place(path, node)} {one}" for one in unsafe]
    assert not wrong, wrong


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_every_test_can_fail() -> None:
    wrong = [
        f"{place(path, node)} {node.name}"
        for path in sources("tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not claims(node)
    ]
    assert not wrong, wrong


def claims(test: ast.FunctionDef) -> bool:
    """Whether a test asserts something itself, or hands that to a function that says so in its name."""
    for node in ast.walk(test):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rsplit(".", 1)[-1]
            if name == "raises" or name.startswith(("assert", "check", "expect")):
                return True
    return False


def test_packages_are_all_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    include = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert sorted(include) == sorted(f"{room}*" for room in ROOMS)
    folders = {path.parent for path in sources(*ROOMS)}
    missing = [folder for folder in folders if not (folder / "__init__.py").exists()]
    assert not missing, missing


def tracked() -> list[Path]:
    if shutil.which("git") is None:
        pytest.skip("no git")
    ran = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if ran.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in ran.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_without_git_the_look_at_tracked_files_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception):
        tracked()


def test_no_file_names_a_machine() -> None:
    """Paths of somebody's home or workplace mean nothing elsewhere."""
    machine = re.compile(r"(?<![\w.~}])/(?:work|home/\w+|Users/\w+|root|tmp/\w+)/")
    wrong = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [f"{path.relative_to(ROOT)}: {m.group()}" for m in machine.finditer(text)]
    assert not wrong, wrong


def test_make_says_what_it_can_do() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    listed = set(re.findall(r"^([a-z-]+):.*##", text, re.MULTILINE))
    assert {"setup", "demo", "test", "lint", "test-slow", "torture", "bench", "up", "clean"} <= listed
