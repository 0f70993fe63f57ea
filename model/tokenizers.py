"""The frozen pair of tokenizers of a snapshot, found by id in the store's `tokenizers` folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from model.config import Modality, ModelConfig, Vocabulary, text_and_image
from model.image_tokenizer import ImageTokenizer, TokenizerError
from storage.snapshot import Snapshot
from storage.store import Store


@dataclass(frozen=True)
class Tokenizers:
    """Text to ids and back, pictures to codes and back."""

    text: Tokenizer
    image: ImageTokenizer

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.text.get_vocab())

    def modalities(self) -> tuple[Modality, ...]:
        """The modalities of a model that is trained on what these give."""
        config = self.image.config
        return text_and_image(self.vocabulary, config.codes, config.grid, config.levels)

    def model_config(self, preset: str | int, **overrides: object) -> ModelConfig:
        """The network of a preset for these tokenizers."""
        return ModelConfig.preset(preset, self.modalities(), **overrides)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; what looks like a special token is read as plain text."""
        return self.text.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        """The text of some ids, special tokens left out."""
        return self.text.decode(ids, skip_special_tokens=True).removeprefix(" ")

    @classmethod
    def of(cls, store: Store, snapshot: Snapshot) -> Tokenizers:
        """The pair that a snapshot was tokenized with.

        Raises:
            TokenizerError: the snapshot has none, or its files are gone.
        """
        if snapshot.text_tokenizer is None or snapshot.image_tokenizer is None:
            raise TokenizerError(f"snapshot {snapshot.name} has no tokens: run millrace ingest")
        return cls.load(store.folder("tokenizers"), snapshot.text_tokenizer, snapshot.image_tokenizer)

    @classmethod
    def load(cls, folder: Path, text_id: str, image_id: str) -> Tokenizers:
        """From `<folder>/<image id>/` and the file `<text id>.json` in the folder or one below it.

        Raises:
            TokenizerError: one of them is not there.
        """
        found = [
            path
            for path in (
                folder / f"{text_id}.json",
                folder / text_id / f"{text_id}.json",
                folder / text_id / "tokenizer.json",
            )
            if path.is_file()
        ]
        if not found:
            raise TokenizerError(f"no text tokenizer {text_id} in {folder}: run millrace fit-tokenizers")
        text = Tokenizer.from_file(str(found[0]))
        text.encode_special_tokens = True
        return cls(text, ImageTokenizer.load(folder / image_id))
