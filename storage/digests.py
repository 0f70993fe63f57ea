"""Digests of the rows of the snapshot that was made last: a row that stands where it stood is not hashed again.

<store>/cache/digests.parquet holds (sample_id, split, row_digest), and beside them the names of the data files that the rows
were read from. A row that changes moves to another file, and what is left of its old one is written anew; so the digests hold
for as long as each of those files is part of its table. A takedown, which changes files in place, empties the folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from storage import kept
from storage.store import Store
from storage.views import literal, scan

READ = ("samples", "text_tokens", "image_tokens")
"""Tables that a digest is made of."""
NOTHING = "SELECT NULL::VARCHAR AS sample_id, NULL::VARCHAR AS split, NULL::VARCHAR AS row_digest WHERE false"
KNOWN = b"millrace"


@dataclass(frozen=True)
class Digests:
    """What is kept of a store's digests, for those that are made as `made` says from these versions of its tables."""

    store: Store
    versions: Mapping[str, int]
    made: str

    def known(self) -> str:
        """SQL of (sample_id, split, row_digest): rows whose digests hold; none where nothing is kept."""
        file = self.store.path / "cache" / "digests.parquet"
        try:
            told = json.loads((pq.read_schema(file).metadata or {})[KNOWN])
            names = self._names()
        except (OSError, pa.ArrowInvalid, KeyError, ValueError):  # not there, or torn
            return NOTHING
        if told["made"] != self.made or any(not set(told["names"][one]) <= set(names[one]) for one in READ):
            return NOTHING
        return f"SELECT sample_id, split, lower(hex(row_digest)) AS row_digest FROM {scan([str(file)])}"

    def keep(self, con: duckdb.DuckDBPyConnection, rows: str) -> None:
        """Puts the digests of a relation (sample_id, split, row_digest) in place of those that are kept."""
        folder = self.store.path / "cache"
        scratch = folder / f".digests.{os.getpid()}.parquet"
        told = json.dumps({"made": self.made, "names": self._names()})
        with self.store.lock(kept.LOCK):
            if self.store.version(kept.TAKEDOWNS) != self.versions.get(kept.TAKEDOWNS, -1):
                return  # what was forgotten meanwhile may be among them
            try:
                folder.mkdir(exist_ok=True)
                con.execute(
                    f"COPY (SELECT sample_id, split, unhex(row_digest) AS row_digest FROM {rows}) "
                    f"TO {literal(str(scratch))} (FORMAT parquet, KV_METADATA {{{KNOWN.decode()}: {literal(told)}}})"
                )
                scratch.replace(folder / "digests.parquet")
            except (OSError, duckdb.IOException):  # no room: then the next snapshot hashes all of its rows
                with suppress(OSError):
                    scratch.unlink()

    def _names(self) -> dict[str, list[str]]:
        """Names of the data files of each table."""
        return {one: sorted(PurePosixPath(file).name for file in self._files(one)) for one in READ}

    def _files(self, table: str) -> list[str]:
        return self.store.files(table, self.versions[table]) if self.versions.get(table, -1) >= 0 else []
