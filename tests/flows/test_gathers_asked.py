"""What gathers decided is stale when what they read is, and one that reads what a later one writes is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.config import ConfigError, read
from pipeline.annotators.perceptual_hash import PerceptualHash
from pipeline.annotators.picture_quality import PictureQuality
from storage import generations
from storage.errors import SnapshotContaminated

NEAR, CLEAN = (f'[[gathers]]\nuse = "gathers.{one}"\n' for one in ("near_duplicates", "decontaminate"))
SIGNS = """
[[annotators]]
use = "annotators.picture_quality"
[[annotators]]
use = "annotators.text_minhash"
permutations = 64
[[gathers]]
use = "gathers.text_duplicates"
"""


def policies(mill: Any) -> dict[str, str]:
    found = mill.sql("SELECT DISTINCT stage, policy FROM decisions WHERE stage NOT IN ('collect', 'filter')")
    assert len(found) == 3
    groups = json.loads((mill.store().path / generations.FILE).read_text())["groups"]["fingerprint"]
    return {**dict(found), "groups": groups}


def test_gathers_ask_again_when_what_they_read_is_other(mill: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with mill.config.open("a") as file:
        file.write(SIGNS)
    mill.change(NEAR, f'{NEAR}prefer = "picture_quality.sharpness"\n')

    def changed(before: dict[str, str]) -> set[str]:
        mill.ingest()
        after = policies(mill)
        return {name for name in after if after[name] != before[name]}

    mill.ingest()
    first = policies(mill)
    assert changed(first) == set()
    mill.change("permutations = 64", "permutations = 96")
    assert changed(first) == {"text_duplicates"}
    second = policies(mill)
    every = {"near_duplicates", "decontaminate", "text_duplicates", "groups"}
    monkeypatch.setattr(PictureQuality, "version", PictureQuality.version + 1)
    assert changed(second) == every
    third = policies(mill)
    monkeypatch.setattr(PerceptualHash, "version", PerceptualHash.version + 1)
    assert changed(third) == every


def written(folder: Path, *gathers: str) -> Path:
    hashes = "".join(f'[[annotators]]\nuse = "annotators.{a}"\n' for a in ("perceptual_hash", "text_minhash"))
    path = folder / "millrace.toml"
    path.write_text(hashes + "".join(gathers))
    return path


def test_a_gather_that_reads_what_a_later_one_writes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"decontaminate reads .groups., which gathers.near_duplicates.*before"
    ):
        read(written(tmp_path, CLEAN, NEAR))
    texts = '[[gathers]]\nuse = "gathers.text_duplicates"\njudge = "{}"\n'
    with pytest.raises(
        ConfigError, match=r"gathers\.text_duplicates.* before use = .gathers\.text_duplicates"
    ):
        read(written(tmp_path, texts.format("joint"), NEAR))
    boilerplate = '[[gathers]]\nuse = "gathers.boilerplate"\n'
    for fine in (
        [NEAR, CLEAN],
        [CLEAN],
        [texts.format("text"), NEAR],
        [boilerplate, NEAR],
        [NEAR, boilerplate],
    ):
        read(written(tmp_path, *fine))


def test_a_table_that_a_setting_names_must_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'near_duplicates reads "faces": add .*annotators\.faces'):
        read(written(tmp_path, f'{NEAR}prefer = "faces.count"\n'))


def test_it_is_told_why_held_out_rows_are_still_there(mill: Any) -> None:
    [(picture,)] = mill.sql("SELECT min(image_id) FROM samples JOIN splits USING (sample_id) JOIN verdicts v USING (sample_id) "
                            "WHERE split = 'train' AND v.kept")  # fmt: skip
    [(group,)] = mill.sql("SELECT min(coalesce(group_id, image_id)) FROM samples LEFT JOIN groups USING (image_id) "
                          "WHERE held_out")  # fmt: skip
    mill.store().append("groups", pa.table({"image_id": [picture], "group_id": [group]}), parts=["by hand"])
    mill.change(CLEAN, f'{CLEAN}sets = ["another"]\n')
    with pytest.raises(SnapshotContaminated, match=r"guards sets = \['another'\] only.*leave `sets` out"):
        mill.ingest()
    mill.change(f'{CLEAN}sets = ["another"]\n', "")
    with pytest.raises(SnapshotContaminated, match=r'Add \[\[gathers\]\] use = "gathers\.decontaminate"'):
        mill.ingest()
