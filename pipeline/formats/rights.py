"""What a library says of a work's rights, as an SPDX id where there is one."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST = 500
"""A statement of rights that has no id is kept so far, in characters."""

_PORTS = {
    "by": "2.5-au 3.0-at 3.0-au 3.0-de 3.0-igo 3.0-nl 3.0-us",
    "by-nc": "3.0-de",
    "by-nc-nd": "3.0-de 3.0-igo",
    "by-nc-sa": "2.0-de 2.0-fr 2.0-uk 3.0-de 3.0-igo",
    "by-nd": "3.0-de",
    "by-sa": "2.0-uk 2.1-jp 3.0-at 3.0-de 3.0-igo",
}
"""Ported versions that SPDX has an id for; one for another country keeps its URI."""
_CC = {
    f"{kind} {version}".strip(): f"CC-{kind}-{version}".upper()
    for kind, ports in _PORTS.items()
    for version in ["1.0", "2.0", "2.5", "3.0", "4.0", *ports.split()]
} | {"zero 1.0": "CC0-1.0", "mark 1.0": "CC-PDM-1.0"}
_OTHERS = {
    "nationalarchives.gov.uk/doc/open-government-licence/version/1": "OGL-UK-1.0",
    "nationalarchives.gov.uk/doc/open-government-licence/version/2": "OGL-UK-2.0",
    "nationalarchives.gov.uk/doc/open-government-licence/version/3": "OGL-UK-3.0",
    "opendatacommons.org/licenses/odbl/1-0": "ODbL-1.0",
    "opendatacommons.org/licenses/odbl/1.0": "ODbL-1.0",
    "opendatacommons.org/licenses/by/1-0": "ODC-By-1.0",
    "opendatacommons.org/licenses/by/1.0": "ODC-By-1.0",
    "opendatacommons.org/licenses/pddl/1-0": "PDDL-1.0",
    "opendatacommons.org/licenses/pddl/1.0": "PDDL-1.0",
    "artlibre.org/licence/lal": "LAL-1.3",
    "creativecommons.org/licenses/publicdomain": "CC-PDDC",
}
_URI = re.compile(r"https?://[^\s<>\"'|]+", re.I)
_CC_URI = re.compile(
    r"creativecommons\.org/(?:licen[sc]es|publicdomain)/([a-z-]+)/(\d\.\d)(?:/([a-z]{2,3}))?(?:/|$)"
)
_NAME = re.compile(
    r"(?:creative commons |cc[ -]?)(by(?:[ -](?:nc|nd|sa)){0,2}|zero|0|pdm)(?:[ -]v?(\d\.\d))?(?:[ -]([a-z]{2,3}))?"
)


def licence(*stated: str | None) -> str | None:
    """The SPDX id that one of several statements has, the first found; else the first URI, else the first statement.

    A name without a version ("CC BY") is no licence that could be looked up, so it stays as it is stated.
    """
    texts = [" ".join(text[: 4 * LONGEST].split()) for text in stated if text and text.strip()]
    uris = [uri for text in texts for uri in _URI.findall(text)]
    found = next((known for known in _ids(texts, uris) if known), None)
    if found:
        return found
    return (uris[0].rstrip(".,;)") if uris else texts[0])[:LONGEST] if texts else None


def _ids(texts: Iterable[str], uris: Iterable[str]) -> Iterable[str | None]:
    yield from (_of_uri(uri) for uri in uris)
    yield from (_of_name(text) for text in texts)


def _of_uri(uri: str) -> str | None:
    bare = uri.lower().split("://", 1)[-1].removeprefix("www.")
    bare = re.split(r"[?#]", bare)[0].rstrip("/.,;)")
    if (found := _CC_URI.search(bare)) and found.start() == 0:
        return _cc(found[1], found[2], found[3])
    bare = re.sub(r"/(?:deed(?:\.[a-z_-]+)?|legalcode(?:\.[a-z_-]+)?|summary|index\.html?)$", "", bare)
    return _OTHERS.get(bare)


def _of_name(text: str) -> str | None:
    found = _NAME.fullmatch(re.sub(r"[\s_-]+", " ", text.lower()).strip(" ."))
    if found is None:
        return None
    kind = {"0": "zero", "pdm": "mark"}.get(found[1], found[1].replace(" ", "-"))
    version = found[2] or ("1.0" if kind in ("zero", "mark") else None)
    return _cc(kind, version, found[3]) if version else None


def _cc(kind: str, version: str, port: str | None) -> str | None:
    kind = "by-nc-nd" if kind == "by-nd-nc" else kind
    if port in ("deed", "int", "unp") or (port and kind in ("zero", "mark")):
        port = None
    return _CC.get(f"{kind} {version}-{port}" if port else f"{kind} {version}")
