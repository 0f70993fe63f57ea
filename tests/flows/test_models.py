"""Models that annotators need are loaded before anything is collected, or it is said why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from flows.config import ConfigError
from pipeline.zero_shot import NeedsPretrainedModel

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
ZERO_SHOT = """\
[image_text]
model = "./tiny"
[[annotators]]
use = "annotators.labels"
names = ["circle", "square"]
[[annotators]]
use = "annotators.safety"
[[annotators]]
use = "annotators.aesthetics"
[[annotators]]
use = "annotators.image_embeddings"
[[filters]]
use = "filters.safety"
nsfw = 1.0
violence = 1.0
[[gathers]]
use = "gathers.semantic_duplicates"
epsilon = 0.0001
"""
CAPTIONS = """\
[[annotators]]
use = "annotators.own_captions"
"""


def add(mill: Any, text: str) -> None:
    with mill.config.open("a") as file:
        file.write(text)


def tiny(folder: Path, seed: int) -> None:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    save_file(open_clip.model.CLIP(**TINY).state_dict(), folder / "open_clip_model.safetensors")  # type: ignore[arg-type]
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}))


def test_a_model_of_ones_own_folder_judges_pictures_and_another_one_anew(mill: Any) -> None:
    from model import clip

    tiny(mill.path / "tiny", 0)
    add(mill, ZERO_SHOT)
    assert mill.ingest()["kept"] > 0
    query = (
        "SELECT image_id, label, share, nsfw, score FROM labels JOIN safety USING (image_id) "
        "JOIN aesthetics USING (image_id)"
    )
    first = sorted(mill.sql(query))
    [(pictures,)] = mill.sql("SELECT count(*) FROM images")
    assert len(first) == pictures and {row[1] for row in first} <= {"circle", "square"}
    assert all(0 <= value <= 1 for row in first for value in row[2:])
    assert mill.ingest()["parts_made"] == 0
    tiny(mill.path / "tiny", 1)
    clip._network.cache_clear()  # the next ingest is another process
    assert mill.ingest()["parts_made"] > 0
    assert [row[2:] for row in sorted(mill.sql(query))] != [row[2:] for row in first]


def test_the_filtering_network_is_refused_for_what_it_cannot_know(fresh: Any) -> None:
    add(fresh, ZERO_SHOT.replace('model = "./tiny"', ""))
    with pytest.raises(NeedsPretrainedModel, match=r"annotators\.(safety|aesthetics) needs a pretrained"):
        fresh.ingest()
    assert fresh.store().version("samples") == -1


def test_captions_need_a_checkpoint_and_are_its_own(mill: Any) -> None:
    from flows import train

    before = mill.config.read_text()
    add(mill, CAPTIONS)
    with pytest.raises(ConfigError, match="`millrace train` makes one"):
        mill.ingest()
    mill.config.write_text(before.replace("steps = 60", "steps = 2"))
    train.start(str(mill.config), "latest", "")
    add(mill, CAPTIONS)
    mill.ingest()
    [(captions, pictures)] = mill.sql(
        "SELECT count(caption), count(*) FROM own_captions RIGHT JOIN images USING (image_id)"
    )
    assert captions == pictures > 0
    assert mill.ingest()["parts_made"] == 0
