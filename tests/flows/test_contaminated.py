"""Held-out rows and the flows: training refuses them, and an evaluation set that comes late cleans what came before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows import train
from storage import contamination, snapshot
from storage.errors import SnapshotContaminated
from storage.snapshot import Snapshot

HELD_OUT = '[[sources]]\nuse = "sources.folder"\nname = "heldout"\npath = "data/heldout"\nheld_out = true\n'


def test_training_refuses_what_was_made_elsewhere_and_takes_it_when_told(
    mill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    monkeypatch.setattr(
        train.training, "train", lambda store, pinned, *_, **__: trained.append(pinned.name) or Path()
    )
    store, clean = mill.store(), mill.snapshot()
    train.run(mill_config(mill), clean.name)
    [(picture,)] = mill.sql("SELECT image_id FROM samples s JOIN splits USING (sample_id) JOIN verdicts v USING (sample_id) "
                            "WHERE split = 'train' AND v.kept AND image_id IS NOT NULL ORDER BY image_id LIMIT 1")  # fmt: skip
    [(group,)] = mill.sql("SELECT coalesce(group_id, image_id) FROM samples LEFT JOIN groups USING (image_id) "
                          "WHERE held_out AND image_id IS NOT NULL ORDER BY image_id LIMIT 1")  # fmt: skip
    store.append("groups", pa.table({"image_id": [picture], "group_id": [group]}), parts=["by hand"])
    made = snapshot.create(store, "elsewhere", licences=["CC0-1.0"], allow_contaminated=True)
    with pytest.raises(
        SnapshotContaminated, match=r"snapshot elsewhere would train on held-out rows.*heldout"
    ):
        train.run(mill_config(mill), made.name)
    assert trained == [clean.name]
    train.run(mill_config(mill).allowing(True), made.name)
    assert trained == [clean.name, "elsewhere"] and contamination.recorded(store, "elsewhere")


def mill_config(mill: Any) -> Any:
    from flows.config import read

    return read(mill.config)


def test_an_evaluation_set_that_comes_late_cleans_what_was_kept_before(fresh: Any) -> None:
    whole = fresh.config.read_text()
    fresh.change(HELD_OUT, "")
    fresh.ingest()
    leaked = "SELECT sample_id FROM decisions WHERE stage = 'decontaminate' AND reason = 'contaminated'"
    assert fresh.sql(leaked) == []
    fresh.config.write_text(whole)
    fresh.ingest()
    gone = {sample for (sample,) in fresh.sql(leaked)}
    assert gone
    held = Snapshot.open(fresh.store()).samples(columns=["sample_id"])["sample_id"].to_pylist()
    assert not gone & set(held)
    assert fresh.sql("SELECT count(*) FROM funnel_check WHERE NOT adds_up") == [(0,)]
    assert fresh.sql("SELECT count(*) - count(DISTINCT (sample_id, stage)) FROM decisions") == [(0,)]
