"""Whether a site lets us take a URL: one decision from all the signs that the web has, with the words that say so.

robots.txt (RFC 9309: read once a host; a server that fails gives no consent), X-Robots-Tag and meta robots
(noai, noimageai, noml, none), and TDMRep (W3C community report: tdmrep.json, the header, the meta element).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from protego import Protego
from yarl import URL

from pipeline.web.errors import TRANSIENT, FetchError
from pipeline.web.ledger import Decision, Fetched
from pipeline.web.settings import FetchSettings

Get = Callable[[URL], Awaitable[Fetched]]
DAY = 86_400.0
ROBOTS_BYTES = 512 << 10
"""RFC 9309 asks for at least 500 KiB to be read."""
MOST_POLICIES = 20_000
"""Hosts whose files are remembered, most of them a few kilobytes."""
AGAIN_S = (0.5, 1.0)
SAME_FOR_THE_URL = frozenset({"dns", "forbidden_address", "bad_url"})
"""If robots.txt fails like this, the URL would fail alike: that is what the ledger then says."""
WORDS = 200
"""Characters of evidence that are kept."""


@dataclass(frozen=True)
class Location:
    """A path as robots.txt writes them: `*` for anything, `$` for the end. Matched without going back: the
    pattern comes from outside."""

    parts: tuple[str, ...]
    ends: bool

    @classmethod
    def parse(cls, text: str) -> Location:
        text = re.sub(r"\*+", "*", text[:2000])
        return cls(tuple(text.removesuffix("$").split("*")), text.endswith("$"))

    def fits(self, path: str) -> bool:
        first, *rest = self.parts
        if not path.startswith(first):
            return False
        at = len(first)
        for part in rest[:-1]:
            if (found := path.find(part, at)) < 0:
                return False
            at = found + len(part)
        if not rest:
            return not self.ends or at == len(path)
        last = rest[-1]
        return (
            (path.endswith(last) and len(path) - len(last) >= at) if self.ends else path.find(last, at) >= 0
        )


@dataclass(frozen=True)
class Policy:
    """What a host's files say, read once."""

    robots: Protego | None
    robots_url: str
    robots_mark: str
    unreachable: str | None
    why: str
    """More on that."""
    reservations: tuple[tuple[Location, bool, str], ...]
    """TDMRep: which paths, whether rights are reserved, the policy's URL."""
    expires: float

    def delay(self, agent: str) -> float | None:
        """Seconds between requests that robots.txt asks for."""
        asked = self.robots.crawl_delay(agent) if self.robots else None
        return float(asked) if asked else None


