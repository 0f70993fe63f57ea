"""`POST /v1/completions`: texts that go on."""

from __future__ import annotations

import time
import uuid
from typing import Any

from fastapi import APIRouter

from model.serving.answering import Asked
from model.serving.desk import NAME, Answer, Desk, usage
from model.serving.making import Told
from model.serving.refusals import DOCUMENTED, NotTaken
from model.serving.requests import CompletionRequest
from model.serving.streams import streamed

TEXT = 96
"""New tokens, unless it is said."""


class CompletionAnswer(Answer):
    """What the prompts go on with."""


def router(desk: Desk) -> APIRouter:
    """The route."""
    made = APIRouter()

    @made.post("/v1/completions", response_model=CompletionAnswer, responses=DOCUMENTED)  # type: ignore[arg-type]
    async def complete(body: CompletionRequest) -> Any:
        desk.check_model(body.model)
        asked = read(desk, body)
        seed, most = desk.seed(body), desk.most(body.max_tokens, TEXT)
        answers = desk.submit(asked, body, most, seed, live=bool(body.stream))
        head = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": NAME,
            "seed": seed,
        }
        if not body.stream:
            rows = await answers.all()
            ended = [row[-1] for row in rows]
            choices = [
                choice(i, "".join(told.text for told in row), row[-1].finish) for i, row in enumerate(rows)
            ]
            counts = usage(ended, body.n or 1)
            return {**head, "system_fingerprint": ended[0].checkpoint, "choices": choices, "usage": counts}

        async def chunks(index: int, told: Told) -> list[dict[str, Any]]:
            found = [choice(index, told.text, told.finish)] if told.text or told.finish else []
            return [{**head, "system_fingerprint": told.checkpoint, "choices": [one]} for one in found]

        def last(ended: list[Told]) -> dict[str, Any] | None:
            if not (body.stream_options and body.stream_options.include_usage):
                return None
            return {**head, "choices": [], "usage": usage(ended, body.n or 1)}

        return await streamed(answers, chunks, last)

    return made


def choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    """A row as a choice."""
    return {"index": index, "text": text, "finish_reason": finish, "logprobs": None}


def read(desk: Desk, body: CompletionRequest) -> list[Asked]:
    """What is to be gone on from.

    Raises:
        NotTaken: nothing is.
    """
    if not body.prompts:
        raise NotTaken(400, "prompt: there is none", param="prompt")
    usual = desk.settings.lang
    return [
        Asked(one, lang=body.lang, usual=usual, task=body.task, go_on=True)
        if isinstance(one, str)
        else Asked(ids=tuple(one), lang=body.lang, usual=usual, task=body.task, go_on=True)
        for one in body.prompts
    ]
