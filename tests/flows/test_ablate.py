"""The ablate flow on a small gallery: every variant is what it says, the store stays as it is, nothing is done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import ablate
from flows.config import ConfigError, read
from storage.snapshot import Snapshot
from storage.store import Store

SETTINGS = """
[ablate]
steps = {steps}
seeds = {seeds}
[evaluate]
max_items = 3
"""


def settings(mill: Any, seeds: int, steps: int = 3) -> Any:
    path = mill.path / "ablate.toml"
    path.write_text(mill.config.read_text() + SETTINGS.format(seeds=seeds, steps=steps))
    return read(path)


def test_the_example_leaves_each_of_its_steps_out_once() -> None:
    config = read(Path(__file__).parents[2] / "examples/it_pays.toml")
    found = ablate.variants(config)
    judged = [step.use for kind in ablate.STEPS for step in getattr(config, kind)]
    judged.remove("gathers.decontaminate")
    assert len(found) == 2 + len(judged) and judged
    for variant in found.values():
        assert not variant.sources, "nothing new comes in meanwhile"
        assert "gathers.decontaminate" in [gather.use for gather in variant.gathers]
    assert [f.use for f in found["as it came"].filters] == []
    assert {"filters.image_text_score", "gathers.near_duplicates", "gathers.boilerplate"} <= set(judged)


def test_the_example_of_objectives_names_each_beside_its_control() -> None:
    found = ablate.ways(read(Path(__file__).parents[2] / "examples/objectives.toml"))
    asked = [way.train.objectives for way in found.values()]
    assert not asked[0].on and len(asked) == 11
    networks = [(way.train.model.get("dense"), way.train.model.get("depth")) for way in found.values()]
    assert networks[:3] == [(None, None), (True, None), (True, 12)]
    assert set(networks[3:9]) == {(None, 3)}, "labels: one small network for all"
    assert networks[9:] == [(None, None)] * 2
    for per_class in (10, None):
        of = [one.adversarial for one in asked if one.label.weight and one.label.per_class == per_class]
        assert [(a.weight > 0, a.direction) for a in of] == [
            (False, "adversarial"),
            (True, "adversarial"),
            (True, "random"),
        ]
    assert [one.distil.teacher for one in asked if one.distil.weight] == ["stored", "shuffled"]


def ids(store: Store, snapshot: str) -> set[str]:
    return set(Snapshot.open(store, snapshot).samples("train", ["sample_id"])["sample_id"].to_pylist())


def test_each_variant_lacks_its_step_and_nothing_else(mill: Any) -> None:
    before, config = mill.store().versions(), settings(mill, seeds=1)
    rows = {row["variant"]: row for row in ablate.start(str(mill.path / "ablate.toml"))["rows"]}
    names = ("size", "aspect_ratio", "caption_length", "contact_details")
    steps = (*(f"filters.{name}" for name in names), "gathers.near_duplicates")
    assert list(rows) == ["prepared", "as it came", *(f"without {step}" for step in steps)]
    assert mill.store().versions() == before, "the store itself is left alone"

    target = ablate.fork(config)
    store = Store.open(target, create=False)
    made = ablate.snapshots(ablate.variants(config_of(config, target)), store)
    prepared = ids(store, made["prepared"])
    assert prepared == ids(mill.store(), mill.snapshot().name)
    for step, reason in (
        ("filters.contact_details", "contact_details"),
        ("gathers.near_duplicates", "duplicate"),
    ):
        gone = {s for (s,) in mill.sql(f"SELECT sample_id FROM verdicts WHERE reason = '{reason}'")}
        more = ids(store, made[f"without {step}"]) - prepared
        assert more and more <= gone, step
        assert rows[f"without {step}"]["rows"] == len(prepared | more)
    with store.connect() as db:
        judged = db.sql(
            "SELECT DISTINCT md5(string_agg(sample_id, ' ' ORDER BY sample_id)) FROM answers GROUP BY evaluation_id"
        ).fetchall()
    assert len(judged) == 1, "all models are asked the same"
    everything = ids(store, made["as it came"])
    assert all(ids(store, snapshot) <= everything for snapshot in made.values())
    leaked = {s for (s,) in mill.sql("SELECT sample_id FROM verdicts WHERE reason = 'contaminated'")}
    assert leaked and not leaked & everything, "held-out pictures are in no variant"


def config_of(config: Any, target: Path) -> Any:
    return config.model_copy(update={"store": config.store.model_copy(update={"path": str(target)})})


def test_other_settings_of_an_annotator_are_another_variant(mill: Any) -> None:
    config = settings(mill, seeds=1)
    ablate.fork(config)
    store, asked = Store.open(ablate.fork(config), create=False), config_of(config, ablate.fork(config))
    first = ablate.snapshots({"prepared": ablate.variants(asked)["prepared"]}, store)
    assert ablate.snapshots({"prepared": ablate.variants(asked)["prepared"]}, store) == first
    steps = [step.model_dump() for step in asked.filters]
    steps = [step | ({"min_words": 7} if step["use"] == "filters.caption_length" else {}) for step in steps]
    stricter = type(asked)(**{**asked.model_dump(), "filters": steps})
    assert ablate.snapshots({"prepared": ablate.variants(stricter)["prepared"]}, store) != first


def test_what_is_done_is_not_done_again(mill: Any) -> None:
    first = ablate.run(settings(mill, seeds=1))
    target = ablate.fork(settings(mill, seeds=1))

    def made() -> dict[str, Any]:
        rows = Store.open(target, create=False).read("checkpoints").to_pylist()
        return {row["run_id"]: (row["checkpoint_id"], row["recorded_at"]) for row in rows}

    runs = made()
    assert len(runs) == len({(row.rows, row.pictures) for row in first}), "equal corpora are trained on once"
    second = ablate.run(settings(mill, seeds=2))
    assert {run: made()[run] for run in runs} == runs
    assert len(made()) == 2 * len(runs)
    assert [row.scores["loss_text"][0] for row in second] == [row.scores["loss_text"][0] for row in first]
    assert all(len(row.scores["loss_text"]) == 2 for row in second)
    table = (target / "ablation.md").read_text()
    assert table.count("\n") == len(second) + 2 and "±" in table


WAYS = """
[ablate]
steps = 3
seeds = 2
[[ablate.variants]]
name = "plain"
[[ablate.variants]]
name = "labels"
train.objectives.label = { weight = 1.0, items = 4 }
[[ablate.variants]]
name = "labels and VAT"
train.objectives = { label = { weight = 1.0, items = 4 }, adversarial = { weight = 1.0 } }
[evaluate]
max_items = 3
retrieval = 5
"""


def test_ways_to_train_are_held_against_each_other_and_not_done_again(mill: Any) -> None:
    mill.config.write_text(mill.config.read_text() + WAYS)
    before = mill.store().versions()
    done = ablate.start(str(mill.config))
    assert len({tuple(row) for row in done["table"]}) == 1, "a column means the same in every row"
    assert [row["label accuracy"] == "" for row in done["table"]] == [True, False, False]
    rows = {row["variant"]: row["scores"] for row in done["rows"]}
    assert mill.store().versions() == before, "the store itself is left alone"
    assert list(rows) == ["plain", "labels", "labels and VAT"]
    assert all(len(values) == 2 for scores in rows.values() for values in scores.values())
    assert "label accuracy" in rows["labels"] and "label accuracy" not in rows["plain"]
    assert {"loss_text", "retrieval text_of_image@1"} <= set(rows["plain"])
    store = Store.open(ablate.fork(read(mill.config)), create=False)
    runs = store.read("checkpoints").to_pylist()
    assert len({row["run_id"] for row in runs}) == 6
    table = (store.path / "ablation.md").read_text()
    assert table.count("\n") == 5 and "label accuracy" in table.splitlines()[0]
    assert {r.variant: r.scores for r in ablate.run(read(mill.config))} == rows
    assert store.read("checkpoints").to_pylist() == runs, "what is done is not done again"


def test_settings_of_a_way_are_laid_over_those_of_training(mill: Any) -> None:
    mill.config.write_text(mill.config.read_text() + WAYS)
    config = read(mill.config)
    found = ablate.ways(config)
    assert found["plain"].train == config.train
    assert found["labels"].train.batch == config.train.batch
    assert found["labels"].train.objectives.label.items == 4
    assert found["labels and VAT"].train.objectives.adversarial.weight == 1.0
    wrong = {"name": "x", "train": {"objectives": {"labels": {}}}}
    for variants, said in (
        ([wrong], r"\[ablate.variants: x\] unknown setting `objectives.labels`"),
        ([{"name": "x"}, {"name": "x"}], "two variants"),
    ):
        other = type(config)(**{**config.model_dump(), "ablate": {"variants": variants}})
        with pytest.raises(ConfigError, match=said):
            ablate.ways(other)


DEARER = """
[ablate]
seconds = 1.0
seeds = 1
[[ablate.variants]]
name = "plain"
[[ablate.variants]]
name = "deeper"
train.model = { depth = 12 }
"""


def test_a_time_becomes_steps_once_and_fewer_where_a_step_is_dearer(mill: Any) -> None:
    mill.config.write_text(mill.config.read_text() + DEARER)
    config = read(mill.config)
    store, snapshot = mill.store(), mill.snapshot().name
    ways = ablate.affordable(ablate.ways(config), store, snapshot, 1.0)
    steps = {name: way.ablate.steps for name, way in ways.items()}
    assert 1 <= steps["deeper"] < steps["plain"]
    timed = (store.path / ablate.PACES).read_bytes()
    again = ablate.affordable(ablate.ways(config), store, snapshot, 2.0)
    assert (store.path / ablate.PACES).read_bytes() == timed, (
        "timed once: a queue that goes on has the same steps"
    )
    assert again["plain"].ablate.steps == pytest.approx(2 * steps["plain"], abs=1)
    assert not store.read("checkpoints").num_rows, "nothing is stored of it"
