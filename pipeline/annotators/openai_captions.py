"""Captions by any model behind an OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, a provider, `millrace serve`).

POST {base_url}/chat/completions with the stored picture as a data: URL, at temperature 0 and with a seed. The key is
read from an environment variable when it is needed and goes into the header only. What the endpoint says of an error
is not stored or shown: it may repeat the key.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import monotonic, sleep, time
from typing import Any, ClassVar

import httpx
import pyarrow as pa
from pydantic import ConfigDict, Field, field_validator

from pipeline.step import Annotator, StepError

MAX_REPLY = 1 << 20
"""Longer replies are not read, in bytes."""
MAX_CAPTION = 20_000
"""Longer captions are none, in characters."""
CONNECT_S = 10.0
LONGEST_PAUSE = 60.0
"""No endpoint makes us wait longer between two tries, in seconds."""
PASSING = frozenset({"unreachable", "timeout", "broken_off", "rate_limited", "server_error"})
"""Errors after which another try may do."""
MANY = 32
"""So many pictures in a row that fail by no fault of theirs stop the part: it is tried again by the next run."""
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
    pause: float | None = None
    """How long the endpoint asks us to wait, in seconds."""


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
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
            raise ValueError("should be http(s)://host/v1, without a user, a key or a query in it")
        return base_url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if not re.fullmatch("([A-Z_][A-Z0-9_]*)?", name):
            raise ValueError("names an environment variable in capitals (or none), and is not the key itself")
        return name

    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        """Captions the pictures; the first one is asked for alone.

        Raises:
            StepError: nothing answers at base_url, or it refuses us, now or later: no picture is to blame.
        """
        images, streak = rows["image"], _Streak(f"{self.module()}: {self.base_url}")
        timeout = httpx.Timeout(self.deadline, connect=min(self.deadline, CONNECT_S))
        limits = httpx.Limits(max_connections=self.concurrency)
        with httpx.Client(headers=self._headers(), timeout=timeout, limits=limits) as client:

            def answer(at: int) -> Answer:
                return streak.add(self._persist(client, images[at].as_py()))

            found = [answer(at) for at in range(min(1, rows.num_rows))]
            with ThreadPoolExecutor(self.concurrency) as pool:
                found += pool.map(answer, range(1, rows.num_rows))
        columns = [
            pa.array([getattr(answer, name) for answer in found], pa.string())
            for name in ("caption", "model", "error")
        ]
        return pa.table([rows["image_id"], *columns], names=["image_id", *self.columns.names])

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.api_key_env, "") if self.api_key_env else ""
        if not key.isprintable() or not key.isascii():
            raise StepError(f"{self.api_key_env}: holds no key: a line break or another sign that no key has")
        given = {"Authorization": f"Bearer {key}"} if key else {}
        return {**given, "Accept": "application/json", "Accept-Encoding": "identity"}

    def _persist(self, client: httpx.Client, image: bytes | None) -> Answer:
        """Asks until there is an answer that stays, or no try is left."""
        if not image:
            return Answer(error="no_image")
        for number in range(self.retries + 1):
            answer = self._ask(client, image)
            if answer.error not in PASSING or number == self.retries:
                break
            pause = 0.5 * 2**number if answer.pause is None else answer.pause
            sleep(min(pause, LONGEST_PAUSE))
        return answer

    def _ask(self, client: httpx.Client, image: bytes) -> Answer:
        started = monotonic()
        try:
            with client.stream(
                "POST", f"{self.base_url}/chat/completions", json=self._question(image)
            ) as reply:
                if reply.status_code != 200:
                    return Answer(error=_refusal(reply.status_code), pause=_pause(reply.headers))
                raw = b""
                for piece in reply.iter_raw():
                    raw += piece
                    if len(raw) > MAX_REPLY:
                        return Answer(error="too_long")
                    if monotonic() - started > self.deadline:
                        return Answer(error="timeout")
        except httpx.TimeoutException:
            return Answer(error="timeout")
        except httpx.ProtocolError:
            return Answer(error="broken_off")
        except httpx.HTTPError:
            return Answer(error="unreachable")
        return _understood(raw)

    def _question(self, image: bytes) -> dict[str, Any]:
        kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
        url = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
        content = [
            {"type": "text", "text": self.prompt},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "seed": self.seed,
        }


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


def _refusal(status: int) -> str:
    """The class of an HTTP status that is no answer."""
    if status == 429:
        return "rate_limited"
    if status >= 500 or status in (408, 409, 425):
        return "server_error"
    if status in (401, 403):
        return "unauthorized"
    return "not_found" if status in (404, 405) or 300 <= status < 400 else "rejected"


def _pause(headers: httpx.Headers) -> float | None:
    """Seconds that Retry-After asks for, as a number or a date."""
    stated = headers.get("retry-after", "").strip()
    try:
        seconds = (
            float(stated) if stated[:1].isdigit() else parsedate_to_datetime(stated).timestamp() - time()
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds)


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
    caption = (caption or "").encode("utf-8", "replace").decode().replace("\0", "").strip()
    model = None if model is None else model.encode("utf-8", "replace").decode()[:200]
    if refusal or finish == "content_filter":
        return Answer(model=model, error="refused")
    if finish == "length":
        return Answer(model=model, error="cut_off")
    if not caption or len(caption) > MAX_CAPTION:
        return Answer(model=model, error="too_long" if caption else "empty")
    return Answer(caption, model)
