"""When a step's settings change, what it wrote under the old ones is stale as a whole.

A generation counts those changes per table (or per stage of `decisions`). It enters every part's key, so that going
back to earlier settings computes again instead of trusting marks whose rows are gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from storage.store import Store

FILE = "generations.json"


def current(store: Store, table: str, fingerprint: str, where: Mapping[str, str]) -> int:
    """The table's generation under this fingerprint; stale rows (those that match `where`) are deleted first.

    The new generation is written down before the rows go, and its completion after: a kill in between
    deletes again, and never mixes rows of two fingerprints.
    """
    path = store.path / FILE
    book = json.loads(path.read_text()) if path.exists() else {}
    name = ":".join([table, *(f"{k}={v}" for k, v in sorted(where.items()))])
    entry = book.get(name)
    if entry and entry["fingerprint"] == fingerprint and entry["clean"]:
        return entry["generation"]
    number = 0
    if entry:
        number = entry["generation"] + (entry["fingerprint"] != fingerprint)
        _write(path, book, name, fingerprint, number, clean=False)
        store.clear(table, where)
    _write(path, book, name, fingerprint, number, clean=True)
    return number


def _write(
    path: os.PathLike[str], book: dict, name: str, fingerprint: str, number: int, *, clean: bool
) -> None:
    book[name] = {"fingerprint": fingerprint, "generation": number, "clean": clean}
    scratch = f"{os.fspath(path)}.{os.getpid()}"
    with open(scratch, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(book, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)  # noqa: PTH105
