"""A caption taken apart for scoring: each attribute over all groups, in the order in which they are named."""

from __future__ import annotations

from collections.abc import Hashable

from pipeline.gallery.scene import parse


def attributes(caption: str) -> dict[str, Hashable] | None:
    """Attributes of an English caption, None if it is no sentence of the grammar; `relation` is None for one group."""
    parsed = parse(caption)
    if parsed is None:
        return None
    return {
        "count": tuple(group.count for group in parsed.groups),
        "texture": tuple(group.texture for group in parsed.groups),
        "colour": tuple(group.colour for group in parsed.groups),
        "shape": tuple(group.shape for group in parsed.groups),
        "relation": parsed.relation,
        "background": parsed.background,
        "unseen": True if parsed.unseen else None,
    }
