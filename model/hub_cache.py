"""What `transformers`' generation hands from call to call, as what our network reads: ids and a mask in; places, pictures
and the slots of the cache out.

Rows may be padded anywhere: a call's real tokens are moved to the front, where the network wants them, and its logits back.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache as TransformersCache

from model.config import ModelConfig
from model.hub_tokenizer import HubError
from model.sequences import Cursor, Sequences
from model.tokens import Cache, Tokens

FIRST_SLOTS = 64
"""Room of a new cache beyond what is read at once; it doubles whenever it is full."""


class GPT4Cache(TransformersCache):
    """Our cache with what else a row's next token depends on: where its path of tokens stands."""

    def __init__(self, config: ModelConfig, sequences: Sequences) -> None:
        super().__init__(layers=[])
        self.config, self.sequences = config, sequences
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.held: Cache | None = None
        self.cursors: list[Cursor] = []
        self.width = 0
        """Tokens that each row was given, padding counted."""

    def room(
        self, rows: int, length: int, device: torch.device, dtype: torch.dtype
    ) -> tuple[Cache, list[Cursor]]:
        """The cache with room for so many more tokens a row, and where each row stands."""
        held = self.held
        if held is None:
            held = Cache(self.config, rows, length + FIRST_SLOTS, device=device, dtype=dtype)
            self.cursors = [self.sequences.cursor() for _ in range(rows)]
        elif rows != len(self.cursors):
            raise HubError(
                f"the cache holds {len(self.cursors)} rows, and {rows} were given: give a new cache"
            )
        elif int(held.lengths.max()) + length > held.ids.shape[1]:
            old = held
            slots = 2 * (int(old.lengths.max()) + length)
            held = Cache(self.config, rows, slots, device=old.keys.device, dtype=old.keys.dtype)
            used = old.ids.shape[1]
            held.keys[:, :, :used], held.values[:, :, :used] = old.keys, old.values
            held.ids[:, :used], held.lengths = old.ids, old.lengths
        self.held = held
        return held, self.cursors

    def select(self, rows: Tensor) -> None:
        """Goes on with these rows; a row may be taken several times."""
        if self.held is not None:
            self.held.select(rows.to(self.held.ids.device))
            self.cursors = [self.cursors[r].copy() for r in rows.tolist()]

    # What transformers asks of a cache.

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.select(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        self.select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.select(torch.arange(len(self.cursors)).repeat_interleave(repeats))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.width

    def get_max_length(self, layer_idx: int | None = None) -> int:
        return -1

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove:
            raise HubError("this cache takes no token back: generate without an assistant")

    @property
    def batch_size(self) -> int:
        return len(self.cursors) or -1

    @property
    def is_initialized(self) -> bool:
        return self.held is not None

    @property
    def is_croppable(self) -> bool:
        return False

    @property
    def is_compileable(self) -> bool:
        return False

    @property
    def is_linear(self) -> list[bool]:
        return [False] * self.config.depth


class Read:
    """One call's tokens, moved to the front of their rows."""

    def __init__(self, ids: Tensor, mask: Tensor | None) -> None:
        self.shape = (ids.shape[0], ids.shape[1])
        self.real = (
            torch.ones_like(ids, dtype=torch.bool) if mask is None else mask[:, -ids.shape[1] :].bool()
        )
        order = torch.argsort((~self.real).long(), dim=1, stable=True)
        self.ids, self.counts = ids.gather(1, order), self.real.sum(1)
        self.place_of = torch.argsort(order, dim=1)
        """`[rows, length]`: where each token went."""
        self.order = order

    def labels(self, given: Tensor) -> Tensor:
        """Labels `[rows, length]` moved like the tokens; -1 where nothing is wanted, as of padding."""
        return torch.where(self.real & (given >= 0), given, -1).gather(1, self.order)

    def put_back(self, moved: Tensor) -> Tensor:
        """Something `[rows, length, …]` of the moved tokens in the order in which they were given."""
        return moved[torch.arange(self.shape[0], device=moved.device)[:, None], self.place_of]

    def kept(self, last: int) -> Tensor:
        """`[rows, last]`: flat indices of what the last columns became."""
        rows = torch.arange(self.shape[0], device=self.ids.device)[:, None]
        return (rows * self.shape[1] + self.place_of)[:, -last:]

    def tokens(
        self, sequences: Sequences, cursors: list[Cursor], whole: int | None, wanted: Tensor | None
    ) -> Tokens:
        """What the network reads, without a mask; the cursors walk on.

        Args:
            whole: so many of the columns given were read at once: closed pictures in them are seen as a whole. All if
                None.
            wanted: bool `[rows, length]`: what is to be predicted; a picture of which that is true is seen code by code.

        Raises:
            HubError: a picture has more codes than the model's have.
        """
        rows, length = self.shape
        located = torch.zeros((rows, length, 3), dtype=torch.int64)
        blocks = torch.zeros((rows, length), dtype=torch.int64)
        first = rows * [length] if whole is None else self.real[:, :whole].sum(1).tolist()
        ids, counts = self.ids.tolist(), self.counts.tolist()
        for r, (row, count, cursor) in enumerate(zip(ids, counts, cursors, strict=True)):
            try:
                walked = [cursor.step(i) for i in row[:count]]
            except IndexError:
                raise HubError(
                    f"row {r} has more than {sequences.codes} codes in a picture: each is <boi>, its codes, <eoi>"
                ) from None
            if walked:
                located[r, :count] = torch.tensor(walked)
            if sequences.config.see_whole_picture and length > 1:
                read = row[: min(count, first[r])]
                blocks[r, : len(read)] = torch.tensor(sequences.blocks(read))
        if wanted is not None and blocks.any():
            blocks = _unwanted(blocks, wanted.cpu())
        moved, seen = located.to(self.ids.device), blocks.to(self.ids.device)
        return Tokens(self.ids, moved[..., :2], moved[..., 2], blocks=seen)


def _unwanted(blocks: Tensor, wanted: Tensor) -> Tensor:
    """The blocks `[rows, length]` of which nothing is wanted."""
    most = int(blocks.max()) + 1
    asked = torch.zeros((len(blocks), most), dtype=torch.int64).scatter_add_(1, blocks, wanted.long())
    return torch.where(asked.gather(1, blocks) > 0, 0, blocks)
