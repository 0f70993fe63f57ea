"""IIIF Image API: the URL of a whole picture in about the wanted size.

A service says what it can: level 2 fits a picture into a box, level 1 scales to a width or a height, level 0 serves only
the sizes that it lists. Nothing is asked for that is larger than the original or the server's limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isqrt
from typing import Any

_LEVEL = re.compile(r"level([012])\b")
_FITS = frozenset(("sizeByConfinedWh", "sizeByForcedWh"))


def number(value: Any) -> int | None:
    """A positive number of pixels, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**31:
        return None
    return int(value) or None


def listed(value: Any) -> list[Any]:
    """A value that may stand alone or in a list, as a list."""
    return value if isinstance(value, list) else [] if value is None else [value]


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a value that should be an object or a list of them."""
    return [item for item in listed(value) if isinstance(item, dict)]


def identity(thing: Any) -> str:
    """The id of an object or a reference; "" for none."""
    found = (thing.get("id") or thing.get("@id") or "") if isinstance(thing, dict) else thing
    return found.strip() if isinstance(found, str) else ""


def image_service(resource: Mapping[str, Any]) -> dict[str, Any] | None:
    """The Image API service of an image resource: the newest that has an id."""
    found = [
        service
        for service in objects(resource.get("service"))[:32]
        if identity(service) and _version(service)
    ]
    return max(found, key=_version, default=None)


def image_url(
    service: Mapping[str, Any], size: int, shape: tuple[int | None, int | None], direct: str = ""
) -> str:
    """The picture's URL, its longer side about `size`.

    `shape` is the original's width and height where they are known, `direct` the URL of the whole picture.
    """
    base, version = identity(service).rstrip("/"), _version(service)
    width, height = number(service.get("width")) or shape[0], number(service.get("height")) or shape[1]
    whole = "max" if version == 3 else "full"
    level, fits = _compliance(service)
    box = _box(service, size, width, height)
    if level == 0 and not fits:
        size_part = _of_list(service, box, version)
        if size_part is None and direct and direct.rstrip("/") != base:
            return direct  # tiles only: the whole is where the manifest says
        return f"{base}/full/{size_part or whole}/0/{_quality(version)}.jpg"
    if width and height and max(width, height) <= box:
        return f"{base}/full/{whole}/0/{_quality(version)}.jpg"
    if level == 1 and not fits:
        scaled = f",{box}" if width and height and height > width else f"{box},"
        return f"{base}/full/{scaled}/0/{_quality(version)}.jpg"
    return f"{base}/full/!{box},{box}/0/{_quality(version)}.jpg"


def _quality(version: int) -> str:
    return "native" if version == 1 else "default"


def _version(service: Mapping[str, Any]) -> int:
    """1, 2 or 3; 0 for what is no image service."""
    kind = f"{service.get('type') or service.get('@type') or ''}"
    if found := re.fullmatch(r"ImageService([123])", kind):
        return int(found[1])
    said = " ".join(word for word in (_context(service), *_words(service)) if word)
    if "auth/" in said or "search/" in said or kind.startswith(("Auth", "Search", "AutoComplete")):
        return 0
    if "image-api/1" in said or "image/1" in said:
        return 1
    return 3 if "image/3" in said else 2 if "image" in said or (_LEVEL.search(said) or not said) else 0


def _context(service: Mapping[str, Any]) -> str:
    return " ".join(word for word in listed(service.get("@context")) if isinstance(word, str))


def _words(service: Mapping[str, Any]) -> Iterator[str]:
    """What the profile says in words."""
    yield from (word for word in listed(service.get("profile"))[:64] if isinstance(word, str))


def _profiles(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The service and the objects of its profile: version 2 keeps limits and features in the latter."""
    return [service, *objects(service.get("profile"))[:64]]


def _compliance(service: Mapping[str, Any]) -> tuple[int, bool]:
    """(level, whether it fits a picture into a box); a service that says nothing is taken at its best."""
    levels = [int(found[1]) for word in _words(service) if (found := _LEVEL.search(word))]
    level = max(levels, default=2)
    features = {
        feature
        for profile in _profiles(service)
        for name in ("supports", "extraFeatures")
        for feature in listed(profile.get(name))
        if isinstance(feature, str)
    }
    return level, level == 2 or bool(features & _FITS)


def _box(service: Mapping[str, Any], size: int, width: int | None, height: int | None) -> int:
    """The side of the box, within the server's limits."""
    for profile in _profiles(service):
        wide = number(profile.get("maxWidth"))
        for most in (wide, number(profile.get("maxHeight")) or wide):
            size = min(size, most or size)
        area = number(profile.get("maxArea"))
        if area and width and height:  # w * h <= area at this shape, w or h being the longer
            size = min(size, isqrt(area * max(width, height) // min(width, height)))
        elif area:
            size = min(size, isqrt(area))
    return max(1, size)


def _of_list(service: Mapping[str, Any], size: int, version: int) -> str | None:
    """The smallest of the listed sizes that is large enough, else the largest."""
    pairs = [
        (width, height)
        for profile in _profiles(service)
        for entry in objects(profile.get("sizes"))[:256]
        if (width := number(entry.get("width"))) and (height := number(entry.get("height")))
    ]
    if not pairs:
        return None
    enough = [pair for pair in pairs if max(pair) >= size]
    width, height = min(enough, key=max) if enough else max(pairs, key=max)
    return f"{width},{height}" if version == 3 else f"{width},"
