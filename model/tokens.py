"""What the network reads: tokens with their places, who may attend to whom, and the cache of what was
read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from model.config import ModelConfig


@dataclass(frozen=True)
class Tokens:
    """What the network reads: `[rows, length]` each, and what may attend to what."""

    ids: Tensor
    """int64, over all modalities."""
    positions: Tensor
    """int64 `[rows, length, 2]`: two coordinates along the token's own path (branches of one trunk count on
    from its end). They are equal for text, and for codes too unless the model tells rows from columns."""
    places: Tensor
    """int64: the index of a code within its picture; 0 elsewhere."""
    mask: Tensor | BlockMask | None = None
    """bool `[rows, 1, length, keys]`, or FlexAttention's; None is plain causal."""
    blocks: Tensor | None = None
    """int64: above 0 for the codes of a picture that is seen as a whole."""

    real: Tensor | None = None
    """bool: all but padding; None if all are."""

    def to(self, device: torch.device | str) -> Tokens:
        mask = None if self.mask is None else self.mask.to(device)
        blocks = None if self.blocks is None else self.blocks.to(device)
        real = None if self.real is None else self.real.to(device)
        ids, positions, places = (part.to(device) for part in (self.ids, self.positions, self.places))
        return Tokens(ids, positions, places, mask, blocks, real)


ROUND = 128
"""Numbers of tokens are rounded up to a multiple of this: a matrix product of a new shape is compiled first, and that
took a third of a training step."""


def rounded_up(real: Tensor, more: Tensor) -> Tensor:
    """`real` with so many of the positions in `more` (bool as well) that their number is a multiple of ROUND, as far as
    there are any."""
    spare = (more & ~real).flatten()
    wanted = -int(real.sum()) % ROUND
    taken = spare & (spare.cumsum(0) <= wanted)
    return real | taken.view_as(real)


def tree_mask(units: Tensor, branches: Tensor, blocks: Tensor | None = None) -> Tensor:
    """Who attends to whom in packed rows: bool `[rows, 1, length, length]` from int `[rows, length]` each.

    A token sees what precedes it in its own unit: the trunk (branch 0) and its own branch. Tokens of one
    block (a number above 0) see each other in both directions. Padding (unit -1) sees itself.
    """
    length = units.shape[1]
    index = torch.arange(length, device=units.device)
    past = index[:, None] >= index[None, :]
    if blocks is not None:
        past = past | ((blocks[:, :, None] == blocks[:, None, :]) & (blocks[:, :, None] > 0))
    same = (units[:, :, None] == units[:, None, :]) & (units[:, :, None] >= 0)
    path = (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
    return ((same & path & past) | torch.eye(length, dtype=torch.bool, device=units.device)).unsqueeze(1)


class Cache:
    """Keys and values of all layers, allocated once; `keys` and `values` show them as `[depth, rows, length, kv_heads,
    channels]`."""

    def __init__(
        self,
        config: ModelConfig,
        rows: int,
        length: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (config.depth, 2, rows, config.kv_heads, length, config.channels)
        self._hold(
            torch.zeros(shape, device=device, dtype=dtype),
            torch.zeros((rows, length), dtype=torch.int64, device=device),
            torch.zeros(rows, dtype=torch.int64, device=device),
        )

    def _hold(self, pairs: Tensor, ids: Tensor, lengths: Tensor) -> None:
        self.pairs = pairs
        """`[depth, 2, rows, kv_heads, length, channels]`: a head's keys lie side by side, and so do its values."""
        self.ids, self.lengths = ids, lengths
        """Tokens that each row holds; the caller raises it after a call, padding left out."""

    @property
    def keys(self) -> Tensor:
        return self.pairs[:, 0].transpose(2, 3)

    @property
    def values(self) -> Tensor:
        return self.pairs[:, 1].transpose(2, 3)

    def part(self, first: int, last: int) -> Cache:
        """Some rows, as a cache over the same memory."""
        part = object.__new__(Cache)
        part._hold(self.pairs[:, :, first:last], self.ids[first:last], self.lengths[first:last])
        return part

    def select(self, rows: Tensor) -> None:
        """Goes on with these rows; a row may be taken several times."""
        self._hold(self.pairs[:, :, rows], self.ids[rows], self.lengths[rows])

    def mask(self, blocks: Tensor) -> Tensor:
        """Who sees what when tokens of these blocks `[rows, length]` come in: what precedes, and their own
        block."""
        slots = self.lengths[:, None] + torch.arange(blocks.shape[1], device=blocks.device)
        limit = int(slots.max()) + 1
        keys = torch.zeros((len(blocks), limit), dtype=blocks.dtype, device=blocks.device).scatter_(
            1, slots, blocks
        )
        past = torch.arange(limit, device=blocks.device) <= slots[:, :, None]
        return (past | ((blocks[:, :, None] == keys[:, None, :]) & (blocks[:, :, None] > 0))).unsqueeze(1)
