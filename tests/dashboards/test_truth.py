"""Precision and recall of what was planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.truth import score, tally
from storage.store import Store


def row(
    picture: str,
    kind: str,
    expect: str,
    reason: str | None = None,
    stage: str = "filter",
    of: str = "",
    **more: object,
) -> dict:
    return {
        "picture": picture,
        "position": 0,
        "kind": kind,
        "of": of,
        "expect": expect,
        "came_in": True,
        "kept": reason is None,
        "stage": stage if reason else None,
        "reason": reason,
        "exposed": False,
        **more,
    }


def lines(*rows: dict) -> dict[str, dict]:
    return {line["kind"]: line for line in tally(rows)}


def test_a_store_is_scored_against_its_truth(filled: Store, truth_file: Path) -> None:
    found = {line["kind"]: line for line in score(filled, truth_file)}
    assert (found["brightened_copy"]["planted"], found["brightened_copy"]["found"]) == (1, 1)
    assert found["brightened_copy"]["precision"] == found["brightened_copy"]["recall"] == 1.0
    assert found["truncated"]["recall"] == 1.0
    assert found["email"]["recall"] == 1.0  # dropped
    assert found["phone"]["recall"] == 0.0  # kept, and still there to be read
    assert found["boilerplate"]["recall"] == 0.0  # kept
    assert found["too_small"]["recall"] == 0.0  # never came in: not found
    assert (found["clean"]["planted"], found["clean"]["found"], found["clean"]["precision"]) == (3, 3, None)
    assert {"kind", "planted", "found", "precision", "recall"} <= set(found["clean"])


def test_an_empty_store_found_nothing(empty: Store, truth_file: Path) -> None:
    found = score(empty, truth_file)
    assert found and all(line["found"] == 0 for line in found)
    assert all(line["precision"] is None for line in found)


def test_of_a_copy_and_its_original_either_may_go_but_not_both() -> None:
    original, copy = row("g1", "clean", "keep"), row("g2", "exact_copy", "drop", of="g1")
    dropped = {"reason": "duplicate", "stage": "near_duplicates", "kept": False}
    found = lines(original, {**copy, **dropped})
    assert (found["exact_copy"]["recall"], found["exact_copy"]["precision"], found["clean"]["recall"]) == (
        1,
        1,
        1,
    )
    found = lines({**original, **dropped}, copy)
    assert (found["exact_copy"]["recall"], found["exact_copy"]["precision"], found["clean"]["recall"]) == (
        1,
        1,
        1,
    )
    found = lines({**original, **dropped}, {**copy, **dropped})
    assert (found["exact_copy"]["recall"], found["exact_copy"]["precision"], found["clean"]["recall"]) == (
        0,
        0,
        0,
    )
    found = lines(original, copy)
    assert (found["exact_copy"]["recall"], found["exact_copy"]["precision"]) == (0, None)


def test_what_was_taken_wrongly_lowers_the_precision_of_its_family_only() -> None:
    found = lines(
        row("g1", "spam", "drop", "caption_spam"),
        row("g2", "clean", "keep", "caption_spam"),
        row("g3", "email", "redact", "contact_details"),
        row("g4", "phone", "redact"),  # kept, and the number is no longer in the text
    )
    assert found["spam"]["precision"] == 0.5
    assert found["email"]["precision"] == 1.0
    assert found["phone"]["recall"] == 1.0
    assert found["clean"]["recall"] == 0.0


def test_a_leak_found_as_a_duplicate_is_found() -> None:
    found = lines(
        row("g1", "leaked_exact", "drop", "contaminated", "decontaminate", of="h1"),
        row("g2", "leaked_reencoded", "drop", "duplicate", "near_duplicates", of="h2"),
    )
    assert found["leaked_exact"]["recall"] == found["leaked_reencoded"]["recall"] == 1.0


def test_a_wrong_reason_is_not_a_find() -> None:
    assert (
        lines(row("g1", "boilerplate", "drop", "duplicate", "near_duplicates"))["boilerplate"]["recall"]
        == 0.0
    )
    assert lines(row("g1", "truncated", "drop", "truncated", "collect"))["truncated"]["recall"] == 1.0


@pytest.mark.parametrize("kind", ["recoloured", "shared_picture"])
def test_what_is_no_copy_must_stay(kind: str) -> None:
    found = lines(
        row("g1", "clean", "keep"), row("g2", kind, "keep", "duplicate", "near_duplicates", of="g1")
    )
    assert found[kind]["recall"] == 0.0
