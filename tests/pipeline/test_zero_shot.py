"""Labels, safety and looks by words alone: planted in a space whose axes have names, and refused where words mean nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file

from pipeline import vectors
from pipeline.annotators.aesthetics import Aesthetics
from pipeline.annotators.labels import Labels
from pipeline.annotators.own_captions import OwnCaptions
from pipeline.annotators.safety import Safety
from pipeline.filters.aesthetics import Aesthetics as AestheticsFilter
from pipeline.filters.safety import Safety as SafetyFilter
from pipeline.step import Annotator, StepError
from pipeline.zero_shot import NeedsPretrainedModel

SAFETY = Safety(sexual=("a nude person",), violent=("blood", "a dead body"), harmless=("a photo", "a cat"))
AXES = ("cat", "dog", "nude", "blood", "Good", "Bad", "photo")


class Model:
    """A text points along the axes whose words it holds."""

    id, scale = "m" * 16, 20.0

    def __init__(self, pretrained: bool = True) -> None:
        self.pretrained = pretrained

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([unit(*(axis for axis in AXES if axis in text)) for text in texts], np.float32)


def unit(*axes: str) -> np.ndarray:
    vector = np.array([float(axis in axes) for axis in AXES], np.float32)
    return vector / max(np.linalg.norm(vector), 1e-9)


def judge(step: Annotator, *pictures: np.ndarray | None, pretrained: bool = True) -> list[dict]:
    present = np.array([picture is not None for picture in pictures], bool)
    stored = [picture for picture in pictures if picture is not None]
    column = vectors.column(np.array(stored, np.float32).reshape(-1, len(AXES)), present)
    rows = pa.table(
        {"image_id": [f"i{n}" for n in range(len(pictures))], "image_embeddings.embedding": column}
    )
    made = step.annotate(rows, {"image_text_model": Model(pretrained)})
    assert made.column_names == ["image_id", *step.columns.names]
    return made.to_pylist()


def test_the_nearest_name_is_the_label() -> None:
    step = Labels(names=("cat", "dog"), templates=("a {}.", "photo of a {}"))
    cat, nothing, dog, both = judge(step, unit("cat"), None, unit("dog", "photo"), unit("cat", "dog"))
    assert (cat["label"], nothing["label"], dog["label"]) == ("cat", None, "dog")
    assert nothing["share"] is None and cat["share"] > 0.99 and both["share"] == pytest.approx(0.5)
    a, b = Model().encode_texts(["a cat.", "photo of a cat"])
    c, d = Model().encode_texts(["a dog.", "photo of a dog"])
    said = [(a + b) / np.linalg.norm(a + b), (c + d) / np.linalg.norm(c + d)]
    odds = np.exp([20 * float(unit("dog", "photo") @ one) for one in said])
    assert dog["share"] == pytest.approx(odds[1] / odds.sum(), rel=1e-5)
    assert judge(step, None)[0]["label"] is None


def test_a_template_without_room_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"has no \{\} for the name"):
        Labels(templates=("a photo",))


def test_unsafe_pictures_are_told_from_harmless_ones() -> None:
    harmless, sexual, violent, unseen = judge(SAFETY, unit("photo"), unit("nude"), unit("blood"), None)
    assert sexual["nsfw"] > 0.9 > 0.1 > max(harmless["nsfw"], violent["nsfw"])
    assert violent["violence"] > 0.9 > 0.1 > max(harmless["violence"], sexual["violence"])
    assert unseen["nsfw"] is unseen["violence"] is None
    rows = {
        f"safety.{k}": pa.array([one[k] for one in (harmless, sexual, violent, unseen)])
        for k in ("nsfw", "violence")
    }
    assert SafetyFilter().keep(pa.table(rows)).to_pylist() == [True, False, False, None]


def test_opposite_prompts_score_looks() -> None:
    good, bad, neither, unseen = judge(Aesthetics(), unit("Good"), unit("Bad"), unit("cat"), None)
    assert good["score"] > 0.99 and bad["score"] < 0.01 and neither["score"] == pytest.approx(0.5)
    assert unseen["score"] is None
    scores = pa.table({"aesthetics.score": pa.array([one["score"] for one in (good, bad, neither, unseen)])})
    assert AestheticsFilter(least=0.3).keep(scores).to_pylist() == [True, False, True, None]
    with pytest.raises(ValidationError, match="pairs"):
        Aesthetics(good=("Good photo.", "Sharp photo."))


def test_a_head_of_ones_own_scores_instead_and_its_content_counts(tmp_path: Path) -> None:
    file = tmp_path / "head.safetensors"
    weight = np.arange(len(AXES), dtype=np.float32)[None]
    save_file({"weight": weight, "bias": np.array([0.5], np.float32)}, file)
    step, models = Aesthetics(head=str(file)), {"image_text_model": "m"}
    first = step.fingerprint(models)
    (tmp_path / "moved").write_bytes(file.read_bytes())
    assert (
        Aesthetics(head=str(tmp_path / "moved")).fingerprint(models)
        == first
        != Aesthetics().fingerprint(models)
    )
    assert judge(step, unit("dog"), unit("photo"))[1]["score"] == pytest.approx(6.5)
    save_file({"weight": weight * 2, "bias": np.array([0.5], np.float32)}, file)
    assert step.fingerprint(models) != first
    save_file({"weight": weight[:, :2].copy(), "bias": np.array([0.5], np.float32)}, file)
    with pytest.raises(StepError, match="vectors of 2 numbers"):
        judge(step, unit("dog"))
    file.write_bytes(b"no head")
    with pytest.raises(StepError, match="no safetensors file"):
        judge(step, unit("dog"))


@pytest.mark.parametrize("step", [Safety(), Aesthetics()])
def test_the_filtering_network_is_not_asked_what_it_cannot_know(step: Annotator) -> None:
    with pytest.raises(NeedsPretrainedModel, match=f"{step.module()} needs a pretrained open_clip model"):
        judge(step, unit("cat"), pretrained=False)


def test_labels_in_the_corpus_own_words_are_its_to_give() -> None:
    assert judge(Labels(names=("cat", "dog")), unit("cat"), pretrained=False)[0]["label"] == "cat"


def test_captions_are_those_of_the_model() -> None:
    class Captioner:
        def caption(self, images: Sequence[memoryview], lang: str) -> list[str]:
            return [f"{bytes(image).decode()} in {lang}" for image in images]

    rows = pa.table({"image_id": ["a", "b"], "image": [b"one", b"two"]})
    made = OwnCaptions(lang="fr").annotate(rows, {"caption_model": Captioner()})
    assert made["caption"].to_pylist() == ["one in fr", "two in fr"]
    assert OwnCaptions(checkpoint="a").fingerprint({"caption_model": "x"}) == OwnCaptions().fingerprint(
        {"caption_model": "x"}
    )
