"""A made-up corpus in the sizes of the gallery's: pictures of 64 codes, each with three texts of 3 to 40 tokens.

What is measured over it depends on lengths and counts, not on what is said; the same seed gives the same arrays.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from model.config import ModelConfig, Vocabulary, text_and_image
from model.corpus import Corpus

LANGUAGES = ("de", "en", "es", "fr")
WORDS, CODES, GRID, LEVELS, TEXTS = 2048, 1000, (8, 8), (8, 5, 5, 5), 3
SPECIALS = ("<pad>", "<bos>", "<eos>", "<sep>", "<boi>", "<eoi>", "<task:caption>", "<task:vqa>")


def vocabulary() -> Vocabulary:
    """A tokenizer's, without a tokenizer."""
    names = [*SPECIALS, *(f"<lang:{language}>" for language in LANGUAGES)]
    return Vocabulary(size=WORDS, specials={name: i for i, name in enumerate(names)})


def model(preset: str | int, **changes: object) -> ModelConfig:
    """The network for it."""
    return ModelConfig.preset(preset, text_and_image(vocabulary(), CODES, GRID, LEVELS), **changes)


def tables(pictures: int, seed: int = 0) -> tuple[pa.Table, pa.Table, pa.Table]:
    """`samples`, `text_tokens` and `image_tokens`: two captions and a question with its answer for each picture."""
    rng = np.random.default_rng(seed)
    texts = pictures * TEXTS
    asked = np.arange(texts) % TEXTS == 2
    names = [f"{i:09d}" for i in range(texts)]
    images = [f"{i:09d}" for i in np.repeat(np.arange(pictures), TEXTS)]
    samples = pa.table(
        {
            "sample_id": names,
            "image_id": images,
            "lang": np.array(LANGUAGES)[rng.integers(0, len(LANGUAGES), texts)],
            "task": np.where(asked, "vqa", "caption"),
            "label": pa.nulls(texts, pa.string()),
        }
    )
    tokens = pa.table(
        {
            "sample_id": names,
            "ids": _lists(rng, np.clip(rng.poisson(12, texts), 3, 40)),
            "prompt_ids": _lists(rng, np.where(asked, rng.integers(3, 9, texts), 0)),
        }
    )
    codes = pa.FixedSizeListArray.from_arrays(
        pa.array(rng.integers(0, CODES, pictures * GRID[0] * GRID[1], np.int32)), GRID[0] * GRID[1]
    )
    pictured = pa.table({"image_id": images[::TEXTS], "codes": codes.cast(pa.list_(pa.int32()))})
    return samples, tokens, pictured


def corpus(pictures: int, seed: int = 0) -> Corpus:
    """The same as arrays."""
    return Corpus.of(*tables(pictures, seed))


def _lists(rng: np.random.Generator, lengths: np.ndarray) -> pa.ListArray:
    ends = np.concatenate([[0], np.cumsum(lengths)])
    ids = rng.integers(len(SPECIALS) + len(LANGUAGES), WORDS, ends[-1], np.int32)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(ids))
