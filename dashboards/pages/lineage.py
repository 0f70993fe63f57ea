"""Lineage: what made a checkpoint, and which of its training rows are nearest to what it said."""

from __future__ import annotations

from functools import partial
from typing import Any

from dashboards import samples, sections, thin
from dashboards.ask import ask
from dashboards.asked import Asked
from dashboards.page import Content, Page, Seen

NEAREST, LISTED = 12, 18
MOST_SEARCHED = 200_000
"""Of more rows, so many are looked at, unless all are asked for: that takes a second for each million."""


def content(seen: Seen, asked: Asked) -> Content:
    """The chain behind a checkpoint; its generated texts; and, for one of them or any words, the nearest rows."""
    made = list(dict.fromkeys(row["checkpoint_id"] for row in ask(seen.db, "checkpoints")))
    evaluated = {
        row["checkpoint_id"]: row["evaluation_id"]
        for row in reversed(seen.answers.once("evaluated", lambda: ask(seen.db, "evaluated")))
    }
    usual = next((name for name in made if name in evaluated), made[0] if made else "")
    chosen = asked.choice("checkpoint", made, usual)
    listed = ask(seen.db, "answers_listed", evaluation=evaluated.get(chosen, ""), n=LISTED) if chosen else []
    one = answered(seen, evaluated.get(chosen, ""), asked.text("sample"))
    spoken = asked.text("words") or (one["output"] if one else "")
    share, near = nearest(seen, chosen, spoken, whole=bool(asked.text("all")))
    return {
        "names": made,
        "chosen": chosen,
        "lineage": seen.answers.once(("lineage", chosen), lambda: made_by(seen, chosen)),
        "listed": samples.told(listed),
        "one": samples.told([one])[0] if one else None,
        "spoken": samples.told([{"text": spoken}])[0]["text"] if spoken else "",
        "words_asked": asked.text("words"),
        "near": near,
        "share": share,
    }


def made_by(seen: Seen, checkpoint: str) -> dict[str, Any]:
    """The chain behind a checkpoint, back to the licences of its rows."""
    return sections.lineage(seen.db, checkpoint or None, seen.mill.store.path / "tokenizers")


def answered(seen: Seen, evaluation: str, sample: str) -> dict[str, Any] | None:
    """One answer of an evaluation, with its item."""
    found = ask(seen.db, "answer_to", evaluation=evaluation, sample=sample) if evaluation and sample else []
    return found[0] if found else None


def nearest(seen: Seen, checkpoint: str, words: str, *, whole: bool) -> tuple[float, list[dict[str, Any]]]:
    """Training rows that share the most words with a text, and the share of all rows that was looked at: of very many some
    first, and all if that is asked for, or if too few are met."""
    if not checkpoint or not words:
        return thin.WHOLE, []
    size = sum(row["rows"] for row in ask(seen.db, "checkpoint_size", checkpoint=checkpoint))
    share = thin.WHOLE if whole else thin.share(MOST_SEARCHED, size)

    def find(part: float) -> list[dict[str, Any]]:
        with thin.thinned(seen.db, seen.mill.store, part) as db:
            return ask(db, "nearest_rows", checkpoint=checkpoint, words=words, n=NEAREST)

    for part in dict.fromkeys((share, thin.WHOLE)):
        rows = seen.answers.once(("nearest", checkpoint, words, part), partial(find, part))
        if len(rows) >= NEAREST:
            break
    told = []
    for row in rows:
        times = {0: "not seen", 1: "seen once"}.get(row["times_seen"], f"seen {row['times_seen']:,} times")
        told.append({**row, "note": f"{row['alike']:.0%} of the words · {times}"})
    return part, samples.told(told)


PAGE = Page(
    "lineage", "Lineage", "What made a checkpoint, and which rows is an answer of it nearest to?", content
)
