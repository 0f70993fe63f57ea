"""A source whose pictures, and perhaps its lists, come over the network.

It parses; the engine (`pipeline.web.harvest`) fetches, asks for consent, keeps the ledger, decodes and commits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.rows import RowSettings
from pipeline.step import Shard

if TYPE_CHECKING:
    from pipeline.web.client import Web

COLUMNS = pa.schema([("origin", pa.string()), ("version", pa.string()), ("position", pa.int32())])
WITHDRAWN = "withdrawn"
"""The `error` of a row whose origin was deleted where it came from: its text and picture leave the store."""


@dataclass(frozen=True)
class Known:
    """What was ingested under a source's name before, and where the source stopped."""

    rows: pa.Table = field(default_factory=COLUMNS.empty_table)
    """origin, version, position; rows that are due for another try are left out: they count as unseen."""
    due: pa.Table = field(default_factory=COLUMNS.empty_table)
    """Those rows."""
    tries: Mapping[str, int] = field(default_factory=dict)
    """Origin to tries so far, of what is due again; the engine minds them."""
    cursor: str | None = None
    """What `shards` returned when its last walk was complete."""

    def positions(self, origin: str) -> list[int]:
        """Positions of an origin's rows, for rows that withdraw them."""
        found: set[int] = set()
        for table in (self.rows, self.due):
            if table.num_rows and "position" in table.column_names:
                found |= set(table.filter(pc.equal(table["origin"], origin))["position"].to_pylist())
        return sorted(found)


class WebSource(RowSettings, ABC):
    """Lists shards and reads one, with a client at hand; rows name the URLs of their pictures."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset({"path", "shard_rows"})

    def check(self) -> None:
        """Raises SourceError if a file of this machine that it names is not there, as `Source.check` does."""

    @abstractmethod
    def shards(self, known: Known, web: Web) -> Generator[Shard, None, str | None]:
        """Lists what is new or changed; equal keys mean equal content. Returns the new cursor, or None for none.

        The cursor is stored when every shard of the walk is committed; a walk that was killed starts at the old one.
        """

    @abstractmethod
    def read(self, shard: Shard, web: Web) -> Iterator[dict[str, Any]]:
        """The shard's rows: keys are the columns of RAW, `origin` is required, what is missing is null.

        One more key: `fetch`, the absolute URL of the row's picture, which the engine fetches; a row may
        instead hold bytes in `image`. (origin, position) must be unique. Nothing that came in gets lost:
        what cannot be used is a row with an `error` and a `detail`.
        """
