"""Steps that go wrong are not learned from, and a run that learns no more ends; both are exact across a resume."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import checkpoint
from model import train as training
from model.config import BatchConfig, EarlyStop, Spikes, TrainConfig
from model.corpus import Corpus
from model.generate import Model
from model.held_out import held_out_losses
from model.train import Diverged, Progress, Run, Stopped, train
from model.watch import Watch, bound
from storage.snapshot import Snapshot
from storage.store import Store

Settings = Callable[..., TrainConfig]
STEADY = [2.0 + 0.1 * (-1) ** i for i in range(60)]


@given(st.lists(st.floats(0.5, 2.0), min_size=10, max_size=60), st.integers(0, 9))
def test_a_spike_among_the_steps_before_hardly_moves_the_bound(values: list[float], where: int) -> None:
    spiked = [*values[:where], 1e6, *values[where:]]
    assert bound(spiked, 10.0) < 20.0
    assert bound(values, 10.0) >= max(min(values), 0.0)


@pytest.mark.parametrize("wrong", [(math.nan, 1.0), (2.0, math.inf), (20.0, 1.0), (2.0, 500.0)])
def test_what_stands_out_is_told_and_leaves_the_figures_alone(wrong: tuple[float, float]) -> None:
    watch = Watch(Spikes(), None)
    assert [watch.wrong(loss, loss / 2) for loss in STEADY] == [None] * len(STEADY)
    before = watch.state()
    assert watch.wrong(*wrong) is not None
    assert watch.state() == before | {"skipped": 1}
    assert watch.wrong(2.0, 1.0) is None and watch.skipped == 0


def test_no_step_is_judged_before_there_is_enough_to_judge_by() -> None:
    watch = Watch(Spikes(window=100), None)
    assert all(watch.wrong(loss, 1.0) is None for loss in [1.0, 1000.0] * 25)


def test_a_run_is_hopeless_after_so_many_steps_in_a_row() -> None:
    watch = Watch(Spikes(most=3), None)
    told = [(watch.wrong(math.nan, 1.0), watch.hopeless)[1] for _ in range(3)]
    assert told == [False, False, True]
    strict = Watch(Spikes(action="stop"), None)
    strict.wrong(math.nan, 1.0)
    assert strict.hopeless


def test_enough_is_so_many_looks_without_a_new_best() -> None:
    watch = Watch(Spikes(), EarlyStop(patience=2, least=0.1))
    assert [watch.enough(loss) for loss in (3.0, 2.0, 1.95, 1.85, 1.8, 1.9)] == [False] * 5 + [True]


def poisoned(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Plants a wrong target loss in these steps (from 0)."""
    step_of, real = Run.step, Run._losses
    at = [0]

    def step(self: Run, step: int, *rest: object) -> dict[str, float]:
        at[0] = step
        return step_of(self, step, *rest)  # type: ignore[arg-type]

    def losses(self: Run, piece: object, counts: list[int]) -> list[torch.Tensor]:
        found = real(self, piece, counts)  # type: ignore[arg-type]
        return [loss * (math.nan if at[0] in steps else 1.0) for loss in found]

    monkeypatch.setattr(Run, "step", step)
    monkeypatch.setattr(Run, "_losses", losses)


