"""Values inside JSON documents, by dotted paths: "photos.photo", "edmIsShownBy.0"."""

from __future__ import annotations

import json
from typing import Any


class Absent(Exception):
    """A path leads nowhere; the message says what there is."""


def at_path(value: Any, path: str) -> Any:
    """The value that lies at the path; "" is the value itself, and a number is a place in a list.

    Nothing lies below null and behind the end of a list: such a path gives null.

    Raises:
        Absent: no such name, or nothing that has names.
    """
    taken: list[str] = []
    for step in path.split(".") if path else ():
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and len(step) < 10:
            value = value[int(step)] if int(step) < len(value) else None
        elif value is None:
            return None
        else:
            where = f'"{".".join(taken)}" is {what(value)}' if taken else f"it is {what(value)}"
            raise Absent(f'no "{step}": {where}')
        taken.append(step)
    return value


def what(value: Any) -> str:
    """What a value is, in words; of an object, which names it has."""
    if isinstance(value, dict):
        return f"an object of {', '.join([str(name)[:40] for name in value][:40]) or 'nothing'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a text" if isinstance(value, str | bytes) else json.dumps(value, default=str)[:40]


def only(value: Any) -> Any:
    """The item of a list of one; anything else as it is."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value
