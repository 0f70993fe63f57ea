"""One of several workers of a training run, started by torchrun's elastic launcher.

`millrace train --workers N` does so on one machine. On several, on each of them:

    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29400 --max-restarts 3 \
        -m flows.train_worker --config millrace.toml --snapshot NAME

A worker that dies is started again with all the others, from the last checkpoint; there may be fewer or more of them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from flows.config import read
from flows.launcher import LAUNCHER
from flows.train import refuse_contaminated, refuse_withdrawn, run_name
from model.config import TrainConfig
from model.train import Stopped, TrainError, train
from storage.errors import StoreFull
from storage.parts import alive
from storage.snapshot import Snapshot
from storage.store import Store

LOOK_EVERY_S = 0.5


def say(**what: object) -> None:
    """One line of JSON for the process that started the workers, from the first of them."""
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(what), flush=True)


def end_with(launcher: int) -> None:
    """Ends this worker when the process that listens is gone, as if it had done its work: or else the elastic agent, which
    outlives a kill, would train on for nobody, or start it again."""

    def watch() -> None:
        while alive(launcher):
            time.sleep(LOOK_EVERY_S)
        os._exit(0)

    threading.Thread(target=watch, name="end-with-launcher", daemon=True).start()


def work(store: Store, snapshot: Snapshot, config: TrainConfig, run_id: str) -> None:
    """Trains as one of the workers. What no restart would mend is told, and is no failure of the process."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        done = train(
            store,
            snapshot,
            config,
            run_id=run_id,
            progress=lambda at: say(**vars(at)),
            stop=asked.is_set,
        )
        say(done=str(done))
    except Stopped as stopped:
        say(stopped=str(stopped.folder), step=stopped.step)
    except (TrainError, StoreFull, ValueError) as error:
        say(error=type(error).__name__, message=str(error))
        if rank := int(os.environ.get("RANK", "0")):  # what the first one does not say may be said here alone
            print(f"worker {rank}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """The command line of a worker."""
    made = argparse.ArgumentParser(prog="torchrun … -m flows.train_worker", description=__doc__)
    made.add_argument("--config", help="the TOML file; or --store and --settings")
    made.add_argument("--store", help="folder of the store")
    made.add_argument("--settings", help="[train] as JSON")
    made.add_argument("--snapshot", default="latest")
    made.add_argument("--name", default="", help="name of the run; taken from the settings if left out")
    told = made.parse_args(words)
    if LAUNCHER in os.environ:
        end_with(int(os.environ[LAUNCHER]))
    if told.config:
        config = read(told.config)
        store, settings = config.open_store(), config.train
    else:
        store, settings = Store.open(told.store, create=False), TrainConfig.model_validate_json(told.settings)
    snapshot = Snapshot.open(store, told.snapshot)
    if told.config:
        refuse_withdrawn(store, snapshot.name)
        refuse_contaminated(snapshot, config)
        told.name = told.name or run_name(config, snapshot)
    work(store, snapshot, settings, told.name)


if __name__ == "__main__":
    main()
