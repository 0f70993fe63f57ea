"""Training: a snapshot and settings in, a checkpoint out; killed anywhere, it goes on and ends with the same
bits.

Every step is a function of (seed, step, snapshot, weights). The plan of the next steps is recorded before
they run, metrics while they run, and a checkpoint's metadata last.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from model import checkpoint as checkpoints
from model import losses
from model.batches import Batch, Batches
from model.checkpoint import Checkpoint
from model.config import TrainConfig
from model.corpus import load_corpus
from model.lanes import Lanes
from model.machine import check_device, keep_freed_memory, use_bf16
from model.meter import Meter
from model.objectives import Objectives, Shares, network_settings
from model.optim import Optimizer
from model.optim import schedule as step_size
from model.records import Records
from model.tokenizers import Tokenizers
from model.transformer import MATRICES, Transformer
from storage.snapshot import Snapshot
from storage.store import Store

RUN = "run.json"
TRIAL_STEPS = (6, 20)
"""Fewest and most steps that are measured when a time budget is to become a number of steps."""
TRIAL_SECONDS = 5.0
"""Time after which they are enough."""


class TrainError(Exception):
    """The run cannot go on; the message says what to do."""


class Diverged(TrainError):
    """The loss is not a number any more."""


class Stopped(TrainError):
    """The run was asked to end early: it has saved, and the same call goes on from there."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(f"training stopped at step {step}; the same command goes on from {folder}")
        self.folder, self.step = folder, step


@dataclass(frozen=True)
class Progress:
    """What a progress bar wants to know."""

    step: int
    """Steps done."""
    steps: int
    loss: float
    tokens_per_second: float


