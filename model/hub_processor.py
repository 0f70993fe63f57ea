"""Pictures and texts to rows of ids and back, as a processor of `transformers`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin
from transformers.utils import cached_file

from model.config import ModelConfig
from model.hub_tokenizer import GPT4Tokenizer, HubError
from model.image_tokenizer import ImageTokenizer, TokenizerError
from model.sequences import Sequences
from model.tokenizers import Tokenizers
from storage import media
from storage.media import Limits, MediaError

FILES = ("image_tokenizer.json", "image_tokenizer.safetensors")


class GPT4Processor(ProcessorMixin):
    """The text tokenizer and the image tokenizer of a model: prompts with pictures in, texts and pictures out."""

    def __init__(self, tokenizer: GPT4Tokenizer, pictures: ImageTokenizer | None = None, **more: Any) -> None:
        super().__init__(tokenizer, **more)
        self.pictures = pictures

    @property
    def images(self) -> ImageTokenizer:
        """The image tokenizer.

        Raises:
            HubError: there is none.
        """
        if self.pictures is None:
            raise HubError(
                "this processor has no image tokenizer: load it with GPT4Processor.from_pretrained"
            )
        return self.pictures

    @cached_property
    def sequences(self) -> Sequences:
        """What a sequence of text and pictures looks like."""
        pair = Tokenizers(self.tokenizer.backend_tokenizer, self.images)
        return Sequences(ModelConfig(modalities=pair.modalities()), pair.vocabulary)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        *,
        draw: bool = False,
        lang: str | None = "en",
        task: str | None = None,
        padding: bool | str = True,
        return_tensors: str | None = "pt",
        **more: Any,
    ) -> BatchFeature:
        """`input_ids` and `attention_mask` of a prompt for each text or picture.

        Args:
            images: a picture (PIL, or uint8 `[height, width, 3]`), or one for each text, or None. A text may go with a list
                of pictures: they are read before it.
            text: what is asked of a picture, none for a caption; without pictures a prompt in words.
            draw: the texts are captions of pictures to be drawn (none: of any picture); `decode_images` shows them.
            lang: language of the answer, or of the caption.
            task: what is asked for; "vqa" with a text, "caption" without.

        Raises:
            HubError: nothing to go by, or not as many pictures as texts.
        """
        asked: list[str | None]
        shown, asked = pictures_of(images), [text] if text is None or isinstance(text, str) else list(text)
        if shown and len(asked) == 1:
            asked *= len(shown)
        if draw and shown:
            raise HubError("a picture is drawn from a text alone: leave out images, or draw=True")
        if shown and len(shown) != len(asked):
            raise HubError(f"{len(shown)} pictures and {len(asked)} texts: give one picture for each text")
        if draw:
            rows = [self._wish(lang, one) for one in asked]
        elif shown:
            rows = [self._question(p, lang, task, one) for p, one in zip(shown, asked, strict=True)]
        elif None in asked:
            raise HubError("give a text, a picture, or both")
        else:
            rows = [self.tokenizer.prompt(one) for one in asked]
        encoded = self.tokenizer.padded(rows, False, padding, return_tensors=return_tensors, **more)
        return BatchFeature(dict(encoded))

    def decode_images(self, ids: Any) -> list[Image.Image]:
        """The whole pictures in a row of ids, in reading order; one that is cut short is left out."""
        row = ids.tolist() if isinstance(ids, Tensor | np.ndarray) else list(ids)
        s, found, run = self.sequences, [], []  # type: Sequences, list[list[int]], list[int]
        low = s.config.offsets[s.config.modality("image")]
        for i in [*row, -1]:
            if i >= low:
                run.append(i - low)
            else:
                found += [run[: s.codes]] if len(run) >= s.codes else []
                run = []
        codes = np.array(found, np.int32).reshape(len(found), s.codes)
        return [Image.fromarray(pixels) for pixels in self.images.decode(codes)]

    def codes(self, images: Sequence[Any]) -> np.ndarray:
        """int32 codes `[pictures, codes]`: each is put upright, padded to a square and resized as ingest does it."""
        return self.images.encode(np.stack([pixels(one, self.images.size) for one in images]))

    def _wish(self, lang: str | None, caption: str | None) -> list[int]:
        return self.sequences.wish(lang, None if not caption else self.tokenizer.ids(caption))

    def _question(
        self, shown: Sequence[Any], lang: str | None, task: str | None, text: str | None
    ) -> list[int]:
        s = self.sequences
        trunk = [i for codes in self.codes(shown) for i in s.picture(codes)]
        ids = self.tokenizer.ids(text) if text else ()
        return trunk + s.question(lang, task or ("vqa" if text else "caption"), ids)

    def to_dict(self) -> dict[str, Any]:
        """What goes into `processor_config.json`: the weights lie beside it."""
        known = {"image_tokenizer": self.pictures.id, "size": self.pictures.size} if self.pictures else {}
        return {"processor_class": type(self).__name__, **known}

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Writes the text tokenizer's files, the image tokenizer's, and `processor_config.json`."""
        self.images.save(Path(save_directory))
        files = super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        return [*files, *(str(Path(save_directory) / name) for name in FILES)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Self:  # type: ignore[override]
        """A processor from a folder (or repository) that `save_pretrained` or `millrace export` wrote.

        Raises:
            HubError: the image tokenizer is missing or damaged.
        """
        made = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        names = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
        where = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
        try:
            found = [Path(str(cached_file(pretrained_model_name_or_path, name, **where))) for name in FILES]
            made.pictures = ImageTokenizer.load(found[0].parent)
        except (OSError, TokenizerError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise HubError(
                f"the image tokenizer in {pretrained_model_name_or_path} is missing or damaged: {error}; "
                "export it again (millrace export)"
            ) from error
        return made


def pixels(picture: Any, size: int) -> np.ndarray:
    """A picture as uint8 `[size, size, 3]`, the way ingest does it: PIL, uint8 `[height, width, 3]`, or a file's bytes.

    Raises:
        HubError: it is none that ingest would take.
    """
    try:
        raw = picture if isinstance(picture, bytes) else _png(picture)
        return media.pixels(media.normalise(raw, Limits()).image, size)
    except MediaError as error:
        raise HubError(f"this picture cannot be read: {error.reason}") from error


def _png(picture: Any) -> bytes:
    shown = picture if isinstance(picture, Image.Image) else Image.fromarray(np.asarray(picture))
    if shown.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        shown = shown.convert("RGB")
    data = io.BytesIO()
    shown.save(data, "PNG", exif=shown.getexif(), icc_profile=shown.info.get("icc_profile"))
    return data.getvalue()


def pictures_of(images: Any) -> list[list[Any]]:
    """A list of pictures for each prompt."""
    if images is None:
        return []
    if not isinstance(images, list | tuple):
        return [[images]]
    return [list(one) if isinstance(one, list | tuple) else [one] for one in images]
