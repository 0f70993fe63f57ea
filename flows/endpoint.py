"""Items put to any model behind an OpenAI-compatible endpoint, in words, with the picture as a data: URL.

POST {base_url}/chat/completions at temperature 0 and with a seed. The key is read from an environment variable and goes into
the header only. What the endpoint says of an error is neither stored nor shown: it may repeat the key.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

import httpx

from model.outcome import Asked

MAX_REPLY = 1 << 20
"""Longer replies are not read, in bytes."""
CONNECT_S, DEADLINE_S, LONGEST_PAUSE_S = 10.0, 60.0, 30.0
TRIES, CONCURRENCY = 4, 8
MOST_TOKENS, SEED = 128, 0
MANY = 32
"""So many items in a row without an answer end the comparison."""
PASSING = frozenset({408, 409, 425, 429})
HOPELESS = {
    401: "refuses: name in --api-key-env the environment variable that holds a valid key",
    403: "refuses: name in --api-key-env the environment variable that holds a valid key",
    404: "knows no such path or model: look at --openai-base-url (it mostly ends in /v1) and at --model",
    405: "knows no such path: look at --openai-base-url (it mostly ends in /v1)",
}


class EndpointError(Exception):
    """An endpoint cannot be asked; the message says what to change, and never holds the key."""


@dataclass
class Endpoint:
    """A model somewhere, asked some items at a time; what it does not answer counts as an empty answer.

    Raises:
        EndpointError: the address is none, or the key is none.
    """

    base_url: str
    model: str
    words: Callable[[Asked], str]
    """An item as a person would ask it."""
    picture: Callable[[str], bytes]
    """The stored file of a picture."""
    api_key_env: str = "OPENAI_API_KEY"
    unanswered: int = field(default=0, init=False)
    """Items that got no answer after all tries."""

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.base_url)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
            raise EndpointError(
                "--openai-base-url: http(s)://host/v1, without a user, a key or a query in it"
            )
        if not self.model:
            raise EndpointError("--model: name the endpoint's model, as its /models lists it")
        if not re.fullmatch("([A-Z_][A-Z0-9_]*)?", self.api_key_env):
            raise EndpointError(
                "--api-key-env names an environment variable in capitals, and is not the key itself"
            )
        self.base_url = self.base_url.rstrip("/")

    def __call__(self, asked: Sequence[Asked]) -> list[str]:
        """What is said of each item, in order; the first is asked for alone.

        Raises:
            EndpointError: nothing answers, it refuses us, or too many items in a row got no answer.
        """
        timeout = httpx.Timeout(DEADLINE_S, connect=CONNECT_S)
        limits = httpx.Limits(max_connections=CONCURRENCY)
        said: list[str | None] = []
        with httpx.Client(
            headers=self._headers(), timeout=timeout, limits=limits, follow_redirects=False
        ) as client:

            def ask(one: Asked) -> str | None:
                return self._persist(client, self._question(one))

            said += [ask(one) for one in asked[:1]]
            with ThreadPoolExecutor(CONCURRENCY) as pool:
                for start in range(1, len(asked), MANY):
                    said += pool.map(ask, asked[start : start + MANY])
                    if all(one is None for one in said[-MANY:]):
                        raise EndpointError(
                            f"{self.base_url}: {len(said[-MANY:])} items in a row got no answer: look at its log"
                        )
        self.unanswered += sum(one is None for one in said)
        return [one or "" for one in said]

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.api_key_env, "") if self.api_key_env else ""
        if not key.isprintable() or not key.isascii():
            raise EndpointError(
                f"{self.api_key_env}: holds no key: a line break or another sign that no key has"
            )
        given = {"Authorization": f"Bearer {key}"} if key else {}
        return {**given, "Accept": "application/json", "Accept-Encoding": "identity"}

    def _question(self, one: Asked) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": self.words(one)}]
        if one.image_id:
            image = self.picture(one.image_id)
            kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
            url = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
            content.append({"type": "image_url", "image_url": {"url": url}})
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content if one.image_id else content[0]["text"]}],
            "max_tokens": MOST_TOKENS,
            "temperature": 0,
            "seed": SEED,
        }

    def _persist(self, client: httpx.Client, question: dict[str, Any]) -> str | None:
        """Asks until there is an answer, an error that stays, or no try is left."""
        for number in range(TRIES):
            try:
                status, pause, raw = self._ask(client, question)
            except httpx.ConnectError as error:
                raise EndpointError(
                    f"{self.base_url} does not answer: is the server up, and --openai-base-url right?"
                ) from error
            except httpx.HTTPError:
                status, pause, raw = 503, None, b""
            if status == 200:
                return understood(raw)
            if status in HOPELESS:
                raise EndpointError(f"{self.base_url} {HOPELESS[status]}")
            if status not in PASSING and status < 500:
                return None
            if number < TRIES - 1:
                sleep(min(0.5 * 2**number if pause is None else pause, LONGEST_PAUSE_S))
        return None

    def _ask(self, client: httpx.Client, question: dict[str, Any]) -> tuple[int, float | None, bytes]:
        """Status, the pause that is asked for, and the body; a body that is too long or too slow is none."""
        began, raw = monotonic(), b""
        with client.stream("POST", f"{self.base_url}/chat/completions", json=question) as reply:
            after = reply.headers.get("retry-after", "").strip()
            if reply.status_code == 200:
                for piece in reply.iter_raw():
                    raw += piece
                    if len(raw) > MAX_REPLY or monotonic() - began > DEADLINE_S:
                        return 200, None, b""
            return reply.status_code, float(after) if after.isdigit() else None, raw


def understood(raw: bytes) -> str | None:
    """The text in a reply's JSON; None if there is none."""
    try:
        said = json.loads(raw)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    if isinstance(said, list):  # parts: the texts among them
        said = "".join(str(one.get("text", "")) for one in said if isinstance(one, dict))
    return (
        said.encode("utf-8", "replace").decode().replace("\0", "").strip() if isinstance(said, str) else None
    )
