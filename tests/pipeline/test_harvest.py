"""Collecting from a web that misbehaves: every URL ends in the ledger, every row as kept or with its reason."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from pipeline import decoders
from pipeline.collect import Origin
from pipeline.decoders import DecoderError, Decoders
from pipeline.records import SourceError
from pipeline.segment import Segment
from pipeline.sources.url_list import UrlList
from pipeline.step import Shard
from pipeline.web import intake
from pipeline.web.client import Web
from pipeline.web.harvest import Harvest
from pipeline.web.settings import FetchSettings
from pipeline.web.source import Known, WebSource
from storage.errors import StoreFull
from storage.limits import Limits
from storage.media import MediaError, Picture
from tests.pipeline import faults as web

if TYPE_CHECKING:
    from tests.pipeline.conftest import Mill

QUICK = FetchSettings(
    allow=("127.0.0.0/8",), consent=(), retries=0, deadline=6, max_bytes=1 << 20, decoders=1, retry_later=3600
)


def listed(folder: Path, *urls: str, **options: Any) -> UrlList:
    path = folder / "list.csv"
    path.write_text("\n".join(["url,text", *(f"{url},about {n}" for n, url in enumerate(urls))]))
    return UrlList(path=str(path), **options)


def asked(port: int) -> Counter[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/asked") as answer:
        return Counter(json.load(answer))


def test_every_trouble_ends_in_the_ledger_with_its_class(mill: Mill, faults: int, tmp_path: Path):
    urls = {f"http://h{n}.test:{faults}{path}": want for n, (path, want) in enumerate(web.OUTCOMES.items())}
    mill.take(listed(tmp_path, *urls), settings=QUICK)
    ledger = {row["url"]: row for row in mill.store.read("attempts").to_pylist()}
    assert {url: row["outcome"] for url, row in ledger.items()} == urls
    passing = {"deadline", "incomplete", "http_500"}
    assert all((row["next_due"] is not None) == (row["outcome"] in passing) for row in ledger.values())
    found = {row["origin"]: row["reason"] for row in mill.rows()}
    for url, want in urls.items():
        path = url.partition(f":{faults}")[2]
        assert found[url] == (web.DROPPED[path] if want == "ok" else want), path
    assert mill.rows("SELECT came_in, kept, adds_up FROM funnel_check") == [
        {"came_in": len(urls), "kept": 1, "adds_up": True}
    ]


def test_a_pause_that_a_host_asks_for_is_kept_for_the_whole_host(mill: Mill, faults: int, tmp_path: Path):
    base = f"http://one.test:{faults}"
    urls = [
        f"{base}/later",
        *(f"{base}/ok/{n}.png" for n in range(6)),
        f"http://other.test:{faults}/ok/9.png",
    ]
    mill.take(listed(tmp_path, *urls), settings=QUICK.model_copy(update={"per_host": 1}))
    found = {row["origin"]: row["reason"] for row in mill.rows()}
    assert [found[url] for url in urls] == ["http_429", *["postponed"] * 6, None]
    assert asked(faults)["/ok/0.png"] == 0
    due = [row["next_due"] for row in mill.store.read("attempts").to_pylist() if row["next_due"]]
    assert len(due) == 7
    assert all(when > datetime.now(UTC) + timedelta(minutes=100) for when in due)


def test_what_failed_in_passing_is_tried_again_when_it_is_due(mill: Mill, faults: int, tmp_path: Path):
    base = f"http://one.test:{faults}"
    source = listed(tmp_path, f"{base}/once/1", f"{base}/ok/1.png", f"{base}/gone")
    patient = QUICK.model_copy(update={"retry_later": 3600})
    mill.take(source, settings=patient)
    assert mill.take(source, settings=patient) == 0  # not due yet
    later = QUICK.model_copy(update={"retry_later": 0})
    other = listed(tmp_path, f"{base}/once/2", f"{base}/ok/1.png", f"{base}/gone")
    mill.take(other, "other", settings=later)
    assert mill.take(other, "other", settings=later) == 1
    counts = asked(faults)
    assert (counts["/once/1"], counts["/once/2"]) == (1, 2)
    assert (counts["/ok/1.png"], counts["/gone"]) == (2, 2)  # once for each source, and never again
    found = {(row["source"], row["origin"].rpartition("/")[2]): row["reason"] for row in mill.rows()}
    assert found["web", "1"] == "http_503" and found["other", "2"] is None
    tries = mill.rows("SELECT attempt, outcome FROM attempts WHERE url LIKE '%once/2' ORDER BY attempt")
    assert [(row["attempt"], row["outcome"]) for row in tries] == [(1, "http_503"), (2, "ok")]
    assert mill.rows("SELECT bool_and(adds_up) AS ok FROM funnel_check") == [{"ok": True}]


@pytest.mark.timeout(120)
def test_a_run_ends_at_its_deadline_and_the_next_one_goes_on(mill: Mill, faults: int, tmp_path: Path):
    slow = [f"http://s{n}.test:{faults}/slow/{n}" for n in range(40)]
    fast = [f"http://f.test:{faults}/ok/{n}.png" for n in range(20)]
    source = listed(tmp_path, *slow, *fast, shard_rows=10)
    settings = QUICK.model_copy(
        update={"deadline": 900, "run_deadline": 4.0, "concurrency": 4, "patience": 0.1}
    )
    mill.take(source, settings=settings)
    found = Counter(row["reason"] for row in mill.rows())
    assert set(found) <= {None, "run_deadline"} and found["run_deadline"] >= 10
    assert mill.rows("SELECT bool_and(adds_up) AS ok FROM funnel_check") == [{"ok": True}]
    mill.take(source, settings=QUICK.model_copy(update={"deadline": 2}))
    found = Counter(row["reason"] for row in mill.rows())
    assert found == {None: 20, "deadline": 40}


def test_answers_that_say_no_are_refused_with_their_words(mill: Mill, faults: int, tmp_path: Path):
    base = f"http://one.test:{faults}"
    settings = QUICK.model_copy(update={"consent": FetchSettings().consent})
    urls = [f"{base}/noai", f"{base}/other-bot", f"{base}/reserved", f"{base}/ok/5.png"]
    urls += [f"http://strict.test:{faults}{path}" for path in ("/ok/6.png", "/private/7.png")]
    urls += [f"http://closed.test:{faults}/ok/8.png", f"http://down.test:{faults}/ok/9.png"]
    urls += [f"http://tdm.test:{faults}/ok/{n}.png" for n in (1, 2)]
    mill.take(listed(tmp_path, *urls), settings=settings)
    found = {row["origin"]: row for row in mill.rows()}
    refused = "consent_refused"
    assert [found[url]["reason"] for url in urls] == [
        refused, None, refused, None, None, refused, refused, "robots_unreachable", refused, None,
    ]  # fmt: skip
    assert found[urls[3]]["consent"] == "allowed" and found[urls[0]]["consent"] == "refused"
    assert json.loads(found[urls[3]]["http"])["etag"] == '"v1"'
    evidence = {
        row["url"]: (row["basis"], row["evidence"]) for row in mill.store.read("consents").to_pylist()
    }
    assert evidence[urls[0]] == ("x-robots-tag", "noai, noimageai")
    assert evidence[urls[2]][0] == "tdmrep"
    assert evidence[urls[5]][0] == "robots" and evidence[urls[5]][1].startswith("sha256 ")
    assert evidence[urls[8]] == ("tdmrep", "tdm-reservation: 1 https://example.org/p")
    counts = asked(faults)
    assert counts["/private/7.png"] == counts["/ok/8.png"] == counts["/ok/9.png"] == counts["/ok/1.png"] == 0
    assert counts["/robots.txt"] == 4 + 3  # once a host; the one that fails three times, and then no more


def test_a_decoder_that_dies_takes_its_picture_and_not_the_run(mill: Mill, faults: int, tmp_path: Path):
    verdicts: list[Picture | MediaError] = []
    with Decoders(Limits(min_side=1, max_side=5000), 1, 2 << 30) as pool:
        pool.submit(web.picture(1, side=5_000), verdicts.append)  # long enough for the kill
        for n in range(2, 6):
            pool.submit(web.picture(n), verdicts.append)
        while not ((child := pool._lanes[0]._child) and child.begun):
            time.sleep(0.01)
        os.kill(child.process.pid, signal.SIGKILL)
    assert [getattr(one, "reason", "ok") for one in verdicts] == ["decoder_died", "ok", "ok", "ok", "ok"]


def test_what_waits_behind_a_picture_that_kills_is_decoded_however_large(tmp_path: Path):
    """The new process gets megabytes and answers with megabytes, both more than a pipe holds."""
    verdicts: list[Picture | MediaError] = []
    large = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(large, "PNG")
    with Decoders(Limits(min_side=1, max_side=5000), 1, 2 << 30) as pool:
        pool.submit(web.picture(1, side=5_000), verdicts.append)
        for _ in range(8):
            pool.submit(large.getvalue(), verdicts.append)
        while not ((child := pool._lanes[0]._child) and child.begun and len(child.sent) > 1):
            time.sleep(0.01)
        os.kill(child.process.pid, signal.SIGKILL)
    assert [getattr(one, "reason", "ok") for one in verdicts] == ["decoder_died", *["ok"] * 8]


class Deadly:
    """Ends the process that it is sent to, before that has begun."""

    def check(self) -> None:
        pass

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def test_decoders_that_cannot_begin_end_the_run_and_are_no_verdict_on_a_picture():
    pool = Decoders(Deadly(), 1, 1 << 30)  # type: ignore[arg-type]
    with pool, pytest.raises(DecoderError, match=r"exit status 3.*decoder_memory"):
        pool.decode_all([web.picture(1)])


def test_a_picture_that_takes_too_long_ends_its_decoder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoders, "SECONDS", 1.0)
    monkeypatch.setattr(decoders, "LOOK_EVERY_S", 0.2)
    verdicts: list[Picture | MediaError] = []
    with Decoders(Limits(min_side=1), 1, 1 << 30) as pool:
        pool.submit(web.picture(1), verdicts.append)
        while not verdicts:
            time.sleep(0.01)
        os.kill(pool._lanes[0]._child.process.pid, signal.SIGSTOP)  # it decodes for ever
        pool.submit(web.picture(2), verdicts.append)
        while len(verdicts) < 2:
            time.sleep(0.01)
        pool.submit(web.picture(3), verdicts.append)
    verdicts = verdicts[1:]
    assert [getattr(one, "reason", "ok") for one in verdicts] == ["decoder_died", "ok"]


def test_a_decoder_has_no_more_memory_than_it_may():
    verdicts: list[Picture | MediaError] = []
    with Decoders(Limits(max_pixels=80_000_000, max_side=9000), 1, 400 << 20) as pool:
        pool.submit(web.picture(1, side=8_900), verdicts.append)  # 238 MB in RGB, and again to encode
        pool.submit(web.picture(2), verdicts.append)
    assert [getattr(one, "reason", "ok") for one in verdicts] == ["out_of_memory", "ok"]


def test_a_withdrawn_row_keeps_its_place_and_loses_its_content(mill: Mill, faults: int, tmp_path: Path):
    base = f"http://one.test:{faults}"
    mill.take(listed(tmp_path, f"{base}/ok/1.png", f"{base}/ok/2.png"), settings=QUICK)
    before = {row["origin"]: row for row in mill.rows()}
    ids = [before[f"{base}/ok/1.png"]["sample_id"]]
    assert intake.withdraw(mill.store, ids, "consent_withdrawn") == 1
    one, two = mill.rows()
    assert (one["text"], one["image_id"], one["reason"], one["consent"]) == (
        None,
        None,
        "consent_withdrawn",
        "refused",
    )
    assert two["image_id"] == before[two["origin"]]["image_id"]
    assert mill.store.read("images")["image_id"].to_pylist() == [two["image_id"]]
    assert mill.rows("SELECT came_in, kept, dropped, adds_up FROM funnel_check") == [
        {"came_in": 2, "kept": 1, "dropped": 1, "adds_up": True}
    ]
    assert mill.take(listed(tmp_path, f"{base}/ok/1.png", f"{base}/ok/2.png"), settings=QUICK) == 0


def test_where_a_source_stopped_is_kept_until_its_settings_change(mill: Mill, tmp_path: Path):
    one, other = listed(tmp_path, "http://a.test/"), listed(tmp_path, "http://a.test/", lang="fr")
    assert intake.cursor(mill.store, Origin("s", one)) is None
    intake.remember(mill.store, Origin("s", one), "2026-01-01")
    intake.remember(mill.store, Origin("s", one), "2026-02-01")
    assert intake.cursor(mill.store, Origin("s", one)) == "2026-02-01"
    assert intake.cursor(mill.store, Origin("other", one)) is None
    assert intake.cursor(mill.store, Origin("s", other)) is None


class Talker(WebSource):
    """Two shards, one of which waits for a page that never comes."""

    url: str

    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        yield Shard("a", {})
        yield Shard("b", {})
        return None

    def read(self, shard: Shard, web: Web) -> Iterator[dict[str, Any]]:
        if shard.key == "a":
            web.get(self.url)
        yield {"origin": shard.key, "text": b"x"}


def test_an_error_ends_the_run_while_others_wait_for_the_network(faults: int):
    settings = QUICK.model_copy(update={"deadline": 600})
    began = threading.active_count()
    origin = Origin("t", Talker(url=f"http://a.test:{faults}/slow/1"))
    with (
        pytest.raises(StoreFull),
        Web(settings) as client,
        Decoders(Limits(), 1, 1 << 30) as pool,
        closing(Harvest(origin, Known(), Limits(), client, pool).parts(lambda shard: shard.key)) as parts,
    ):
        for _ in parts:
            raise StoreFull("no room")
    while threading.active_count() > began:  # nobody is left waiting
        time.sleep(0.05)


class Broken(Talker):
    """One shard of two cannot be read."""

    def read(self, shard: Shard, web: Web) -> Iterator[dict[str, Any]]:
        if shard.key == "b":
            raise SourceError("shard b is broken")
        yield {"origin": shard.key, "text": b"x"}


def test_a_shard_that_cannot_be_read_is_told_when_the_others_are_committed(mill: Mill):
    with pytest.raises(SourceError, match="shard b is broken"):
        mill.take(Broken(url=""))
    assert [row["origin"] for row in mill.rows()] == ["a"]


def test_a_long_pause_between_requests_is_kept_and_nothing_is_postponed(
    mill: Mill, faults: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipeline.web.client.LONGEST_WAIT", 0.05)
    urls = [f"http://strict.test:{faults}/ok/{n}.png" for n in range(4)]
    mill.take(listed(tmp_path, *urls), settings=QUICK.model_copy(update={"consent": ("robots",)}))
    assert [row["reason"] for row in mill.rows()] == [None] * 4
    times = sorted(
        row["recorded_at"] for row in mill.store.read("attempts").to_pylist() if "/ok/" in row["url"]
    )
    assert all(b - a >= timedelta(seconds=0.15) for a, b in itertools.pairwise(times))  # 0.2 is asked for


def test_a_walk_with_nothing_new_leaves_its_requests_in_the_ledger(mill: Mill, faults: int):
    class Empty(WebSource):
        """Looks at a list, and finds nothing."""

        def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
            web.get(f"http://a.test:{faults}/gone")
            yield from ()
            return "seen"

        def read(self, shard: Shard, web: Web) -> Iterator[dict[str, Any]]:
            yield from ()

    mill.take(Empty())
    assert [row["outcome"] for row in mill.store.read("attempts").to_pylist()] == ["http_410"]
    assert [row["value"] for row in mill.store.read("cursors").to_pylist()] == ["seen"]


def test_a_walk_with_nothing_new_removes_what_a_kill_left_of_an_earlier_text(
    mill: Mill, faults: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException):
        pass

    def kill(*_: Any) -> int:
        raise Killed

    file, url = tmp_path / "list.csv", f"http://one.test:{faults}/ok/1.png"
    cut = Segment(passage_tokens=64, tasks=("caption",))
    origin = Origin("web", UrlList(path=str(file)), segment=cut)
    for text in (" ".join(f"Sentence number {n} is here." for n in range(20)), "Short now."):
        file.write_text(f"url,text\n{url},{text}\n")
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(intake.collecting, "forget_former", kill)
            intake.run(mill.store, origin, Limits(min_side=1), QUICK)
    assert len(mill.rows()) > 1
    assert intake.run(mill.store, origin, Limits(min_side=1), QUICK).parts == 0
    assert [row["text"] for row in mill.rows()] == ["Short now."]
