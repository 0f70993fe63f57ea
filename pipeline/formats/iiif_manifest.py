"""A IIIF Presentation manifest, version 2 or 3, as rows: one for each canvas, picture and language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from pipeline.formats import rights
from pipeline.formats.image_api import identity, image_service, image_url, listed, number, objects
from pipeline.formats.languages import Text, captions, tag
from pipeline.formats.markup import plain
from pipeline.web.urls import redacted

Row = dict[str, Any]
Part = Literal["label", "canvas", "summary", "metadata"]
MOST_CANVASES = 100_000
MOST_PICTURES = 64
"""Pictures on one canvas."""
MOST_TEXTS = 1000
"""Values of one label or summary."""
LONGEST_URL = 4096


def is_manifest(value: Any) -> bool:
    return _kind(value) == "Manifest"


def is_collection(value: Any) -> bool:
    return _kind(value) == "Collection"


def _kind(value: Any) -> str:
    kind = (value.get("type") or value.get("@type")) if isinstance(value, dict) else None
    kind = kind.removeprefix("sc:") if isinstance(kind, str) else ""
    return "Collection" if kind == "Layer" else kind


def manifest_rows(
    manifest: Mapping[str, Any], url: str, size: int, parts: tuple[Part, ...]
) -> Iterator[tuple[str, list[Row]]]:
    """(origin, rows) of each picture of each canvas.

    The origin is the manifest's id and the canvas's, so that a canvas that two manifests share is in both.
    """
    document = redacted(identity(manifest) or url)
    shared = {"document": document, "page_url": _homepage(manifest, url)}
    seen: dict[str, int] = {}
    canvases = _canvases(manifest)
    if not canvases:
        yield document, [{**shared, "error": "bad_row", "detail": "a manifest without canvases"}]
    for place, canvas in enumerate(canvases[:MOST_CANVASES]):
        name = f"{document}#{identity(canvas) or place}"
        told = _caption_rows(manifest, canvas, parts, shared)
        pictures = list(_pictures(canvas))[:MOST_PICTURES] or [{}]
        for picture in pictures:
            number_of = seen[name] = seen.get(name, 0) + 1
            found = _address(picture, canvas, size, url)
            yield (name if number_of == 1 else f"{name}#{number_of}"), [{**row, **found} for row in told]
    if len(canvases) > MOST_CANVASES:
        detail = f"{len(canvases)} canvases, of which {MOST_CANVASES} were read"
        yield document, [{**shared, "error": "too_large", "detail": detail}]


def _canvases(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "sequences" in manifest:  # version 2: a second sequence orders the same canvases anew
        first = next(iter(objects(manifest["sequences"])), {})
        return objects(first.get("canvases"))
    return [item for item in objects(manifest.get("items")) if _kind(item) in ("Canvas", "")]


def _caption_rows(
    manifest: Mapping[str, Any], canvas: Mapping[str, Any], parts: tuple[Part, ...], shared: Row
) -> list[Row]:
    told: dict[str, list[Text]] = {
        "label": texts(manifest.get("label")),
        "canvas": texts(canvas.get("label")),
        "summary": [
            text
            for thing in (manifest, canvas)
            for text in texts(thing.get("summary") or thing.get("description"))
        ],
        "metadata": [text for thing in (manifest, canvas) for text in _metadata(thing)],
    }
    row = {
        **shared,
        "licence": _licence(canvas) or _licence(manifest),
        "author": _credit(canvas) or _credit(manifest),
    }
    made = captions([told[part] for part in parts])
    return [{**row, "text": text, "lang": lang} for lang, text in made] or [row]


def texts(value: Any) -> list[Text]:
    """The texts of a label: a language map (3), a string, {@value, @language}, or a list of those (2)."""
    if isinstance(value, dict) and "@value" not in value:
        pairs = [(lang, text) for lang, told in value.items() for text in listed(told)[:MOST_TEXTS]]
    else:
        pairs = [
            (item.get("@language"), item.get("@value")) if isinstance(item, dict) else (None, item)
            for item in listed(value)[:MOST_TEXTS]
        ]
    found = [(tag(lang), plain(text)) for lang, text in pairs[:MOST_TEXTS] if isinstance(text, str)]
    return [(lang, text) for lang, text in found if text]


def _metadata(thing: Mapping[str, Any]) -> list[Text]:
    """Label and value of each entry, in every language of the value."""
    told = []
    for entry in objects(thing.get("metadata"))[:MOST_TEXTS]:
        names = texts(entry.get("label"))
        for lang, text in texts(entry.get("value")):
            name = next((n for spoken, n in names if spoken == lang), names[0][1] if names else "")
            told.append((lang, f"{name}: {text}" if name else text))
    return told


def _licence(thing: Mapping[str, Any]) -> str | None:
    stated = thing.get("rights") or thing.get("license")
    return rights.licence(*(text for text in listed(stated)[:16] if isinstance(text, str)))


def _credit(thing: Mapping[str, Any]) -> str | None:
    """Whom to credit, in the words that the library requires, else the library itself."""
    required = thing.get("requiredStatement")
    stated = required.get("value") if isinstance(required, dict) else thing.get("attribution")
    providers = [provider.get("label") for provider in objects(thing.get("provider"))[:1]]
    for value in (stated, *providers):
        told = texts(value)
        first = next((text for lang, text in told if lang in ("en", None)), told[0][1] if told else None)
        if first:
            return first[: rights.LONGEST]
    return None


def _homepage(manifest: Mapping[str, Any], url: str) -> str | None:
    """The page for people: `homepage`, or what version 2 calls `related`."""
    for thing in [*listed(manifest.get("homepage")), *listed(manifest.get("related"))][:16]:
        kind = thing.get("format") if isinstance(thing, dict) else None
        page = web_address(identity(thing), url)
        if page and kind in (None, "text/html"):
            return page
    return None


def _pictures(canvas: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The image resources painted on a canvas; of a choice the first."""
    for annotation in objects(canvas.get("images")):
        yield from (picture for body in objects(annotation.get("resource")) for picture in _chosen(body))
    for page in objects(canvas.get("items")):
        for annotation in objects(page.get("items")):
            if "painting" in listed(annotation.get("motivation", "painting")):
                yield from (picture for body in objects(annotation.get("body")) for picture in _chosen(body))


