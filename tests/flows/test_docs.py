"""What the documentation shows holds: its TOML is taken, its reference is what the code tells, its pages build."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from flows import cli, config, quiet, reference, steps
from storage.tables import TABLES

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    (doc, text)
    for doc in (
        "docs/collecting.md",
        "docs/preparing.md",
        "docs/operating.md",
        "docs/machines.md",
        "docs/s3.md",
        "docs/tasks.md",
        "docs/serving.md",
        "README.md",
    )
    for text in BLOCK.findall((ROOT / doc).read_text())
]


def test_there_is_something_to_check() -> None:
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize(("doc", "text"), BLOCKS)
def test_a_block_is_a_configuration(doc: str, text: str, tmp_path: Path) -> None:
    read = config.parse(config.resolve(tomllib.loads(text), tmp_path))
    assert read.source_steps or read.annotator_steps or read.fetch


def test_the_defaults_that_are_shown_are_the_defaults() -> None:
    (shown,) = (tomllib.loads(text)["fetch"] for doc, text in BLOCKS if "per_host" in text)
    shown.pop("contact")
    defaults = config.Config().fetch.model_dump(mode="json")
    assert {name: defaults[name] for name in shown} == shown
    (kept,) = (tomllib.loads(text)["maintain"] for doc, text in BLOCKS if "keep_hours" in text)
    assert config.Config().maintain.model_dump(mode="json") == kept
    (served,) = (tomllib.loads(text)["serve"] for doc, text in BLOCKS if "max_prompt" in text)
    assert config.Config().serve.model_dump(mode="json") == served


SERVICE = ROOT / "docs/service"


def test_the_systemd_unit_is_one(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    text = (SERVICE / "millrace.service").read_text()
    unit = tmp_path / "millrace.service"
    unit.write_text(text.replace("/opt/millrace/bin/millrace", sys.executable))  # which it looks for
    ran = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert not re.search(r"^User=(root|0)$|^Environment=.*PASSWORD", text, re.MULTILINE) and "\nUser=" in text


def test_compose_takes_the_file_and_asks_for_the_password() -> None:
    """Its own check of names and values, which needs no daemon."""
    standalone = shutil.which("docker-compose")
    compose = [standalone] if standalone else ["docker", "compose"]
    if not standalone and (
        not shutil.which("docker") or subprocess.run([*compose, "version"], capture_output=True).returncode
    ):
        pytest.skip("no Compose on this machine: `apt-get install docker-compose`")
    line = [*compose, "-f", SERVICE / "compose.yaml", "config"]
    env = {name: value for name, value in os.environ.items() if name != "PGPASSWORD"}
    refused = subprocess.run(line, capture_output=True, text=True, env=env)
    assert refused.returncode != 0 and "set it in the environment" in refused.stderr
    read = subprocess.run(line, capture_output=True, text=True, env={**env, "PGPASSWORD": "grist"})
    assert (read.returncode, read.stderr) == (0, "")
    assert set(yaml.safe_load(read.stdout)["services"]) == {"postgres", "millrace"}


def told(pattern: str, path: Path) -> list[str]:
    return re.findall(pattern, path.read_text(), re.MULTILINE)


def test_what_the_service_files_start_is_there() -> None:
    """`millrace up` with its options as the command has them, a module, and the code and nothing else in the image."""
    [unit] = told(r"^ExecStart=/opt/millrace/bin/millrace (.*)$", SERVICE / "millrace.service")
    [image] = told(r"^CMD (.*)$", SERVICE / "Dockerfile")
    known = {option for one in get_command(cli.app).commands["up"].params for option in one.opts}
    for given in (unit.split(), json.loads(image)):
        assert given[0] == "up" and {word for word in given if word.startswith("--")} <= known
    assert told(r"^ENTRYPOINT (.*)$", SERVICE / "Dockerfile") == ['["millrace"]']
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"]["millrace"] == "flows.cli:main"
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], *packages}
    assert set(told(r"^!(.*)$", ROOT / ".dockerignore")) == needed
    assert told(r"^\*$", ROOT / ".dockerignore") == ["*"]


def test_a_worker_of_a_pool_beats_and_asks_again_as_millrace_up_does(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = yaml.safe_load((ROOT / "prefect.yaml").read_text())["definitions"]["pool"]
    given, ours = pool["job_variables"]["env"], dict[str, str]()
    with monkeypatch.context() as patched:
        patched.setattr(os, "environ", ours)
        quiet.quiet_prefect(ROOT)
    assert {name: ours[name] for name in given} == given
    assert {name for name in ours if "CLIENT" in name or "HEARTBEAT" in name} <= set(given)


def test_what_compose_starts_has_no_rights_and_no_secrets() -> None:
    text = (SERVICE / "compose.yaml").read_text()
    described = yaml.safe_load(text)
    assert set(described["services"]) == {"postgres", "millrace"}
    for service in described["services"].values():
        assert int(service["user"].split(":")[0]) > 0
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["healthcheck"]["test"]
        assert service["network_mode"] == "host" and "ports" not in service  # loopback: both bind to it
        passwords = [value for key, value in service["environment"].items() if "PASSWORD" in key]
        assert passwords and all(value.startswith("${PGPASSWORD:?") for value in passwords)
    assert (SERVICE / described["services"]["millrace"]["build"]["context"] / "pyproject.toml").exists()
    shown = "\n".join(line[4:] for line in text.splitlines() if line.startswith("#   ["))
    read = config.parse(tomllib.loads(re.sub(r"^(\[\w+\]) ", r"\1\n", shown, flags=re.MULTILINE)))
    assert read.prefect.database.startswith("postgresql://")


def test_the_reference_is_what_the_code_tells() -> None:
    folder = reference.FOLDER
    assert sorted(one.name for one in folder.iterdir()) == sorted(reference.pages())
    stale = [name for name, text in reference.pages().items() if (folder / name).read_text("utf-8") != text]
    assert not stale, f"{stale} in docs/reference: run `make reference`"


def test_the_reference_leaves_nothing_out() -> None:
    pages = reference.pages()
    assert all(f"## {use}\n" in pages["steps.md"] for use in steps.names())
    assert all(f"### {name}\n" in pages["tables.md"] for name in TABLES)
    assert all(f"## millrace {name}" in pages["commands.md"] for name in get_command(cli.app).commands)  # type: ignore[attr-defined]
    told = pages["configuration.md"]
    assert all(f"[{name}]" in told or f"`{name}`" in told for name in config.Config.model_fields)


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    """Every link leads somewhere, every page is in the index; no network is asked."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-n",
        "-b",
        "html",
        "-d",
        tmp_path / "trees",
    ]
    ran = subprocess.run([*command, ROOT / "docs", tmp_path / "html"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    index = (tmp_path / "html/index.html").read_text("utf-8")
    assert "architecture.svg" in index
    outside = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', index)
    assert outside == []
