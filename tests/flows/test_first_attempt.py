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


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("captions.csv", "pic,caption\na.png,a bear\n", "which column holds the file"),
        ("notes.md", "nothing to see", "nothing came in"),
    ],
)
def test_a_mistake_that_the_flow_finds_leaves_no_store(
    file: str, content: str, told: str, tmp_path: Path, prefect_api: str
) -> None:
    from flows import ingest
    from pipeline.errors import SourceError
    from storage.errors import StoreError

    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / file).write_text(content)
    config = written(tmp_path, 'use = "sources.folder"\npath = "pictures"')
    with pytest.raises((SourceError, StoreError), match=told):
        ingest.start(str(config))
    assert sorted(os.listdir(tmp_path)) == ["millrace.toml", "pictures"]


def test_a_store_that_something_came_into_stays(tmp_path: Path, prefect_api: str) -> None:
    from flows import ingest
    from flows.config import read
    from pipeline.errors import SourceError

    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "captions.csv").write_text(
            "file,caption\na.png,a bear\n" if name == "good" else "pic,caption\na.png,a bear\n"
        )
    config = written(tmp_path, *(f'use = "sources.folder"\npath = "{name}"' for name in ("good", "bad")))
    with pytest.raises(SourceError, match=r"source s1: .*which column holds the file"):
        ingest.start(str(config))
    with read(config).open_store().connect() as db:
        assert db.sql("SELECT source, origin FROM samples").fetchall() == [("s0", "a.png")]
