"""The pictures of a page, each with what is said of it: its alternative text, its caption, its title."""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from pipeline.formats import img
from pipeline.formats.hidden import UNSHOWN, is_hidden

TINY = 2
"""CSS pixels: what is no larger counts visitors."""
_CAPTIONED = "wp-caption thumb thumbinner gallerybox image-caption captioned media-caption article-image"
CAPTIONED = frozenset(_CAPTIONED.split())
"""Classes of elements that hold a picture and its caption, beside `<figure>`."""
_CAPTIONS = "wp-caption-text thumbcaption gallerytext caption image-caption caption-text"
CAPTIONS = frozenset(_CAPTIONS.split())
ABOVE = 8
"""Elements above a picture among which its figure is looked for."""


@dataclass(frozen=True)
class Picture:
    """A picture on a page."""

    url: str
    alt: str | None = None
    caption: str | None = None
    title: str | None = None
    width: int | None = None
    height: int | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """What is said of it, each text once."""
        return tuple(dict.fromkeys(text for text in (self.alt, self.caption, self.title) if text))

    def smaller(self, side: int) -> bool:
        """Whether the page states a side below that."""
        return any(stated is not None and stated < side for stated in (self.width, self.height))


class Pictures:
    """Finds a page's pictures, and knows them by their elements."""

    def __init__(self, root: etree._Element, base: str, most: int) -> None:
        self._base, self._of = base, dict[etree._Element, Picture]()
        self._captions = dict[etree._Element, tuple[str | None, int]]()
        self.cut = False
        walk = etree.iterwalk(root, events=("start",))
        for _, element in walk:
            if element.tag in UNSHOWN or is_hidden(element):
                walk.skip_subtree()
            elif element.tag in ("img", "amp-img"):
                if len(self._of) >= most:
                    self.cut = True
                    break
                if (picture := self._read(element)) is not None:
                    self._of[element] = picture

    @property
    def all(self) -> tuple[Picture, ...]:
        return tuple(dict.fromkeys(self._of.values()))

    def get(self, element: etree._Element) -> Picture | None:
        return self._of.get(element)

    def _read(self, element: etree._Element) -> Picture | None:
        width, height = img.sides(element)
        if (width is not None and width <= TINY) or (height is not None and height <= TINY):
            return None
        url = img.source(element, self._base)
        if url is None or self._is_fallback(element):
            return None
        alt, title = line(element.get("alt")), line(element.get("title"))
        return Picture(url, alt, self._caption(element), title, width, height)

    def _is_fallback(self, element: etree._Element) -> bool:
        """Whether the picture stands in a `<noscript>` behind the one that it replaces."""
        for above in element.iterancestors():
            if above.tag == "noscript":
                before = above.getprevious()
                if before is None:
                    return False
                return before in self._of or any(one in self._of for one in before.iter("img"))
        return False

    def _caption(self, element: etree._Element) -> str | None:
        """The caption of the figure around a picture, if the figure has no other picture."""
        for number, above in enumerate(element.iterancestors()):
            if number >= ABOVE or above.tag in ("body", "main", "article"):
                return None
            classes = (above.get("class") or "").lower().split()
            if above.tag == "figure" or not CAPTIONED.isdisjoint(classes):
                if above not in self._captions:
                    self._captions[above] = _caption_in(above)
                caption, shown = self._captions[above]
                if caption is not None:
                    return caption if shown == 1 else None
        return None


def line(text: str | None) -> str | None:
    """The text on one line; None for nothing."""
    return " ".join((text or "").split()) or None


def _caption_in(figure: etree._Element) -> tuple[str | None, int]:
    """The figure's caption and how many pictures it shows, those of a `<noscript>` apart."""
    shown, caption = 0, None
    for element in figure.iter("*"):
        if element.tag in ("img", "amp-img"):
            shown += not any(above.tag == "noscript" for above in element.iterancestors())
        elif caption is None and (
            element.tag == "figcaption"
            or not CAPTIONS.isdisjoint((element.get("class") or "").lower().split())
        ):
            caption = line("".join(element.itertext()))
    return caption, max(shown, 1)
