"""The image tokenizer reads and draws the same way every time, and is refused when it is not good enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.config import ImageTokenizerConfig
from model.embedding import level_values
from model.image_tokenizer import GateFailed, ImageTokenizer, Quantizer, TokenizerError, fit


def blobs(n: int, seed: int) -> np.ndarray:
    """uint8 [n, 16, 16, 3]: a coloured square on a coloured ground."""
    rng = np.random.default_rng(seed)
    out = np.broadcast_to(rng.integers(0, 256, (n, 1, 1, 3)), (n, 16, 16, 3)).astype(np.uint8).copy()
    for picture in out:
        x, y = rng.integers(0, 12, 2)
        picture[y : y + 5, x : x + 5] = rng.integers(0, 256, 3)
    return out


CONFIG = ImageTokenizerConfig(
    size=16,
    levels=(5, 5, 5),
    width=16,
    steps=150,
    batch=16,
    threads=1,
    encode_batch=8,
    least_psnr=15.0,
    least_usage=0.02,
)


@pytest.fixture(scope="module")
def fitted() -> ImageTokenizer:
    return fit(blobs(200, 0), CONFIG)


def test_pictures_come_back_recognisable(fitted: ImageTokenizer) -> None:
    held_out = blobs(40, 1)
    assert fitted.gate(held_out)["psnr"] > 15
    codes = fitted.encode(held_out)
    assert codes.shape == (40, 16) and codes.dtype == np.int32 and codes.min() >= 0 and codes.max() < 125
    again = fitted.decode(codes)
    assert again.shape == held_out.shape and again.dtype == np.uint8


def test_the_same_seed_fits_the_same_weights(fitted: ImageTokenizer) -> None:
    heard: list[int] = []
    assert fit(blobs(200, 0), CONFIG, lambda step, steps, error: heard.append(step)).id == fitted.id
    assert heard[-1] == 150
    assert fit(blobs(200, 0), CONFIG.model_copy(update={"seed": 1, "steps": 1})).id != fitted.id


def test_a_code_does_not_depend_on_the_other_pictures(fitted: ImageTokenizer) -> None:
    pictures = blobs(21, 2)
    together = fitted.encode(pictures)
    assert all((fitted.encode(pictures[i : i + 1])[0] == together[i]).all() for i in range(21))
    assert (fitted.encode(pictures[::-1]) == together[::-1]).all()
    assert fitted.encode(pictures[:0]).shape == (0, 16)


def test_saved_and_loaded_is_the_same(fitted: ImageTokenizer, tmp_path: Path) -> None:
    again = ImageTokenizer.load(fitted.save(tmp_path / "t"))
    assert again.id == fitted.id and again.config == fitted.config
    assert (again.encode(blobs(9, 3)) == fitted.encode(blobs(9, 3))).all()
    with pytest.raises(TokenizerError, match="fit-tokenizers"):
        ImageTokenizer.load(tmp_path / "none")
    weights = tmp_path / "t" / "image_tokenizer.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(TokenizerError, match="damaged"):
        ImageTokenizer.load(tmp_path / "t")


def test_a_bad_tokenizer_does_not_pass_the_gate() -> None:
    poor = fit(blobs(50, 0), CONFIG.model_copy(update={"steps": 1}))
    with pytest.raises(GateFailed, match="psnr"):
        poor.gate(blobs(20, 1))


def test_a_few_pictures_are_not_asked_for_more_codes_than_they_have_places(fitted: ImageTokenizer) -> None:
    one, many = blobs(1, 1), blobs(40, 1)
    assert fitted.quality(one)["usage"] == len(np.unique(fitted.encode(one))) / 16
    assert fitted.quality(many)["usage"] == len(np.unique(fitted.encode(many))) / 125


def test_other_pictures_are_refused(fitted: ImageTokenizer) -> None:
    with pytest.raises(TokenizerError, match="16x16x3"):
        fitted.encode(np.zeros((1, 32, 32, 3), np.uint8))


@given(st.lists(st.integers(2, 9), min_size=1, max_size=4))
def test_every_code_stands_for_its_own_levels(levels: list[int]) -> None:
    quantizer = Quantizer(tuple(levels))
    codes = torch.arange(int(np.prod(levels)))
    values = quantizer.values(codes)
    assert len(values.unique(dim=0)) == len(codes)
    assert torch.allclose(values, level_values(tuple(levels)))
    inside = (values + 1) * quantizer.half * 0.98 + 0.01 * (torch.tensor(levels) - 1)
    latent = torch.atanh((inside / quantizer.half - 1).clamp(-0.999, 0.999))
    assert torch.equal(quantizer.codes(latent), codes)
    torch.testing.assert_close(quantizer.straight_through(latent), values)
