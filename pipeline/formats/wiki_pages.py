"""Replies of MediaWiki's Action API: merged where a page comes in pieces, and a page as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.formats import rights
from pipeline.formats.iiif_manifest import web_address
from pipeline.formats.languages import MOST, Text, tag
from pipeline.formats.markup import by_language, plain

Row = dict[str, Any]
Page = dict[str, Any]
MOST_PAGES = 10_000
"""Pages of one batch: the API gives 500 at most."""


def api_error(reply: Any) -> tuple[str, str] | None:
    """(code, what the wiki says) of a reply that is an error, or no reply at all."""
    if not isinstance(reply, dict):
        return "not_json", "the reply is no JSON object: is this the address of api.php?"
    errors = reply.get("errors")
    error = reply.get("error") or (errors[0] if isinstance(errors, list) and errors else None)
    if error is None:
        return None
    if not isinstance(error, dict):
        return "error", str(error)[:200]
    said = error.get("info") or error.get("text") or error.get("html") or ""
    return str(error.get("code", "error"))[:60], plain(str(said)[:1000])[:200]


def warning(reply: Mapping[str, Any]) -> str:
    """What the wiki warns of, in one line."""
    warnings = reply.get("warnings")
    found = []
    for value in (
        warnings.values() if isinstance(warnings, dict) else warnings if isinstance(warnings, list) else []
    ):
        if isinstance(value, dict):
            found.append(str(value.get("warnings") or value.get("*") or value.get("text") or ""))
    return " ".join(plain(" ".join(found)[:1000]).split())[:200]


def continuation(reply: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that ask for what comes next; none at the end."""
    found = reply.get("continue")
    params = {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
    return params if set(params) - {"continue"} else {}


def add_pages(merged: dict[str, Page], reply: Mapping[str, Any]) -> None:
    """Adds a reply's pages: what a page has in several replies is joined, lists one after the other."""
    query = reply.get("query")
    pages = query.get("pages") if isinstance(query, dict) else None
    found: Iterable[Any] = (
        pages.values() if isinstance(pages, dict) else pages if isinstance(pages, list) else ()
    )
    for page in found:
        if not isinstance(page, dict) or len(merged) >= MOST_PAGES:
            continue
        held = merged.setdefault(origin_of(page), {})
        for name, value in page.items():
            before = held.get(name)
            if isinstance(before, list) and isinstance(value, list):
                held[name] = before + [item for item in value if item not in before]
            elif isinstance(before, dict) and isinstance(value, dict):
                held[name] = before | value
            else:
                held[name] = value


def origin_of(page: Mapping[str, Any]) -> str:
    """What a page is known by: its number, which stays when it is moved; its title if it has none."""
    number = page.get("pageid")
    return str(number) if isinstance(number, int) and number > 0 else str(page.get("title", ""))[:1000]


def entity_labels(reply: Mapping[str, Any]) -> dict[str, list[Text]]:
    """Page number to captions, of the structured data about files (M123)."""
    entities = reply.get("entities")
    found = {}
    for name, entity in entities.items() if isinstance(entities, dict) else ():
        labels = entity.get("labels") if isinstance(entity, dict) else None
        told = [
            (tag(label.get("language")), label["value"].strip())
            for label in (labels.values() if isinstance(labels, dict) else ())
            if isinstance(label, dict) and isinstance(label.get("value"), str) and label["value"].strip()
        ]
        found[str(name).removeprefix("M")] = told[:MOST]
    return found


def page_rows(page: Page, labels: Iterable[Text], thumbnail: bool, doubt: str = "") -> tuple[str, list[Row]]:
    """(hash of the file, rows): one for each caption and description; `doubt` is what the wiki warned of."""
    infos = page.get("imageinfo")
    info = infos[0] if isinstance(infos, list) and infos and isinstance(infos[0], dict) else {}
    fields = info.get("extmetadata")
    row: Row = {"document": origin_of(page), **_stated(fields if isinstance(fields, dict) else {})}
    row["page_url"] = web_address(_string(info.get("descriptionurl") or info.get("descriptionshorturl")))
    row |= _picture(page, info, thumbnail, doubt)
    texts = dict.fromkeys([*labels, *_descriptions(_value(fields, "ImageDescription"))]) or _title(
        page, fields
    )
    file = _string(info.get("sha1") or info.get("timestamp"))
    return file, [{**row, "text": text, "lang": lang} for lang, text in list(texts)[:MOST]] or [row]


def _picture(page: Page, info: Mapping[str, Any], thumbnail: bool, doubt: str) -> Row:
    kind = _string(info.get("mime"))
    if kind and not kind.startswith("image/"):
        return {"error": "not_an_image", "detail": kind[:200]}
    links = (info.get("thumburl") if thumbnail else None, info.get("url"))
    if address := next((a for link in links if (a := web_address(_string(link)))), None):
        return {"fetch": address}
    missing = (
        "its file is missing" if "missing" in page or "filemissing" in info or "filehidden" in info else ""
    )
    return {"error": "no_picture", "detail": missing or doubt or "a page without a file"}


def _stated(fields: Mapping[str, Any]) -> Row:
    """Licence and author, in the words of the description page."""
    names = ("LicenseUrl", "LicenseShortName", "License", "UsageTerms")
    stated = [plain(text) for name in names if (text := _first(_value(fields, name)))]
    known = rights.licence(*stated)
    short = plain(_first(_value(fields, "LicenseShortName")))
    if known and known.startswith("http") and short:  # "Public domain" says more than a page about it
        known = (
            known if "creativecommons" in known or "rightsstatements" in known else short[: rights.LONGEST]
        )
    authors = (plain(_first(_value(fields, name))) for name in ("Artist", "Attribution", "Credit"))
    author = next((text for text in authors if text), "")
    return {"licence": known, "author": " ".join(author.split())[: rights.LONGEST] or None}


def _descriptions(value: Any) -> list[Text]:
    """The texts of a description: HTML in one language, HTML that marks several, or an object of languages."""
    if isinstance(value, dict):
        told = [
            (lang, plain(text)) for lang, text in value.items() if lang != "_type" and isinstance(text, str)
        ]
    else:
        told = by_language(value) if isinstance(value, str) else []
    return [(tag(lang), text) for lang, text in told if text]


def _title(page: Page, fields: Any) -> dict[Text, None]:
    """A work's own title, where it is more than the file's name."""
    name = _string(page.get("title")).rpartition("File:")[2]
    told = _descriptions(_value(fields, "ObjectName"))
    return dict.fromkeys(text for text in told if text[1] not in (name, name.rpartition(".")[0]))


def _value(fields: Any, name: str) -> Any:
    entry = fields.get(name) if isinstance(fields, dict) else None
    return entry.get("value") if isinstance(entry, dict) else None


def _first(value: Any) -> str:
    """A string; of several languages English, or else the first."""
    if isinstance(value, dict):
        texts = {lang: text for lang, text in value.items() if lang != "_type" and isinstance(text, str)}
        return texts.get("en") or next(iter(texts.values()), "")
    return _string(value)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
