"""A text as detectors of personal data read it: one form of each sign, and scripts without spaces set apart."""

from __future__ import annotations

import re
import unicodedata

_SIGNS = str.maketrans({"‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-", "。": ".", "\t": " "})
_ENTITY = re.compile(r"&(?:#0*64|#x0*40|commat|#0*46|#x0*2e|period);?", re.IGNORECASE)
_UNSPACED = r"\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Letters of Chinese, Japanese and Korean: a number or an address may stand beside them without a space."""
_SEAM = re.compile(rf"(?<=[{_UNSPACED}])(?=[0-9A-Za-z+(])|(?<=[0-9A-Za-z)])(?=[{_UNSPACED}])")


def legible(text: str) -> str:
    """The text in Unicode's NFKC (full-width signs and odd spaces become plain), every dash a hyphen, the entities
    of @ and . written out, and a space where a script without spaces meets Latin letters or digits."""
    text = _ENTITY.sub(
        lambda m: "@" if m[0].lower().strip("&#x0;") in ("64", "4", "40", "commat") else ".", text
    )
    return _SEAM.sub(" ", unicodedata.normalize("NFKC", text).translate(_SIGNS))
