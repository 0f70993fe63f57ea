"""Image-text models load from folders and files, say what is missing, and encode the same whatever stands beside."""

from __future__ import annotations

import io
import json
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from model import clip, clip_train
from model.clip import ImageTextModel, ImageTextModelMissing
from model.clip_config import FilteringConfig

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
SCALING = {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
SMALL = FilteringConfig(
    size=32, width=8, text_width=64, text_layers=1, dim=16, batch=16, steps=60, step_size=0.003, threads=1
)
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "yellow": (230, 220, 40)}


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return open_clip.model.CLIP(**TINY)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model as people share them: its configuration and its weights."""
    place = tmp_path / "tiny"
    place.mkdir()
    (place / clip.CONFIG).write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": SCALING}))
    save_file(network().state_dict(), place / clip.WEIGHTS)
    return place


def png(colour: tuple[int, int, int], seed: int = 0, side: int = 40) -> bytes:
    noise = np.random.default_rng(seed).integers(-25, 26, (side, side, 3))
    out = io.BytesIO()
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def test_a_folder_is_a_model(folder: Path) -> None:
    model = ImageTextModel.load(str(folder))
    images, texts = model.encode_images([png((9, 99, 200))]), model.encode_texts(["a cat", "a dog", "a cat"])
    assert images.shape == (1, 16) and texts.shape == (3, 16) and images.dtype == texts.dtype == np.float32
    assert np.allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-6)
    assert (texts[0] == texts[2]).all() and (texts[0] != texts[1]).any()
    assert model.pretrained and model.dim == 16
    with torch.inference_mode():  # what open_clip itself makes of it
        theirs, _, scale = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        seen = theirs.eval().encode_image(
            scale(Image.open(io.BytesIO(png((9, 99, 200)))))[None], normalize=True
        )
        said = theirs.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(["a cat"]), normalize=True)
    assert np.allclose(images, seen.numpy(), atol=1e-5) and np.allclose(texts[:1], said.numpy(), atol=1e-5)


def test_a_vector_does_not_depend_on_its_neighbours(folder: Path) -> None:
    model = ImageTextModel.load(str(folder))
    pictures = [png((i * 3, 90, 200 - i), i) for i in range(clip.BATCH + 3)]
    assert (model.encode_images(pictures)[-1:] == model.encode_images(pictures[-1:])).all()
    words = [f"number {i}" for i in range(clip.BATCH + 3)]
    assert (model.encode_texts(words)[5:6] == model.encode_texts(words[5:6])).all()
    assert model.encode_images([]).shape == model.encode_texts([]).shape == (0, 16)


def test_a_named_model_takes_its_weights_from_a_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "millrace-tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path)
    torch.save(network().state_dict(), tmp_path / "weights.pt")
    model = ImageTextModel.load("millrace-tiny", str(tmp_path / "weights.pt"))
    other = ImageTextModel.load("millrace-tiny", str(folder / clip.WEIGHTS))
    assert model.id == other.id
    assert (model.encode_texts(["a cat"]) == other.encode_texts(["a cat"])).all()


def test_the_id_tells_weights_and_scaling_apart(folder: Path) -> None:
    first = clip.read(clip.Place(str(folder))).id
    assert clip.read(clip.Place(str(folder))).id == first
    save_file(network(1).state_dict(), folder / clip.WEIGHTS)
    second = clip.read(clip.Place(str(folder))).id
    changed = {"model_cfg": TINY, "preprocess_cfg": {**SCALING, "mean": [0.4] * 3}}
    (folder / clip.CONFIG).write_text(json.dumps(changed))
    assert len({first, second, clip.read(clip.Place(str(folder))).id}) == 3


def test_another_process_is_sent_a_name(folder: Path) -> None:
    assert len(ForkingPickler.dumps(ImageTextModel.load(str(folder)))) < 1000


def test_weights_that_changed_under_a_run_are_noticed(folder: Path) -> None:
    model = ImageTextModel.load(str(folder))
    save_file(network(1).state_dict(), folder / clip.WEIGHTS)
    clip._network.cache_clear()
    with pytest.raises(ImageTextModelMissing, match="other weights"):
        model.encode_texts(["a cat"])


def test_what_is_missing_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageTextModelMissing, match="no folder"):
        ImageTextModel.load(str(tmp_path / "nowhere"))
    with pytest.raises(ImageTextModelMissing, match=r"(?s)no-such-model.*not found.*What to do"):
        ImageTextModel.load("no-such-model", "openai")
    with pytest.raises(ImageTextModelMissing, match="not a known tag"):
        ImageTextModel.load("ViT-B-32", "no-such-tag")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # nothing is asked of a network
    for name, tag in (("ViT-B-32", "laion2b_s34b_b79k"), ("hf-hub:nobody/nothing", "")):
        with pytest.raises(ImageTextModelMissing, match=f"(?s){name}.*HF_HOME.*own"):
            ImageTextModel.load(name, tag, str(tmp_path / "cache"))
    (folder / clip.WEIGHTS).unlink()
    with pytest.raises(ImageTextModelMissing, match="could not be loaded"):  # and not made up at random
        ImageTextModel.load(str(folder))


def test_weights_run_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / clip.WEIGHTS).unlink()
    made = tmp_path / "made"
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"cos\nmkdir\n(V" + str(made).encode() + b"\ntR.")
    with pytest.raises(ImageTextModelMissing):
        ImageTextModel.load(str(folder))
    assert not made.exists()


# --- the filtering network


def coloured(many: int = 64) -> tuple[np.ndarray, list[int], list[str]]:
    """Noisy pictures of one colour each, with two texts that name it."""
    names = [list(COLOURS)[i % 4] for i in range(many)]
    noise = np.random.default_rng(0).integers(-25, 26, (many, 32, 32, 3))
    images = np.clip(np.array([COLOURS[n] for n in names])[:, None, None] + noise, 0, 255).astype(np.uint8)
    return images, [i for i in range(many) for _ in "ab"], [t for n in names for t in (n, f"all {n}")]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("filtering")
    return root / clip_train.fit(*coloured(), SMALL).save(root)


def test_it_learns_which_text_belongs_to_which_picture(fitted: Path) -> None:
    model = ImageTextModel.load(str(fitted))
    assert not model.pretrained
    seen = model.encode_images([png(colour, 7) for colour in COLOURS.values()])
    assert ((seen @ model.encode_texts(list(COLOURS)).T).argmax(1) == np.arange(4)).all()


def test_open_clip_loads_it_as_its_own(fitted: Path) -> None:
    theirs = open_clip.create_model(f"local-dir:{fitted}", require_pretrained=True).eval()
    with torch.inference_mode():
        said = theirs.encode_text(open_clip.get_tokenizer(f"local-dir:{fitted}")(["blue"]), normalize=True)
    assert np.allclose(said.numpy(), ImageTextModel.load(str(fitted)).encode_texts(["blue"]), atol=1e-5)


def test_equal_rows_make_equal_weights(fitted: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    again = clip_train.fit(*coloured(), SMALL, lambda step, steps, loss: heard.append((step, steps)))
    assert again.save(tmp_path) == fitted.name
    assert heard[-1] == (SMALL.steps, SMALL.steps)
    other = clip_train.fit(*coloured(), SMALL.model_copy(update={"seed": 1, "steps": 2}))
    assert other.save(tmp_path) != fitted.name


def test_a_damaged_network_is_refused(fitted: Path, tmp_path: Path) -> None:
    for file in fitted.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    meta = json.loads((tmp_path / clip.FITTED).read_text())
    (tmp_path / clip.FITTED).write_text(json.dumps({**meta, "id": "0" * 16}))
    with pytest.raises(ImageTextModelMissing, match="damaged"):
        ImageTextModel.load(str(tmp_path))


def test_one_picture_is_too_few() -> None:
    images, _, texts = coloured(4)
    with pytest.raises(clip_train.FitError, match="two pictures"):
        clip_train.fit(images, [0] * len(texts), texts, SMALL)


def test_a_round_shows_each_picture_once_with_any_of_its_texts() -> None:
    images, pictures, texts = coloured(32)
    pairs = clip_train.Pairs.of(images, pictures, texts, 16)
    batches = pairs.batches(SMALL)
    rounds = [[next(batches) for _ in range(2)] for _ in range(6)]
    for batch in rounds:
        assert sorted(np.concatenate([seen for seen, _ in batch])) == list(range(32))
    said: dict[int, set[Any]] = {}
    for seen, tokens in (one for batch in rounds for one in batch):
        for picture, row in zip(seen, tokens.tolist(), strict=True):
            said.setdefault(picture, set()).add(tuple(row))
    assert max(map(len, said.values())) == 2


def test_an_equal_text_elsewhere_is_no_mistake() -> None:
    generator = torch.Generator().manual_seed(0)
    seen, said = (torch.randn(4, 8, generator=generator) for _ in "ab")
    tokens = torch.tensor([[1, 2], [3, 4], [1, 2], [5, 6]])
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (seen, said))
    logits = (5.0 * a @ b.T).double()
    logits[0, 2] = logits[2, 0] = -torch.inf
    rows = [-torch.log_softmax(logits[i], 0)[i] for i in range(4)]
    columns = [-torch.log_softmax(logits[:, i], 0)[i] for i in range(4)]
    found = clip_train.contrast(seen, said, tokens, torch.tensor(5.0))
    assert float(found) == pytest.approx(float(sum(rows) + sum(columns)) / 8, rel=1e-5)


def test_a_loss_that_is_no_number_is_told() -> None:
    images = np.zeros((4, 32, 32, 3), np.uint8)
    settings = SMALL.model_copy(update={"steps": 20, "step_size": 1e38})
    with pytest.raises(clip_train.FitError, match=r"loss was (nan|inf) at step \d+.*step_size"):
        clip_train.fit(images, range(4), ["red", "green", "blue", "yellow"], settings)
