"""Pictures that are read are shown in other places, colours and strokes: the same ones for equal seeds, another each epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw

from model import views
from model.batches import Batches
from model.config import BatchConfig, TrainConfig
from model.corpus import Corpus, load_corpus
from model.plan import READ
from model.tokenizers import Tokenizers
from model.train import Progress, Stopped, train
from storage.snapshot import Snapshot
from storage.store import Store


def star(side: int) -> np.ndarray:
    image = Image.new("RGB", (side, side), "white")
    ImageDraw.Draw(image).polygon([(side / 2, 4), (side - 6, side - 6), (6, side / 3)], fill=(200, 30, 60))
    return np.asarray(image)


def test_a_view_follows_from_seed_number_and_picture_alone() -> None:
    shown = [views.altered(star(64), views.draws(0, view, "ab" * 32)) for view in range(40)]
    again = [views.altered(star(64), views.draws(0, view, "ab" * 32)) for view in range(40)]
    assert all(one.shape == (32, 32, 3) and one.dtype == np.uint8 for one in shown)
    assert all(np.array_equal(*pair) for pair in zip(shown, again, strict=True))
    assert len({one.tobytes() for one in shown}) == 40
    for other in (views.draws(1, 0, "ab" * 32), views.draws(0, 0, "cd" * 32)):
        assert not np.array_equal(views.altered(star(64), other), shown[0])


def test_views_keep_to_what_is_shown() -> None:
    """Something is on the paper, and the paper stays white around it."""
    for view in range(100):
        one = views.altered(star(64), views.draws(3, view, "ab" * 32)).astype(int)
        dark = (one.min(2) < 200).mean()
        assert 0.02 < dark < 0.7, view
        assert np.median(one[0]) > 200, view


def test_another_view_in_every_epoch(corpus: Corpus, tokenizers: Tokenizers) -> None:
    config = BatchConfig(rows=4, row_length=96, draw_share=0.5, fill=0.5)
    other = np.stack([np.full_like(corpus.codes, at) for at in (1, 2)])
    model, vocabulary = tokenizers.model_config("tiny"), tokenizers.vocabulary
    plain = Batches(corpus, config, model, vocabulary, 0)
    batches = Batches(corpus, config, model, vocabulary, 0, other)
    low = model.offsets[model.modality("image")]
    seen: Counter[tuple[int, int]] = Counter()
    for step in range(120):
        units = batches._units(step, step + 1)
        read = units.kind == READ
        assert not units.view[~read].any()
        seen.update(zip(units.picture[read].tolist(), units.view[read].tolist(), strict=True))
        a, b = plain.batch(step), batches.batch(step)
        differ = a.ids != b.ids
        assert set((b.ids[differ] - low).tolist()) <= {1, 2}
        assert all(
            bool((getattr(a, n) == getattr(b, n)).all()) for n in ("positions", "units", "blocks", "branches")
        )
    for picture in range(len(corpus.codes)):
        times = [seen[picture, view] for view in range(3)]
        assert min(times) > 0 and max(times) - min(times) <= 1


def test_training_on_views_resumes_exactly(
    tiny_store: tuple[Store, Snapshot], settings: Callable[..., TrainConfig]
) -> None:
    store, snapshot = tiny_store
    changed = settings(steps=12)
    config = changed.model_copy(update={"batch": changed.batch.model_copy(update={"views": 3})})
    whole = train(store, snapshot, config, run_id="whole")
    seen: list[Progress] = []
    with pytest.raises(Stopped):
        stop = lambda: bool(seen) and seen[-1].step >= 5  # noqa: E731
        train(store, snapshot, config, run_id="halves", progress=seen.append, stop=stop)
    halves = train(store, snapshot, config, run_id="halves")
    plain = train(store, snapshot, changed, run_id="plain")
    weights = [(one / "model.safetensors").read_bytes() for one in (whole, halves, plain)]
    assert weights[0] == weights[1] != weights[2]


def test_views_are_made_once(tiny_store: tuple[Store, Snapshot], tokenizers: Tokenizers) -> None:
    store, snapshot = tiny_store
    corpus = load_corpus(store, snapshot, "train")
    assert views.encoded(snapshot, corpus, tokenizers.image, 1, 0) is None
    first = views.encoded(snapshot, corpus, tokenizers.image, 3, 0)
    assert first is not None and first.shape == (2, *corpus.codes.shape)
    [file] = (store.path / "cache").glob("views-*.npy")
    made = file.stat().st_mtime_ns
    again = views.encoded(snapshot, corpus, tokenizers.image, 3, 0)
    assert again is not None and np.array_equal(first, again) and file.stat().st_mtime_ns == made
    other = views.encoded(snapshot, corpus, tokenizers.image, 3, 1)
    assert other is not None and not np.array_equal(first, other)
