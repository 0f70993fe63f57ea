"""What a request may come to: error classes, and which of them may pass.

bad_url, forbidden_address, dns, connection, deadline, incomplete, bad_encoding, too_large, too_many_redirects,
http_<status>; consent_refused, robots_unreachable (no consent can be read, so none is given); postponed (its host
asked for a longer pause than a run waits); run_deadline (the run's time was over before its turn); forgotten (a takedown
named it or its host: it is not asked for).
"""

from __future__ import annotations

TRANSIENT = frozenset(
    ["dns", "connection", "incomplete"]
    + [f"http_{n}" for n in (408, 425, 429, *range(500, 600)) if n not in (501, 505)]
)
"""Worth another try soon."""
PASSING = TRANSIENT | {"deadline", "robots_unreachable", "postponed", "run_deadline"}
"""Worth another try by a later run; all others are final."""


class FetchError(Exception):
    """A request that gave no body; `reason` is the error class."""

    def __init__(
        self, reason: str, detail: str = "", status: int | None = None, wait: float | None = None
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.status, self.wait = reason, detail, status, wait
