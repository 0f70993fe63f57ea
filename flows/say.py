"""One answer from a checkpoint by hand: describe a picture, answer a question about it, draw one, continue a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flows.checkpoints import load
from flows.config import ConfigError, read
from model.generate import Question, Sampling, draw_pictures, read_pictures
from storage import media
from storage.limits import Limits
from storage.media import MediaError

WRITTEN = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of the files that a drawn picture can be written to."""
SHOWN_SIDE = 256
"""Drawn pictures are small; they are written this large, pixel by pixel."""


def generate(
    config: Path, checkpoint: str, prompt: str, image: Path | None, output: Path, lang: str, seed: int
) -> dict[str, Any]:
    """Answers; a drawn picture is written to `output`.

    Raises:
        ConfigError: nothing to go by, or the picture cannot be read or written.
    """
    settings = read(config)
    if image is None:
        check_wish(prompt, output)
    loaded = load(settings.open_store(), checkpoint)
    if image is not None:
        codes = loaded.tokenizers.image.encode(_pixels(image, loaded.tokenizers.image.size)[None])
        ids = tuple(loaded.tokenizers.encode(prompt)) if prompt else ()
        asked = Question(0, lang, "vqa" if prompt else "caption", ids)
        (answer,) = read_pictures(loaded.model, codes, [asked], Sampling(seed=seed))
        return {"checkpoint": loaded.id, "answer": loaded.tokenizers.decode(answer)}
    output.parent.mkdir(parents=True, exist_ok=True)  # first: drawing takes a while
    sampling = Sampling(temperature=1.0, top_p=0.95, guidance=settings.evaluate.guidance, seed=seed)
    codes = draw_pictures(loaded.model, [(lang, loaded.tokenizers.encode(prompt))], sampling)
    write_picture(loaded.tokenizers.image.decode(np.asarray(codes))[0], output)
    return {"checkpoint": loaded.id, "picture": str(output)}


def check_wish(prompt: str, output: Path) -> None:
    """Finds out before anything is drawn whether there is something to draw, and a file to write it to.

    Raises:
        ConfigError: there is not.
    """
    if not prompt:
        raise ConfigError('say what to draw ("two red circles …"), or give a picture with --image')
    if output.suffix.lower() not in WRITTEN or output.is_dir():
        raise ConfigError(f"--output {output}: name a file that ends in {', '.join(WRITTEN)}")


def write_picture(pixels: np.ndarray, path: Path) -> None:
    """Writes uint8 [s, s, 3], enlarged so that a person sees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.NEAREST).save(path)


def _pixels(path: Path, size: int) -> np.ndarray:
    try:
        return media.pixels(media.normalise(path.read_bytes(), Limits()).image, size)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except MediaError as error:
        raise ConfigError(f"{path} is not a picture that can be read: {error.reason}") from error
