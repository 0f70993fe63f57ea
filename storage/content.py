"""Files that settings name, told by what is in them."""

from __future__ import annotations

import hashlib
from pathlib import Path


def content(path: str) -> str:
    """sha256 of a file's bytes, hex, for a fingerprint: other content, other results. Empty if there is no such file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else ""
