"""Pictures and texts to vectors, by any open_clip model: one from its list, from the Hub, or a folder of one's own.

What loads is named by the hash of its weights. What does not load is an error that says what was tried: no vector is
ever made up. Weights are read from safetensors, or by torch with `weights_only`: nothing that they say is run.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from storage.media import pixels

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
FITTED = "filtering_network.json"
"""Lies beside the weights of a filtering network, and is written last."""
MEAN = STD = (0.5, 0.5, 0.5)
"""Of the filtering network's pixels, from [0, 1] to [-1, 1]."""
BATCH = 64
"""Pictures or texts encoded at once, the last batch padded: the last bits of a product vary with its size."""


class ImageTextModelMissing(Exception):
    """An image-text model cannot be loaded; the message says which, what was tried, and what to do."""


@dataclass(frozen=True)
class Place:
    """Where a model lies, in the words of the configuration."""

    model: str
    pretrained: str = ""
    cache: str = ""

    def __str__(self) -> str:
        return f"{self.model} ({self.pretrained})" if self.pretrained else self.model


@dataclass(frozen=True)
class Network:
    """A model in memory."""

    id: str
    network: Any
    """Of any of open_clip's classes."""
    transform: Any
    """A picture to a float32 tensor [3, height, width]; None where `storage.media` scales it."""
    tokenizer: Any
    fitted: bool


