"""What stands around a page's content: menus, footers, cookie banners, lists of links."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lxml import etree

from pipeline.formats.pictures import Picture

FURNITURE = frozenset({"nav", "menu", "dialog", "search"})
_ROLES = "navigation banner contentinfo search dialog alertdialog menu menubar toolbar tablist complementary"
ROLES = frozenset(_ROLES.split())
ASIDES = frozenset({"aside", "footer", "header", "form"})
_WORDS = (
    "cookie cookies consent gdpr navbar nav navigation menu sidebar breadcrumb breadcrumbs share "
    "sharing social newsletter subscribe popup modal overlay advert advertisement ads ad promo "
    "sponsored related recommended comments footer masthead toolbar pagination pager tags toc "
    "editsection catlinks navbox jump skip printfooter noprint sitenotice login signup"
)
WORDS = frozenset(_WORDS.split())
"""Classes and ids, or their first or last part, of what is no content."""
_NEVER = "html body main article p h1 h2 h3 h4 h5 h6 img figure figcaption picture pre blockquote a em"
NEVER = frozenset(_NEVER.split())
"""Elements that are not judged by their class."""
LINK_SHARE = 0.7
"""A block with more of its characters in links is a list of links."""
LONG = 300
"""A longer block is a text, however many links it has."""
_PARTS = re.compile(r"[-_]+|(?<=[a-z])(?=[A-Z])")
_BESIDE = frozenset({"has", "with", "no", "without", "not", "is"})
HEADINGS = {f"h{n}": n for n in range(1, 7)}
TIGHT = frozenset({"li", "dt", "dd", "td", "th", "tr"})


@dataclass(frozen=True)
class Block:
    """A paragraph with the share of it that is links, or a picture."""

    text: str = ""
    links: float = 0.0
    kind: str = "p"
    picture: Picture | None = None

    @property
    def tight(self) -> bool:
        """Whether it follows the block before without an empty line."""
        return self.kind in TIGHT


def is_furniture(element: etree._Element) -> bool:
    """Whether an element is never content, whatever it holds."""
    return element.tag in FURNITURE or (element.get("role") or "").lower() in ROLES


def is_aside(element: etree._Element) -> bool:
    """Whether an element is probably not content, by its name, class or id."""
    tag = element.tag
    if tag in ASIDES:
        return not (tag in ("header", "footer") and _inside(element))
    if tag in NEVER:
        return False
    names = [*(element.get("class") or "").split()[:50], element.get("id") or ""]
    return any(_says_so(name) for name in names if name)


def _inside(element: etree._Element) -> bool:
    """Whether a header or footer belongs to a quotation, a figure or an article, and not to the page."""
    return any(
        above.tag in ("blockquote", "figure", "article", "main") for above in element.iterancestors()
    ) and (element.tag == "header" or element.getparent().tag in ("blockquote", "figure"))


def _says_so(name: str) -> bool:
    parts = [part.lower() for part in _PARTS.split(name[:200]) if part]
    if not parts or not _BESIDE.isdisjoint(parts):
        return False
    return parts[0] in WORDS or parts[-1] in WORDS


def cleaned(blocks: list[Block]) -> list[Block]:
    """Without runs of blocks that are nothing but links, and without headings that then have nothing under them."""
    bare = [_is_bare(block) for block in blocks]
    kept = []
    for number, block in enumerate(blocks):
        alone = not any(bare[max(0, number - 1) : number] + bare[number + 1 : number + 2])
        if not bare[number] or (alone and 0 < number < len(blocks) - 1):
            kept.append(block)
    return _without_idle_headings(kept)


def _is_bare(block: Block) -> bool:
    if block.picture is not None or block.kind == "h1":
        return False
    return (block.links > LINK_SHARE and len(block.text) < LONG) or not any(c.isalnum() for c in block.text)


def _without_idle_headings(blocks: list[Block]) -> list[Block]:
    """Leaves out a heading that is followed by one of its rank or above, or by nothing."""
    kept: list[Block] = []
    below = 0
    for block in reversed(blocks):
        rank = HEADINGS.get(block.kind, 0) if block.picture is None else 0
        if rank > 1 and (not kept or 0 < below <= rank):
            continue
        kept.append(block)
        below = rank
    return kept[::-1]
