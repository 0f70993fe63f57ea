"""`POST /v1/images/generations`: pictures from words."""

from __future__ import annotations

import base64
import re
import time

from fastapi import APIRouter
from pydantic import BaseModel

from model.png import data_url, png
from model.serving.answering import Asked
from model.serving.desk import Desk, usage
from model.serving.refusals import DOCUMENTED, NotTaken
from model.serving.requests import ImageRequest

USUAL, LARGEST = 256, 1024
"""Sides in pixels: drawn pictures are small, and are enlarged pixel by pixel."""


class Drawn(BaseModel):
    """A picture: a PNG in base64, or as a `data:` URL."""

    b64_json: str | None = None
    url: str | None = None


class ImageAnswer(BaseModel):
    """Drawn pictures."""

    created: int
    system_fingerprint: str
    seed: int
    output_format: str
    data: list[Drawn]
    usage: dict[str, int]


def router(desk: Desk) -> APIRouter:
    """The route."""
    made = APIRouter()

    @made.post("/v1/images/generations", responses=DOCUMENTED)  # type: ignore[arg-type]
    async def draw(body: ImageRequest) -> ImageAnswer:
        desk.check_model(body.model)
        if not body.prompt.strip():
            raise NotTaken(400, "prompt: say what is to be drawn", param="prompt")
        side = size(body.size)
        asked = Asked(body.prompt, lang=body.lang, usual=desk.settings.lang, made="image")
        seed, most = desk.seed(body), desk.engine.who.model.sequences.codes + 2
        rows = await desk.submit([asked], body, most, seed).all()
        ended = [row[-1] for row in rows]
        pictures = [told for row in rows for told in row if told.pixels is not None]
        if len(pictures) < len(rows):
            raise NotTaken(408, "drawing took too long: ask for fewer pictures, or later", code="too_slow")
        images = [await desk.apart(png, told.pixels, side) for told in pictures]
        data = [
            Drawn(url=data_url(one))
            if body.response_format == "url"
            else Drawn(b64_json=base64.b64encode(one).decode())
            for one in images
        ]
        counts = usage(ended, body.n or 1)
        return ImageAnswer(
            created=int(time.time()),
            system_fingerprint=ended[0].checkpoint,
            seed=seed,
            output_format="png",
            data=data,
            usage={
                "input_tokens": counts["prompt_tokens"],
                "output_tokens": counts["completion_tokens"],
                "total_tokens": counts["total_tokens"],
            },
        )

    return made


def size(asked: str | None) -> tuple[int, int]:
    """Width and height.

    Raises:
        NotTaken: it is none, or too large.
    """
    if asked in (None, "auto"):
        return USUAL, USUAL
    found = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", asked or "")
    if not found or not all(1 <= int(one) <= LARGEST for one in found.groups()):
        raise NotTaken(400, f'size: "auto" or "256x256", up to {LARGEST} pixels a side', param="size")
    return int(found[1]), int(found[2])
