"""Formulae in MathML as a line of text: P^2 = a^3, (a + b)/c, √(x)."""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

_UNSAID = frozenset({"annotation", "annotation-xml", "mphantom"})
"""The same formula again in another notation, and what is only there for its width."""
_APART = frozenset("=≠≈≡≤≥<>±×÷·∝→⇒∼≅≪≫")
"""Signs with a space on both sides; other signs may also be a number's own."""
_INVISIBLE = str.maketrans({"\u2061": "", "\u2062": " ", "\u2063": "", "\u2064": ""})
"""Signs that say function, times (also before a unit), comma and plus."""
_SHAPES: dict[str, Callable[[list[str]], str]] = {
    "msup": lambda parts: f"{_held(parts[0])}^{_held(parts[1])}",
    "msub": lambda parts: f"{_held(parts[0])}_{_held(parts[1])}",
    "msubsup": lambda parts: f"{_held(parts[0])}_{_held(parts[1])}^{_held(parts[2])}",
    "munder": lambda parts: f"{_held(parts[0])}_{_held(parts[1])}",
    "munderover": lambda parts: f"{_held(parts[0])}_{_held(parts[1])}^{_held(parts[2])}",
    "mover": lambda parts: f"{parts[0]}{parts[1]}",
    "mfrac": lambda parts: f"{_held(parts[0])}/{_held(parts[1])}",
    "mroot": lambda parts: f"{_held(parts[0])}^(1/{parts[1]})",
}


def text(element: etree._Element) -> str:
    """The formula, or a part of one, on one line."""
    return " ".join(_text(element).translate(_INVISIBLE).split())


def _text(element: etree._Element) -> str:
    if not isinstance(element.tag, str):
        return ""
    name = etree.QName(element).localname
    if name in _UNSAID:
        return ""
    if len(element) == 0:
        own = " ".join((element.text or "").split())
        apart = name == "mtext" or (name == "mo" and own in _APART)
        return " " if name == "mspace" else f" {own} " if apart else own
    parts = [_text(child).strip() if name in _SHAPES else _text(child) for child in element]
    if name in _SHAPES and len(parts) == (3 if name in ("msubsup", "munderover") else 2):
        return _SHAPES[name](parts)
    if name == "msqrt":
        return f"√({''.join(parts).strip()})"
    if name == "mfenced":
        marks = element.get("separators", ",").strip()[:1]
        inside = f"{marks} ".join(part.strip() for part in parts)
        return f"{element.get('open', '(')}{inside}{element.get('close', ')')}"
    return (" " if name in ("mtable", "mtr", "mlabeledtr") else "").join(parts)


def _held(part: str) -> str:
    """A part as it may stand beside ^, _ or /: in parentheses unless it is one word or number."""
    whole = part.replace(".", "").replace(",", "").isalnum() or len(part) == 1
    return (
        part
        if whole or (part.startswith("(") and part.endswith(")") and part.count("(") == 1)
        else f"({part})"
    )
