"""Rows of the corpus as pages show them: texts masked and shortened, some pictures not shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.masking import hides_picture, hides_text, shown, shown_path, withheld

CAPTION, PROMPT, LABEL = 120, 70, 60


def told(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, what must not be shown of them replaced: by the reason for which a row was dropped."""
    return [_told(row) for row in rows]


def _told(row: dict[str, Any]) -> dict[str, Any]:
    reason, made = row.get("reason"), dict(row)
    for name, longest in (("text", CAPTION), ("prompt", PROMPT), ("expected", CAPTION), ("output", CAPTION)):
        if name in row:
            hidden = hides_text(reason) and row[name]
            made[name] = withheld(row[name]) if hidden else shown(row[name], longest)
    for name in ("source", "licence", "lang", "task"):
        if name in row:
            made[name] = shown(row[name], LABEL)
    if "origin" in row:
        made["origin"] = None if hides_text(reason) else shown_path(row["origin"])
    if hides_picture(reason):
        made["hidden"] = True
    return made
