"""Takes a URL list into a store, in a process of its own that a test may kill: `harvest_once.py STORE LIST`."""

from __future__ import annotations

import sys

from pipeline.collect import Origin
from pipeline.sources.url_list import UrlList
from pipeline.web import intake
from pipeline.web.settings import FetchSettings
from storage import parts
from storage.limits import Limits
from storage.store import Store

SETTINGS = FetchSettings(allow=("127.0.0.0/8",), consent=(), concurrency=4, decoders=1)
SHARD_ROWS = 20


def main(path: str, urls: str) -> None:
    store = Store.open(path)
    parts.commit(store, parts.waiting(store))
    source = UrlList(path=urls, shard_rows=SHARD_ROWS)
    print("begun", flush=True)
    taken = intake.run(store, Origin("web", source), Limits(min_side=1), SETTINGS)
    print(taken.parts, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
