"""Answers that come piece by piece, as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from fastapi.responses import Response, StreamingResponse

from model.serving import refusals
from model.serving.desk import Answers
from model.serving.making import Told

Chunks = Callable[[int, Told], Awaitable[list[dict[str, Any]]]]
"""The chunks that a telling becomes."""


async def streamed(
    answers: Answers, chunks: Chunks, last: Callable[[list[Told]], dict[str, Any] | None]
) -> Response:
    """A stream of chunks; `last` makes one more of the last telling of each row. What goes wrong before the first one is an
    answer of its own, with its status.

    Raises:
        Whatever went wrong with the first telling.
    """
    tellings = answers.tellings()
    first = await anext(tellings)

    async def events() -> AsyncIterator[bytes]:
        ended: dict[int, Told] = {}
        async with aclosing(tellings):
            try:
                index, told = first
                while True:
                    for chunk in await chunks(index, told):
                        yield event(chunk)
                    if told.finish:
                        ended[index] = told
                    try:
                        index, told = await anext(tellings)
                    except StopAsyncIteration:
                        break
                if (more := last([ended[i] for i in sorted(ended)])) is not None:
                    yield event(more)
            except Exception as error:  # the status is out already
                yield b"data: " + bytes(refusals.of(error).body) + b"\n\n"
            yield b"data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def event(chunk: dict[str, Any]) -> bytes:
    """One chunk as an event."""
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"
