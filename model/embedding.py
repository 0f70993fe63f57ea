"""What a token is before the first layer: its id, and for a picture's code its place and what lies around
it."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import Modality, ModelConfig
from model.layers import Linear

MOVES = {
    "none": [],
    "before": [(-1, -1), (-1, 0), (-1, 1), (0, -1)],
    "around": [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)],
}
"""Rows down and columns right to a code's neighbours."""


class Embedding(nn.Module):
    """One modality's embedding."""

    level_values: Tensor

    def __init__(self, config: ModelConfig, modality: Modality, low: int) -> None:
        super().__init__()
        width = config.width
        self.low, self.size, self.grid = low, modality.size, modality.grid
        self.moves = MOVES[config.neighbours]
        self.ids = nn.Parameter(torch.empty(modality.size, width))
        self.levels: Linear | None = None
        self.mixer: Linear | None = None
        if modality.grid:
            self.rows = nn.Parameter(torch.empty(modality.grid[0], width))
            self.columns = nn.Parameter(torch.empty(modality.grid[1], width))
            if self.moves:
                self.mixer = Linear(len(self.moves) * width, width, bias=False)
        if config.embed_levels and modality.levels:
            self.levels = Linear(len(modality.levels), width, bias=False)
            self.of_levels = modality.levels
        self.reset_constants(self.ids.device)

    def reset_constants(self, device: torch.device) -> None:
        """Sets what follows from the configuration alone."""
        if self.levels is not None:
            self.register_buffer("level_values", level_values(self.of_levels).to(device), persistent=False)

    def initialise(self, std: float, generator: torch.Generator) -> None:
        """Random weights; where levels are embedded, they carry the code and its own embedding starts
        small."""
        own = std if self.levels is None else 0.02
        for name, weight in self.named_parameters():
            scale = {"ids": own, "levels.weight": 1.4 * std, "mixer.weight": weight.shape[1] ** -0.5}.get(
                name, std
            )
            weight.copy_(torch.randn(weight.shape, generator=generator) * scale)

    def table(self) -> Tensor:
        """What each id alone is `[ids, width]`."""
        return self.ids if self.levels is None else self.ids + self.levels(self.level_values)

    def forward(
        self,
        ids: Tensor,
        places: Tensor,
        around: tuple[Tensor, Tensor] | None,
        table: Tensor | None = None,
    ) -> Tensor:
        """Embeddings `[n, width]` of ids and places `[n]`; `around` gives the ids `[n, moves]` of the
        neighbours, and which of them may be seen. `table` is `table()`, if it is known already."""
        table = self.table() if table is None else table
        x = F.embedding(ids - self.low, table)
        if self.mixer is not None and around is not None:
            near, seen = around
            near = F.embedding((near - self.low).clamp(0, self.size - 1), table) * seen[..., None]
            x = x + self.mixer(near.flatten(1))
        if self.grid:
            x = x + F.embedding(places // self.grid[1], self.rows)
            x = x + F.embedding(places % self.grid[1], self.columns)
        return x

    def neighbours(
        self, known: Tensor, row: Tensor, slot: Tensor, places: Tensor, whole: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """Ids of the codes around each code, and which of them it may see.

        Args:
            known: ids `[rows, slots]` in reading order; a code stands at `row` and `slot` `[n]`.
            places: the code's index within its picture.
            whole: whether it may also see what comes after it.
        """
        if self.mixer is None or not self.grid:
            return None
        rows, columns = self.grid
        down, right = torch.tensor(self.moves, device=slot.device).unbind(1)
        r, c = (places // columns)[:, None] + down, (places % columns)[:, None] + right
        move = down * columns + right
        seen = (r >= 0) & (r < rows) & (c >= 0) & (c < columns) & ((move < 0) | whole[:, None])
        return known[row[:, None], torch.where(seen, slot[:, None] + move, slot[:, None])], seen


def level_values(levels: tuple[int, ...]) -> Tensor:
    """The channels that each code stands for, in [-1, 1]: `[codes, channels]`, the first channel counting
    fastest."""
    codes, columns, stride = torch.arange(prod(levels)), [], 1
    for level in levels:
        columns.append((codes // stride % level) / (level - 1) * 2 - 1)
        stride *= level
    return torch.stack(columns, dim=1)
