"""Items put to any model behind an OpenAI-compatible endpoint, in words; `pipeline.chat` says how it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from model.outcome import Asked
from pipeline.chat import MANY, Chat, NotAnEndpoint, address, question, variable, written

DEADLINE_S, RETRIES, CONCURRENCY = 60.0, 3, 8
MOST_TOKENS, SEED = 128, 0
HOPELESS = {
    "unreachable": "does not answer: is the server up, and --openai-base-url right?",
    "unauthorized": "refuses: name in --api-key-env the environment variable that holds a valid key",
    "not_found": "knows no such path or model: look at --openai-base-url (it mostly ends in /v1) and at --model",
}
"""Errors that every other question would have too."""


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
        if not self.model:
            raise EndpointError("--model: name the endpoint's model, as its /models lists it")
        try:
            self.base_url = address(self.base_url)
        except NotAnEndpoint as error:
            raise EndpointError(f"--openai-base-url {error}") from None
        try:
            variable(self.api_key_env)
        except NotAnEndpoint as error:
            raise EndpointError(f"--api-key-env {error}") from None

    def __call__(self, asked: Sequence[Asked]) -> list[str]:
        """What is said of each item, in order; the first is asked for alone.

        Raises:
            EndpointError: nothing answers, it refuses us, or too many items in a row got no answer.
        """
        said: list[str | None] = []
        with self._chat() as chat:

            def ask(one: Asked) -> str | None:
                return self._answer(chat, one)

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

    def _chat(self) -> Chat:
        try:
            return Chat(self.base_url, self.api_key_env, DEADLINE_S, CONCURRENCY)
        except NotAnEndpoint as error:
            raise EndpointError(str(error)) from None

    def _answer(self, chat: Chat, one: Asked) -> str | None:
        """What is said of an item; None for nothing."""
        image = self.picture(one.image_id) if one.image_id else None
        reply = chat.ask(
            question(self.words(one), image, model=self.model, max_tokens=MOST_TOKENS, seed=SEED), RETRIES
        )
        if reply.error in HOPELESS:
            raise EndpointError(f"{self.base_url} {HOPELESS[reply.error]}")
        return None if reply.error else understood(reply.raw)


def understood(raw: bytes) -> str | None:
    """The text in a reply's JSON; None if there is none."""
    try:
        said = json.loads(raw)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    if isinstance(said, list):  # parts: the texts among them
        said = "".join(str(one.get("text", "")) for one in said if isinstance(one, dict))
    return written(said) if isinstance(said, str) else None
