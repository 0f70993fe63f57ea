"""Classifier-free guidance inside `transformers`' generation, as in our own loop (`model.generate`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import LogitsProcessor

from model.generate import guide

if TYPE_CHECKING:
    from model.hub import GPT4ForConditionalGeneration
    from model.hub_cache import GPT4Cache


class Guidance(LogitsProcessor):
    """Moves the logits of rows that draw a picture away from those of a prompt that wishes for nothing in particular.

    `transformers`' own takes differences of logits that are -inf where a head is off, which are no numbers.
    """

    def __init__(
        self, model: GPT4ForConditionalGeneration, weight: float, free: Tensor, prompt_length: int
    ) -> None:
        self.model, self.weight, self.prompt_length = model, weight, prompt_length
        self.free = free
        """`[1 or rows, length]`: the prompt without a wish."""
        self.cache: GPT4Cache | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits `[rows, ids]`, guided where the row's prompt ended with `<boi>`."""
        begin = self.model.sequences.vocabulary["<boi>"]
        drawing = input_ids[:, self.prompt_length - 1] == begin
        ids = input_ids[:, -1:]
        if self.cache is None:
            ids = self.free.to(input_ids.device).expand(len(input_ids), -1)
        out = self.model(ids, cache=self.cache, use_cache=True, logits_to_keep=1)
        self.cache = out.cache
        return torch.where(drawing[:, None], guide(scores, out.logits[:, -1].float(), self.weight), scores)
