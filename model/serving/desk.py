"""Between requests and the worker: what a request asks for becomes rows, and what is heard of them comes back."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pydantic import BaseModel

from model.serving.answering import Asked
from model.serving.engine import Engine
from model.serving.making import Making, Told
from model.serving.metrics import Metrics
from model.serving.pictures import Fetch, Shown, decoded, fetched, is_data, shown
from model.serving.refusals import NotTaken
from model.serving.requests import LARGEST, Sampled, Texted
from model.serving.settings import ServeConfig
from storage.limits import Limits

DECODERS, FETCHERS = 2, 8
"""Pictures that are decoded at once, each of which may take as much memory as the most pixels need, and fetched at once."""
NAME = "millrace"
"""The model's name, whichever checkpoint answers for it."""


class Answer(BaseModel):
    """What completions of both kinds have in common."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    seed: int
    choices: list[dict[str, Any]]
    usage: dict[str, int]


class Desk:
    """Takes requests of one server."""

    def __init__(self, engine: Engine, settings: ServeConfig, media: Limits, fetch: Fetch | None) -> None:
        self.engine, self.settings = engine, settings
        least = {"max_pixels": min(media.max_pixels, settings.max_pixels), "min_side": 1, "panels": False}
        self.limits = media.model_copy(update=least)
        self.fetch = fetch if settings.remote_images else None
        self.metrics = Metrics(engine)
        self.pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="pictures")
        self.fetchers = ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetched")
        self._numbers = itertools.count()

    def check_model(self, name: str) -> None:
        """Raises NotTaken if no model of that name answers."""
        if name not in (NAME, self.engine.who.id):
            raise NotTaken(
                404,
                f'no model "{name[:80]}" answers here: "{NAME}" does, now checkpoint {self.engine.who.id}',
                param="model",
                code="model_not_found",
            )

    async def pictures(self, urls: Sequence[str]) -> tuple[Shown, ...]:
        """Decoded and scaled, in threads of their own; the same URL once.

        Raises:
            PictureError, NotTaken: a picture is not taken, or there are too many.
        """
        if len(urls) > self.settings.max_pictures:
            raise NotTaken(400, f"{len(urls)} pictures, and at most {self.settings.max_pictures} are read")
        found: dict[str, Shown] = {}
        for url in urls:
            if url not in found:
                raw = await self._raw(url)
                found[url] = await self.apart(shown, raw, self.limits, self.engine.who.side)
        return tuple(found[url] for url in urls)

    async def _raw(self, url: str) -> bytes:
        if is_data(url):
            return bytes(await self.apart(decoded, url))
        return await asyncio.get_running_loop().run_in_executor(self.fetchers, fetched, url, self.fetch)

    async def apart(self, work: Any, *arguments: Any) -> Any:
        """Does work on pictures beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, partial(work, *arguments))

    def seed(self, asked: Sampled) -> int:
        """The one that is asked for, from 0 up; else the number of the request, so that answers differ."""
        return next(self._numbers) if asked.seed is None else asked.seed % LARGEST

    def most(self, asked: int | None, usual: int) -> int:
        """New tokens, at most."""
        if asked is not None and asked > self.settings.max_tokens:
            raise NotTaken(
                400,
                f"max_tokens: {asked:,}, and at most {self.settings.max_tokens:,} are made",
                param="max_tokens",
            )
        return min(usual, self.settings.max_tokens) if asked is None else asked

    def submit(
        self, asked: Sequence[Asked], how: Sampled, most: int, seed: int, *, live: bool = False
    ) -> Answers:
        """Puts rows in the queue: `n` for each that is asked.

        Raises:
            NotTaken, Busy, Stopped: they are not taken.
        """
        number = how.n or 1
        if number * len(asked) > self.settings.max_choices:
            raise NotTaken(
                400,
                f"{number * len(asked)} answers, and at most {self.settings.max_choices} are made at once",
            )
        return Answers(self, asked, how, most, seed, live=live)


class Answers:
    """What is heard of the rows of a request."""

    def __init__(
        self, desk: Desk, asked: Sequence[Asked], how: Sampled, most: int, seed: int, *, live: bool
    ) -> None:
        self._loop, self._heard = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Told]]()
        wanted = [one for one in asked for _ in range(how.n or 1)]
        ends_at = time.monotonic() + desk.settings.seconds
        self.rows = [
            Making(
                partial(one.prompt, most=desk.settings.max_prompt),
                how.sampling(one.made, desk.settings.guidance, most, seed),  # type: ignore[arg-type]
                partial(self._hear, i),
                key=i,
                stop_strings=how.stops if isinstance(how, Texted) else (),
                step_by_step=live,
                ends_at=ends_at,
            )
            for i, one in enumerate(wanted)
        ]
        desk.engine.submit(self.rows)

    def _hear(self, index: int, told: Told) -> None:
        if not self.rows[index].cancelled:  # the loop of one who has gone may be closed
            self._loop.call_soon_threadsafe(self._heard.put_nowait, (index, told))

    async def tellings(self) -> AsyncGenerator[tuple[int, Told]]:
        """By row, as it comes, until all have ended.

        Raises:
            Whatever went wrong with a row.
        """
        left = len(self.rows)
        try:
            while left:
                index, told = await self._heard.get()
                if told.error:
                    raise told.error
                left -= told.finish is not None
                yield index, told
        finally:
            for row in self.rows:
                row.cancelled = True

    async def all(self) -> list[list[Told]]:
        """Everything, by row."""
        found: list[list[Told]] = [[] for _ in self.rows]
        async for index, told in self.tellings():
            found[index].append(told)
        return found


def usage(rows: Sequence[Told], each: int = 1) -> dict[str, int]:
    """Tokens read and made, from the last telling of each row; `each` rows share a prompt."""
    read, made = sum(one.prompt_tokens for one in rows[::each]), sum(one.new_tokens for one in rows)
    return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}
