"""Training: a snapshot and settings in, a checkpoint out; killed anywhere, it goes on and ends with the same bits.

Every step is a function of (seed, step, snapshot, weights). The plan of the next steps is recorded before
they run, metrics while they run, and a checkpoint's metadata last.
"""

from __future__ import annotations

import json
import logging
import math
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from model import checkpoint as checkpoints
from model import distributed_checkpoint, losses, sharded, views
from model.batches import Batches
from model.checkpoint import Checkpoint
from model.config import TrainConfig
from model.corpus import load_corpus
from model.generate import Model
from model.held_out import held_out_losses
from model.loader import Loader
from model.machine import check_device, keep_freed_memory, use_bf16
from model.meter import Meter
from model.objectives import Objectives, network_settings, teacher_of
from model.optim import Optimizer
from model.optim import schedule as step_size
from model.parallel import Piece, Workers, joined
from model.records import Records
from model.saver import Saver
from model.sequences import Sequences
from model.tokenizers import Tokenizers
from model.transformer import MATRICES, Transformer
from model.watch import Watch
from storage import amend
from storage.beginning import using
from storage.snapshot import Snapshot
from storage.store import Store

LOG = logging.getLogger(__name__)
RUN = "run.json"
TRIAL_STEPS = (6, 20)
"""Fewest and most steps that are measured when a time budget is to become a number of steps."""
TRIAL_SECONDS = 5.0
"""Time after which they are enough."""
SHOWN = 20
"""Samples that a log line about a step names."""


class TrainError(Exception):
    """The run cannot go on; the message says what to do."""


