"""Questions to any model behind an OpenAI-compatible endpoint (vLLM, SGLang, llama.cpp, a provider, `millrace serve`).

POST {base_url}/chat/completions at temperature 0 and with a seed, pictures as data: URLs. The key is read from an environment
variable when it is needed and goes into the header only. What the endpoint says of an error is neither stored nor shown: it
may repeat the key.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import monotonic, sleep, time
from typing import Any

import httpx

MAX_REPLY = 1 << 20
"""Longer replies are not read, in bytes."""
CONNECT_S, LONGEST_PAUSE_S = 10.0, 60.0
"""No endpoint makes us wait longer between two tries."""
MANY = 32
"""So many questions in a row that get no answer are enough: whoever asks gives up."""
PASSING = frozenset({"unreachable", "timeout", "broken_off", "rate_limited", "server_error"})
"""Errors after which another try may do."""


class NotAnEndpoint(ValueError):
    """An address, or the name of a key's variable, that is none; the message repeats neither: it may be a secret."""


@dataclass(frozen=True)
class Reply:
    """What came of one question: the body of an answer, or the class of an error."""

    raw: bytes = b""
    error: str | None = None
    """One of PASSING, or unauthorized, not_found, rejected, too_long."""
    pause: float | None = None
    """How long the endpoint asks us to wait, in seconds."""


def address(base_url: str) -> str:
    """The same without a slash at its end.

    Raises:
        NotAnEndpoint: it is none, or holds what should not be there.
    """
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise NotAnEndpoint("should be http(s)://host/v1, without a user, a key or a query in it")
    return base_url.rstrip("/")


def variable(name: str) -> str:
    """The same name of an environment variable, or none.

    Raises:
        NotAnEndpoint: it is no such name, but perhaps the key itself.
    """
    if not re.fullmatch("([A-Z_][A-Z0-9_]*)?", name):
        raise NotAnEndpoint("names an environment variable in capitals (or none), and is not the key itself")
    return name


def headers(api_key_env: str) -> dict[str, str]:
    """What every request says, the key among it.

    Raises:
        NotAnEndpoint: what the variable holds can be no key.
    """
    key = os.environ.get(api_key_env, "") if api_key_env else ""
    if not key.isprintable() or not key.isascii():
        raise NotAnEndpoint(f"{api_key_env}: holds no key: a line break or another sign that no key has")
    given = {"Authorization": f"Bearer {key}"} if key else {}
    return {**given, "Accept": "application/json", "Accept-Encoding": "identity"}


def question(text: str, image: bytes | None, **settings: Any) -> dict[str, Any]:
    """A question, of a picture if there is one (its file), with what else is to be said (model, max_tokens, seed)."""
    content: str | list[dict[str, Any]] = text
    if image is not None:
        kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
        url = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
        content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, **settings}


class Chat:
    """An endpoint that is asked, by several threads if need be; a context manager.

    Args:
        base_url, api_key_env: as `address` and `variable` take them.
        deadline: seconds of one request, from its beginning to the last byte.
        connections: requests under way at once.

    Raises:
        NotAnEndpoint: what the variable holds can be no key.
    """

    def __init__(self, base_url: str, api_key_env: str, deadline: float, connections: int) -> None:
        self._url, self._deadline = f"{base_url}/chat/completions", deadline
        self._client = httpx.Client(
            headers=headers(api_key_env),
            timeout=httpx.Timeout(deadline, connect=min(deadline, CONNECT_S)),
            limits=httpx.Limits(max_connections=connections),
            follow_redirects=False,
        )

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def ask(self, asked: Mapping[str, Any], retries: int) -> Reply:
        """Asks until there is an answer, an error that stays, or no try is left."""
        for number in range(retries + 1):
            reply = self._once(asked)
            if reply.error not in PASSING or number == retries:
                break
            sleep(min(0.5 * 2**number if reply.pause is None else reply.pause, LONGEST_PAUSE_S))
        return reply

    def _once(self, asked: Mapping[str, Any]) -> Reply:
        began, raw = monotonic(), b""
        try:
            with self._client.stream("POST", self._url, json=asked) as reply:
                if reply.status_code != 200:
                    return Reply(error=refusal(reply.status_code), pause=pause(reply.headers))
                for piece in reply.iter_raw():
                    raw += piece
                    if len(raw) > MAX_REPLY:
                        return Reply(error="too_long")
                    if monotonic() - began > self._deadline:
                        return Reply(error="timeout")
        except httpx.TimeoutException:
            return Reply(error="timeout")
        except httpx.ConnectError:
            return Reply(error="unreachable")
        except httpx.HTTPError:
            return Reply(error="broken_off")
        return Reply(raw)


def refusal(status: int) -> str:
    """The class of an HTTP status that is no answer."""
    if status == 429:
        return "rate_limited"
    if status >= 500 or status in (408, 409, 425):
        return "server_error"
    if status in (401, 403):
        return "unauthorized"
    return "not_found" if status in (404, 405) or 300 <= status < 400 else "rejected"


def pause(stated_in: httpx.Headers) -> float | None:
    """Seconds that Retry-After asks for, as a number or a date."""
    stated = stated_in.get("retry-after", "").strip()
    try:
        seconds = (
            float(stated) if stated[:1].isdigit() else parsedate_to_datetime(stated).timestamp() - time()
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds)


def written(text: str) -> str:
    """A text of a reply without what no table may hold: lone surrogates, NUL bytes, blanks around it."""
    return text.encode("utf-8", "replace").decode().replace("\0", "").strip()
