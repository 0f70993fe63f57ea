"""A web source into the store: what is known, what is due again, the walk, its parts, and where it stopped."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import collect as collecting
from pipeline import cursors, stage
from pipeline.collect import Origin
from pipeline.decoders import Decoders
from pipeline.refused import Refused
from pipeline.step import Shard, digest
from pipeline.web import ledger
from pipeline.web.client import Web
from pipeline.web.errors import PASSING
from pipeline.web.harvest import Harvest
from pipeline.web.ledger import Fetched
from pipeline.web.settings import FetchSettings
from pipeline.web.source import WITHDRAWN, Known
from storage import parts, upkeep
from storage.limits import Limits
from storage.store import Store
from storage.views import literal

COMMIT_PARTS = 4
COMMIT_S = 10.0
"""Complete parts are committed when there are so many, or after so long."""

Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Taken:
    """What a walk brought in."""

    parts: int
    urls: int
    complete: bool
    """False if the run's time was over: the rest waits for the next run."""


def run(
    store: Store,
    origin: Origin,
    limits: Limits,
    settings: FetchSettings,
    progress: Progress = lambda *_: None,
) -> Taken:
    """Takes what is new from a web source, part by part.

    Raises:
        SourceError: the source cannot be listed or read; what was complete is committed.
    """
    made, refused = 0, Refused.of(store)
    with (
        Decoders(limits, settings.decoders, settings.decoder_memory) as decoders,
        Web(settings, refused) as web,
        Committer(store) as committer,
    ):
        decoders.start()
        before = known(store, origin)
        harvest = Harvest(origin, before, limits, web, decoders, refused)
        try:
            with closing(harvest.parts(Keys(store, origin, limits, before))) as whole:
                for key, tables in whole:
                    committer.put(key, tables)
                    made += "samples" in tables
                    progress(harvest.fetched, f"{made} parts")
        finally:
            committer.finish()
            note(store, web.asides())
    if harvest.complete:
        remember(store, origin, harvest.cursor)
    former = collecting.forget_former(store, origin.name)
    if former or (made and before.rows.num_rows):  # something may have been withdrawn or replaced
        upkeep.drop_orphans(store)
    return Taken(made, harvest.fetched, harvest.complete)


class Committer:
    """Stages parts, and commits them, a few at a time, in a thread of its own: fetching and decoding go on meanwhile.

    A part is staged before `put` returns: what a kill loses are open shards, not those that wait for a commit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: queue.Queue[str | None] = queue.Queue(COMMIT_PARTS)
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="commit", daemon=True)

    def __enter__(self) -> Committer:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self.finish()

    def put(self, key: str, tables: dict[str, pa.Table]) -> None:
        """Takes a part; waits while too many wait.

        Raises:
            StoreError: an earlier one could not be committed.
        """
        if self._failed is not None:
            raise self._failed
        parts.stage(self._store, key, tables)
        self._keys.put(key)

    def finish(self) -> None:
        """Commits what is left.

        Raises:
            StoreError: it could not be.
        """
        if self._thread.is_alive():
            self._keys.put(None)
            self._thread.join()
        if (failed := self._failed) is not None:
            self._failed = None
            raise failed

    def _work(self) -> None:
        ready: list[str] = []
        last = time.monotonic()
        key: str | None = ""
        while key is not None:
            key = self._keys.get()
            ready += [key] if key is not None else []
            due = key is None or len(ready) >= COMMIT_PARTS or time.monotonic() - last > COMMIT_S
            if not (ready and due) or self._failed is not None:
                continue
            try:
                parts.commit(self._store, ready)
            except (
                Exception
            ) as error:  # told to whoever puts the next one, or finishes; the rest stays staged
                self._failed = error
            ready, last = [], time.monotonic()


def note(store: Store, fetched: Sequence[Fetched]) -> None:
    """Writes down attempts and consents that belong to no part: of lists, pages, and robots.txt."""
    if made := ledger.tables(fetched):
        key = ledger.key(fetched)
        parts.stage(store, key, made)
        parts.commit(store, [key])


KNOWN = f"""
SELECT s.origin, s.version, s.position, s.part,
       coalesce(d.reason IN ({", ".join(literal(reason) for reason in sorted(PASSING))})
                AND try_cast(s.http ->> 'next_due' AS TIMESTAMPTZ) <= ?::TIMESTAMPTZ, false) AS due,
       coalesce(try_cast(s.http ->> 'tries' AS INTEGER), 0) AS tries
