"""URLs as they may be stored and shown."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit, urlunsplit


def redacted(url: str) -> str:
    """The URL without a user's name and password, so that none is ever stored or logged."""
    if "@" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def absolute(url: str, base: str | None) -> str:
    """A URL as a list states it, relative to what the list's source says: a URL, or a pattern that holds one at {}."""
    try:
        if base and "{}" in base:
            return url if urlsplit(url).scheme else base.replace("{}", url)
        return urljoin(base, url) if base else url
    except ValueError:  # whoever asks for it says what is wrong with it
        return url