class Consent:
    """Asks each host once, however many requests wait for the answer."""

    def __init__(self, settings: FetchSettings, get: Get) -> None:
        self.settings, self._get = settings, get
        self._policies: dict[str, asyncio.Task[Policy]] = {}

    async def policy(self, target: URL) -> Policy:
        """What the host's robots.txt and tdmrep.json say."""
        key = str(target.origin())
        task = self._policies.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() or _old(task.result()))):
            self._forget()
            task = self._policies[key] = asyncio.ensure_future(self._read(target.origin()))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task.result() if task.done() else await asyncio.shield(task)

    def _forget(self) -> None:
        """Keeps memory flat in the number of hosts: the oldest answers are asked for again when they are wanted."""
        if len(self._policies) >= MOST_POLICIES:
            for key in [key for key, task in self._policies.items() if task.done()][: MOST_POLICIES // 4]:
                del self._policies[key]

    async def before(self, target: URL) -> tuple[Decision, Policy | None]:
        """The decision before the URL is asked for.

        Raises:
            FetchError: no consent can be read, or the host cannot be reached at all.
        """
        signs = self.settings.consent
        if "robots" not in signs and "tdmrep" not in signs:
            return Decision(True, "none", "no sign is asked for"), None
        policy = await self.policy(target)
        if "robots" in signs:
            if policy.unreachable in SAME_FOR_THE_URL:
                raise FetchError(policy.unreachable or "", policy.why)
            if policy.unreachable:
                raise FetchError("robots_unreachable", f"{policy.robots_url}: {policy.unreachable}")
            if policy.robots and not policy.robots.can_fetch(str(target), self.settings.user_agent):
                return Decision(False, "robots", policy.robots_mark, policy.robots_url), policy
        if "tdmrep" in signs:
            for location, reserved, rights in policy.reservations:
                if location.fits(target.raw_path):
                    if reserved:
                        words = f"tdm-reservation: 1 {rights}".strip()
                        return Decision(
                            False, "tdmrep", words, f"{target.origin()}/.well-known/tdmrep.json"
                        ), policy
                    break
        return Decision(True, "robots", policy.robots_mark, policy.robots_url), policy

    async def _read(self, origin: URL) -> Policy:
        robots_url = origin / "robots.txt"
        signs, second = self.settings.consent, None
        # One after the other: a host that does not answer holds one connection, not two.
        first = await self._patiently(robots_url) if "robots" in signs else None
        robots, mark, unreachable = _robots(first)
        if "tdmrep" in signs and unreachable is None:
            second = await self._get(origin / ".well-known/tdmrep.json")
        why = (first.detail if first else None) or ""
        expires = time.monotonic() + DAY
        return Policy(robots, str(robots_url), mark, unreachable, why, _reservations(second), expires)

    async def _patiently(self, url: URL) -> Fetched:
        """One reset must not shut a host out: what may pass is tried again soon."""
        found = await self._get(url)
        for pause in AGAIN_S:
            if found.error not in TRANSIENT or found.error == "dns" or found.wait:
                break
            await asyncio.sleep(pause)
            found = await self._get(url)
        return found

    def known(self, target: URL) -> Policy | None:
        """The host's policy, if it was read already."""
        task = self._policies.get(str(target.origin()))
        if task is None or not task.done() or task.cancelled() or task.exception():
            return None
        return task.result()


def _old(policy: Policy) -> bool:
    return policy.expires < time.monotonic()


def _robots(found: Fetched | None) -> tuple[Protego | None, str, str | None]:
    """The rules, how the file is known again, and why it could not be read."""
    if found is None:
        return None, "not asked for", None
    if found.error is None:
        body = (found.body or b"")[:ROBOTS_BYTES]
        mark = f"sha256 {hashlib.sha256(body).hexdigest()[:16]}"
        return Protego.parse(body.decode("utf-8", "replace")), mark, None
    code = found.error.removeprefix("http_")
    if code.isdigit() and 400 <= int(code) < 500 and code != "429":
        return None, f"HTTP {code}: no robots.txt", None
    if found.error == "too_many_redirects":  # RFC 9309: as if it were not there
        return None, f"{found.error}: no robots.txt", None
    return None, found.error, found.error


def _reservations(found: Fetched | None) -> tuple[tuple[Location, bool, str], ...]:
    """The rules of a tdmrep.json; one that cannot be read states none."""
    if found is None or not found.body:
        return ()
    try:
        rules = json.loads(found.body)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(rules, list):
        return ()
    made = []
    for rule in rules[:1000]:
        if isinstance(rule, dict) and isinstance(rule.get("location"), str) and "tdm-reservation" in rule:
            reserved = str(rule["tdm-reservation"]) == "1"
            made.append(
                (Location.parse(rule["location"]), reserved, str(rule.get("tdm-policy") or "")[:WORDS])
            )
    return tuple(made)


def refused_by_headers(headers: Iterable[tuple[str, str]], settings: FetchSettings) -> Decision | None:
    """A refusal that an answer's headers state, or None."""
    agent = settings.user_agent.partition("/")[0].lower()
    for name, value in headers:
        if (
            name == "x-robots-tag"
            and "x-robots-tag" in settings.consent
            and forbids(value, settings.refusals, agent)
        ):
            return Decision(False, "x-robots-tag", value[:WORDS])
        if name == "tdm-reservation" and "tdmrep" in settings.consent and value.strip() == "1":
            return Decision(False, "tdmrep", "header tdm-reservation: 1")
    return None


def forbids(value: str, refusals: Iterable[str], agent: str = "") -> bool:
    """Whether the words of an X-Robots-Tag or meta robots refuse; "bot: noai" binds only that bot."""
    bot = ""
    for part in value.lower().split(","):
        name, colon, rest = part.partition(":")
        name = name.strip()
        if (
            colon and BOT.fullmatch(name) and name not in WITH_VALUES
        ):  # else a date's or a directive's own colon
            bot, part = name, rest
        if bot in ("", agent) and part.strip() in refusals:
            return True
    return False


BOT = re.compile(r"[a-z][a-z0-9_-]*")
WITH_VALUES = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
META = re.compile(rb"<meta\b[^>]{0,2000}+>", re.IGNORECASE)
ATTRIBUTE = re.compile(
    rb"""\b([a-z-]{1,40}+)\s{0,20}+=\s{0,20}+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""", re.IGNORECASE
)
"""Possessive and bounded, so that no page makes it go back and forth."""
HEAD_BYTES = 256 << 10


def refused_by_page(body: bytes, settings: FetchSettings) -> Decision | None:
    """A refusal that a page's meta elements state, or None."""
    agent = settings.user_agent.partition("/")[0].lower()
    for element in META.findall(body[:HEAD_BYTES]):
        found: Mapping[str, str] = {
            name.decode("ascii", "replace").lower(): (a or b or c).decode("utf-8", "replace")
            for name, a, b, c in ATTRIBUTE.findall(element)
        }
        name, content = found.get("name", "").strip().lower(), found.get("content", "")
        if "meta" in settings.consent and name in ("robots", agent) and forbids(content, settings.refusals):
            return Decision(False, "meta", f"{name}: {content}"[:WORDS])
        if "tdmrep" in settings.consent and name == "tdm-reservation" and content.strip() == "1":
            return Decision(False, "tdmrep", "meta tdm-reservation: 1")
    return None


__all__ = ["Consent", "Policy", "forbids", "refused_by_headers", "refused_by_page"]
