"""Fitted, frozen tokenizers: made once on the training split, kept by content, applied by every ingest.

`<store>/tokenizers/<id>/` holds each; `current.json` names the pair in use. An ingest fits them when there are none
and never again; `millrace fit-tokenizers` refits on demand.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from flows.config import Config, ConfigError
from flows.progress import bar, say
from model import image_tokenizer
from model.checkpoint import write_file
from model.image_tokenizer import ImageTokenizer, TokenizerError
from pipeline.annotators.image_codes import ImageCodes
from pipeline.annotators.text_tokens import TextTokens
from pipeline.step import Annotator
from pipeline.tokens import text_bpe
from pipeline.tokens.text_bpe import TextBPE
from storage import media
from storage.snapshot import refuse
from storage.store import Store

CURRENT = "current.json"
FIT_PICTURES = 12_000
"""Pictures that the image tokenizer is fitted on: more would not fit in memory at large sizes, nor help."""
GATE_PICTURES = 512


def appliers() -> list[Annotator]:
    """The steps that write the token tables."""
    return [TextTokens(), ImageCodes()]


def ready(store: Store, config: Config, *, refit: bool = False) -> dict[str, Any]:
    """The tokenizers in use, fitted first if there are none (or `refit`).

    Raises:
        LicenceNotAllowed: they would be fitted on rows that may not enter a snapshot.
    """
    current = store.folder("tokenizers") / CURRENT
    ids = json.loads(current.read_text()) if current.exists() and not refit else {}
    grown = bool(ids.get("blank")) and has_pictures(store)  # texts alone came so far
    if not ids or grown:
        check_licences(store, config)
        ids = {
            "text": ids.get("text") or fit_text(store, config).id,
            "image": fit_image(store, config).id,
            "blank": not has_pictures(store),
        }
        write_file(current, json.dumps(ids, indent=1).encode())
    return loaded(store, ids)


def current(store: Store) -> dict[str, Any]:
    """The tokenizers in use.

    Raises:
        TokenizerError: there are none yet.
    """
    path = store.folder("tokenizers") / CURRENT
    if not path.exists():
        raise TokenizerError(f"{store.path} has no tokenizers yet: `millrace ingest` fits them")
    return loaded(store, json.loads(path.read_text()))


def loaded(store: Store, ids: dict[str, Any]) -> dict[str, Any]:
    """The tokenizers of these ids."""
    folder = str(store.folder("tokenizers"))
    return {
        "text_tokenizer": load_text(folder, ids["text"]),
        "image_tokenizer": load_image(folder, ids["image"]),
    }


@lru_cache(maxsize=4)
def load_text(folder: str, name: str) -> TextBPE:
    return TextBPE.load(Path(folder) / f"{name}.json")


@lru_cache(maxsize=4)
def load_image(folder: str, name: str) -> ImageTokenizer:
    return ImageTokenizer.load(Path(folder) / name)


TRAINED = """
    FROM samples JOIN splits USING (sample_id)
    SEMI JOIN (SELECT sample_id FROM verdicts WHERE kept) USING (sample_id)
