"""`POST /v1/chat/completions`: questions about pictures, captions, translations, drawn pictures, and both mixed.

The models were trained on single questions: the last message of the user is what is asked. Its pictures go with it, or, where
it has none, those of the last message that has.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from model.png import data_url, png
from model.serving.answering import Asked
from model.serving.desk import NAME, Answer, Desk, usage
from model.serving.making import Told
from model.serving.refusals import DOCUMENTED, NotTaken
from model.serving.requests import ChatRequest
from model.serving.streams import streamed

TEXT, MIXED = 96, 256
"""New tokens, unless it is said."""


class ChatAnswer(Answer):
    """A whole answer. A message has `content` (its text), and where pictures came `images` and, in the order in which all
    came, `parts`."""


def router(desk: Desk) -> APIRouter:
    """The route."""
    made = APIRouter()

    @made.post("/v1/chat/completions", response_model=ChatAnswer, responses=DOCUMENTED)  # type: ignore[arg-type]
    async def chat(body: ChatRequest, request: Request) -> Any:
        desk.check_model(body.model)
        asked = await read(desk, body)
        seed, most = desk.seed(body), longest(desk, body)
        answers = desk.submit([asked], body, most, seed, live=bool(body.stream))
        name = f"chatcmpl-{uuid.uuid4().hex}"
        head = {"id": name, "created": int(time.time()), "model": NAME, "seed": seed}
        if body.stream:
            return await stream(desk, body, answers, head)
        rows = await answers.all()
        ended = [row[-1] for row in rows]
        return {
            **head,
            "object": "chat.completion",
            "system_fingerprint": ended[0].checkpoint,
            "choices": [await choice(desk, i, row) for i, row in enumerate(rows)],
            "usage": usage(ended, body.n or 1),
        }

    return made


async def read(desk: Desk, body: ChatRequest) -> Asked:
    """What the conversation asks.

    Raises:
        NotTaken: nobody asks anything.
        PictureError: a picture is not taken.
    """
    users = [message for message in body.messages if message.role == "user"]
    if not users:
        raise NotTaken(400, "messages: there is none of role user", param="messages")
    urls = next((message.urls for message in reversed(users) if message.urls), [])
    if not users[-1].words and not urls:
        raise NotTaken(400, "messages: the last of role user is empty", param="messages")
    shown = await desk.pictures(urls)
    return Asked(users[-1].words, shown, body.lang, desk.settings.lang, body.task, body.made)


def longest(desk: Desk, body: ChatRequest) -> int:
    """New tokens; a picture alone has its own number, whatever is said."""
    if body.made == "image":
        return desk.engine.who.model.sequences.codes + 2
    return desk.most(body.max_completion_tokens or body.max_tokens, TEXT if body.made == "text" else MIXED)


async def choice(desk: Desk, index: int, row: Sequence[Told]) -> dict[str, Any]:
    """A row as a choice."""
    parts: list[dict[str, Any]] = []
    for told in row:
        if told.codes is not None:
            parts.append(await picture(desk, told))
        elif told.text:
            parts.append({"type": "text", "text": told.text})
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    images = [part for part in parts if part["type"] == "image_url"]
    message = {"role": "assistant", "content": text}
    more = {"images": images, "parts": parts} if images else {}
    return {"index": index, "message": message | more, "finish_reason": row[-1].finish, "logprobs": None}


async def picture(desk: Desk, told: Told) -> dict[str, Any]:
    """A drawn picture as a part of a message."""
    image = await desk.apart(png, told.pixels)
    return {"type": "image_url", "image_url": {"url": data_url(image)}}


async def stream(desk: Desk, body: ChatRequest, answers: Any, head: dict[str, Any]) -> Response:
    """The answer piece by piece; a picture comes once it is whole."""
    begun: set[int] = set()
    counted = bool(body.stream_options and body.stream_options.include_usage)

    def chunk(choices: list[dict[str, Any]], checkpoint: str, **more: Any) -> dict[str, Any]:
        told = {
            **head,
            "object": "chat.completion.chunk",
            "system_fingerprint": checkpoint,
            "choices": choices,
        }
        return {**told, **({"usage": None} if counted else {}), **more}

    async def chunks(index: int, told: Told) -> list[dict[str, Any]]:
        delta: dict[str, Any] = {} if index in begun else {"role": "assistant", "content": ""}
        begun.add(index)
        if told.codes is not None:
            delta["images"] = [await picture(desk, told)]
        elif told.text:
            delta["content"] = told.text
        made = []
        if delta:
            made.append({"index": index, "delta": delta, "finish_reason": None})
        if told.finish:
            made.append({"index": index, "delta": {}, "finish_reason": told.finish})
        return [chunk([one], told.checkpoint) for one in made]

    def last(ended: list[Told]) -> dict[str, Any] | None:
        return chunk([], ended[0].checkpoint, usage=usage(ended, body.n or 1)) if counted else None

    return await streamed(answers, chunks, last)
