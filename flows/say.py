"""One answer from a checkpoint by hand: describe pictures, answer a question about them, draw one, go on with a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flows.checkpoints import Loaded, load
from flows.config import ConfigError, EvaluateConfig, read
from model.generate import generate as run
from model.ranking import draw_best
from model.sampling import Modalities, Sampling
from model.sequences import Part, Picture, Text
from model.text_stream import StopStrings
from storage import media
from storage.media import Limits, MediaError

WRITTEN = (".png", ".jpg", ".jpeg", ".webp")
"""Endings of the files that a drawn picture can be written to."""
SHOWN_SIDE = 256
"""Drawn pictures are small; they are written this large, pixel by pixel."""
MIXED_TOKENS = 256
"""Most new tokens where pictures may be among them."""


@dataclass(frozen=True)
class Wish:
    """What is asked for, as the command line gives it; None leaves a choice to the kind of output."""

    prompt: str = ""
    images: Sequence[Path] = ()
    output: Path = Path("drawn.png")
    lang: str = "en"
    modalities: Modalities | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    guidance: float | None = None
    candidates: int | None = None
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    seed: int = 0

    @property
    def made(self) -> Modalities:
        """What comes out: text about pictures, a picture from words alone, unless it is said."""
        return self.modalities or ("text" if self.images else "image")

    @property
    def of_words(self) -> bool:
        """Whether a picture is drawn from words alone."""
        return self.made == "image" and not self.images

    def sampling(self, drawn: EvaluateConfig) -> Sampling:
        """Texts are the likeliest, pictures are drawn."""
        usual = {"temperature": 0.0, "max_tokens": 96}
        if self.made != "text":
            usual = {"temperature": 1.0, "top_p": drawn.top_p, "guidance": drawn.guidance}
            usual |= {"max_tokens": MIXED_TOKENS}
        asked = {
            name: getattr(self, name) for name in ("temperature", "top_k", "top_p", "guidance", "max_tokens")
        }
        given = {name: value for name, value in asked.items() if value is not None}
        return Sampling.model_validate(usual | given | {"modalities": self.made, "seed": self.seed})


def generate(config: Path, checkpoint: str, wish: Wish) -> dict[str, Any]:
    """Answers; drawn pictures are written to `output`, of several the second to `output-2` and so on.

    Raises:
        ConfigError: nothing to go by, or a picture cannot be read or written.
    """
    settings = read(config)
    check_wish(wish)
    loaded = load(settings.open_store(), checkpoint)
    ids = None if wish.of_words else asked(loaded, wish)
    wish.output.parent.mkdir(parents=True, exist_ok=True)  # first: drawing takes a while
    sampling = wish.sampling(settings.evaluate)
    if wish.made == "image":  # it has its length, whatever is said
        sampling = sampling.model_copy(update={"max_tokens": loaded.model.sequences.codes + 2})
    strings = StopStrings(loaded.tokenizers.text, wish.stop)
    if ids is None:
        made = drawn(loaded, wish, sampling, wish.candidates or settings.evaluate.candidates)
    else:
        (made,) = run(loaded.model, [ids], sampling, stop_strings=strings if wish.stop else None)
    told = list(_told(loaded, loaded.model.sequences.parts(made), wish.output, strings))
    if wish.made == "text":
        return {"checkpoint": loaded.id, "answer": "".join(one["text"] for one in told)}
    if wish.made == "image":
        return {"checkpoint": loaded.id, "picture": told[0]["picture"]}
    return {"checkpoint": loaded.id, "parts": told}


def asked(loaded: Loaded, wish: Wish) -> list[int]:
    """The ids that the model goes on from, in the forms that it was trained on where there is one."""
    s, size = loaded.model.sequences, loaded.tokenizers.image.size
    words = tuple(loaded.tokenizers.encode(wish.prompt)) if wish.prompt else ()
    parts: list[Part] = []
    if wish.images:
        shown = np.stack([_pixels(path, size) for path in wish.images])
        parts += [Picture(tuple(map(int, codes))) for codes in loaded.tokenizers.image.encode(shown)]
    if wish.made == "text":
        if not parts:
            return s.text(wish.lang, None, words)
        return [*s.document(parts), *s.question(wish.lang, "vqa" if words else "caption", words)]
    return s.document([*parts, Text((*s.vocabulary.tags(wish.lang, None), *words))])


def drawn(loaded: Loaded, wish: Wish, sampling: Sampling, candidates: int) -> list[int]:
    """The ids of a picture drawn from words alone, the best of so many."""
    words = loaded.tokenizers.encode(wish.prompt)
    (codes,) = draw_best(loaded.model, [(wish.lang, words)], sampling, candidates)
    return loaded.model.sequences.picture(codes)


def check_wish(wish: Wish) -> None:
    """Finds out before anything is loaded whether there is something to go by, and a file to write pictures to.

    Raises:
        ConfigError: there is not.
    """
    if not wish.prompt and not wish.images:
        raise ConfigError('say what to draw ("two red circles …"), or give a picture with --image')
    if wish.candidates is not None and not wish.of_words:
        raise ConfigError("--candidates: only pictures drawn from words alone are held against each other")
    if wish.made != "text" and (wish.output.suffix.lower() not in WRITTEN or wish.output.is_dir()):
        raise ConfigError(f"--output {wish.output}: name a file that ends in {', '.join(WRITTEN)}")


def _told(
    loaded: Loaded, parts: Sequence[Part], output: Path, strings: StopStrings
) -> Iterator[dict[str, str]]:
    """Each part of the output: its text, or the file that its picture was written to; a picture cut short is left
    out."""
    drawn = 0
    for part in parts:
        if isinstance(part, Text):
            yield {"text": strings.cut(loaded.tokenizers.decode(list(part.ids)))}
        elif len(part.codes) == loaded.model.sequences.codes:
            drawn += 1
            path = output if drawn == 1 else output.with_stem(f"{output.stem}-{drawn}")
            write_picture(loaded.tokenizers.image.decode(np.array([part.codes], np.int32))[0], path)
            yield {"picture": str(path)}


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
