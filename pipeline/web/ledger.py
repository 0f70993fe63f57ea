"""The ledger's rows: every request with its outcome and when it is next due, and every consent with its evidence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from pipeline.step import digest
from pipeline.web.urls import redacted as redacted
from storage.tables import TABLES

KEPT_HEADERS = (
    "content-type", "content-length", "content-language", "etag", "last-modified", "retry-after", "link",
    "x-robots-tag", "tdm-reservation", "tdm-policy",
)  # fmt: skip
"""Headers of an answer that matter later: which version it was, in what language, and what the site forbids."""
HEADER_CHARACTERS = 500


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those that matter, of headers with names in lower case."""
    return {name: headers[name][:HEADER_CHARACTERS] for name in KEPT_HEADERS if name in headers}


def as_json(http: Mapping[str, Any]) -> str | None:
    """The column `http` of a row; None for nothing."""
    return json.dumps(http, ensure_ascii=False, sort_keys=True) if http else None


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Attempt:
    """One request and its outcome: a row of `attempts`."""

    url: str
    attempt: int
    host: str | None = None
    outcome: str = "ok"
    status: int | None = None
    bytes: int | None = None
    milliseconds: int = 0
    next_due: datetime | None = None
    recorded_at: datetime = field(default_factory=now)


@dataclass(frozen=True)
class Decision:
    """Whether a site lets us take a URL, by which sign, and the words that say so: a row of `consents`."""

    allowed: bool
    basis: str
    evidence: str = ""
    evidence_url: str = ""


@dataclass
class Fetched:
    """What came of a URL: a body, or an error class."""

    url: str
    body: bytes | None = None
    error: str | None = None
    detail: str | None = None
    final_url: str | None = None
    media_type: str | None = None
    charset: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    consent: Decision | None = None
    asked: str = ""
    """Host and port that was asked last, after redirects."""
    wait: float = 0.0
    """Seconds that it asked to be left alone."""
    fetched_at: datetime = field(default_factory=now)
    attempts: list[Attempt] = field(default_factory=list)


def attempts(made: Iterable[Attempt]) -> pa.Table:
    """The rows of `attempts`."""
    rows = [{**vars(one), "url": redacted(one.url)} for one in made]
    return _table("attempts", rows)


def consents(fetched: Iterable[Fetched]) -> pa.Table:
    """The rows of `consents`: one for each URL that a decision was made on."""
    rows = [
        {"url": redacted(one.url), **vars(one.consent), "recorded_at": one.fetched_at}
        for one in fetched
        if one.consent is not None
    ]
    return _table("consents", rows)


def key(fetched: Sequence[Fetched]) -> str:
    """Of a part that holds these requests alone."""
    return digest(["ledger", [(one.url, one.fetched_at.isoformat()) for one in fetched]])


def tables(fetched: Sequence[Fetched]) -> dict[str, pa.Table]:
    """The rows of `attempts` and `consents` that there are."""
    made = {}
    if any(one.attempts for one in fetched):
        made["attempts"] = attempts(attempt for one in fetched for attempt in one.attempts)
    if any(one.consent for one in fetched):
        made["consents"] = consents(fetched)
    return made


def about(fetched: Fetched) -> dict[str, Any]:
    """What a row says of how its picture was fetched; what the source states itself goes before."""
    told: dict[str, Any] = {"url": redacted(fetched.url), "fetched_at": fetched.fetched_at}
    if fetched.consent is not None:
        told["consent"] = "allowed" if fetched.consent.allowed else "refused"
    http: dict[str, Any] = dict(fetched.headers)
    last = fetched.attempts[-1] if fetched.attempts else None
    if last is not None and last.next_due is not None:  # by which a later run knows what to try again
        http |= {"next_due": last.next_due.isoformat(), "tries": last.attempt}
    if http:
        told["http"] = as_json(http)
    return told


def _table(name: str, rows: list[dict]) -> pa.Table:
    schema = pa.schema([column for column in TABLES[name].schema if column.name != "part"])
    return pa.Table.from_pylist(rows, schema=schema)
