"""The objectives beside next-token prediction: off they change nothing, on they resume exactly and share a batch exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError

from model import checkpoint, items
from model.adversarial import ramp
from model.config import ConfigError, TrainConfig
from model.corpus import Corpus
from model.generate import Model
from model.labels import chosen, label_scores, predicted
from model.objectives import Objectives, network_settings
from model.sequences import Sequences
from model.tokenizers import Tokenizers
from model.train import Run, Stopped, train
from model.transformer import Transformer
from storage.snapshot import Snapshot
from storage.store import Store

Settings = Callable[..., TrainConfig]

LABEL = {"label": {"weight": 1.0, "items": 6}}
OBJECTIVES = {
    "label": LABEL,
    "few labels": {"label": {"weight": 1.0, "items": 6, "per_class": 2}},
    "adversarial": {**LABEL, "adversarial": {"weight": 1.0, "share": 0.7}},
    "entropy": {**LABEL, "adversarial": {"weight": 1.0, "entropy": 0.5, "ramp": 0.0}},
    "random": {**LABEL, "adversarial": {"weight": 1.0, "direction": "random"}},
    "distil": {"distil": {"weight": 1.0, "items": 5}},
    "shuffled": {"distil": {"weight": 1.0, "items": 4, "cosine": 0.0, "teacher": "shuffled"}},
    "all": {**LABEL, "adversarial": {"weight": 1.0}, "distil": {"weight": 0.5, "items": 3}},
}
"""A setting of [train.objectives] for each way to run them."""


def values(store: Store, run_id: str) -> dict[str, list[float]]:
    """Each metric of a run, by step."""
    found: dict[str, list[float]] = {}
    for row in sorted(
        store.read("metrics", where=f"run_id = '{run_id}'").to_pylist(), key=lambda r: r["step"]
    ):
        found.setdefault(row["name"], []).append(row["value"])
    return found


@pytest.mark.parametrize("name", OBJECTIVES)
def test_stopped_and_resumed_equals_undisturbed(
    name: str, tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, snapshot = tiny_store
    config = settings(steps=8, checkpoint_every=3, log_every=2, threads=2, objectives=OBJECTIVES[name])
    whole = train(store, snapshot, config, run_id="whole")
    with pytest.raises(Stopped):
        train(store, snapshot, config, run_id="halves", stop=lambda: True)
    with pytest.raises(Stopped):
        train(store, snapshot, config, run_id="halves", stop=iter([False] * 3 + [True]).__next__)
    halves = train(store, snapshot, config, run_id="halves")
    for file in ("model.safetensors", "optimizer.safetensors"):
        assert (whole / file).read_bytes() == (halves / file).read_bytes()
    said = values(store, "whole")
    assert {k: v for k, v in said.items() if k.startswith("loss_")} == {
        k: v for k, v in values(store, "halves").items() if k.startswith("loss_")
    }
    for objective, loss in (("label", "label"), ("adversarial", "entropy"), ("distil", "distil_cosine")):
        assert (f"loss_{loss}" in said) == (objective in OBJECTIVES[name])


def test_an_objective_of_weight_0_changes_no_bit(
    tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, snapshot = tiny_store
    plain = train(store, snapshot, settings(steps=6), run_id="plain")
    off = {"label": {"weight": 0.0, "items": 3, "per_class": 1}, "adversarial": {"radius": 2.0}}
    other = train(store, snapshot, settings(steps=6, objectives=off), run_id="off")
    assert (plain / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert "loss_label" not in values(store, "off")


@pytest.mark.parametrize("rows", [3, 0])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_of_the_shares_add_up_to_those_of_the_whole(
    name: str, rows: int, tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    """Against autograd on the whole step at once."""
    found = {}
    for threads in (1, 3):
        config = settings(
            threads=threads,
            precision="fp32",
            objectives=OBJECTIVES[name],
            batch={"rows": rows, "row_length": 64, "draw_share": 0.3},
        )
        run = Run(*tiny_store, config, "r")
        with run.workers.lanes:
            stir(run.network)
            pieces, _ = run._made(3)
            weights, counts = [*run.weights, *run.objectives.weights(3, 40)], [1000, 1000]
            if threads == 1:
                whole = run._losses(pieces[0], counts)
                sum(loss * weight for loss, weight in zip(whole, weights, strict=True)).backward()
            else:
                assert len(pieces) == 3
                run.workers.lanes.backward(
                    run.network, [partial(run._losses, piece, counts) for piece in pieces], weights
                )
        found[threads] = {
            n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in run.network.named_parameters()
        }
    assert found[1].keys() == found[3].keys()
    for weight, objective in (("label_head", "label"), ("projections.text", "distil")):
        assert (f"{weight}.weight" in found[1]) == (objective in OBJECTIVES[name])
        assert f"{weight}.weight" not in found[1] or found[1][f"{weight}.weight"].any()
    for key, gradient in found[1].items():
        assert (gradient - found[3][key]).norm() <= 1e-4 * gradient.norm() + 1e-7, key


def stir(network: Transformer) -> None:
    """Weights that are 0 at first hide most of the gradients."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)


