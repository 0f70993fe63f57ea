"""What a page was asked for in its address: read within limits, and never trusted further."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlencode

LONGEST = 200
"""Characters of a value; what is longer is cut."""
MOST = 8
"""Values of one name."""


class Asked:
    """The values behind the question mark. What is missing or out of range falls back: an address is never an error."""

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self.values = {name: [one[:LONGEST] for one in found[:MOST]] for name, found in values.items()}

    def text(self, name: str) -> str:
        """A text without white space around it, "" if there is none."""
        return next(iter(self.values.get(name, [])), "").strip().replace("\x00", "")

    def several(self, name: str, allowed: Collection[str]) -> list[str]:
        """Those of the values that are allowed, each once."""
        return [one for one in dict.fromkeys(self.values.get(name, [])) if one in allowed]

    def choice(self, name: str, allowed: Collection[str], default: str = "") -> str:
        """One of the allowed values."""
        found = self.text(name)
        return found if found in allowed else default

    def number(self, name: str) -> float | None:
        """A finite number, None if there is none."""
        try:
            found = float(self.text(name))
        except ValueError:
            return None
        return found if math.isfinite(found) else None

    def whole(self, name: str, default: int = 0, low: int = 0, high: int = 1_000_000) -> int:
        """A whole number, brought within its bounds."""
        found = self.number(name)
        return min(max(int(found), low), high) if found is not None else default

    def address(self, **changed: str | int | None) -> str:
        """The same address with some values changed, or left out where they are None or ""."""
        values = {**self.values, **{k: [str(v)] if v not in (None, "") else [] for k, v in changed.items()}}
        return "?" + urlencode([(name, one) for name, found in values.items() for one in found if one])