"""


def has_pictures(store: Store) -> bool:
    """Whether a kept row shows a picture."""
    with store.connect() as db:
        return db.execute(f"SELECT 1 {TRAINED} WHERE image_id IS NOT NULL LIMIT 1").fetchone() is not None


def check_licences(store: Store, config: Config) -> None:
    """Holds the rows that tokenizers are fitted on against `licences.allow`: a tokenizer learns from them, too."""
    with store.connect() as db:
        counts = db.sql(f"SELECT coalesce(licence, ''), count(*) {TRAINED} GROUP BY 1").fetchall()
    refuse(dict(counts), config.licences.allow)


def fit_text(store: Store, config: Config) -> TextBPE:
    """Fits the BPE on training texts and prompts, drawn by the hash of their ids."""
    settings = config.tokens.text
    with store.connect() as db:
        drawn = db.sql(
            f"SELECT text, prompt {TRAINED} WHERE split = 'train' ORDER BY md5(sample_id) LIMIT ?",
            params=[settings.max_texts],
        ).to_arrow_table()
        known = db.execute(
            "SELECT list_sort(list(DISTINCT lang) FILTER (lang IS NOT NULL)), list_sort(list(DISTINCT task)) FROM samples"
        ).fetchone()
    assert known is not None
    texts = sorted(t for name in ("text", "prompt") for t in drawn[name].drop_null().to_pylist())
    with bar("fit text tokenizer", 1, "fits") as shown:
        fitted = TextBPE(text_bpe.fit(texts, settings.vocab_size, known[0] or [], known[1] or []))
        shown.advance()
    fitted.save(store.folder("tokenizers"))
    return fitted


def fit_image(store: Store, config: Config) -> ImageTokenizer:
    """Fits the FSQ tokenizer on training pictures and gates it on held-out ones, if there are any. A corpus of texts
    alone gets one that knows nothing, and never needs it.

    Raises:
        ConfigError: there are pictures, but none to fit it on.
        GateFailed: held-out PSNR or code usage is too low.
    """
    settings = config.tokens.image
    train = pictures(store, "split = 'train'", FIT_PICTURES, settings.size)
    held = pictures(store, "split <> 'train'", GATE_PICTURES, settings.size)
    if not len(train) and not len(held):
        say("no picture is kept: the image tokenizer is fitted once there are some")
        blank = np.zeros((1, settings.size, settings.size, 3), np.uint8)
        fitted = image_tokenizer.fit(blank, settings.model_copy(update={"steps": 1}))
        fitted.save(store.folder("tokenizers") / fitted.id)
        return fitted
    if not len(train):
        raise ConfigError("no picture was kept for training: the image tokenizer has nothing to be fitted on")
    say(f"fitting the image tokenizer on {len(train):,} pictures, once; later ingests apply it")
    with bar("fit image tokenizer", settings.steps, "steps") as shown:
        fitted = image_tokenizer.fit(
            train, settings, lambda step, steps, loss: shown.update(step, f"error {loss:.4f}", total=steps)
        )
    judged_on = "held-out pictures" if len(held) else "pictures that it was fitted on, since none is held out"
    quality = fitted.gate(held if len(held) else train[:GATE_PICTURES])
    say(f"image tokenizer: {quality['psnr']:.1f} dB, {quality['usage']:.0%} of codes in use, on {judged_on}")
    folder = store.folder("tokenizers") / fitted.id
    fitted.save(folder)
    (folder / "quality.json").write_text(json.dumps(quality, indent=1))
    return fitted


def pictures(store: Store, where: str, most: int, size: int) -> np.ndarray:
    """Kept pictures of a split as uint8 [n, size, size, 3], drawn and ordered by the hash of their ids."""
    with store.connect() as db:
        ids = db.sql(
            f"SELECT image_id FROM (SELECT DISTINCT image_id {TRAINED} WHERE {where} AND image_id IS NOT NULL) "
            "ORDER BY md5(image_id) LIMIT ?",
            params=[most],
        ).to_arrow_table()
    return decoded(store, ids["image_id"], size)


def decoded(store: Store, ids: pa.ChunkedArray, size: int) -> np.ndarray:
    """Stored pictures in the order of their ids: uint8 [n, size, size, 3]."""
    with store.connect() as db:
        db.register("drawn", pa.table({"image_id": ids}))
        reader = db.sql(
            "SELECT image_id, image FROM images SEMI JOIN drawn USING (image_id)"
        ).to_arrow_reader(512)
        made = {
            image_id: media.pixels(image, size)
            for batch in reader
            for image_id, image in zip(batch["image_id"].to_pylist(), batch["image"].to_pylist(), strict=True)
        }
    ordered = [made[i] for i in ids.to_pylist()]
    return np.stack(ordered) if ordered else np.zeros((0, size, size, 3), np.uint8)
