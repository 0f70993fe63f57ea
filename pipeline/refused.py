"""Rows that may not come in again: each keeps its identity, so that the counts add up, and nothing that it said or showed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.web.urls import redacted
from storage.blocklist import Blocklist
from storage.media import Picture
from storage.store import Store

FORGOTTEN = "forgotten"
"""Why such a row was dropped: the whole reason, for a detail would tell."""
KEPT = ("sample_id", "document_id", "position", "source", "held_out", "fetched_at", "task")
"""Columns of `samples` that it keeps."""


class Refused:
    """Says of rows on their way in, and of URLs before they are asked for, whether they were forgotten."""

    def __init__(self, blocked: Blocklist) -> None:
        self._blocked = blocked

    @classmethod
    def of(cls, store: Store) -> Refused:
        """As the store's blocklist stands now."""
        return cls(Blocklist.load(store))

    @classmethod
    def nothing(cls) -> Refused:
        """For a store from which nothing was ever forgotten."""
        return cls(Blocklist(b"", ()))

    def row(self, row: Mapping[str, Any], picture: Picture | None) -> bool:
        """Whether a row of `samples` may not come in."""
        blocked = self._blocked
        return bool(blocked) and (
            blocked.holds("sample", row["sample_id"])
            or blocked.holds("picture", row["image_id"])
            or blocked.holds_url(row["url"], row["page_url"], row["origin"])
            or blocked.holds("source", row["source"])
            or blocked.holds("licence", row["licence"])
            or blocked.holds_text(row["text"], row["prompt"])
            or (picture is not None and self._looks(picture))
        )

    def url(self, url: str) -> bool:
        """Whether a URL may not be asked for."""
        return bool(self._blocked) and self._blocked.holds_url(redacted(url))

    def _looks(self, picture: Picture) -> bool:
        if not self._blocked.knows_looks:
            return False
        from pipeline.annotators.perceptual_hash import PerceptualHash  # OpenCV, which few need

        rows = {name: [getattr(picture, name)] for name in ("image_id", "image", "width", "height")}
        signed = PerceptualHash().annotate(pa.table(rows), {}).to_pylist()[0]
        return not signed["flat"] and self._blocked.holds_looks((signed["hash"], signed["colour_hash"]))


def bare(row: Mapping[str, Any]) -> dict[str, Any]:
    """What stays of a row: nothing that a person could read, and an origin that only says that it has one."""
    stays = {name: value if name in KEPT else None for name, value in row.items()}
    return stays | {"origin": f"{FORGOTTEN} {row['sample_id']}", "consent": "refused"}
