"""Real data: where it lies, the 884 odd pictures with what we say of them, and an ingest without its flow."""

from __future__ import annotations

import csv
import os
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import splits, stage
from pipeline.annotators.perceptual_hash import PerceptualHash
from pipeline.collect import Origin
from pipeline.gathers.decontaminate import Decontaminate
from pipeline.gathers.near_duplicates import NearDuplicates
from pipeline.step import Filter, Source
from storage import parts
from storage.limits import Limits
from storage.media import MediaError, Picture, normalise
from storage.store import Store

DATA = Path(os.environ.get("MILLRACE_REAL_DATA", Path(__file__).parents[2] / "../shared/data")).resolve()

LIMITS = Limits(min_side=1, max_side=256)

OTHER_FORMATS = {
    "DDS": "textures of games, not on the list of formats",
    "BLP": "textures of games, not on the list of formats",
    "TGA": "has no signature: any bytes could pass for one",
    "FLI": "an animation format, not on the list",
    "SPIDER": "has no signature",
    "MSP": "not on the list",
}
"""Formats that Pillow reads and we refuse as `not_an_image`."""
DIFFERENT = {
    "pillow/psd-oob-write-overflow.psd": "broken in a layer; the merged picture is whole",
}
"""Files that we take and Pillow does not."""


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """A set of the real data, by name; the test is skipped where there is none."""

    def find(name: str) -> Path:
        if not (DATA / name).is_dir():
            pytest.skip(f"no real data: {DATA / name} is not there (set MILLRACE_REAL_DATA)")
        return DATA / name

    return find


@dataclass(frozen=True)
class Adverse:
    """The odd pictures: their bytes, Pillow's outcome, and our verdict."""

    files: dict[str, bytes]
    expected: list[dict[str, str]]
    verdicts: dict[str, Picture | MediaError]
    limits: Limits = LIMITS
    other_formats = OTHER_FORMATS
    different = DIFFERENT

    def rightly(self, row: dict[str, str], reason: str | None) -> bool:
        """Whether a reason (None for kept) is Pillow's outcome of a file, or differs for a stated cause."""
        if row["format"] in OTHER_FORMATS:
            return reason == "not_an_image"
        return (reason is None) == (row["result"] == "ok" or row["file"] in DIFFERENT)


@pytest.fixture(scope="session")
def adverse(real_data: Callable[[str], Path]) -> Adverse:
    """Every odd picture, judged once for all tests."""
    folder = real_data("adverse-images")
    files: dict[str, bytes] = {}
    with tarfile.open(folder / "images.tar.gz") as tar:
        for member in tar:
            if (file := tar.extractfile(member)) is not None:
                files[member.name.removeprefix("./")] = file.read()
    with (folder / "expect_pillow13.csv").open(newline="") as rows:
        expected = list(csv.DictReader(rows))
    return Adverse(files, expected, {name: judged(raw) for name, raw in files.items()})


def judged(raw: bytes) -> Picture | MediaError:
    """The verdict on a file; one that hangs ends the test by its timeout."""
    try:
        return normalise(raw, LIMITS)
    except MediaError as error:
        return error


class Ingest:
    """A store, and the stages of an ingest up to the splits, as the flow runs them."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(path)

    def run(
        self,
        sources: dict[str, Source],
        limits: Limits | None = None,
        filters: Sequence[Filter] = (),
        held_out: Sequence[str] = (),
    ) -> int:
        """Takes in what is new; returns how many parts were made."""
        limits, made = limits or Limits(), 0
        for name, source in sources.items():
            origin = Origin(name, source, name in held_out)
            jobs = stage.plan_collect(self.store, origin, limits)
            made += self._commit([stage.work_collect(self.store, job, limits) for job in jobs])
        hashes = PerceptualHash()
        jobs = stage.plan_annotate(self.store, hashes, {})
        made += self._commit([stage.work_annotate(self.store, job, hashes, {}) for job in jobs])
        policy = stage.filter_policy(filters, [hashes], limits)
        jobs = stage.plan_filter(self.store, policy)
        made += self._commit([stage.work_filter(self.store, job, filters, policy) for job in jobs])
        for gather in (NearDuplicates(), Decontaminate()):
            policy = stage.gather_policy(gather, policy)
            stage.run_gather(self.store, gather, policy)
        splits.assign_all(self.store, splits.Splits())
        return made

    def _commit(self, keys: list[str]) -> int:
        parts.commit(self.store, keys)
        return len(keys)

    def sql(self, query: str) -> list[tuple]:
        with self.store.connect() as db:
            return db.sql(query).fetchall()

    def adds_up(self) -> dict[str, tuple[int, int]]:
        """(came in, kept) of each source, with nothing lost, judged twice, or dropped without a reason."""
        check = self.sql("SELECT source, came_in, kept, dropped, adds_up FROM funnel_check")
        assert all(came_in == kept + dropped and right for _, came_in, kept, dropped, right in check)
        twice = self.sql("SELECT count(*) - count(DISTINCT (sample_id, stage)) FROM decisions")
        assert twice == [(0,)]
        collected = self.sql("SELECT source, count(*) FROM decisions WHERE stage = 'collect' GROUP BY 1")
        assert dict(collected) == {source: came_in for source, came_in, *_ in check}
        assert self.sql("SELECT count(*) FROM decisions WHERE kept <> (reason IS NULL)") == [(0,)]
        return {source: (came_in, kept) for source, came_in, kept, *_ in check}


@pytest.fixture(scope="module")
def fresh_ingest(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Ingest]:
    """Makes an empty store to ingest into."""
    return lambda: Ingest(tmp_path_factory.mktemp("ingest") / "store")