def test_objectives_alone_need_no_packed_rows(tiny_store: tuple[Store, Snapshot], settings: Settings) -> None:
    store, snapshot = tiny_store
    config = settings(steps=10, batch={"rows": 0, "row_length": 64}, objectives=LABEL)
    folder = train(store, snapshot, config, run_id="r")
    assert {n for n in values(store, "r") if n.startswith("loss_")} == {"loss_label"}
    assert checkpoint.read(folder).meta["model"]["classes"] == ["dark", "light"]


def test_only_packed_rows_may_not_leap(tiny_store: tuple[Store, Snapshot], settings: Settings) -> None:
    """A label that is known by heart, and then one that is not, is no step gone wrong; no number always is."""
    alone, beside = (
        Run(*tiny_store, settings(batch={"rows": rows, "row_length": 64}, objectives=LABEL), "r")
        for rows in (0, 3)
    )
    weights = [*beside.weights, 1.0]
    assert beside._watched([2.0, 4.0, 9.0, 0.5], weights) == (2.0 + 4.0 * weights[1], 0.5)
    assert alone._watched([0.0, 0.0, 9.0, 0.5], weights) == (0.0, 0.0)
    assert not np.isfinite(alone._watched([0.0, 0.0, float("nan"), 0.5], weights)[0])


def test_the_plan_records_the_items_of_each_objective(
    tiny_store: tuple[Store, Snapshot], settings: Settings
) -> None:
    store, snapshot = tiny_store
    train(store, snapshot, settings(steps=4, objectives=OBJECTIVES["adversarial"]), run_id="r")
    plan = {(r["step"], r["slot"]): r["sample_ids"] for r in store.read("batch_plan").to_pylist()}
    assert {slot for _, slot in plan} == set(range(3 + 2))
    labelled = {f"{i:04d}0" for i in range(0, 24, 2)}
    assert all(len(ids) == 6 and set(ids) <= labelled for (_, slot), ids in plan.items() if slot == 3)
    seen = [i for (_, slot), ids in plan.items() if slot == 4 for i in ids]
    assert len(seen) == 4 * 4 == len(set(seen)) and not set(seen) <= labelled


def test_the_label_head_learns_a_planted_rule(
    tiny_store: tuple[Store, Snapshot], settings: Settings, tokenizers: Tokenizers, made_rows
) -> None:
    """Half of the pictures say whether they are dark; then it knows that of the others."""
    store, snapshot = tiny_store
    config = settings(
        steps=60,
        batch={"rows": 0, "row_length": 64},
        objectives={"label": {"weight": 1.0, "items": 12}},
        optimizer={"name": "adamw", "lr": 0.01, "warmup": 5},
    )
    train(store, snapshot, config, run_id="r")
    loss = values(store, "r")["loss_label"]
    assert loss[-1] < 0.1 < 0.5 < loss[0]
    model = Model.load(store.folder("checkpoints") / "r")
    corpus = Corpus.of(*made_rows)
    asked = np.flatnonzero(corpus.picture_label < 0)
    assert len(asked) == 12
    found = predicted(model, corpus, asked, 64)
    truth = np.array(["a light picture" in texts_of(corpus, tokenizers, p) for p in asked])
    assert (found == truth).mean() >= 11 / 12
    [score, floor] = label_scores(model, corpus, 1000, 64)
    assert (score.task, score.metric, score.n, floor.metric) == (
        "label",
        "accuracy",
        12,
        "most_frequent_accuracy",
    )
    assert score.value > floor.value >= 0.5


def texts_of(corpus: Corpus, tokenizers: Tokenizers, picture: int) -> list[str]:
    return [tokenizers.decode(corpus.text(int(i))) for i in corpus.texts_of(int(picture))]


