"""Stores on disk, small parts to fill them, and children to kill."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from storage import parts
from storage.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def picture(name: str) -> tuple[str, bytes]:
    """A stand-in for a stored picture: its id and its bytes."""
    content = hashlib.sha256(name.encode()).digest() * 20
    return hashlib.sha256(content).hexdigest(), content


@pytest.fixture
def rows() -> Callable[..., dict[str, pa.Table]]:
    """Makes a collected part: samples, their pictures, and the decision that let them in."""

    def make(
        ids: Sequence[str], *, text: str = "a caption", pictures: Sequence[str] | None = None,
        source: str = "s", licence: str | None = "CC0-1.0", kept: bool = True,
    ) -> dict[str, pa.Table]:  # fmt: skip
        drawn = [picture(name) for name in (pictures or ids)]
        n = len(ids)
        return {
            "samples": pa.table(
                {
                    "sample_id": pa.array(ids, pa.string()),
                    "source": pa.array([source] * n, pa.string()),
                    "image_id": pa.array([one for one, _ in drawn], pa.string()),
                    "text": pa.array([f"{text} {one}" for one in ids], pa.string()),
                    "licence": pa.array([licence] * n, pa.string()),
                }
            ),
            "images": pa.table(
                {
                    "image_id": pa.array([one for one, _ in drawn], pa.string()),
                    "image": pa.array([content for _, content in drawn], pa.binary()),
                }
            ),
            "decisions": pa.table(
                {
                    "sample_id": pa.array(ids, pa.string()),
                    "source": pa.array([source] * n, pa.string()),
                    "stage": pa.array(["collect"] * n, pa.string()),
                    "kept": pa.array([kept] * n, pa.bool_()),
                    "reason": pa.array([None if kept else "truncated"] * n, pa.string()),
                }
            ),
        }

    return make


@pytest.fixture
def ingest(store: Store, rows) -> Callable[..., None]:
    """Stages and commits one part, with splits and tokens for what was kept, ready for a snapshot."""

    def run(
        key: str, ids: Sequence[str], *, into: Store | None = None, split: str = "train", **more: object
    ) -> None:
        target = into or store
        tables = rows(ids, **more)
        parts.stage(target, key, tables)
        parts.commit(target, [key])
        n = len(ids)
        images = tables["images"]["image_id"].unique()
        target.append("splits", pa.table({"sample_id": ids, "split": [split] * n}), parts=[key])
        tokens = {"sample_id": ids, "tokenizer_id": ["tt"] * n, "prompt_ids": [[]] * n, "ids": [[1, 2]] * n}
        schema = pa.schema(
            [target.table("text_tokens").schema.field(name) for name in tokens]
        ).remove_metadata()
        target.append("text_tokens", pa.table(tokens, schema=schema), parts=[key])
        known = set(target.read("image_tokens", ["image_id"])["image_id"].to_pylist())
        new = [one for one in images.to_pylist() if one not in known]
        codes = pa.table({"image_id": new, "tokenizer_id": ["it"] * len(new), "codes": [[3, 4]] * len(new)})
        target.append("image_tokens", codes if new else codes.slice(0, 0).select([]), parts=[key])

    return run


@pytest.fixture
def child() -> Callable[..., subprocess.Popen]:
    """Starts Python code in a process of its own that sees this repository."""
    started: list[subprocess.Popen] = []

    def start(code: str, *arguments: object) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
