"""Captions by any model behind an OpenAI-compatible endpoint; `pipeline.chat` says how it is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import ConfigDict, Field, field_validator

from pipeline.chat import MANY, PASSING, Chat, NotAnEndpoint, address, question, variable, written
from pipeline.step import Annotator, StepError

MAX_CAPTION = 20_000
"""Longer captions are none, in characters."""
HOPELESS = {
    "unreachable": "does not answer: is the server up, and base_url right?",
    "unauthorized": "refuses: name in api_key_env the environment variable that holds a valid key",
    "not_found": "knows no such path or model: look at base_url (it mostly ends in /v1) and at model",
}
"""Errors of the first request that every other one would have too."""


@dataclass(frozen=True)
class Answer:
    """What came of one picture: a caption, or the class of an error."""

    caption: str | None = None
    model: str | None = None
    error: str | None = None


class OpenaiCaptions(Annotator):
    """Captions each picture by a model behind an OpenAI-compatible endpoint; a failure is null, with its class.

    Errors after all tries: unreachable, timeout, broken_off, rate_limited, server_error. Others: unauthorized,
    not_found, rejected, refused, cut_off, empty, too_long, bad_reply, no_image.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # where a name is asked for, somebody pastes a key

    version: ClassVar[int] = 1
    key: ClassVar[str] = "image_id"
    reads: ClassVar[tuple[str, ...]] = ("image",)
    columns: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("caption", pa.string(), metadata={"doc": "What the model says; null after an error."}),
            pa.field("caption_model", pa.string(), metadata={"doc": "The model that the endpoint names."}),
            pa.field("error", pa.string(), metadata={"doc": "Why there is no caption."}),
        ]
    )
    unfingerprinted: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "api_key_env", "concurrency", "deadline", "retries"}
    )

    base_url: str = Field("http://127.0.0.1:8000/v1", description="The endpoint, up to and with /v1.")
    model: str = Field(description="Name of the model, as the endpoint knows it.")
    prompt: str = Field("Describe this picture in one sentence.", min_length=1, description="What is asked.")
    max_tokens: int = Field(128, ge=1, le=8192, description="Longest caption; one cut off there is none.")
    seed: int = Field(0, ge=0, description="Handed to the model's sampler.")
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="The environment variable that holds the key, never the key itself."
    )
    concurrency: int = Field(8, ge=1, le=256, description="Requests under way at once.")
    deadline: float = Field(60.0, gt=0, le=3600, description="One request, in seconds.")
    retries: int = Field(4, ge=0, le=20, description="Further tries after an error that may pass.")

    @field_validator("base_url")
    @classmethod
    def _a_server(cls, base_url: str) -> str:
        return address(base_url)

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, name: str) -> str:
        return variable(name)

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        """Captions the pictures; the first one is asked for alone.

        Raises:
            StepError: nothing answers at base_url, or it refuses us, now or later: no picture is to blame.
        """
        images, streak = rows["image"], _Streak(f"{self.module()}: {self.base_url}")
        with self._chat() as chat:

            def answer(at: int) -> Answer:
                return streak.add(self._caption(chat, images[at].as_py()))

            found = [answer(at) for at in range(min(1, rows.num_rows))]
            with ThreadPoolExecutor(self.concurrency) as pool:
                found += pool.map(answer, range(1, rows.num_rows))
        columns = [
            pa.array([getattr(answer, name) for answer in found], pa.string())
            for name in ("caption", "model", "error")
        ]
        return pa.table([rows["image_id"], *columns], names=["image_id", *self.columns.names])

    def _chat(self) -> Chat:
        try:
            return Chat(self.base_url, self.api_key_env, self.deadline, self.concurrency)
        except NotAnEndpoint as error:
            raise StepError(str(error)) from None

    def _caption(self, chat: Chat, image: bytes | None) -> Answer:
        if not image:
            return Answer(error="no_image")
        asked = question(self.prompt, image, model=self.model, max_tokens=self.max_tokens, seed=self.seed)
        reply = chat.ask(asked, self.retries)
        return Answer(error=reply.error) if reply.error else _understood(reply.raw)


class _Streak:
    """Counts pictures in a row that failed by no fault of theirs."""

    def __init__(self, where: str) -> None:
        self._where, self._lock, self._answers, self._length = where, threading.Lock(), 0, 0

    def add(self, answer: Answer) -> Answer:
        """Notes an answer and returns it.

        Raises:
            StepError: it is the first and all others would fail like it, or too many in a row failed.
        """
        with self._lock:
            self._answers += 1
            self._length = self._length + 1 if answer.error in PASSING | {*HOPELESS, "rejected"} else 0
            if self._answers == 1 and answer.error in HOPELESS:
                raise StepError(f"{self._where} {HOPELESS[answer.error]}")
            if self._length >= MANY:
                advice = "look at the server and run again; what was committed is kept"
                raise StepError(f"{self._where}: {MANY} requests in a row failed ({answer.error}): {advice}")
        return answer


def _understood(raw: bytes) -> Answer:
    """The caption in a reply's JSON, or what is wrong with it."""
    try:
        reply = json.loads(raw)
        choice = reply["choices"][0]
        message, finish, model = choice["message"], choice.get("finish_reason"), reply.get("model")
        caption, refusal = message.get("content"), message.get("refusal")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return Answer(error="bad_reply")
    if not isinstance(caption, str | None) or not isinstance(model, str | None):
        return Answer(error="bad_reply")
    caption = written(caption or "")
    model = None if model is None else model.encode("utf-8", "replace").decode()[:200]
    if refusal or finish == "content_filter":
        return Answer(model=model, error="refused")
    if finish == "length":
        return Answer(model=model, error="cut_off")
    if not caption or len(caption) > MAX_CAPTION:
        return Answer(model=model, error="too_long" if caption else "empty")
    return Answer(caption, model)
