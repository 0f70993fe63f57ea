"""Rows being filled, run by run: for a few items that stand alone. Whole batches are laid out by `model.layout`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model.batches import Batch
from model.sequences import Sequences


class Rows:
    """Rows being filled, run by run."""

    def __init__(self, rows: int, length: int, sequences: Sequences) -> None:
        fill = {
            "ids": sequences.vocabulary["<pad>"],
            "places": 0,
            "units": -1,
            "branches": 0,
            "blocks": 0,
            "targets": -1,
        }
        self.columns = {name: np.full((rows, length), value, np.int32) for name, value in fill.items()}
        self.columns["positions"] = np.zeros((rows, length, 2), np.int32)
        self.sequences = sequences
        self.used = [0] * rows
        self.ids: list[int] = []
        self.runs: list[tuple[int, ...]] = []

    def add(
        self, row: int, ids: Sequence[int], first: int, unit: int, branch: int, loss: tuple[int, int]
    ) -> slice:
        """A run of tokens from position `first`; those numbered loss[0] up to loss[1] each predict the next
        one."""
        run = slice(self.used[row], self.used[row] + len(ids))
        self.ids += ids
        self.runs.append((len(ids), row, run.start, first, unit, branch, *loss))
        self.used[row] = run.stop
        return run

    def batch(self) -> Batch:
        """All runs in their places, laid out at once."""
        flat, table = np.array(self.ids, np.int64), np.array(self.runs, np.int64).reshape(-1, 8)
        lengths = table[:, 0]
        row, start, first, unit, branch, low, high = np.repeat(table[:, 1:], lengths, axis=0).T
        inner = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        positions, places = self.sequences.located(flat, inner, first)
        predicts = (inner >= low) & (inner < high)
        found = {
            "ids": flat,
            "positions": positions,
            "places": places,
            "units": unit,
            "branches": branch,
            "targets": np.where(predicts, np.roll(flat, -1), -1),
        }
        for name, values in found.items():
            self.columns[name][row, start + inner] = values
        return Batch(**{name: torch.from_numpy(column) for name, column in self.columns.items()})
