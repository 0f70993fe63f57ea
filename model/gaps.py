"""Places of a corpus that are empty since what stood there was forgotten: as long as it was, and never looked at.

Everything else keeps its index, so that the same permutations meet it at the same steps.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def pictures(images: pa.Table, gaps: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """Pictures (image_id, codes) with empty ones at their places, and which are empty: bool `[pictures]`."""
    empty = gaps.filter(pc.is_null(gaps["picture_of"]))
    if not empty.num_rows:
        return images, np.zeros(images.num_rows, bool)
    codes = len(images["codes"][0]) if images.num_rows else 0
    names = [f"gap {place}" for place in empty["place"].to_pylist()]
    rows = pa.table({"image_id": names, "codes": [[0] * codes] * len(names)})
    return inserted(images, rows, empty["place"].to_numpy())


def texts(table: pa.Table, images: pa.Table, gaps: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """Texts (sample_id, image_id, lang, task, label, prompt_ids, ids) with empty ones at their places, and which are empty.

    `images` are all pictures, those that are empty among them.
    """
    empty = gaps.filter(pc.is_valid(gaps["picture_of"]))
    if not empty.num_rows:
        return table, np.zeros(table.num_rows, bool)
    shown = pa.array([one if one >= 0 else None for one in empty["picture_of"].to_pylist()], pa.int64())
    rows = {
        "sample_id": [""] * empty.num_rows,
        "image_id": images["image_id"].combine_chunks().take(shown),
        "lang": empty["lang"],
        "task": empty["task"],
        "label": pa.nulls(empty.num_rows, pa.string()),
        "prompt_ids": [[0] * number for number in empty["prompt_tokens"].to_pylist()],
        "ids": [[0] * number for number in empty["text_tokens"].to_pylist()],
    }
    return inserted(table, pa.table(rows), empty["place"].to_numpy())


def inserted(table: pa.Table, rows: pa.Table, places: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    """A table with further rows at these places of the result, which ascend, and which those are: bool."""
    rows = rows.select(table.column_names).cast(table.schema)
    new = np.zeros(table.num_rows + rows.num_rows, bool)
    new[places] = True
    order = np.empty(len(new), np.int64)
    order[~new], order[new] = np.arange(table.num_rows), table.num_rows + np.arange(rows.num_rows)
    return pa.concat_tables([table, rows]).take(pa.array(order)).combine_chunks(), new
