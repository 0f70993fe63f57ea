"""Corpus: rows with their pictures, found by words, by a picture, by any signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dashboards import charts, samples, thin
from dashboards.ask import Session, ask, ask_one
from dashboards.asked import Asked
from dashboards.charts import Bin, Marker, Segment
from dashboards.page import Content, Page, Seen
from dashboards.search import EMBEDDINGS, FATES, Search, Signal, prepare, signals

ON_A_PAGE, MOST_PAGES = 42, 250
MOST_SEARCHED = 200_000
"""Of more rows, so many are looked at first."""
ORDERS = ("lowest", "highest")
HASH = 1 << 63


@dataclass(frozen=True)
class Found:
    """What a search found, of this share of all rows."""

    share: float
    counts: dict[str, int]
    """rows, and those of them that were kept, of all rows."""
    estimated: bool
    rows: int
    """Those that were met, and can be leafed through."""


def content(seen: Seen, asked: Asked) -> Content:
    """What a search finds, how its signal is spread, and what there is to choose from."""
    known = signals(seen.mill.store)
    values = seen.answers.once("values", lambda: ask(seen.db, "search_values"))
    tables = set(seen.mill.store.tables())
    search = searched(asked, known, "perceptual_hash" in tables, EMBEDDINGS in tables)
    sources = seen.answers.once("sources", lambda: ask(seen.db, "sum_check"))
    total = {"rows": sum(row["came_in"] for row in sources), "kept": sum(row["kept"] for row in sources)}
    whole = search.by_picture or bool(asked.text("all"))
    share = thin.WHOLE if whole else thin.share(MOST_SEARCHED, total["rows"])
    for part in dict.fromkeys((share, thin.WHOLE)):  # what fills no page is looked for in all rows
        with thin.thinned(seen.db, seen.mill.store, part) as db:
            prepare(db, search, known, once=part < thin.WHOLE)
            found = counted(seen, db, search, part, total)
            if found.rows < ON_A_PAGE and part < thin.WHOLE:
                continue
            return {
                "search": search,
                "found": found,
                **page(seen, db, asked, found),
                "fates": FATES,
                "signals": known,
                "values": {
                    d: [v["value"] for v in values if v["dimension"] == d] for d in ("source", "lang", "task")
                },
                "spread": spread(seen, db, search, known.get(search.signal), part),
                "hashed": "perceptual_hash" in tables,
                "embedded": EMBEDDINGS in tables,
                "image_id": search.like or None,
            }
    raise AssertionError("all rows are looked at in the end")


def counted(seen: Seen, db: Session, search: Search, share: float, total: dict[str, int]) -> Found:
    """How much a search finds; nothing is estimated where all rows were looked at, or all of them are what is asked for."""
    met = seen.answers.once((search, share), lambda: ask_one(db, "search_counts"))
    if share < thin.WHOLE and search == Search(signal=search.signal):
        return Found(share, total, False, met["rows"])
    counts = {name: round(n / share) for name, n in met.items()}
    return Found(share, counts, share < thin.WHOLE, met["rows"])


def page(seen: Seen, db: Session, asked: Asked, found: Found) -> Content:
    """The rows of the page that is asked for."""
    pages = min(MOST_PAGES, -(-found.rows // ON_A_PAGE))
    at = asked.whole("at", high=max(pages - 1, 0))
    order = asked.choice("order", ORDERS)
    rows = ask(db, "search_rows", n=ON_A_PAGE, skip=at * ON_A_PAGE, order=order)
    return {"rows": samples.told(rows), "at": at, "pages_of_it": pages, "order": order, "orders": ORDERS}


def searched(asked: Asked, known: dict[str, Signal], hashed: bool, embedded: bool) -> Search:
    """The search that an address stands for."""
    like = asked.text("like") if hashed else ""
    return Search(
        words=asked.text("words"),
        source=asked.text("source"),
        lang=asked.text("lang"),
        task=asked.text("task"),
        fate=asked.choice("fate", FATES),
        signal=asked.choice("signal", known),
        low=asked.number("low"),
        high=asked.number("high"),
        like=like if like.isalnum() else "",
        hash=_hash(asked, "hash") if hashed else None,
        colour_hash=_hash(asked, "colour_hash"),
        meaning=embedded and asked.text("by") == "meaning",
    )


def _hash(asked: Asked, name: str) -> int | None:
    """A signed 64-bit number, exactly."""
    try:
        found = int(asked.text(name))
    except ValueError:
        return None
    return found if -HASH <= found < HASH else None


def spread(
    seen: Seen, db: Session, search: Search, signal: Signal | None, share: float
) -> dict[str, Any] | None:
    """A histogram of the chosen signal over what the search finds (in this share of the rows), whatever its bounds are."""
    if signal is None:
        return None
    unbounded = (share, *(v for k, v in vars(search).items() if k not in ("low", "high")))
    rows = seen.answers.once(unbounded, lambda: ask(db, "search_histogram"))
    if not rows:
        return {"chart": "", "doc": signal.doc, "low": 0, "high": 0}
    low, high = rows[0]["low"], rows[0]["high"]
    width = (high - low) / 40 or 1.0
    counts = {row["place"]: row for row in rows}
    bins = [
        Bin(
            low + place * width,
            low + (place + 1) * width,
            [
                Segment("kept", "kept", counts.get(place, {}).get("kept", 0)),
                Segment("dropped", "base", counts.get(place, {}).get("dropped", 0)),
            ],
        )
        for place in range(40 if high > low else 1)
    ]
    markers = [Marker(end, charts.figure(end)) for end in (search.low, search.high) if end is not None]
    total = sum(row["kept"] + row["dropped"] for row in rows)
    summary = f"{search.signal} of {total:,} rows, from {charts.figure(low)} to {charts.figure(high)}."
    return {
        "chart": charts.histogram(bins, summary, unit=search.signal, markers=markers),
        "doc": signal.doc,
        "low": low,
        "high": high,
        "rows": total,
        "legend": [("kept", "kept"), ("base", "dropped")],
    }


PAGE = Page("corpus", "Corpus", "What is in it, and what does a search find?", content)
