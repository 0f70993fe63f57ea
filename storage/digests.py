"""Digests of the rows of the snapshot that was made last: what is only added to a store is hashed once.

<store>/cache/digests.parquet holds (sample_id, split, row_digest), and beside them the names of the data files that the rows
were read from. A row that changes moves to another file, and what is left of its old one is written anew: the digests hold
for as long as each of those files is part of its table, and all of them are made again after a change, or when files were put
together. A takedown, which changes files in place, empties the folder; none from before it holds, wherever it was kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from storage import kept
from storage.errors import StoreError
from storage.store import Store
from storage.views import literal, scan

READ = ("samples", "text_tokens", "image_tokens")
"""Tables that a digest is made of."""
NOTHING = "SELECT NULL::VARCHAR AS sample_id, NULL::VARCHAR AS split, NULL::BLOB AS row_digest WHERE false"
TOLD = "millrace"


@dataclass(frozen=True)
class Digests:
    """What is kept of a store's digests, for those that are made as `made` says from these versions of its tables."""

    store: Store
    versions: Mapping[str, int]
    made: str

    def known(self) -> str:
        """SQL of (sample_id, split, row_digest): rows whose digests hold; none where nothing is kept."""
        file = self.store.path / "cache" / "digests.parquet"
        now = self._told()
        try:
            then = json.loads((pq.read_schema(file).metadata or {})[TOLD.encode()])
            stands = all(set(then["names"][one]) <= set(now["names"][one]) for one in READ)
            stands = stands and all(then[one] == now[one] for one in now if one != "names")
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):  # not there, or torn
            return NOTHING
        return f"SELECT sample_id, split, row_digest FROM {scan([str(file)])}" if stands else NOTHING

    def keep(self, con: duckdb.DuckDBPyConnection, rows: str) -> None:
        """Puts the digests of a relation (sample_id, split, row_digest) in place of those that are kept. If there is no room,
        the next snapshot hashes all of its rows. The caller holds the snapshots' lock: there is one scratch file."""
        folder = self.store.path / "cache"
        scratch, file = folder / ".digests.parquet", folder / "digests.parquet"
        try:
            told = literal(json.dumps(self._told()))
            folder.mkdir(exist_ok=True)
            con.execute(
                f"COPY {rows} TO {literal(str(scratch))} (FORMAT parquet, KV_METADATA {{{TOLD}: {told}}})"
            )
            with scratch.open("rb") as written:
                os.fsync(written.fileno())
            with self.store.lock(kept.LOCK):
                # Else what was forgotten meanwhile may be among them.
                if self.store.version(kept.TAKEDOWNS) == self.versions.get(kept.TAKEDOWNS, -1):
                    scratch.replace(file)
        except (OSError, duckdb.Error, StoreError):
            pass
        finally:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)

    def _told(self) -> dict[str, Any]:
        """What the digests hang on, and the names of each table's data files."""
        names = {one: sorted(PurePosixPath(file).name for file in self._files(one)) for one in READ}
        takedowns = self.versions.get(kept.TAKEDOWNS, -1)
        return {"made": self.made, "duckdb": duckdb.__version__, "takedowns": takedowns, "names": names}

    def _files(self, table: str) -> list[str]:
        return self.store.files(table, self.versions[table]) if self.versions.get(table, -1) >= 0 else []


def standing(con: duckdb.DuckDBPyConnection, kept_ones: Digests | None) -> None:
    """Makes `digests(sample_id, split, row_digest)` of the rows of `chosen` whose digests hold, and that are there once: two
    machines at once may have made one twice."""
    query = """
        CREATE OR REPLACE TEMP TABLE digests AS FROM ({known}) SEMI JOIN chosen USING (sample_id, split)
        WHERE sample_id NOT IN (SELECT sample_id FROM chosen GROUP BY sample_id HAVING count(*) > 1)
    """
    try:
        con.execute(query.format(known=kept_ones.known() if kept_ones else NOTHING))
    except duckdb.Error:  # what is kept is damaged
        con.execute(query.format(known=NOTHING))
