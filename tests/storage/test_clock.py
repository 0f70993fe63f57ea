"""A clock that jumps: what was written last is the newest, whatever the machine says that the time is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storage import champions, clock, snapshot
from storage.snapshot import Snapshot

DAY = timedelta(days=1)
TOKENS = {"text_tokenizer": "tt", "image_tokenizer": "it"}


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch):
    """Sets the machine's clock to so much from now."""

    def by(difference: timedelta) -> None:
        monkeypatch.setattr(clock, "now", lambda: datetime.now(UTC) + difference)

    return by


@pytest.mark.parametrize("days", [(0, -1), (2, 1, -3)])
def test_the_snapshot_made_last_is_the_latest(store, ingest, jump, days):
    for number, day in enumerate(days):
        jump(day * DAY)
        ingest(f"p{number}", [f"row {number}"])
        made = snapshot.create(store, **TOKENS)
        assert Snapshot.open(store) == made
    moments = [row["recorded_at"] for row in snapshot.listing(store)]
    assert moments == sorted(set(moments))


def test_a_snapshot_that_comes_back_is_the_latest_though_the_clock_went_back(store, ingest, jump):
    ingest("p", ["a"])
    first = snapshot.create(store, **TOKENS)
    jump(DAY)
    ingest("q", ["b"])
    second = snapshot.create(store, **TOKENS)
    assert Snapshot.open(store) == second
    jump(-DAY)
    store.clear("decisions", {"sample_id": "b"})
    again = snapshot.create(store, **TOKENS)
    assert again.content_hash == first.content_hash
    assert Snapshot.open(store) == again


def test_the_champion_is_the_one_promoted_last(store, jump):
    for day, checkpoint in ((2, "a"), (0, "b"), (-2, "c")):
        jump(day * DAY)
        champions.record(store, champions.PROMOTED, checkpoint, "better")
        assert champions.champion(store) == checkpoint
    assert champions.former(store) == "b"
