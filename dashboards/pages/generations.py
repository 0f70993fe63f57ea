"""Generations: what several checkpoints answered to the same items, and what they drew, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dashboards import pictures, samples
from dashboards.ask import ask
from dashboards.asked import Asked
from dashboards.masking import shown
from dashboards.page import Content, Page, Seen
from dashboards.sections import differing

ON_A_PAGE, COMPARED, DRAWN = 12, 4, 24
WHICH = (("differing", "answers that differ"), ("wrong", "some are wrong"))


def content(seen: Seen, asked: Asked) -> Content:
    """The chosen checkpoints' answers to a page of items."""
    rows = seen.answers.once("evaluated", lambda: ask(seen.db, "evaluated"))
    made = {row["checkpoint_id"]: row for row in reversed(rows)}
    names = list(dict.fromkeys(row["checkpoint_id"] for row in rows))
    chosen = asked.several("checkpoint", names)[:COMPARED] or names[:2]
    evaluations = [made[name]["evaluation_id"] for name in chosen]
    tasks = ask(seen.db, "answered_tasks", evaluations=evaluations) if chosen else []
    task = asked.choice("task", [row["task"] for row in tasks])
    which = asked.choice("which", [value for value, _ in WHICH])
    at = asked.whole("at", high=10_000)
    items = (
        ask(
            seen.db,
            "answers_beside",
            evaluations=evaluations,
            task=task,
            which=which,
            n=ON_A_PAGE + 1,
            skip=at * ON_A_PAGE,
        )
        if chosen
        else []
    )
    return {
        "names": names,
        "made": made,
        "chosen": chosen,
        "tasks": [row["task"] for row in tasks],
        "task": task,
        "which": which,
        "whiches": WHICH,
        "items": [_item(row, evaluations) for row in items[:ON_A_PAGE]],
        "at": at,
        "pages_of_it": at + (2 if len(items) > ON_A_PAGE else 1),
        "drawings": [_drawn(seen, name, made[name]["evaluation_id"]) for name in chosen],
    }


def _item(row: dict[str, Any], evaluations: list[str]) -> dict[str, Any]:
    """An item with an answer for each evaluation, the words marked that differ from what was expected."""
    given = {one["evaluation_id"]: one for one in row["answers"]}
    [told] = samples.told([{key: value for key, value in row.items() if key != "answers"}])
    answers = []
    for name in evaluations:
        one = given.get(name)
        output = shown(one["output"], samples.CAPTION) if one else None
        answers.append(
            {
                "there": one is not None,
                "correct": bool(one and one["correct"]),
                "marked": differing(told["expected"] or "", output or ""),
            }
        )
    return {**told, "answers": answers}


def _drawn(seen: Seen, checkpoint: str, evaluation: str) -> dict[str, Any]:
    inside = Path(evaluation).name == evaluation
    found = pictures.drawn(seen.mill.store.path / "reports" / evaluation) if inside else []
    return {"checkpoint": checkpoint, "drawn": found[:DRAWN]}


PAGE = Page("generations", "Generations", "What do checkpoints say and draw, beside each other?", content)