def train(
    store: Store,
    snapshot: Snapshot,
    config: TrainConfig,
    *,
    run_id: str,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Path:
    """Trains on a snapshot's split and returns the folder of the final checkpoint.

    A run id that has checkpoints goes on after the last complete one; one that is done returns at once.

    Raises:
        ConfigError: the machine has no such device.
        TrainError: the run id belongs to other settings or another snapshot.
        StoreFull: no room for a checkpoint; the last one is kept.
        Diverged: the loss is not finite.
        Stopped: `stop` said so; a checkpoint of that step is saved.
    """
    check_device(config.device)
    with store.lock(f"run-{run_id}"):
        run = Run(store, snapshot, config, run_id)
        with run.lanes:
            return run.go(progress or (lambda at: None), stop or (lambda: False))


class Run:
    """One training run: everything that its steps need."""

    def __init__(self, store: Store, snapshot: Snapshot, config: TrainConfig, run_id: str) -> None:
        self.store, self.snapshot, self.config, self.run_id = store, snapshot, config, run_id
        self.records = Records(store, snapshot, config, run_id)
        self.root = store.folder("checkpoints") / run_id
        known = self._known()
        self.steps: int | None = known["steps"] if known else config.steps
        self.bf16 = known["bf16"] if known else use_bf16(config.precision, config.device)
        # sums over other shares of the work differ in their last bits
        self.threads = known["threads"] if known else config.threads or torch.get_num_threads()
        self.lanes = Lanes(self.threads if config.device == "cpu" else 1)
        if config.device == "cpu":
            keep_freed_memory()
        self.tokenizers = Tokenizers.of(store, snapshot)
        corpus = load_corpus(store, snapshot, config.split)
        asked = {**network_settings(config, corpus), **config.model}
        try:
            self.model_config = self.tokenizers.model_config(config.preset, **asked)
        except ValidationError as error:
            first = error.errors()[0]
            raise TrainError(f"[train.model] {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        self.batches = Batches(
            corpus, config.batch, self.model_config, self.tokenizers.vocabulary, config.seed
        )
        self.objectives = Objectives(config, corpus, self.batches.sequences)
        self.weights = [
            config.text_weight if m.grid is None else config.image_weight
            for m in self.model_config.modalities
        ]
        self.ahead: dict[int, tuple[Batch, list[Shares]]] = {}
        """The next step's batch and items, made while this one is computed."""
        self.begin()

    def begin(self) -> None:
        """Fresh weights and optimizer, from the seed."""
        self.network = Transformer(self.model_config).initialise(self.config.seed).to(self.config.device)
        self.network.bf16 = self.bf16
        self.optimizer = Optimizer(
            self.network, self.config.optimizer, matrices=MATRICES, bf16=self.bf16, lanes=self.lanes
        )

    def go(self, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> Path:
        """Runs from where the last checkpoint ended up to the last step."""
        steps = self._settle()
        self.steps = steps
        self.batches.start_short(steps)
        self.records.state("started")
        saved = checkpoints.latest(self.root)
        step = saved.step if saved else 0
        if saved:
            self.records.checkpoint(saved)  # a kill may have come between the files and the row
            if step >= steps:
                self.records.state("finished")
                return saved.folder
            self.network.load_state_dict(saved.weights(self.config.device))
            self.optimizer.load(saved.optimizer(self.config.device))
        meter = Meter(self.store, self.run_id, step)
        while step < steps:
            if step % self.config.checkpoint_every == 0 or (saved and step == saved.step):
                self._plan(step)
            found = self.step(step, steps)
            step += 1
            meter.count(self.config.batch.rows * self.config.batch.row_length)
            if step % self.config.log_every == 0 or step == steps:
                values = {f"loss_{name}": float(loss) for name, loss in found.items()}
                if not all(map(math.isfinite, values.values())):
                    raise Diverged(
                        f"the loss is {values} at step {step}: lower [train.optimizer] lr and matrix_lr, "
                        f"and start again under another run id than {self.run_id}"
                    )
                rate = meter.log(step, values | {"learning_rate": self._lr(step - 1)})
                progress(Progress(step, steps, next(iter(values.values())), rate))
            ending = step == steps or stop()
            if ending or step % self.config.checkpoint_every == 0:
                meter.flush()
                saved = self._save(step)
            if ending and step < steps and saved:
                raise Stopped(saved.folder, step)
        self.records.state("finished")
        return checkpoints.read(self.root).folder

    def step(self, step: int, steps: int) -> dict[str, torch.Tensor]:
        """Optimizer step number `step` (from 0) of `steps`; the mean loss of each modality and objective before it."""
        batch, items = self.ahead.pop(step) if step in self.ahead else self._made(step)
        counts = losses.counts(batch.targets, self.model_config.offsets)
        rows = batch.shares(self.lanes.number)
        rows += [batch.none()] * (len(items) - len(rows))
        shares = [partial(self._losses, *share, counts) for share in zip(rows, items, strict=True)]
        weights = [*self.weights, *self.objectives.weights(step, steps)]
        found = self.lanes.backward(self.network, shares, weights, lambda: self._prepare(step + 1))
        self.optimizer.step(step, steps)
        names = [*(m.name for m in self.model_config.modalities), *self.objectives.names]
        first = 0 if self.config.batch.rows else len(self.weights)
        return dict(list(zip(names, found, strict=True))[first:])

    def _prepare(self, step: int) -> None:
        self.ahead = {step: self._made(step)}

    def _made(self, step: int) -> tuple[Batch, list[Shares]]:
        return self.batches.batch(step), self.objectives.shares(step, self.lanes.number)

    def _losses(self, share: Batch, items: Shares, counts: list[int]) -> list[torch.Tensor]:
        """Each loss over some rows of a batch and some items, as their part in the mean over all of them."""
        device = self.config.device
        found = self.objectives.losses(self.network, items, device)
        if not len(share.ids):
            return [torch.zeros((), device=device) for _ in counts] + found
        pairs = self.network.targets(share.tokens(device), share.targets.to(device))
        return losses.per_modality(pairs, counts, self.config.label_smoothing) + found

    def _lr(self, step: int) -> float:
        return self.config.optimizer.lr * step_size(self.config.optimizer, step, self.steps or 1)

    def _known(self) -> dict[str, Any] | None:
        """What was fixed when the run started, if it has, and the check that it is the same run."""
        path = self.root / RUN
        if not path.is_file():
            return None
        known = json.loads(path.read_text())
        if {key: known[key] for key in self._settings()} != self._settings():
            raise TrainError(
                f"run {self.run_id} was started with other settings or on another snapshot: "
                f"give another run id, or the settings in {path}"
            )
        return known

    def _settings(self) -> dict[str, Any]:
        return {"config": self.config.model_dump(mode="json"), "content_hash": self.snapshot.content_hash}

    def _settle(self) -> int:
        """The number of steps, and the file that fixes it with all else that depends on the machine."""
        if (self.root / RUN).is_file() and self.steps:
            return self.steps
        steps = self.steps or self._affordable(self.config.seconds or 1.0)
        fixed = {"steps": steps, "threads": self.threads, "bf16": self.bf16, **self._settings()}
        self.root.mkdir(parents=True, exist_ok=True)
        checkpoints.write_file(self.root / RUN, json.dumps(fixed, indent=1).encode())
        return steps

    def _affordable(self, seconds: float) -> int:
        """Steps that fit in a time, measured on weights that are then thrown away."""
        start = time.perf_counter()
        took: list[float] = []
        while len(took) < TRIAL_STEPS[1] and (len(took) < TRIAL_STEPS[0] or sum(took) < TRIAL_SECONDS):
            begun = time.perf_counter()
            self.step(len(took), TRIAL_STEPS[1])
            took.append(time.perf_counter() - begun)
        self.begin()
        left = seconds - (time.perf_counter() - start)
        return max(1, int(left / statistics.median(took[TRIAL_STEPS[0] // 2 :])))

    def _plan(self, step: int) -> None:
        """Records which samples the steps up to the next checkpoint see, before they see them."""
        every = self.config.checkpoint_every
        first = step - step % every
        if not self.records.planned(first):
            last = min(first + every, self.steps or 0)
            self.records.plan(
                first,
                [self.batches.sample_ids(s) + self.objectives.sample_ids(s) for s in range(first, last)],
            )

    def _save(self, step: int) -> Checkpoint:
        meta = {
            "run_id": self.run_id,
            "snapshot": self.snapshot.name,
            "content_hash": self.snapshot.content_hash,
            "text_tokenizer": self.snapshot.text_tokenizer,
            "image_tokenizer": self.snapshot.image_tokenizer,
            "steps": self.steps,
            "parameters": self.network.parameter_count(),
            "model": self.model_config.model_dump(mode="json"),
            "vocabulary": self.tokenizers.vocabulary.model_dump(mode="json"),
            "train": self.config.model_dump(mode="json"),
        }
        saved = checkpoints.write(self.root, step, self.network.state_dict(), self.optimizer.state(), meta)
        self.records.checkpoint(saved)
        checkpoints.prune(self.root, self.config.keep_checkpoints)
        return saved
