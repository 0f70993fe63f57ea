"""One `millrace ingest`, a clock around its flow: `python -m benchmarks.rig.ingest_once CONFIG ANSWER`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(config: str, answer: str) -> None:
    """Writes what the flow returned, its seconds, and what the store then holds, as JSON."""
    from flows import server

    with server.api():
        from flows import ingest

        began = time.perf_counter()
        done = ingest.start(config)
        done["seconds"] = time.perf_counter() - began
    Path(answer).write_text(json.dumps({**done, **held(config)}))


def held(config: str) -> dict[str, object]:
    """How many pictures the store holds, and the hash of its newest snapshot's content."""
    from flows.config import read
    from storage.snapshot import Snapshot
    from storage.store import Store

    store = Store.open(read(config).store.path, create=False)
    with store.connect() as db:
        [(pictures,)] = db.sql("SELECT count(*) FROM images").fetchall()
    return {"pictures": pictures, "content_hash": Snapshot.open(store).content_hash}


if __name__ == "__main__":  # the flow's worker processes import this file again
    main(*sys.argv[1:])
