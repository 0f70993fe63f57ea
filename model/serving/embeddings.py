"""`POST /v1/embeddings`: states of texts and pictures, in one space if the network was taught by an image-text model."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from functools import partial

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel

from model.sequences import PromptError
from model.serving.answering import Answering
from model.serving.desk import NAME, Desk
from model.serving.pictures import Shown
from model.serving.refusals import DOCUMENTED, NotTaken
from model.serving.requests import EmbeddingRequest

MOST = 256
"""Inputs of a request."""


class State(BaseModel):
    """A state at length 1: floats, or float32 in little-endian base64."""

    object: str
    index: int
    embedding: list[float] | str


class EmbeddingAnswer(BaseModel):
    """States in the order of the inputs."""

    object: str
    model: str
    system_fingerprint: str
    data: list[State]
    usage: dict[str, int]


def router(desk: Desk) -> APIRouter:
    """The route."""
    made = APIRouter()

    @made.post("/v1/embeddings", responses=DOCUMENTED)  # type: ignore[arg-type]
    async def embed(body: EmbeddingRequest) -> EmbeddingAnswer:
        desk.check_model(body.model)
        if not 1 <= len(body.inputs) <= MOST:
            raise NotTaken(
                400, f"input: from 1 to {MOST} texts or pictures, not {len(body.inputs)}", param="input"
            )
        config = desk.engine.who.model.network.config
        width = config.teacher_width or config.width
        if body.dimensions not in (None, width):
            raise NotTaken(400, f"dimensions: states have {width}, and are not shortened", param="dimensions")
        found = await states(desk, body)
        data = [
            State(object="embedding", index=i, embedding=told(state, body.encoding_format == "base64"))
            for i, (state, _, _) in enumerate(found)
        ]
        read = sum(tokens for _, tokens, _ in found)
        return EmbeddingAnswer(
            object="list",
            model=NAME,
            system_fingerprint=found[0][2],
            data=data,
            usage={"prompt_tokens": read, "total_tokens": read},
        )

    return made


async def states(desk: Desk, body: EmbeddingRequest) -> list[tuple[np.ndarray, int, str]]:
    """State, tokens read and checkpoint of each input.

    Raises:
        NotTaken: it takes too long.
        PictureError, PromptError, Busy: an input is not taken.
    """
    urls = [one for one in body.inputs if isinstance(one, str) and is_picture(one)]
    pictures = dict(zip(urls, await desk.pictures(urls), strict=True))
    lang = body.lang or desk.settings.lang
    wanted: list[Callable[[Answering], tuple[list[int], bool]]] = [
        partial(pictured, pictures[one])
        if isinstance(one, str) and one in pictures
        else partial(written, one, lang, desk.settings.max_prompt)
        for one in body.inputs
    ]
    futures = [asyncio.wrap_future(one) for one in desk.engine.embed(wanted)]
    try:
        async with asyncio.timeout(desk.settings.seconds):
            return list(await asyncio.gather(*futures))
    except TimeoutError:
        raise NotTaken(408, "this took too long: ask for less, or later", code="too_slow") from None


def is_picture(one: str) -> bool:
    """Whether an input is a picture."""
    return one[:11].lower() == "data:image/"


def pictured(shown: Shown, who: Answering) -> tuple[list[int], bool]:
    """A picture's ids."""
    who.codes([shown])
    return who.model.sequences.picture(shown.codes), True


def written(words: str | list[int], lang: str, most: int, who: Answering) -> tuple[list[int], bool]:
    """A text's ids, as what precedes a picture that it describes.

    Raises:
        PromptError: they are unknown, or too many.
    """
    if len(words) > 16 * most:
        raise PromptError(f"a text of {len(words):,} characters, far beyond {most:,} tokens")
    ids = who.tokenizers.encode(words) if isinstance(words, str) else words
    if len(ids) > most:
        raise PromptError(f"a text of {len(ids):,} tokens, and at most {most:,} are read")
    return who.model.sequences.checked(who.model.sequences.wish(lang, ids)), False


def told(state: np.ndarray, packed: bool) -> list[float] | str:
    """As it was asked for."""
    if packed:
        return base64.b64encode(state.astype("<f4").tobytes()).decode()
    return [float(value) for value in state]
