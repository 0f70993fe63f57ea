"""What every benchmark is given, and what it gives back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


class BenchmarkError(Exception):
    """A benchmark could not be run; the message says why and where to look."""


class NotHere(BenchmarkError):
    """This machine lacks what the benchmark is about: nothing to measure, and no failure."""


@dataclass(frozen=True)
class Bench:
    """How large a run is, how often it is repeated, and the folder that it works in."""

    size: int
    pairs: int
    work: Path

    def folder(self, name: str) -> Path:
        """A folder for one purpose, kept from run to run."""
        folder = self.work.absolute() / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True)
class Result:
    """One comparison. `ratio` above 1: we are ahead; where the peer is another run of ours, how far."""

    name: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    ratio: float
    limit: float
    """The physical or library limit for this work, in the same unit."""
    quality_ours: float
    quality_peer: float
    cpu_ratio: float | None = None
    """The peer's CPU seconds over ours, where that is asked."""

    def line(self) -> str:
        """The result as one line of JSON."""
        told = {key: _short(value) for key, value in asdict(self).items() if value is not None}
        return json.dumps(told, ensure_ascii=False)


def _short(value: object) -> object:
    """Four digits are more than any of these measurements has."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
