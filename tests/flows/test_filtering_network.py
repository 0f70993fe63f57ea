"""The filtering network is fitted once, on trusted training rows, in the first ingest that needs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flows import filtering_network, ingest
from flows.config import ConfigError, parse, read
from model.clip import ImageTextModelMissing
from storage.store import Store
from tests.flows import toy

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}
CONFIG = f"""\
[[sources]]
use = "sources.folder"
name = "pictures"
path = "pictures"
[[sources]]
use = "sources.folder"
name = "others"
path = "others"
[[sources]]
use = "sources.folder"
name = "heldout"
path = "heldout"
held_out = true
[[annotators]]
use = "annotators.image_text_score"
[[annotators]]
use = "annotators.image_embeddings"
[[annotators]]
use = "annotators.text_embeddings"
[[annotators]]
use = "annotators.text_stats"
[[filters]]
use = "filters.image_text_score"
least = -1.0
[[filters]]
use = "filters.caption_length"
min_words = 1
[[gathers]]
use = "gathers.decontaminate"
[splits]
validation = 0.1
test = 0.1
{toy.tokenizers(300, 2)}[filtering_network]
size = 32
width = 4
text_width = 64
text_layers = 1
dim = 16
batch = 8
steps = 4
threads = 1
"""


def pictures(folder: Path, many: int, seed: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    with (folder / "captions.jsonl").open("w") as lines:
        for i in range(many):
            name, colour = list(COLOURS.items())[i % 4]
            pixels = np.clip(np.array(colour) + rng.integers(-25, 26, (32, 32, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
            for task, text in (("caption", f"{name} in {folder.name}"), ("vqa", "yes")):
                lines.write(
                    json.dumps({"file": f"{i}.png", "text": text, "task": task, "prompt": "?"}) + "\n"
                )


@pytest.fixture
def config(tmp_path: Path, prefect_api: str) -> Path:
    for seed, (name, many) in enumerate({"pictures": 16, "others": 8, "heldout": 4}.items()):
        pictures(tmp_path / name, many, seed)
    path = tmp_path / "millrace.toml"
    path.write_text(CONFIG)
    return path


def store_of(config: Path) -> Store:
    return read(config).open_store()


def asked(config: Path, query: str) -> list[tuple]:
    with store_of(config).connect() as db:
        return db.sql(query).fetchall()


SCORES = "SELECT sample_id, score FROM image_text_score ORDER BY 1"


def test_one_ingest_fits_it_and_scores_everything(config: Path) -> None:
    assert ingest.start(str(config))["kept"] > 0
    [(captions, scored, others)] = asked(
        config,
        "SELECT count(*) FILTER (task = 'caption'), count(score) FILTER (task = 'caption'), "
        "count(score) FILTER (task <> 'caption') FROM samples JOIN image_text_score USING (sample_id)",
    )
    assert captions == scored == 28 and others == 0
    [network] = [p for p in store_of(config).folder("filtering").iterdir() if p.is_dir()]
    [(trained,)] = asked(
        config,
        "SELECT count(DISTINCT image_id) FROM samples JOIN splits USING (sample_id) "
        "WHERE split = 'train' AND NOT held_out",
    )
    assert json.loads((network / "filtering_network.json").read_text())["pictures"] == trained < 24
    before = asked(config, SCORES)
    assert ingest.start(str(config))["parts_made"] == 0  # and it is not fitted again
    assert asked(config, SCORES) == before


def test_another_network_scores_anew(config: Path) -> None:
    ingest.start(str(config))
    before = asked(config, SCORES)
    config.write_text(config.read_text().replace("steps = 4", "steps = 5"))
    done = filtering_network.start(str(config))
    assert done["steps"] == 5 and asked(config, SCORES) == before  # until the next ingest
    assert ingest.start(str(config))["parts_made"] > 0
    assert asked(config, SCORES) != before


def trusted(config: Path, **settings: Any) -> list[dict[str, Any]]:
    now = read(config)
    changed = now.filtering_network.model_copy(update=settings)
    rows = filtering_network.trusted(now.open_store(), now.model_copy(update={"filtering_network": changed}))
    return rows.to_pylist()


def test_it_learns_from_the_trusted_part_only(config: Path) -> None:
    ingest.start(str(config))
    everything = trusted(config)
    texts = {row["text"] for row in everything}
    assert {t.split()[-1] for t in texts} == {"pictures", "others"}  # neither held out nor answers
    assert {r["text"].split()[-1] for r in trusted(config, sources=("others",))} == {"others"}
    assert trusted(config, langs=("no",)) == []
    assert len({row["image_id"] for row in trusted(config, max_pictures=5)}) == 5
    assert trusted(config, least={"text_stats.words": 3.0}) == everything
    assert trusted(config, least={"text_stats.words": 4.0}) == []
    with pytest.raises(ConfigError, match=r"image_text_score\.score.*made by no annotator"):
        trusted(config, least={"image_text_score.score": 0.5})


def test_what_the_last_network_dropped_may_teach_the_next_one(config: Path) -> None:
    ingest.start(str(config))
    before = trusted(config)
    config.write_text(config.read_text().replace("least = -1.0", "least = 0.999"))
    ingest.start(str(config))
    dropped = "SELECT count(*) FROM decisions WHERE stage = 'filter' AND reason = 'mismatched'"
    assert asked(config, dropped) == [(28,)]
    assert trusted(config) == before


def test_what_the_last_network_dropped_is_judged_by_all_other_steps(config: Path) -> None:
    """A filter behind the network's, and a gather, never had their say on rows that it dropped first."""
    ingest.start(str(config))
    assert len(trusted(config)) > len({row["text"] for row in trusted(config)})
    text = config.read_text().replace("least = -1.0", "least = 0.999")
    text = text.replace("min_words = 1", "min_characters = 14")  # longer than "red in others"
    text = text.replace("[splits]", '[[gathers]]\nuse = "gathers.text_duplicates"\njudge = "text"\n[splits]')
    config.write_text(text + '[[annotators]]\nuse = "annotators.text_minhash"\n')
    with pytest.raises(
        ConfigError, match='reads "text_minhash", which is not there yet: run `millrace ingest`'
    ):
        trusted(config)
    ingest.start(str(config))
    dropped = "SELECT count(*) FROM decisions WHERE stage = 'filter' AND reason = 'mismatched'"
    assert asked(config, dropped) == [(28,)]
    texts = [row["text"] for row in trusted(config)]
    assert len(texts) == len(set(texts)) > 3 and "red in others" not in texts


def test_a_model_that_is_not_there_is_told_before_anything_is_collected(config: Path) -> None:
    config.write_text(config.read_text() + '[image_text]\nmodel = "./nowhere"\n')
    with pytest.raises(ImageTextModelMissing, match="no folder"):
        ingest.start(str(config))
    assert not Path(read(config).store.path).exists()  # it was the first ingest, and leaves nothing


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="needs `pretrained`"):
        parse({"image_text": {"model": "ViT-B-32"}})
    with pytest.raises(ConfigError, match="multiple of 32"):
        parse({"filtering_network": {"size": 50}})
    assert parse({"image_text": {"model": "hf-hub:owner/name"}}).image_text.pretrained == ""
