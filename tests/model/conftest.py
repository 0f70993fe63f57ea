"""A small store with a tokenized snapshot: pictures of 16 codes, each with captions in two languages and a
question."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from model.config import BatchConfig, ImageTokenizerConfig, OptimizerConfig, TrainConfig
from model.corpus import Corpus
from model.generate import Model
from model.image_tokenizer import ImageTokenizer, fit
from model.tokenizers import Tokenizers
from pipeline.tokens import text_bpe
from storage import snapshot as snapshots
from storage.snapshot import Snapshot
from storage.store import Store
from storage.tables import signal_table
from tests.model.greys import pictures
from tests.model.reading import SMALL, make_model

SPECIALS = [
    "<pad>",
    "<bos>",
    "<eos>",
    "<sep>",
    "<boi>",
    "<eoi>",
    "<lang:en>",
    "<lang:fr>",
    "<task:caption>",
    "<task:vqa>",
]
WORDS = [
    "a",
    "dark",
    "light",
    "picture",
    "une",
    "image",
    "sombre",
    "claire",
    "how",
    "bright",
    "is",
    "it",
    "very",
    "not",
]
TEXT_ID = "texttokenizer000"
IMAGES = ImageTokenizerConfig(size=16, patch=4, levels=(5, 5), width=8, steps=3, batch=4, encode_batch=4)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


def text_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate([*SPECIALS, *WORDS])}, unk_token="a"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


@pytest.fixture(scope="session")
def image_tokenizer() -> ImageTokenizer:
    return fit(pictures(32), IMAGES)


@pytest.fixture(scope="session")
def tokenizers(image_tokenizer: ImageTokenizer) -> Tokenizers:
    return Tokenizers(text_tokenizer(), image_tokenizer)


def rows(tokenizers: Tokenizers, n: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """`samples`, `text_tokens` and `image_tokens` of n pictures, three texts each."""
    shown = pictures(n)
    codes = tokenizers.image.encode(shown)
    samples, tokens = [], []
    for i, picture in enumerate(shown):
        light = picture.mean() > 127
        texts = [
            ("en", "caption", "", "a light picture" if light else "a dark picture"),
            ("fr", "caption", "", "une image claire" if light else "une image sombre"),
            ("en", "vqa", "how bright is it", "very" if light else "not"),
        ]
        for j, (lang, task, prompt, text) in enumerate(texts):
            sample_id = f"{i:04d}{j}"
            samples.append(
                {
                    "sample_id": sample_id,
                    "image_id": f"image{i:04d}",
                    "document_id": f"d{i}",
                    "position": j,
                    "source": "made",
                    "prompt": prompt or None,
                    "text": text,
                    "lang": lang,
                    "task": task,
                    "label": ("light" if light else "dark") if i % 2 == 0 else None,
                    "licence": "CC0-1.0",
                }
            )
            tokens.append(
                {
                    "sample_id": sample_id,
                    "tokenizer_id": TEXT_ID,
                    "ids": tokenizers.encode(text),
                    "prompt_ids": tokenizers.encode(prompt),
                }
            )
    images = [
        {"image_id": f"image{i:04d}", "tokenizer_id": tokenizers.image.id, "codes": c.tolist()}
        for i, c in enumerate(codes)
    ]
    return pa.Table.from_pylist(samples), pa.Table.from_pylist(tokens), pa.Table.from_pylist(images)


@pytest.fixture(scope="session")
def corpus(tokenizers: Tokenizers) -> Corpus:
    return Corpus.of(*rows(tokenizers, 24))


def planted(store: Store, samples: pa.Table) -> None:
    """Vectors as an image-text model might give them: near one of two directions, by what the caption says."""
    rng, ways = np.random.default_rng(3), np.eye(2, 6)
    for key, table in (("image_id", "image_embeddings"), ("sample_id", "text_embeddings")):
        found: dict[str, list[float] | None] = {}
        for row in samples.to_pylist():
            vector = ways[int("light" in row["text"] or "claire" in row["text"])] + rng.normal(0, 0.05, 6)
            if row["task"] == "caption":
                found.setdefault(row[key], (vector / np.linalg.norm(vector)).tolist())
            elif key == "sample_id":
                found[row[key]] = None
        vectors = pa.array(list(found.values()), pa.list_(pa.float32()))
        made = pa.table({key: list(found), "embedding": vectors})
        store.declare(signal_table(table, key, pa.schema([made.schema.field("embedding")])))
        store.append(table, made, parts=["p"])


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def make_store(path: Path, tokenizers: Tokenizers, n: int = 24) -> tuple[Store, Snapshot]:
    """A store on disk with one snapshot of n pictures, all of them for training."""
    store = Store.open(path)
    samples, tokens, images = rows(tokenizers, n)
    ids = samples["sample_id"].to_pylist()
    store.append("samples", samples, parts=["p"])
    stored = pa.table({"image_id": images["image_id"], "image": [png(one) for one in pictures(n)]})
    store.append("images", stored, parts=["p"])
    store.append("text_tokens", tokens, parts=["p"])
    store.append("image_tokens", images, parts=["p"])
    planted(store, samples)
    decided = [{"sample_id": i, "source": "made", "stage": "collect", "kept": True} for i in ids]
    store.append("decisions", pa.Table.from_pylist(decided), parts=["p"])
    split = [{"sample_id": i, "cluster_id": i, "split": "train"} for i in ids]
    store.append("splits", pa.Table.from_pylist(split), parts=["p"])
    tokenizers.text.save(str(store.folder("tokenizers") / f"{TEXT_ID}.json"))
    tokenizers.image.save(store.folder("tokenizers") / tokenizers.image.id)
    made = snapshots.create(store, "s", text_tokenizer=TEXT_ID, image_tokenizer=tokenizers.image.id)
    return store, made


@pytest.fixture
def settings() -> Callable[..., TrainConfig]:
    """`run_settings`, for tests: they cannot import this file."""
    return run_settings


@pytest.fixture
def tiny_store(tmp_path: Path, tokenizers: Tokenizers) -> tuple[Store, Snapshot]:
    return make_store(tmp_path / "store", tokenizers)


def run_settings(**changes: object) -> TrainConfig:
    """A run of a few steps on a network of a few thousand weights."""
    base = {
        "steps": 40,
        "model": SMALL,
        "threads": 1,
        "log_every": 5,
        "checkpoint_every": 10,
        "batch": BatchConfig(rows=3, row_length=64, draw_share=0.3),
        "optimizer": OptimizerConfig(warmup=2),
    }
    return TrainConfig.model_validate(base | changes)


@pytest.fixture(scope="session")
def made_rows(tokenizers: Tokenizers) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The tables that `corpus` is made of."""
    return rows(tokenizers, 24)


BYTES = ["hello how are you", "bonjour comment allez-vous", "a dark picture", "une image sombre"] * 3


@pytest.fixture(scope="session")
def byte_tokenizers(image_tokenizer: ImageTokenizer) -> Tokenizers:
    """With the byte-level text tokenizer that a store has, which can write any text."""
    fitted = text_bpe.fit(BYTES, 330, ["en", "fr"], ["caption", "translate", "vqa"])
    text = Tokenizer.from_str(fitted.decode())
    text.encode_special_tokens = True
    return Tokenizers(text, image_tokenizer)


@pytest.fixture(scope="session")
def network_of() -> Callable[..., Model]:
    """Makes a small network for tokenizers."""
    return make_model


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory, tokenizers: Tokenizers) -> Model:
    """A small network, trained for a moment."""
    from model.train import train

    store, snapshot = make_store(tmp_path_factory.mktemp("toy") / "store", tokenizers)
    return Model.load(train(store, snapshot, run_settings(steps=60), run_id="toy"))