def test_labels_are_drawn_class_by_class_from_the_seed() -> None:
    labels = np.random.default_rng(0).integers(-1, 4, 200)
    picked = chosen(labels, 5, seed=3)
    assert np.bincount(labels[picked]).tolist() == [5, 5, 5, 5]
    assert (picked == chosen(labels, 5, seed=3)).all() and (picked != chosen(labels, 5, seed=4)).any()
    assert (chosen(labels, None, 3) == np.flatnonzero(labels >= 0)).all()
    assert len(chosen(labels, 1000, 3)) == (labels >= 0).sum()
    assert set(chosen(labels, 2, 3)) <= set(chosen(labels, 5, 3))


def test_items_come_round_before_any_comes_again(corpus: Corpus) -> None:
    pool = items.Pool(items.everything(corpus), 9)
    drawn = np.concatenate([pool.draw(0, step, 7) for step in range(48)])
    counts = np.bincount(drawn, minlength=24)
    assert counts.max() - counts.min() <= 0 and len(drawn) == 14 * 24
    assert (pool.draw(0, 5, 7) == drawn[35:42]).all()


def test_a_label_of_a_lone_text_is_its_own_and_of_a_pictured_one_its_pictures() -> None:
    samples = pa.table(
        {
            "sample_id": ["a", "b", "c", "d"],
            "image_id": ["x", "x", None, None],
            "lang": ["en"] * 4,
            "task": ["caption"] * 4,
            "label": [None, "cat", "dog", None],
        }
    )
    tokens = pa.table({"sample_id": ["a", "b", "c", "d"], "prompt_ids": [[]] * 4, "ids": [[1]] * 4})
    images = pa.table({"image_id": ["x", "y"], "codes": [[1, 2], [3, 4]]})
    corpus = Corpus.of(samples, tokens, images)
    assert corpus.classes == ("cat", "dog")
    assert corpus.picture_label.tolist() == [0, -1] and corpus.text_label.tolist() == [-1, -1, 1, -1]
    members = items.everything(corpus)
    assert items.labels(corpus, members).tolist() == [0, -1, 1, -1]
    assert items.names(corpus, members[[0, 2, 3]]) == ["a", "c", "d"]


@pytest.mark.parametrize("pool", ["mean", "last"])
def test_an_item_has_the_same_state_whatever_else_is_in_the_batch(
    pool: str, corpus: Corpus, tokenizers: Tokenizers
) -> None:
    config = tokenizers.model_config("tiny", width=16, depth=2, heads=2, kv_heads=1, hidden=32, pool=pool)
    network, sequences = Transformer(config).initialise(0), Sequences(config, tokenizers.vocabulary)
    stir(network)
    members = np.array([3, -1, 5, -3])

    def states(some: np.ndarray) -> torch.Tensor:
        batch = items.laid_out(corpus, sequences, some, 64)
        return network.pooled(batch.tokens(), items.own(batch))

    torch.testing.assert_close(states(members), torch.cat([states(members[i : i + 1]) for i in range(4)]))


def test_the_weight_rises_linearly_from_0_in_the_first_share_of_the_steps() -> None:
    assert [ramp(step, 20, 0.2) for step in (0, 1, 2, 3, 4, 19)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert ramp(0, 20, 0.0) == 1.0


def test_what_is_missing_is_said(tiny_store: tuple[Store, Snapshot], settings: Settings, made_rows) -> None:
    samples, tokens, images = made_rows
    corpus = Corpus.of(samples.drop_columns(["label"]), tokens, images)
    config = settings(objectives=LABEL)
    assert network_settings(config, corpus, None) == {"classes": ()}
    with pytest.raises(ConfigError, match="no label"):
        Objectives(config, corpus, Run(*tiny_store, settings(), "r").batches.sequences, None)
    with pytest.raises(ValidationError, match="label head"):
        settings(objectives={"adversarial": {"weight": 1.0}})
    with pytest.raises(ValidationError, match="leaves nothing to learn"):
        settings(batch={"rows": 0})


def test_classes_are_part_of_the_checkpoint(tiny_store: tuple[Store, Snapshot], settings: Settings) -> None:
    folder = train(*tiny_store, settings(steps=2, objectives=LABEL), run_id="r")
    meta = json.loads((Path(folder) / "metadata.json").read_text())
    assert meta["model"]["classes"] == ["dark", "light"]
