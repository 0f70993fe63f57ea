"""What a first attempt with a mistake in it says, how soon, and what it leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app

NOBODY = "http://127.0.0.1:9/api"
"""An API of Prefect where none answers: a command that gets as far says so."""


def written(folder: Path, *sources: str) -> Path:
    config = folder / "millrace.toml"
    config.write_text("".join(f'[[sources]]\nname = "s{n}"\n{source}\n' for n, source in enumerate(sources)))
    return config


def complaint(config: Path) -> str:
    done = CliRunner().invoke(app, ["ingest", "-c", str(config)])
    assert (done.exit_code, done.stdout) == (1, "")
    return done.stderr.strip()


@pytest.mark.parametrize(
    ("use", "path", "told"),
    [
        ("folder", "pictures", "no such folder"),
        ("parquet", "data/*.parquet", "no such file, and no file that the pattern fits"),
        ("webdataset", "shards/*.tar", "no such file, and no file that the pattern fits"),
        ("url_list", "urls.csv", "no such file, and no file that the pattern fits"),
    ],
)
def test_what_is_not_there_is_told_before_prefect_starts(
    use: str, path: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", NOBODY)
    (tmp_path / "there").mkdir()
    there = 'use = "sources.folder"\npath = "there"'
    config = written(tmp_path, there, f'use = "sources.{use}"\npath = "{path}"')
    assert complaint(config) == f'error: source s1: path = "{tmp_path}/{path}": {told}'
    assert sorted(os.listdir(tmp_path)) == ["millrace.toml", "there"]


def test_a_bucket_and_the_web_are_left_to_the_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", NOBODY)
    config = written(
        tmp_path,
        'use = "sources.folder"\npath = "s3://bucket/pictures?endpoint=http://127.0.0.1:9"',
        'use = "sources.web_pages"\nurls = ["http://127.0.0.1:9/"]',
    )
    assert f"PREFECT_API_URL = {NOBODY}" in complaint(config)
