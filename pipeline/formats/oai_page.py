"""A response of an OAI-PMH repository, parsed: its date, error, records, and the token of the next page.

No entity is resolved, nothing is loaded, and a document type is refused: a response has none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lxml import etree

from pipeline.formats import xml_tree
from pipeline.formats.languages import Text, tag

OAI = "{http://www.openarchives.org/OAI/2.0/}"
_DC = ("{http://purl.org/dc/elements/1.1/}", "{http://purl.org/dc/terms/}")
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_CONTROL = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|&#(?:0*(?:[0-8]|1[1245-9]|2[0-9]|3[01])|[xX]0*(?:[0-8bBcCeEfF]|1[0-9a-fA-F]));"
)
MOST_RECORDS = 100_000
"""Records of one page."""
MOST_VALUES = 1000
"""Dublin Core elements of one record."""


class BrokenPage(Exception):
    """A response that is no OAI-PMH document."""


@dataclass
class Record:
    """A record's header, and its Dublin Core: element to texts."""

    identifier: str
    datestamp: str = ""
    deleted: bool = False
    values: dict[str, list[Text]] = field(default_factory=dict)


@dataclass
class Page:
    """One response; `error` is (code, what the repository says)."""

    date: str = ""
    error: tuple[str, str] | None = None
    records: list[Record] = field(default_factory=list)
    token: str = ""
    granularity: str = ""


def parse(body: bytes) -> Page:
    """What a response says.

    Raises:
        BrokenPage: not well-formed, or not OAI-PMH.
    """
    root = _root(body)
    if root.tag != f"{OAI}OAI-PMH":
        raise BrokenPage(f"not an OAI-PMH response but <{etree.QName(root).localname[:60]}>")
    page = Page(date=_text(root.find(f"{OAI}responseDate")))
    errors = [(error.get("code", "")[:60], _text(error)[:200]) for error in root.iterchildren(f"{OAI}error")]
    page.error = next((e for e in errors if e[0] != "noRecordsMatch"), errors[0] if errors else None)
    page.granularity = _text(root.find(f"{OAI}Identify/{OAI}granularity"))
    listing = root.find(f"{OAI}ListRecords")
    if listing is None:
        listing = root.find(f"{OAI}GetRecord")
    if listing is not None:
        for element in listing.iterchildren(f"{OAI}record"):
            if len(page.records) >= MOST_RECORDS:
                raise BrokenPage(f"over {MOST_RECORDS} records on a page")
            page.records.append(_record(element))
        page.token = _text(listing.find(f"{OAI}resumptionToken"))
    elif page.error is None and not page.granularity and root.find(f"{OAI}Identify") is None:
        raise BrokenPage("neither records nor an error")
    return page


def _root(body: bytes) -> etree._Element:
    try:
        root = etree.fromstring(body, xml_tree.parser())
    except etree.XMLSyntaxError:
        try:  # a control character in one record must not stop a harvest for good
            root = etree.fromstring(_CONTROL.sub(b"", body), xml_tree.parser())
        except (etree.XMLSyntaxError, ValueError) as error:
            raise BrokenPage(f"not well-formed: {str(error)[:200]}") from None
    except ValueError as error:
        raise BrokenPage(str(error)[:200]) from None
    if root is None or root.getroottree().docinfo.doctype:
        raise BrokenPage("has a document type" if root is not None else "empty")
    return root


def _record(element: etree._Element) -> Record:
    header = element.find(f"{OAI}header")
    if header is None:
        return Record("")
    record = Record(_text(header.find(f"{OAI}identifier")), _text(header.find(f"{OAI}datestamp")))
    record.deleted = header.get("status", "") == "deleted"
    metadata = element.find(f"{OAI}metadata")
    count = 0
    for value in metadata.iterdescendants() if metadata is not None and not record.deleted else ():
        name = value.tag if isinstance(value.tag, str) else ""
        if name.startswith(_DC) and count < MOST_VALUES and (text := _text(value)):
            count += 1
            record.values.setdefault(etree.QName(value).localname, []).append((_lang(value), text))
    return record


def _lang(element: etree._Element) -> str | None:
    """The language that is in force at an element, its own or an outer one's."""
    step: etree._Element | None = element
    while step is not None:
        if (said := step.get(_LANG)) is not None:
            return tag(said)
        step = step.getparent()
    return None


def _text(element: etree._Element | None) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())
