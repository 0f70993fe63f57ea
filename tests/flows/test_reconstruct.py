"""What `millrace reconstruct` says of pictures is what the store's tokenizer does to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows import reconstruct
from model import image_tokenizer
from model.config import ImageTokenizerConfig
from model.image_tokenizer import TokenizerError
from pipeline.errors import SourceError
from pipeline.tokens import text_bpe
from pipeline.tokens.text_bpe import TextBPE
from storage.media import pixels
from storage.store import Store

SIZE = 16


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "millrace.toml"
    path.write_text(
        '[store]\npath = "store"\n[[sources]]\nuse = "sources.folder"\nname = "a"\npath = "pictures"\n'
    )
    Store.open(tmp_path / "store")
    return path


@pytest.fixture
def fitted(config: Path) -> image_tokenizer.ImageTokenizer:
    folder = Store.open(config.parent / "store").folder("tokenizers")
    settings = ImageTokenizerConfig(size=SIZE, steps=2, width=8, threads=1, least_psnr=0, least_usage=0)
    noise = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), np.uint8)
    made = image_tokenizer.fit(noise, settings)
    made.save(folder / made.id)
    text = TextBPE(text_bpe.fit(["a", "b"], 300, [], []))
    text.save(folder)
    (folder / "current.json").write_text(f'{{"text": "{text.id}", "image": "{made.id}"}}')
    return made


def drawn(folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(number):
        square = np.full((40, 40, 3), 9 * n, np.uint8)
        square[:, 20:] = 255 - 9 * n
        Image.fromarray(square).save(folder / f"{n}.png")


def test_it_measures_every_picture_of_a_folder_and_counts_what_it_cannot_read(
    config: Path, fitted: image_tokenizer.ImageTokenizer, tmp_path: Path
) -> None:
    drawn(tmp_path / "pictures", 6)
    (tmp_path / "pictures/broken.jpg").write_bytes(b"\xff\xd8 nothing more")
    told = reconstruct.run(config, tmp_path / "pictures", 99, tmp_path / "shown/sheet.png")
    seen = np.stack([pixels((tmp_path / f"pictures/{n}.png").read_bytes(), SIZE) for n in range(6)])
    assert (told["pictures"], told["unreadable"]) == (6, 1)
    assert told["psnr_db"] == pytest.approx(fitted.quality(seen)["psnr"], abs=0.01)
    with Image.open(told["shown"]) as sheet:
        assert sheet.size == (6 * SIZE * reconstruct.SCALE, 2 * SIZE * reconstruct.SCALE)


def test_a_part_of_a_folder_is_the_same_part_every_time(tmp_path: Path) -> None:
    drawn(tmp_path, 9)
    few = reconstruct.files(tmp_path, 4)
    assert few == reconstruct.files(tmp_path, 4) == reconstruct.files(tmp_path, 9)[:4]
    assert few != sorted(few)


def test_a_store_without_tokenizers_is_told(config: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="millrace ingest"):
        reconstruct.run(config, tmp_path, 9, tmp_path / "sheet.png")


def test_a_folder_without_pictures_is_told(
    config: Path, fitted: image_tokenizer.ImageTokenizer, tmp_path: Path
) -> None:
    for folder in (tmp_path / "nowhere", tmp_path / "store"):
        with pytest.raises(SourceError, match="no picture there"):
            reconstruct.run(config, folder, 9, tmp_path / "sheet.png")
