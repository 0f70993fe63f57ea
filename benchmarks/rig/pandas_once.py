"""Three questions in pandas: `pandas_once.py VIEW FILES TIMES`; prints seconds, answer and version as JSON.

As a careful user would: only the columns that are asked for, read by pyarrow, texts as Arrow strings, the few values that
come again and again as categories, and rows that were kept left in the file.
"""

from __future__ import annotations

import json
import sys
import time

import pandas as pd
import pyarrow.dataset as ds


def languages(files: dict[str, list[str]]) -> dict[str, list[int]]:
    """Rows that came in and rows that were kept, by language; the rest of the view on the way."""
    lost = frame(files["decisions"], ["sample_id"], ~ds.field("kept"))["sample_id"].unique()
    samples = frame(files["samples"], ["sample_id", "lang", "task", "text"], None)
    samples["kept"] = ~samples["sample_id"].isin(lost)
    samples["characters"] = samples["text"].str.len()
    samples["lang"] = samples["lang"].cat.add_categories("(none)").fillna("(none)")
    groups = samples.groupby("lang", observed=True)
    groups["characters"].mean()
    samples.groupby(["lang", "task"], observed=True).size()
    kept = groups["kept"].sum()
    return {str(lang): [int(n), int(kept[lang])] for lang, n in groups.size().items()}


def source_quality(files: dict[str, list[str]]) -> dict[str, list[int]]:
    """Rows that came in and rows that were dropped, by source; the rest of the view on the way."""
    dropped = frame(files["decisions"], ["sample_id", "source", "stage", "reason"], ~ds.field("kept"))
    order = dropped["stage"].map({"collect": 0, "filter": 1}).astype("float64").fillna(2)
    first = dropped.assign(order=order).sort_values(["order", "stage"]).drop_duplicates("sample_id")
    by_reason = first.groupby(["source", "stage", "reason"], observed=True).size()
    lost = by_reason.groupby("source", observed=True).sum()
    by_reason.groupby("source", observed=True).idxmax()
    judged = frame(files["decisions"], ["source"], ds.field("stage") == "collect")["source"].value_counts()
    samples = frame(files["samples"], ["source", "licence", "fetched_at"], None)
    groups = samples.groupby("source", observed=True)
    came_in = groups.size()
    samples["licence"].isna().groupby(samples["source"], observed=True).sum()
    groups["fetched_at"].max()
    _ = judged - lost
    return {str(source): [int(n), int(lost.get(source, 0))] for source, n in came_in.items()}


def totals(files: dict[str, list[str]]) -> dict[str, list[int]]:
    """What came in, was kept and is stored, and what the snapshot holds."""
    lost = frame(files["decisions"], ["sample_id"], ~ds.field("kept"))["sample_id"].nunique()
    judged = ds.dataset(files["decisions"]).count_rows(filter=ds.field("stage") == "collect")
    images = frame(files["images"], ["original_bytes"], None)
    members = frame(files["members"], ["sample_id"], ds.field("snapshot") == "made")
    samples = frame(files["samples"], ["sample_id", "image_id", "lang", "task", "source", "text"], None)
    held = samples[samples["sample_id"].isin(members["sample_id"])]
    return {
        "all": [
            len(samples),
            judged - lost,
            len(images),
            int(images["original_bytes"].sum()),
            len(held),
            *(int(held[name].nunique()) for name in ("image_id", "lang", "task", "source")),
            int(held["text"].str.len().sum()),
        ]
    }


def frame(files: list[str], columns: list[str], rows: ds.Expression | None) -> pd.DataFrame:
    """The columns of some files."""
    table = ds.dataset(files).to_table(columns=columns, filter=rows)
    found = table.to_pandas(types_mapper=pd.ArrowDtype)
    few = [name for name in columns if name in ("source", "stage", "reason", "licence", "lang", "task")]
    return found.astype(dict.fromkeys(few, "category"))


VIEWS = {"languages": languages, "source_quality": source_quality, "totals": totals}


def main(view: str, files: str, times: str) -> None:
    """Answers once to warm up, and then so many times."""
    told = json.loads(files)
    took = []
    for _ in range(int(times) + 1):
        began = time.perf_counter()
        found = VIEWS[view](told)
        took.append(time.perf_counter() - began)
    print(json.dumps({"seconds": took[1:], "answer": found, "version": pd.__version__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
