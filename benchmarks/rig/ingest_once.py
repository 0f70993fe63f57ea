"""One ingest, a clock around it: `python -m benchmarks.rig.ingest_once CONFIG ANSWER [bare]`.

`bare`: its stages by a plain loop in place of the flow; everything is imported as for the flow.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main(config: str, answer: str, how: str = "flow") -> None:
    """Writes what the ingest returned, its seconds, and what the store then holds, as JSON."""
    from flows import server

    with server.api():
        from flows import ingest

        run = bare if how == "bare" else ingest.start
        began, worked = time.perf_counter(), time.process_time()
        done = run(config)
        seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    Path(answer).write_text(json.dumps({**done, "seconds": seconds, "own_cpu": cpu, **held(config)}))


def bare(config: str) -> dict[str, Any]:
    """The same without a flow, and what it did."""
    from benchmarks.rig.bare import BareWorkers
    from flows import ingest
    from flows.config import read

    done = ingest.run(read(config), BareWorkers)
    return {key: value for key, value in vars(done).items() if key != "store"}


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
