"""The TOML that the documentation shows is TOML that Millrace takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from flows import config

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
