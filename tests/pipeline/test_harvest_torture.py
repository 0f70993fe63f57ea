"""Collecting under load and under kill -9: fast hosts pass slow ones, nothing is lost, little is fetched twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest

from pipeline.sources.url_list import UrlList
from pipeline.web.settings import FetchSettings
from storage import parts
from storage.store import Store
from tests.pipeline import harvest_once

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("MILLRACE_TORTURE", "5"))


def asked(port: int) -> Counter[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/asked") as answer:
        return Counter(json.load(answer))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "consent", [(), ("robots", "x-robots-tag", "meta", "tdmrep")], ids=["bare", "asking"]
)
def test_ten_thousand_slow_hosts_do_not_stop_the_fast_ones(
    consent: tuple[Any, ...], mill: Mill, faults: int, tmp_path: Path
):
    """Slow are their pictures, or already the files by which they would give consent."""
    name = "mute" if consent else "s"
    slow = [f"http://{name}{n}.test:{faults}/slow/{n}" for n in range(10_000)]
    fast = [f"http://f{n % 50}.test:{faults}/ok/{n}.png" for n in range(1_000)]
    (tmp_path / "list.csv").write_text(
        "\n".join(["url", *slow, *fast])
    )  # the fast ones wait behind all the others
    settings = FetchSettings(
        allow=("127.0.0.0/8",),
        consent=consent,
        retries=0,
        deadline=90,
        patience=0.1,
        concurrency=512,
        decoders=1,
    )
    mill.take(UrlList(path=str(tmp_path / "list.csv")), settings=settings)
    ended: dict[bool, list[datetime]] = {True: [], False: []}
    outcomes: Counter[str] = Counter()
    for row in mill.store.read("attempts").to_pylist():
        if "/slow/" in row["url"] or "/ok/" in row["url"]:
            outcomes[row["outcome"]] += 1
            until = row["recorded_at"] + timedelta(milliseconds=row["milliseconds"])
            ended[row["outcome"] == "ok"].append(until)
    assert outcomes.pop("ok") == 1_000
    assert set(outcomes) <= {"deadline", "robots_unreachable"} and outcomes.total() == 10_000
    assert max(ended[True]) < min(ended[False])  # while all ten thousand kept us waiting
    assert mill.rows("SELECT came_in, kept, adds_up FROM funnel_check") == [
        {"came_in": 11_000, "kept": 1_000, "adds_up": True}
    ]


def stored(store: Store) -> set[str]:
    """Paths of the URLs whose rows are in the store, or wait there to be committed."""
    texts = store.read("samples", ["url"])["url"].to_pylist()
    for key in parts.waiting(store):
        texts += pq.read_table(parts.place(store, key) / "samples.parquet", columns=["url"])[
            "url"
        ].to_pylist()
    return {urlsplit(url).path for url in texts}


@pytest.mark.timeout(900)
def test_a_kill_loses_nothing_and_only_open_shards_are_fetched_again(mill: Mill, faults: int, tmp_path: Path):
    size = 300 * KILLS
    urls = [f"http://127.0.0.1:{faults}/ok/{n}.png" for n in range(size)]
    (tmp_path / "list.csv").write_text(
        "\n".join(["url,text", *(f"{url},text {n}" for n, url in enumerate(urls))])
    )
    command = [
        sys.executable,
        str(Path(harvest_once.__file__)),
        str(mill.store.path),
        str(tmp_path / "list.csv"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    draw, done = random.Random(7), []
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
            assert run.stdout is not None and run.stdout.readline() == "begun\n"
            goal = sum(asked(faults).values()) + draw.randrange(150, 250)
            while run.poll() is None and sum(asked(faults).values()) < goal:
                time.sleep(0.01)
            run.send_signal(signal.SIGKILL)
        assert run.returncode == -signal.SIGKILL, "the list is too short for so many kills"
        counts, safe = asked(faults), stored(Store.open(mill.store.path))
        done.append({path: counts[path] for path in safe})
        # What is neither stored nor waits to be was in a shard in flight, and those are few: each of them waits for one
        # of the requests that were under way.
        lost = {number(path) // harvest_once.SHARD_ROWS for path in counts if "/ok/" in path} - {
            number(path) // harvest_once.SHARD_ROWS for path in safe
        }
        assert len(lost) <= harvest_once.SETTINGS.concurrency
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    counts = asked(faults)
    for safe_then in done:  # nothing that was stored at any kill has been fetched since
        assert {path: counts[path] for path in safe_then} == safe_then
    with Store.open(mill.store.path).connect() as db:
        assert db.sql("SELECT came_in, kept, adds_up FROM funnel_check").fetchall() == [(size, size, True)]
        assert db.sql("SELECT count(DISTINCT origin) FROM samples").fetchall() == [(size,)]
        assert db.sql("SELECT count(*) FROM images").fetchall() == [(size,)]


def number(path: str) -> int:
    """Of a URL in the list."""
    return int(Path(path).stem)
