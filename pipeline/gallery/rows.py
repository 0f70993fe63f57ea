"""A text of a picture, as it goes into the corpus."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One text of a picture."""

    text: str
    lang: str = "en"
    task: str = "caption"
    prompt: str | None = None
    label: str | None = None
    secret: str | None = None
    """An address or number that was planted in the text: for the truth only."""

    def fields(self) -> dict[str, str]:
        """What goes into the corpus, without what is empty or only the truth may know."""
        return {k: v for k, v in asdict(self).items() if v is not None and k != "secret"}
