"""The design's example from end to end: a model that was trained on translations translates, through transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from model import hub
from model.config import BatchConfig, OptimizerConfig, TrainConfig
from model.generate import Model
from model.hub import GPT4ForConditionalGeneration, GPT4Tokenizer
from model.templates import translation
from model.tokenizers import Tokenizers
from model.train import train
from storage import snapshot as snapshots
from storage.store import Store

WORDS = {"hello": "bonjour", "you": "vous", "a dark picture": "une image sombre"}
TEXT_ID = "bytes"


@pytest.fixture
def translations(byte_tokenizers: Tokenizers, tmp_path: Path) -> Any:
    """A store of translations alone: what is asked is the row's prompt, the answer its text, in the text's language."""
    store = Store.open(tmp_path / "store")
    samples, tokens = [], []
    for i, (english, french) in enumerate(WORDS.items()):
        for lang, prompt, text in (("fr", english, french), ("en", french, english)):
            sample_id = f"{i}{lang}"
            row = {
                "sample_id": sample_id,
                "document_id": sample_id,
                "position": 0,
                "source": "made",
                "licence": "CC0-1.0",
            }
            samples.append({**row, "prompt": prompt, "text": text, "lang": lang, "task": "translate"})
            ids = {"ids": byte_tokenizers.encode(text), "prompt_ids": byte_tokenizers.encode(prompt)}
            tokens.append({"sample_id": sample_id, "tokenizer_id": TEXT_ID, **ids})
    names = [one["sample_id"] for one in samples]
    decided = [{"sample_id": i, "source": "made", "stage": "collect", "kept": True} for i in names]
    split = [{"sample_id": i, "cluster_id": i, "split": "train"} for i in names]
    tables = {"samples": samples, "text_tokens": tokens, "decisions": decided, "splits": split}
    for table, rows in tables.items():
        store.append(table, pa.Table.from_pylist(rows), parts=["p"])
    folder = store.folder("tokenizers")
    byte_tokenizers.text.save(str(folder / f"{TEXT_ID}.json"))
    byte_tokenizers.image.save(folder / byte_tokenizers.image.id)
    made = snapshots.create(store, "s", text_tokenizer=TEXT_ID, image_tokenizer=byte_tokenizers.image.id)
    return store, made


def test_the_example_translates_once_trained(translations: Any, tmp_path: Path) -> None:
    store, snapshot = translations
    config = TrainConfig(
        steps=120,
        model={"width": 32, "depth": 2, "heads": 2, "kv_heads": 1, "hidden": 64},
        threads=1,
        precision="fp32",
        batch=BatchConfig(rows=4, row_length=64, draw_share=0.0, text_share=1.0),
        optimizer=OptimizerConfig(warmup=2),
    )
    trained = Model.load(train(store, snapshot, config, run_id="r"))
    hub.export(trained, Tokenizers.of(store, snapshot), tmp_path / "out")
    model = GPT4ForConditionalGeneration.from_pretrained(tmp_path / "out")
    tokenizer = GPT4Tokenizer.from_pretrained(tmp_path / "out")

    def translate(text: str, source: str, target: str) -> str:
        input_ids = tokenizer.encode(translation(text, source, target), return_tensors="pt")
        return tokenizer.decode(model.generate(input_ids)[0])

    for english, french in WORDS.items():
        assert translate(english, "English", "French") == f"{english}\n{french}"
        assert translate(french, "French", "English") == f"{french}\n{english}"
