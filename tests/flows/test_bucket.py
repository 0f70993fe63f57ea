"""A whole mill over a bucket: ingested, trained and evaluated there, equal to what a disk gives."""

from __future__ import annotations

from typing import Any

import pytest

from storage.snapshot import content_hash
from storage.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TABLES = ("images", "samples", "decisions", "groups", "splits", "text_tokens", "image_tokens", "members")


def test_the_mill_turns_over_a_bucket(milled: Any, fresh: Any, new_bucket: str, tmp_path: Any) -> None:
    from flows import evaluate, train

    fresh.change("[store]\n", f'[store]\ntables = "s3://{new_bucket}/corpus"\n')
    fresh.change("steps = 60", "steps = 4")
    fresh.ingest()
    store = fresh.store()
    assert fresh.snapshot().content_hash == milled.snapshot().content_hash
    assert {t: content_hash(store, t) for t in TABLES} == {t: content_hash(milled.store(), t) for t in TABLES}
    before = store.versions()
    fresh.ingest()
    assert store.versions() == before  # nothing is done twice
    train.start(str(fresh.config))
    evaluate.start(str(fresh.config))
    other = Store.open(tmp_path / "elsewhere", create=False, tables=f"s3://{new_bucket}/corpus")
    with other.connect() as db:
        assert db.sql("SELECT list(state ORDER BY state) FROM runs WHERE kind = 'train'").fetchall() == [
            (["finished", "started"],)
        ]
        [(scores,)] = db.sql("SELECT count(*) FROM evaluations").fetchall()
        [(seen,)] = db.sql("SELECT count(DISTINCT step) FROM trained_on").fetchall()
    assert scores > 0 and seen == 4
    assert not (store.path / "tables").exists()
