"""What torchrun starts in the tests: `worker.py STORE RUN SETTINGS [STOP]` trains, and stops after a step if asked."""

from __future__ import annotations

import json
import sys
from contextlib import suppress

from model.config import TrainConfig
from model.train import Progress, Stopped, train
from storage.snapshot import Snapshot
from storage.store import Store


def main(path: str, run_id: str, settings: str, stop: str = "") -> None:
    """Trains on the latest snapshot."""
    store = Store.open(path, create=False)
    config = TrainConfig.model_validate(json.loads(settings))
    done = 0

    def progress(at: Progress) -> None:
        nonlocal done
        done = at.step
        print(at.step, flush=True)

    with suppress(Stopped):
        train(
            store,
            Snapshot.open(store),
            config,
            run_id=run_id,
            progress=progress,
            stop=lambda: bool(stop) and done >= int(stop),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
