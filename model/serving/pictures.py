"""Pictures that come with requests, by the rules of `storage.media`, and pictures that go out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import numpy as np

from storage import media
from storage.limits import Limits
from storage.media import MediaError

Fetch = Callable[[str], bytes]
"""Gives the bytes behind a URL, or raises FetchRefused."""


class FetchRefused(Exception):
    """A picture's URL that is not fetched, or that gave nothing; the message says why."""


class PictureError(ValueError):
    """A picture that cannot be taken; the message says why."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


@dataclass
class Shown:
    """A picture of a request, as it is stored elsewhere; scaled when a model asks for it."""

    image: bytes
    codes: tuple[int, ...] = ()
    codes_by: str = ""
    """Which image tokenizer the codes are of."""
    scaled: dict[int, np.ndarray] = field(default_factory=dict)

    def pixels(self, side: int) -> np.ndarray:
        """uint8 `[side, side, 3]`; made once."""
        if side not in self.scaled:
            self.scaled = {side: media.pixels(self.image, side)}
        return self.scaled[side]


def is_data(url: str) -> bool:
    """Whether the picture is in the URL itself."""
    return url[:5].lower() == "data:"


def shown(raw: bytes, limits: Limits, side: int) -> Shown:
    """The picture in a file, scaled to one side.

    Raises:
        PictureError: it is no picture that is taken.
    """
    try:
        made = Shown(media.normalise(raw, limits).image)
        made.pixels(side)
    except MediaError as error:
        large = error.reason in ("too_large", "too_many_pixels", "out_of_memory")
        raise PictureError(f"this picture is not taken: {error}", too_large=large) from error
    return made


def decoded(url: str) -> bytes:
    """The file in a `data:` URL.

    Raises:
        PictureError: there is none.
    """
    head, comma, body = url.partition(",")
    if not comma:
        raise PictureError('a data: URL looks like "data:image/png;base64,…"')
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureError(f"the picture's base64 cannot be read: {error}") from error


def fetched(url: str, fetch: Fetch | None) -> bytes:
    """The file behind a URL, if there is something that fetches it.

    Raises:
        PictureError: there is not, or nothing came.
    """
    if fetch is None:
        raise PictureError(
            "pictures are taken as data: URLs only; this server fetches none ([serve] remote_images allows it)"
        )
    if not url.lower().startswith(("http://", "https://")):
        raise PictureError("a picture's URL begins with data:, https:// or http://")
    try:
        return fetch(url)
    except FetchRefused as error:
        raise PictureError(f"the picture could not be fetched: {error}") from error
