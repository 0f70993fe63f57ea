"""Consent asked again as a flow, and what `millrace stats fetch` tells: the snapshot follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def forbidding(gallery: Any) -> Iterator[None]:
    """The gallery's server says no, for a while."""
    robots = gallery.path / "data/served/robots.txt"
    robots.write_text("User-agent: *\nDisallow: /\n")
    yield
    robots.unlink()


def test_rows_that_a_site_takes_back_leave_store_and_snapshot(mill: Any, forbidding: None) -> None:
    from flows.recheck import recheck
    from flows.train import refuse_withdrawn
    from storage.errors import SnapshotWithdrawn

    before = mill.snapshot()
    [(held,)] = mill.sql("SELECT count(*) FROM samples WHERE source = 'urls' AND image_id IS NOT NULL")
    done = recheck(config=str(mill.config), days=0)
    assert done["withdrawn"] >= held > 0
    assert mill.sql("SELECT count(*) FROM samples WHERE source = 'urls' AND image_id IS NOT NULL") == [(0,)]
    assert mill.sql("SELECT bool_and(adds_up) FROM funnel_check") == [(True,)]
    after = mill.snapshot()
    assert after.name != before.name and after.rows < before.rows
    refuse_withdrawn(mill.store(), after.name)
    with pytest.raises(SnapshotWithdrawn, match="millrace ingest"):
        refuse_withdrawn(mill.store(), before.name)
    assert "urls" not in set(after.samples(columns=["source"])["source"].to_pylist())
    assert mill.sql(
        "SELECT DISTINCT allowed, basis FROM consents WHERE evidence_url LIKE '%robots.txt' AND NOT allowed"
    ) == [(False, "robots")]


def test_a_source_of_the_web_that_fails_keeps_no_other_from_being_read(fresh: Any) -> None:
    from pipeline.errors import SourceError

    fresh.change('path = "data/urls.csv"', 'path = "data/gone.csv"')
    with pytest.raises(SourceError, match=r"urls: .*gone.csv.*no such file.*the other sources .* snapshot"):
        fresh.ingest()
    assert fresh.snapshot().rows > 0
    assert fresh.sql("SELECT count(DISTINCT source) FROM samples") == [(3,)]


def test_stats_tell_how_fetching_went(milled: Any) -> None:
    from flows.config import ConfigError
    from flows.store_admin import stats

    told = list(stats(milled.config, "fetch").values())
    hosts, outcomes, consents = told
    [(urls, consents_asked)] = milled.sql(
        "SELECT count(DISTINCT url) FILTER (url NOT LIKE '%/robots.txt' AND url NOT LIKE '%/tdmrep.json'), "
        "count(DISTINCT url) FILTER (url LIKE '%/robots.txt' OR url LIKE '%/tdmrep.json') FROM attempts"
    )
    assert consents_asked == 2  # they are in the ledger, and no URLs of the corpus
    assert sum(row["urls"] for row in hosts) == sum(row["urls"] for row in outcomes) == urls
    assert {row["outcome"] for row in outcomes} == {"ok"}
    assert consents[0]["decision"] == "allowed"
    with pytest.raises(ConfigError, match="there are corpus, fetch, contamination, bias"):
        stats(milled.config, "weather")
