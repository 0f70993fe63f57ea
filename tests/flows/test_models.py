"""Models that annotators need are loaded before anything is collected, or it is said why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from flows.config import ConfigError, read
from pipeline.step import StepError
from pipeline.zero_shot import NeedsPretrainedModel
from storage.faces import NoFaceDetector

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
    assert not (fresh.path / "store").exists()  # it was the first ingest, and leaves nothing


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ('use = "annotators.faces"', "no weights are named"),
        (
            'use = "annotators.faces"\nmodel = "weights/none.onnx"',
            "there is no file .*project.weights.none.onnx",
        ),
        ('use = "annotators.aesthetics"\nhead = "none.safetensors"', "is no safetensors file"),
    ],
)
def test_weights_that_cannot_be_loaded_are_told_before_anything_is_collected(
    fresh: Any, step: str, error: str
) -> None:
    add(fresh, f'[[annotators]]\n{step}\n[[annotators]]\nuse = "annotators.image_embeddings"\n')
    with pytest.raises((StepError, NoFaceDetector), match=error.replace("project", str(fresh.path))):
        fresh.ingest()
    assert not (fresh.path / "store").exists()  # it was the first ingest, and leaves nothing


def test_weights_lie_beside_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "millrace.toml"
    path.write_text(
        '[[annotators]]\nuse = "annotators.faces"\nmodel = "yunet.onnx"\n'
        '[[annotators]]\nuse = "annotators.image_embeddings"\n'
        '[[annotators]]\nuse = "pipeline.annotators.aesthetics"\nhead = "heads/mine"\n'
    )
    faces, _, looks = read(path).annotator_steps
    assert faces.model == str(tmp_path / "yunet.onnx") and looks.head == str(tmp_path / "heads" / "mine")  # type: ignore[attr-defined]
    path.write_text('[media]\nblur_faces = "yunet.onnx"\n')
    assert read(path).media.blur_faces == str(tmp_path / "yunet.onnx")
    path.write_text('[[annotators]]\nuse = "annotators.faces"\n')
    assert read(path).annotator_steps[0].model == ""  # type: ignore[attr-defined]


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