def _chosen(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The image resource of a body: itself, the default of a choice, or what a specific resource points at."""
    for _ in range(4):
        kind = _kind(body)
        if kind in ("oa:Choice", "Choice"):
            inner = objects(body.get("default")) or objects(body.get("items")) or objects(body.get("item"))
        elif kind in ("oa:SpecificResource", "SpecificResource"):
            inner = objects(body.get("full")) or objects(body.get("source"))
        else:
            return [body] if kind in ("dctypes:Image", "Image", "") else []
        if not inner:
            return []
        body = inner[0]
    return []


def _address(picture: dict[str, Any], canvas: Mapping[str, Any], size: int, url: str) -> Row:
    """`fetch`, or why there is none."""
    if not picture:
        return {"error": "no_picture", "detail": "a canvas without a picture, or with it elsewhere"}
    direct = web_address(identity(picture), url) or ""
    service = image_service(picture)
    if service is not None:
        shape = (number(picture.get("width")), number(picture.get("height")))
        if None in shape:  # a canvas has the picture's shape, which tells the longer side
            shape = (number(canvas.get("width")), number(canvas.get("height")))
        address = web_address(image_url(service, size, shape, direct), url)
    else:
        address = direct
    if not address:
        return {
            "error": "bad_url",
            "detail": redacted(identity(picture))[:200] or "a picture without an address",
        }
    return {"fetch": address}


def web_address(link: str, base: str = "") -> str | None:
    """The absolute http address of a link, or None."""
    if not link or len(link) > LONGEST_URL:
        return None
    try:
        whole = urljoin(base, link)
        return whole if urlsplit(whole).scheme in ("http", "https") and urlsplit(whole).hostname else None
    except ValueError:
        return None
