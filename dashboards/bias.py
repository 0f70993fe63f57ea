"""Who is spoken of in the texts, what a stage did to whom, what stands beside whom, and what leaked or is personal.

A stage is flagged where it drops texts of a group at least `TWICE` as often as the other texts that it saw, if it
dropped at least `LEAST_DROPPED` of them and the lower bound of the ratio of the two rates is above one: Katz's log
interval (Katz et al., Biometrics 34, 1978) at the level that Bonferroni's correction leaves of 5% for all the
comparisons made, so that a fair chain of filters is flagged in one report of twenty at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist
from typing import Any

from dashboards import charts
from dashboards.ask import Db, ask, question
from dashboards.charts import Bar, Segment
from dashboards.masking import shown
from storage import mentions

Row = dict[str, Any]

TWICE, LEAST_DROPPED, LEVEL = 2.0, 10, 0.05
LEAST_TOGETHER = 5
"""Texts in which a group and a word or label must stand together to be told of."""
PER_GROUP, EXAMPLES, MOST_BARS, LONGEST = 8, 6, 12, 10.0


@cache
def over() -> dict[str, str]:
    """What the questions about groups share: `terms` (kind, group_name, lang, term), `worded` (sample_id, lang, label, w: the
    words of each text in a language with terms) and `mentions` (sample_id, kind, group_name).

    A text's language is the stated one, else the one that annotators.language found, where it ran.
    """
    return {"terms": mentions.terms(), "worded": mentions.WORDED, "mentions": mentions.MENTIONS}


def removal(rows: Sequence[Row]) -> list[Row]:
    """Answers of `removal_by_group` with both rates, their ratio, its lower bound, and whether it is flagged."""
    compared = [row for row in rows if row["seen"] and row["rest_seen"]]
    z = NormalDist().inv_cdf(1 - LEVEL / 2 / max(1, len(compared)))
    found = []
    for row in compared:
        low = ratio_bound(row["dropped"], row["seen"], row["rest_dropped"], row["rest_seen"], z)
        rate, rest = row["dropped"] / row["seen"], row["rest_dropped"] / row["rest_seen"]
        ratio = rate / rest if rest else (math.inf if rate else None)
        flagged = row["dropped"] >= LEAST_DROPPED and ratio is not None and ratio >= TWICE and low > 1
        found.append(
            {**row, "rate": rate, "rest_rate": rest, "ratio": ratio, "ratio_low": low, "flagged": flagged}
        )
    return sorted(found, key=lambda row: (not row["flagged"], -(row["ratio_low"] or 0), -row["dropped"]))


def ratio_bound(dropped: int, seen: int, rest_dropped: int, rest_seen: int, z: float) -> float:
    """Lower bound of the ratio of two rates; half a row is added to counts of nothing."""
    if not dropped:
        return 0.0
    a, c = float(dropped), float(rest_dropped or 0.5)
    spread = math.sqrt(max(0.0, 1 / a - 1 / seen + 1 / c - 1 / max(rest_seen, c)))
    return math.exp(math.log(a / seen) - math.log(c / rest_seen) - z * spread)


def report(db: Db, snapshot: str | None) -> Row:
    """Every question about bias and safety, answered."""
    asked: Row = {"snapshot": snapshot, "least": LEAST_TOGETHER, "n": PER_GROUP}
    return {
        "distribution": ask(db, "distribution", **asked),
        "groups": ask(db, "group_mentions", over(), **asked),
        "removal": removal(ask(db, "removal_by_group", over(), **asked)),
        "associations": ask(db, "group_associations", over(), **asked),
        "safety": ask(db, "safety", **asked),
    }


def contamination(db: Db) -> list[Row]:
    """What was dropped because it is in an evaluation set."""
    return ask(db, "contamination", n=EXAMPLES)


def tables(db: Db, snapshot: str | None) -> dict[str, list[Row]]:
    """Title to rows, for the command line; of the removals, those with something dropped."""
    found = report(db, snapshot)
    dropped = [
        {**row, "ratio": row["ratio"] if math.isfinite(row["ratio"] or 0) else None}  # JSON knows no infinity
        for row in found["removal"]
        if row["dropped"] or row["rest_dropped"]
    ]
    flagged = [row for row in dropped if row["flagged"]]
    names = ("distribution", "group_mentions", "group_associations", "safety")
    told = dict(
        zip(
            names,
            (found["distribution"], found["groups"], found["associations"], found["safety"]),
            strict=True,
        )
    )
    return {
        f"Flagged: dropped at least {TWICE:g} times as often as the rest, beyond chance": flagged,
        question("removal_by_group"): dropped,
        **{question(name): rows for name, rows in told.items()},
    }


def section(db: Db, snapshot: str | None) -> Row:
    """The report's section: tables, and bars of how often each group's texts are dropped, and of where rows come from."""
    found = report(db, snapshot)
    spoken = [row for row in found["groups"] if row["came_in"]]
    dropped = [row for row in found["removal"] if row["dropped"]]
    bars = [
        Bar(
            row["group_name"],
            [Segment("texts", "c1" if row["kind"] == "gender" else "c0", row["came_in"])],
            f"{row['came_in']:,}",
        )
        for row in spoken
    ]
    rates = [_rate(row) for row in dropped if row["dropped"] >= LEAST_DROPPED][:MOST_BARS]
    by: dict[str, list[Row]] = {}
    for row in found["distribution"]:
        by.setdefault(row["dimension"], []).append({**row, "value": shown(row["value"], 60)})
    beside: dict[tuple[str, str], list[Row]] = {}
    for row in (one for one in found["associations"] if one["pmi"] > 0):
        beside.setdefault((row["group_name"], row["what"]), []).append(
            {**row, "word": shown(row["word"], 40)}
        )
    return {
        "groups": spoken,
        "texts": found["groups"][0]["texts"] if found["groups"] else 0,
        "left_out": found["groups"][0]["texts_left_out"] if found["groups"] else 0,
        "chart": charts.stacked(
            bars, "Texts that speak of each group; the table has the figures.", label_width=220
        ),
        "legend": [("c1", "gender"), ("c0", "region")] if bars else [],
        "rates": charts.stacked(
            rates, "How many times as often as the rest a group is dropped.", label_width=300
        ),
        "rates_legend": [("base", "flagged"), ("kept", "within chance, or less than twice")] if rates else [],
        "removal": dropped,
        "flagged": [row for row in dropped if row["flagged"]],
        "compared": len(found["removal"]),
        "distribution": by,
        "associations": beside,
        "safety": found["safety"],
    }


def _rate(row: Row) -> Bar:
    """A bar of how many times as often as the rest a group's texts are dropped for a reason; it ends at `LONGEST`."""
    times = "∞" if math.isinf(row["ratio"]) else charts.figure(row["ratio"])
    colour = "base" if row["flagged"] else "kept"
    return Bar(
        f"{row['group_name']}: {row['reason']}",
        [Segment("times as often", colour, min(row["ratio"], LONGEST))],
        f"× {times}{', flagged' if row['flagged'] else ''}",
    )


def leaks(db: Db) -> Row:
    """The report's section on evaluation sets: what was dropped for them, and pairs of pictures to look at."""
    rows = contamination(db)
    pairs = [
        {**one, "evaluation_set": row["evaluation_set"], "source": row["source"], "what": row["what"]}
        for row in rows for one in row["examples"] if one["image_id"] and one["held_image_id"]
    ]  # fmt: skip
    return {"rows": rows, "dropped": sum(row["dropped"] for row in rows), "pairs": pairs[: 2 * EXAMPLES]}