def test_a_skipped_step_changes_nothing_and_is_recorded(
    tiny_store: tuple[Store, Snapshot],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, snapshot = tiny_store
    config = settings(steps=10, checkpoint_every=1, keep_checkpoints=20)
    poisoned(monkeypatch, {4})
    with caplog.at_level(logging.WARNING, training.__name__):
        folder = train(store, snapshot, config, run_id="r").parent
    before, after, later = (checkpoint.read(folder / f"{step:08d}") for step in (4, 5, 6))
    assert before.id == after.id != later.id
    states = before.optimizer(), after.optimizer()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    read = {i for row in store.read("batch_plan", where="step = 4").to_pylist() for i in row["sample_ids"]}
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("step 5: the loss is nan") and all(i in said for i in sorted(read)[:3])
    rows = store.read("metrics", where="name = 'skipped'").to_pylist()
    assert [(row["step"], row["value"]) for row in rows] == [(5, 1.0)]


def test_skips_and_judgements_are_exact_across_a_resume(
    tiny_store: tuple[Store, Snapshot], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, snapshot = tiny_store
    config = settings(spikes={"window": 8, "loss": 1.5, "gradient": 2.0, "most": 40})
    poisoned(monkeypatch, {14, 15})
    whole = train(store, snapshot, config, run_id="whole")
    seen: list[Progress] = []

    def stop() -> bool:
        return bool(seen) and seen[-1].step >= 15

    with pytest.raises(Stopped):
        train(store, snapshot, config, run_id="halves", progress=seen.append, stop=stop)
    halves = train(store, snapshot, config, run_id="halves")
    assert checkpoint.read(whole).id == checkpoint.read(halves).id
    assert checkpoint.read(whole).meta["watch"] == checkpoint.read(halves).meta["watch"]
    skipped = {
        run: sorted(
            (row["step"], row["value"])
            for row in store.read("metrics", where=f"run_id = '{run}' AND name = 'skipped'").to_pylist()
        )
        for run in ("whole", "halves")
    }
    assert skipped["whole"] == skipped["halves"] and len(skipped["whole"]) > 2


def test_a_run_that_may_not_skip_ends_and_says_why(
    tiny_store: tuple[Store, Snapshot], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, snapshot = tiny_store
    poisoned(monkeypatch, {12})
    with pytest.raises(Diverged, match=r"step 13: the loss is nan.*\[train.spikes\]"):
        train(store, snapshot, settings(spikes={"action": "stop"}), run_id="r")
    assert checkpoint.read(store.folder("checkpoints") / "r").step == 10


def test_early_stop_ends_a_run_once(tiny_store: tuple[Store, Snapshot], settings: Settings) -> None:
    store, snapshot = tiny_store
    early = {"every": 4, "patience": 2, "least": 0.5, "batches": 2, "split": "train"}
    config = settings(steps=200, early_stop=early)
    folder = train(store, snapshot, config, run_id="r")
    saved = checkpoint.read(folder)
    assert saved.step < 100 and saved.step % 4 == 0 and saved.meta["ended"] == "early_stop"
    looks = store.read("metrics", where="name = 'held_out_text'").to_pylist()
    assert sorted(row["step"] for row in looks) == list(range(4, saved.step + 1, 4))
    version = store.version("metrics")
    assert train(store, snapshot, config, run_id="r") == folder
    assert store.version("metrics") == version


def test_ordinary_training_skips_nothing(tiny_store: tuple[Store, Snapshot], settings: Settings) -> None:
    store, snapshot = tiny_store
    folder = train(store, snapshot, settings(steps=150, spikes={"window": 20}), run_id="r")
    assert isinstance(folder, Path)
    assert store.read("metrics", where="name = 'skipped'").num_rows == 0


def test_kinds_of_steps_are_judged_among_their_own() -> None:
    watch = Watch(Spikes(), None)
    kinds = ["10", "10", "10", "11"] * 40
    assert not any(watch.wrong(9.0 if kind == "11" else 1.0, 1.0, kind) for kind in kinds)
    assert watch.wrong(9.0, 1.0, "10")


def test_what_goes_on_standing_out_is_how_things_are_now() -> None:
    watch = Watch(Spikes(window=8, most=100), None)
    assert not any(watch.wrong(1.0, 1.0) for _ in range(8))
    later = [watch.wrong(5.0, 1.0) for _ in range(8)]
    assert later[0] and not later[-1]


def test_a_modality_of_which_nothing_is_predicted_has_no_held_out_loss(toy: Model, corpus: Corpus) -> None:
    drawn = BatchConfig(rows=2, row_length=64, draw_share=0.5)
    assert held_out_losses(toy, corpus, drawn, 2).keys() == {"text", "image"}
    alone = BatchConfig(rows=2, row_length=64, draw_share=0.0, text_share=1.0, text_tasks=corpus.tasks)
    assert held_out_losses(toy, corpus, alone, 2).keys() == {"text"}
