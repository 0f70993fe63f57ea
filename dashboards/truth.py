"""What the pipeline found of what the demo corpus planted: precision and recall for each kind of defect."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards.ask import ask
from storage.store import Store

Row = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """Kinds of defect, and the decisions that find them: those whose "<stage> <reason>" matches a pattern."""

    name: str
    kinds: tuple[str, ...]
    finds: re.Pattern[str]
    blames: re.Pattern[str]
    """Which of these decisions are mistakes when they take a row that should stay."""

    def found(self, row: Row) -> bool:
        return dropped(row) and bool(self.finds.search(decision(row)))

    def blamed(self, row: Row) -> bool:
        return (
            dropped(row) and row["expect"] in ("keep", "suspect") and bool(self.blames.search(decision(row)))
        )


def _family(name: str, kinds: str, finds: str, blames: str = "") -> Family:
    return Family(name, tuple(kinds.split()), re.compile(finds), re.compile(blames or finds))


FAMILIES = (
    _family("copies", "exact_copy reencoded_copy resized_copy brightened_copy", "duplicate"),
    _family("leaks", "leaked_exact leaked_reencoded", "contaminated|duplicate", "contaminated"),
    _family("unreadable", "truncated html empty too_small", r"^collect |^filter (size|image_size)"),
    _family("bad texts", "spam boilerplate", r"caption|spam|boilerplate|text_stats"),
    _family("contact details", "email phone", "contact_details"),
)
LOOKS_LIKE = {"mismatched_caption": "wrong captions"}
"""Kinds that only a model can see: what was dropped of them, for whatever reason, counts as found."""


def dropped(row: Row) -> bool:
    return row["kept"] is False


def decision(row: Row) -> str:
    return f"{row['stage']} {row['reason']}"


def score(store: Store, truth: Path) -> list[Row]:
    """A row per planted kind: {kind, family, expect, planted, found, precision, recall}, counted in pictures.

    `found` counts planted pictures that were treated as they should be, recall is their share. Decisions do
    not say which kind they suspect, so precision is that of the family: of all that it took, the share that
    was planted. Of a copy and its original exactly one must go. A kind that should stay has no precision.
    """
    with store.connect() as db:
        rows = ask(db, "planted_rows", truth=str(truth))
    return tally(rows)


def tally(rows: Sequence[Row]) -> list[Row]:
    """The same from rows of the query `planted_rows`."""
    by_picture: dict[str, list[Row]] = defaultdict(list)
    kinds: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["picture"] not in by_picture:
            kinds[row["kind"]].append(row["picture"])
        by_picture[row["picture"]].append(row)
    lines: list[Row] = []
    replaced: set[str] = set()
    for family in FAMILIES:
        right = {
            kind: _right(family, kind, kinds[kind], by_picture, replaced)
            for kind in family.kinds
            if kinds[kind]
        }
        wrong = sum(
            any(map(family.blamed, picture)) for name, picture in by_picture.items() if name not in replaced
        )
        taken = sum(right.values()) + wrong
        precision = sum(right.values()) / taken if taken else None
        for kind, found in right.items():
            lines.append(
                _line(family.name, kind, len(kinds[kind]), found, precision, by_picture[kinds[kind][0]])
            )
    known = {kind for family in FAMILIES for kind in family.kinds}
    for kind in sorted(kinds.keys() - known, key=lambda kind: (kind == "clean", kind)):
        group, as_wanted = (LOOKS_LIKE[kind], dropped) if kind in LOOKS_LIKE else ("to be kept", _stays)
        found = sum(name in replaced or all(map(as_wanted, by_picture[name])) for name in kinds[kind])
        lines.append(_line(group, kind, len(kinds[kind]), found, None, by_picture[kinds[kind][0]]))
    return lines


def _line(
    family: str, kind: str, planted: int, found: int, precision: float | None, example: Sequence[Row]
) -> Row:
    return {
        "kind": kind,
        "family": family,
        "expect": example[0]["expect"],
        "planted": planted,
        "found": found,
        "precision": precision,
        "recall": found / planted if planted else None,
    }


def _stays(row: Row) -> bool:
    return row["kept"] is True


def _right(
    family: Family, kind: str, pictures: Sequence[str], rows: dict[str, list[Row]], replaced: set[str]
) -> int:
    """Pictures of the kind that were treated rightly; `replaced` gets the originals that gave way."""
    found = 0
    for name in pictures:
        first = rows[name][0]
        if first["expect"] == "redact":
            found += family.found(first) or bool(first["came_in"] and first["kept"] and not first["exposed"])
        elif family.name == "copies":
            original = rows.get(first["of"], [])[:1]
            gone = [row for row in (first, *original) if family.found(row)]
            found += len(gone) == 1
            if len(gone) == 1 and gone[0] is not first:
                replaced.add(first["of"])
        else:
            found += any(map(family.found, rows[name]))
    return found