FROM samples s LEFT JOIN decisions d ON d.sample_id = s.sample_id AND d.stage = '{collecting.STAGE}'
WHERE s.source = ? AND s.sample_id NOT IN ({collecting.PASSAGES})
"""


def known(store: Store, origin: Origin, now: datetime | None = None) -> Known:
    """What was ingested from a source before; what failed in passing and is due by now is set apart."""
    with store.connect() as db:
        when = (now or datetime.now(UTC)).isoformat()
        rows = db.sql(KNOWN, params=[when, origin.name, origin.name]).to_arrow_table()
    mask = rows["due"]
    due, rest = rows.filter(mask), rows.filter(pc.invert(mask))
    columns = ["origin", "version", "position", "part"]
    tries = dict(zip(due["origin"].to_pylist(), due["tries"].to_pylist(), strict=True))
    return Known(rest.select(columns), due.select(columns), tries, cursor(store, origin))


class Keys:
    """The key of the part that will hold a shard, or None where a committed part does."""

    def __init__(self, store: Store, origin: Origin, limits: Limits, before: Known) -> None:
        self._store, self._origin, self._limits = store, origin, limits
        self._due = set(before.due["part"].to_pylist()) if before.due.num_rows else set()
        present = set(before.rows["part"].to_pylist() if before.rows.num_rows else ()) | self._due
        self._present = present
        self._now = digest(sorted(filter(None, present)))

    def __call__(self, shard: Shard) -> str | None:
        key = collecting.part_key(self._origin, shard, self._limits)
        if key in self._due or (key not in self._present and self._store.has("samples", key)):
            return digest([key, self._now])  # once more, or replaced since and back again
        return None if self._store.has("samples", key) else key


def cursor(store: Store, origin: Origin) -> str | None:
    """Where the source's last complete walk stopped, if its settings are still the same."""
    return cursors.read(store, origin.name, origin.source.fingerprint())


def remember(store: Store, origin: Origin, value: str | None) -> None:
    """Writes down where a complete walk stopped."""
    if value is not None:
        cursors.write(store, origin.name, origin.source.fingerprint(), value)


DOOMED = f"""
SELECT s.*, 'before: ' || d.reason AS before FROM samples s SEMI JOIN doomed USING (sample_id)
LEFT JOIN decisions d ON d.sample_id = s.sample_id AND d.stage = '{collecting.STAGE}' AND d.reason NOT LIKE '%withdrawn'
ORDER BY sample_id
"""


def withdraw(store: Store, sample_ids: Sequence[str], reason: str) -> int:
    """Takes rows back: each keeps its place and where it came from, loses text and picture, and says why.

    They no longer enter a snapshot; pictures that no row shows any more go with them. Returns how many rows.
    """
    ids = pa.table({"sample_id": pa.array(sorted(set(sample_ids)), pa.string())})
    with store.connect() as db:
        db.register("doomed", ids)
        rows = db.sql(DOOMED).to_arrow_table()
    before, samples = rows["before"].combine_chunks(), rows.drop_columns(["part", "before"])
    if not samples.num_rows:
        return 0
    n = samples.num_rows
    for name, value in (
        ("image_id", None),
        ("prompt", None),
        ("text", None),
        ("label", None),
        ("consent", "refused"),
    ):
        at = samples.schema.get_field_index(name)
        samples = samples.set_column(at, name, pa.array([value] * n, pa.string()))
    decided = stage.decision_rows(
        samples["sample_id"], samples["source"], collecting.STAGE, pa.array([reason] * n), before, WITHDRAWN
    )
    key = digest([WITHDRAWN, reason, sorted(ids["sample_id"].to_pylist()), datetime.now(UTC).isoformat()])
    parts.stage(store, key, {"samples": samples, "decisions": decided})
    parts.commit(store, [key])
    upkeep.drop_orphans(store)
    return n