@dataclass(frozen=True)
class ImageTextModel:
    """A loaded model; sent to another process it is its place and its hash, and loads itself there."""

    place: Place
    id: str
    """sha256 of weights, scaling of pictures and tokenizer, hex, first 16."""
    dim: int
    scale: float
    """What similarities are multiplied by before a softmax."""
    pretrained: bool
    """Whether it knows the world, and not only the corpus that it is to filter."""

    @classmethod
    def load(cls, model: str, pretrained: str = "", cache: str = "") -> ImageTextModel:
        """Loads a model of open_clip with weights by tag or file, "hf-hub:owner/name", or a folder.

        Raises:
            ImageTextModelMissing: it is not there, cannot be fetched or read, or its weights do not fit.
        """
        place = Place(model, pretrained, cache)
        loaded = _network(place)
        with torch.inference_mode():
            dim = loaded.network.encode_text(loaded.tokenizer([""])).shape[1]
        scale = float(loaded.network.logit_scale.detach().exp())
        return cls(place, loaded.id, int(dim), scale, not loaded.fitted)

    def encode_images(self, images: Sequence[Any]) -> np.ndarray:
        """Encoded pictures (PNG or JPEG, bytes or buffers) to float32 [n, dim] of length 1."""
        loaded = self._loaded()
        return self._encode(images, lambda part: loaded.network.encode_image(_tensor(loaded, part)))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts to float32 [n, dim] of length 1; equal texts are encoded once."""
        loaded = self._loaded()
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        vectors = self._encode(list(places), lambda part: loaded.network.encode_text(loaded.tokenizer(part)))
        return vectors[[places[text] for text in texts]]

    def _loaded(self) -> Network:
        loaded = _network(self.place)
        if loaded.id != self.id:
            raise ImageTextModelMissing(
                f"{self.place} has other weights (id {loaded.id}) than when this run began ({self.id}): run it again"
            )
        return loaded

    def _encode(self, things: Sequence[Any], encode: Any) -> np.ndarray:
        """Applies `encode` to batches of one size; vectors of length 1."""
        out = np.empty((len(things), self.dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(things), BATCH):
                part = list(things[start : start + BATCH])
                padded = part + part[-1:] * (BATCH - len(part))
                out[start : start + BATCH] = F.normalize(encode(padded).float(), dim=-1)[: len(part)].numpy()
        return out


@lru_cache(maxsize=2)
def _network(place: Place) -> Network:
    return read(place)


def read(place: Place) -> Network:
    """Reads a model from where it lies.

    Raises:
        ImageTextModelMissing: it cannot be read.
    """
    folder = Path(place.model).expanduser()
    is_folder = folder.is_dir()
    if not is_folder and any(mark in place.model for mark in ("/", "\\")) and ":" not in place.model:
        raise _missing(place, f"there is no folder {folder}")
    name = f"local-dir:{folder}" if is_folder else place.model
    try:
        network, tokenizer = _open(name, place)
    except Exception as error:  # a library of many hands: whatever it raises means that there is no model
        raise _missing(place, error) from error
    meta = folder / FITTED
    fitted = is_folder and meta.is_file()
    loaded = Network(identity(network, tokenizer), network, _transform(network, fitted), tokenizer, fitted)
    if fitted and json.loads(meta.read_text())["id"] != loaded.id:
        raise ImageTextModelMissing(
            f"the filtering network in {folder} is damaged: its weights do not match its id; "
            "`millrace fit-filter` makes another"
        )
    return loaded


def _open(name: str, place: Place) -> tuple[Any, Any]:
    import open_clip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = open_clip.create_model(
            name,
            pretrained=place.pretrained or None,
            cache_dir=place.cache or None,
            require_pretrained=True,
            weights_only=True,
        )
        tokenizer = open_clip.get_tokenizer(name, cache_dir=place.cache or None)
    return network.float().eval().requires_grad_(False), tokenizer


def _missing(place: Place, cause: Exception | str) -> ImageTextModelMissing:
    reasons = list(dict.fromkeys(_causes(cause)))
    cache = place.cache or "open_clip's own cache"
    return ImageTextModelMissing(
        f"the image-text model {place} cannot be loaded: {'; '.join(reasons)}. Looked in: the folder of that name, the "
        f"models of open_clip, {cache}, then the Hugging Face Hub. What to do: run once where there is a network, and "
        "bring its cache here (`cache`, or HF_HOME); or name a folder with open_clip_config.json and "
        'open_clip_model.safetensors as [image_text] model; or take model = "own", which needs no download'
    )


def _causes(cause: BaseException | str | None) -> Iterator[str]:
    """The first line of an error and of what led to it, the earliest first."""
    if isinstance(cause, BaseException):
        yield from _causes(cause.__cause__)
        yield f"{type(cause).__name__}: {str(cause).strip().partition(chr(10))[0][:300]}"
    elif cause:
        yield cause


def _transform(network: Any, fitted: bool) -> Any:
    """How open_clip scales pictures for this model; None for the filtering network."""
    if fitted:
        return None
    from open_clip.transform import PreprocessCfg, image_transform_v2

    return image_transform_v2(PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)


def _tensor(loaded: Network, images: Sequence[Any]) -> Tensor:
    """Encoded pictures to the network's input, float32 [n, 3, height, width]."""
    if loaded.transform is None:
        size = _side(loaded.network)
        return floats(np.stack([pixels(image, size) for image in images]))
    return torch.stack([loaded.transform(_opened(image)) for image in images])


def _opened(image: Any) -> Image.Image:
    with Image.open(io.BytesIO(image), formats=("PNG", "JPEG")) as opened:
        return opened.convert("RGB")


def _side(network: Any) -> int:
    size = network.visual.image_size
    return int(size[0] if isinstance(size, tuple | list) else size)


def floats(images: np.ndarray) -> Tensor:
    """uint8 [n, size, size, 3] to float32 [n, 3, size, size] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def identity(network: Any, tokenizer: Any) -> str:
    """sha256 of the weights, of how pictures are scaled, and of how texts are cut, hex, first 16."""
    found = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        found.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        found.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    scaling = network.visual.preprocess_cfg
    cut = [type(tokenizer).__name__, getattr(tokenizer, "context_length", None)]
    found.update(json.dumps([scaling, cut], sort_keys=True, default=str).encode())
    return found.hexdigest()[:16]