class Diverged(TrainError):
    """The loss or the gradient is out of all bounds, or no number any more."""


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
        Diverged: a step went wrong, and so did as many before it as `[train.spikes]` allows.
        Stopped: `stop` said so; a checkpoint of that step is saved.

    Started by torchrun, it is one of several workers, of which the first alone writes.
    """
    check_device(config.device)
    with joined(config) as workers, store.lock(f"run-{run_id}") if workers.first else nullcontext():
        with using(store):  # a takedown waits, or is told that its rows are trained on
            run = Run(store, Snapshot.open(store, snapshot.name), config, run_id, workers)
            run.records.state("started")
        with workers.lanes, run.loader, run.saver:
            return run.go(progress or (lambda at: None), stop or (lambda: False))


def pace(store: Store, snapshot: Snapshot, config: TrainConfig) -> float:
    """Seconds that a step of a run with these settings takes here and now; nothing is stored.

    Raises:
        ConfigError: the machine has no such device.
    """
    check_device(config.device)
    with joined(config) as workers:
        run = Run(store, snapshot, config, "pace", workers)
        with workers.lanes, run.loader, run.saver:
            return run.pace()


class Run:
    """One training run: everything that its steps need."""

    def __init__(
        self,
        store: Store,
        snapshot: Snapshot,
        config: TrainConfig,
        run_id: str,
        workers: Workers | None = None,
    ) -> None:
        workers = workers or Workers(config)
        self.store, self.snapshot, self.config, self.run_id = store, snapshot, config, run_id
        self.workers, self.device = workers, workers.device
        self.records = Records(store, snapshot, config, run_id, silent=not workers.first)
        self.saver = Saver(self._saved)
        self.watch = Watch(config.spikes, config.early_stop)
        self.root = store.folder("checkpoints") / run_id
        known = self._known()
        early = config.early_stop
        self.held_out = load_corpus(store, snapshot, early.split, in_place=True) if early else None
        if early and self.held_out is not None and not len(self.held_out.sample_ids):
            raise TrainError(
                f'[train.early_stop] split = "{early.split}": snapshot {snapshot.name} has no such row; see [splits]'
            )
        self.steps: int | None = known["steps"] if known else config.steps
        self.bf16 = known["bf16"] if known else use_bf16(config.precision, self.device)
        # sums over other shares of the work differ in their last bits
        self.threads = known["threads"] if known else config.threads or torch.get_num_threads() * workers.here
        workers.spread(self.threads)
        if self.device == "cpu":
            keep_freed_memory()
        self.tokenizers = Tokenizers.of(store, snapshot)
        corpus = load_corpus(store, snapshot, config.split, in_place=self._keeps_order())
        teacher = teacher_of(config, snapshot, corpus)
        asked = {**network_settings(config, corpus, teacher), **config.model}
        try:
            self.model_config = self.tokenizers.model_config(config.preset, **asked)
        except ValidationError as error:
            first = error.errors()[0]
            raise TrainError(f"[train.model] {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        shown = views.encoded(snapshot, corpus, self.tokenizers.image, config.batch.views, config.seed)
        told = corpus, config.batch, self.model_config, self.tokenizers.vocabulary, config.seed
        self.batches = Batches(*told, shown)
        self.objectives = Objectives(config, corpus, self.batches.sequences, teacher)
        self.weights = [
            config.text_weight if m.grid is None else config.image_weight
            for m in self.model_config.modalities
        ]
        self.loader = Loader(self._made)
        self.begin()

    def begin(self) -> None:
        """Fresh weights and optimizer, from the seed."""
        self.network = Transformer(self.model_config).initialise(self.config.seed).to(self.device)
        self.network.bf16, self.network.recompute = self.bf16, self.config.recompute
        if self.config.compile:
            self.network.compile_experts()
        self.backward = self.workers.prepare(self.network)
        self.optimizer = Optimizer(
            self.network,
            self.config.optimizer,
            matrices=MATRICES,
            bf16=self.bf16,
            lanes=self.workers.lanes,
        )

    def go(self, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> Path:
        """Runs from where the last checkpoint ended up to the last step."""
        self.steps = steps = self._settle()
        self.batches.start_short(steps)
        saved = checkpoints.latest(self.root)
        step = start = saved.step if saved else 0
        if saved:
            self.records.checkpoint(saved)  # a kill may have come between the files and the row
            if step >= steps or saved.meta.get("ended"):
                self.records.state("finished")
                return saved.folder
            sharded.load(self.network.state_dict(), saved.weights())
            self.optimizer.load(saved.optimizer())
            self.watch.load(saved.meta.get("watch", {}))
        meter = Meter(self.store, self.run_id, silent=not self.workers.first)
        while True:
            if step % self.config.checkpoint_every == 0 or step == start:
                self._plan(step)
            found = self.step(step, steps, meter)
            step += 1
            self.saver.look()
            meter.count(self.config.batch.rows * self.config.batch.row_length)
            if step % self.config.log_every == 0 or step == steps:
                told = found | {"learning_rate": self._lr(step - 1)}
                rate = meter.log(step, told, self.loader.take_waited())
                progress(Progress(step, steps, next(iter(found.values())), rate))
            ended = "early_stop" if self._enough(step, meter) else None
            stopped = self.workers.any(stop())
            if step == steps or ended or stopped or step % self.config.checkpoint_every == 0:
                meter.flush()
                self._save(step, ended)
            if step == steps or ended or stopped:
                break
        self.saver.wait()
        self.workers.same(0.0)  # now all see the first one's files
        if step < steps and not ended:
            raise Stopped(self.root / f"{step:08d}", step)
        self.records.state("finished")
        return checkpoints.read(self.root).folder

    def step(self, step: int, steps: int, meter: Meter | None = None) -> dict[str, float]:
        """Optimizer step number `step` (from 0) of `steps`, left out if it went wrong; the mean loss of each modality
        and objective before it, and the gradient's norm.

        Raises:
            Diverged: it went wrong, and no more may.
        """
        pieces, counts = self.loader.take(step)
        weights = [*self.weights, *self.objectives.weights(step, steps)]
        found = self.backward(partial(self._losses, counts=counts), pieces, weights)
        norms = self.optimizer.norms()
        told = torch.stack([*found, torch.linalg.vector_norm(norms)]).tolist()  # the one look of a step
        names = [m.name for m in self.model_config.modalities] + self.objectives.names
        values = dict(zip([*(f"loss_{name}" for name in names), "gradient_norm"], told, strict=True))
        kind = "".join(str(int(count > 0)) for count in counts)
        why = self.watch.wrong(*self._watched(told, weights), kind) if meter else None
        if why is None:
            self.optimizer.step(step, steps, norms)
        else:
            self.optimizer.forget()
            self._went_wrong(step + 1, why, meter)
        return dict(list(values.items())[0 if self.config.batch.rows else len(self.weights) :])

    def _watched(self, told: list[float], weights: list[float]) -> tuple[float, float]:
        """The loss and the gradient's norm that may not leap: those of packed rows. Of other objectives only that they are
        numbers: a few labels are soon known by heart, and next to a loss of nearly 0 every hard batch is a leap."""
        loss, norm = sum(value * weight for value, weight in zip(told, weights, strict=False)), told[-1]
        if not math.isfinite(loss + norm):
            return loss, norm
        rows = sum(value * weight for value, weight in zip(told, self.weights, strict=False))
        return rows, norm if self.config.batch.rows else 0.0

    def _made(self, step: int) -> tuple[list[Piece], list[int]]:
        """What a step reads, in as many pieces as are computed apart, and how many targets each modality has in it."""
        batch, number = self.batches.batch(step), self.workers.pieces
        rows = batch.shares(number)
        rows += [batch.none()] * (number - len(rows))
        pieces = list(zip(rows, self.objectives.shares(step, number), strict=True))
        return pieces, losses.counts(batch.targets, self.model_config.offsets)

    def _went_wrong(self, step: int, why: str, meter: Meter | None) -> None:
        """Records a step that is not learned from, and what it read."""
        action = "the run ends" if self.watch.hopeless else "it is skipped"
        samples = [i for row in self._samples(step - 1) for i in row]
        if meter:
            meter.note("skipped", step, {"skipped": float(self.watch.skipped)})
        if self.workers.first:
            more = f" and {len(samples) - SHOWN} more" * (len(samples) > SHOWN)
            shown = ", ".join(samples[:SHOWN]) + more
            LOG.warning("step %d: the %s; %s. Samples (batch_plan): %s", step, why, action, shown)
        if self.watch.hopeless:
            if meter:
                meter.flush()
            raise Diverged(
                f"step {step}: the {why}, after {self.watch.skipped - 1} skipped steps in a row: lower "
                "[train.optimizer] lr and matrix_lr, or look at the step's samples (batch_plan) and [train.spikes]; "
                f"start again under another run id than {self.run_id}"
            )

    def _losses(self, piece: Piece, counts: list[int]) -> list[torch.Tensor]:
        """Each loss over some rows of a batch and some items, as their part in the mean over all of them."""
        share, items = piece
        found = self.objectives.losses(self.network, items, self.device)
        if not len(share.ids):
            return [torch.zeros((), device=self.device) for _ in counts] + found
        flex = self.config.flex_attention and self.device.startswith("cuda")  # no backward on a CPU
        pairs = self.network.targets(share.tokens(self.device, flex=flex), share.targets.to(self.device))
        return losses.per_modality(pairs, counts, self.config.label_smoothing) + found

    def _enough(self, step: int, meter: Meter) -> bool:
        """Looks at held-out rows when it is time; whether their loss falls no more."""
        early = self.config.early_stop
        if early is None or self.held_out is None or step % early.every:
            return False
        model = Model(self.network, Sequences(self.model_config, self.tokenizers.vocabulary))
        found = held_out_losses(model, self.held_out, self.config.batch, early.batches)
        meter.note("held_out", step, {f"held_out_{name}": value for name, value in found.items()})
        weights = zip(self.model_config.modalities, self.weights, strict=True)
        loss = sum(found.get(kind.name, 0.0) * weight for kind, weight in weights)
        return self.watch.enough(self.workers.same(loss))

    def _lr(self, step: int) -> float:
        return self.config.optimizer.lr * step_size(self.config.optimizer, step, self.steps or 1)

    def _known(self) -> dict[str, Any] | None:
        """What was fixed when the run started, if it has, and the check that it is the same run."""
        path = self.root / RUN
        if not path.is_file():
            return None
        known = json.loads(path.read_text())
        before = TrainConfig.model_validate(known["config"] | {"parallel": self.config.parallel})
        former = {row["content_hash"] for row in amend.former(self.store, self.snapshot.name)}
        if before == self.config and known["content_hash"] in former:
            if not self._keeps_order():
                raise TrainError(
                    f"rows of run {self.run_id} were forgotten since, and of [train.objectives] the order cannot be kept "
                    "without them: give another run id"
                )
        elif (before, known["content_hash"]) != (self.config, self.snapshot.content_hash):
            raise TrainError(
                f"run {self.run_id} was started with other settings or on another snapshot: "
                f"give another run id, or the settings in {path}"
            )
        return known

    def _keeps_order(self) -> bool:
        """Whether padding can stand for what was forgotten: packed rows can be empty in places, not the items of objectives."""
        asked = self.config.objectives
        return not (asked.label.weight or asked.distil.weight)

    def _settle(self) -> int:
        """The number of steps, and the file that fixes it with all else that depends on the machine."""
        if (self.root / RUN).is_file() and self.steps:
            return self.steps
        steps = self.steps or int(self.workers.same(self._affordable(self.config.seconds or 1.0)))
        fixed = {
            "steps": steps,
            "threads": self.threads,
            "bf16": self.bf16,
            "config": self.config.model_dump(mode="json"),
            "content_hash": self.snapshot.content_hash,
        }
        if self.workers.first:
            self.root.mkdir(parents=True, exist_ok=True)
            checkpoints.write_file(self.root / RUN, json.dumps(fixed, indent=1).encode())
        return steps

    def _affordable(self, seconds: float) -> int:
        """Steps that fit in a time."""
        start = time.perf_counter()
        took = self.pace()
        return max(1, int((seconds - (time.perf_counter() - start)) / took))

    def pace(self) -> float:
        """Seconds that a step takes here and now: the median of a few, on weights that are then thrown away."""
        took: list[float] = []
        while len(took) < TRIAL_STEPS[1] and (
            len(took) < TRIAL_STEPS[0] or self.workers.same(sum(took)) < TRIAL_SECONDS
        ):
            begun = time.perf_counter()
            self.step(len(took), TRIAL_STEPS[1])
            took.append(time.perf_counter() - begun)
        self.begin()
        self.loader.ready.clear()
        return statistics.median(took[TRIAL_STEPS[0] // 2 :])

    def _plan(self, step: int) -> None:
        """Records which samples the steps up to the next checkpoint see, before they see them."""
        every = self.config.checkpoint_every
        first = step - step % every
        if not self.records.planned(first):
            last = min(first + every, self.steps or 0)
            self.records.plan(first, [self._samples(s) for s in range(first, last)])

    def _samples(self, step: int) -> list[list[str]]:
        return self.batches.sample_ids(step) + self.objectives.sample_ids(step)

    def _save(self, step: int, ended: str | None) -> None:
        """Starts to write a checkpoint."""
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
        meta |= {"watch": self.watch.state(), "ended": ended}
        if self.workers.sharded:
            write = partial(distributed_checkpoint.write, self.workers.group, self.root, step, meta=meta)
        else:
            write = partial(checkpoints.write, self.root, step, meta=meta)
        if self.workers.first or self.workers.sharded:
            self.saver.save(write, self.network.state_dict(), self.optimizer.state())

    def _saved(self, saved: Checkpoint) -> None:
        self.records.checkpoint(saved)
        if self.workers.first:
            checkpoints.prune(self.root, self.config.keep_checkpoints)
