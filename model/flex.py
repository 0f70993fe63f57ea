"""Document masks for FlexAttention: who attends to whom as a rule over row, query and key, instead of a written-out mask.

On a GPU blocks of keys that no query of a block sees are never computed. FlexAttention has no backward on a CPU; there
the written-out mask serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Of row, head, query and key."""


def tree_rule(units: Tensor, branches: Tensor, blocks: Tensor) -> Rule:
    """`tokens.tree_mask` as a rule, from the same int `[rows, length]` each."""

    def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        unit, block = units[row, query], blocks[row, query]
        past = (query >= key) | ((block == blocks[row, key]) & (block > 0))
        branch = branches[row, key]
        path = (branch == 0) | (branch == branches[row, query])
        return ((unit == units[row, key]) & (unit >= 0) & path & past) | (query == key)

    return sees


def block_mask(units: Tensor, branches: Tensor, blocks: Tensor) -> BlockMask:
    """The rule, and which blocks of 128 queries and keys it leaves anything of."""
    rows, length = units.shape
    return create_block_mask(tree_rule(units, branches, blocks), rows, None, length, length, units.device)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask) -> Tensor:
    """Attention under a block mask: `[rows, heads, length, channels]`, keys and values with fewer heads."""
    call = compiled() if q.is_cuda else flex_attention
    return call(q, k, v, block_mask=mask, enable_gqa=q.shape[1] != k.shape[1])


def compiled() -> Any:
    """FlexAttention as one kernel, compiled once for any length."""
    if not _COMPILED:
        _COMPILED.append(torch.compile(flex_attention, dynamic=True))
    return _COMPILED[0]


_COMPILED: list[Any] = []
