"""The slow and simple way to generate, which the quick one must agree with: everything is read anew at every step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from model.config import ModelConfig
from model.generate import Model, Sampling, choose, guide
from model.sequences import Sequences
from model.tokenizers import Tokenizers
from model.tokens import Tokens
from model.transformer import Transformer

PLAIN = {
    "norm": "rms",
    "rope_2d": False,
    "embed_levels": False,
    "neighbours": "none",
    "see_whole_picture": False,
}
VARIANTS = {
    "default": {},
    "plain": PLAIN,
    "dense": {"dense": True},
    "whole": PLAIN | {"see_whole_picture": True},
    "2d": PLAIN | {"rope_2d": True, "embed_levels": True, "activation": "swiglu"},
    "around": {"neighbours": "around"},
}


SMALL = {"width": 16, "depth": 2, "heads": 2, "kv_heads": 1, "hidden": 32}


def make_model(tokenizers: Tokenizers, **overrides: object) -> Model:
    """A small network with random weights everywhere, so that every path matters."""
    config = ModelConfig.preset("tiny", tokenizers.modalities(), **(SMALL | overrides))
    network = Transformer(config).initialise(3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return Model(network.eval().requires_grad_(False), Sequences(config, tokenizers.vocabulary))


def logits_of(model: Model, ids: Sequence[int], given: int | None = None) -> torch.Tensor:
    """Logits of one sequence, read at once without a cache; pictures are seen as a whole among the first `given` ids
    (all if None), and code by code where the model drew them."""
    cursor = model.sequences.cursor()
    where = torch.tensor([[cursor.step(i) for i in ids]])
    length = len(ids)
    given = length if given is None else given
    blocks = torch.tensor(model.sequences.blocks(ids[:given]) + [0] * (length - given))
    seen = torch.ones(length, length, dtype=torch.bool).tril()
    whole = model.network.config.see_whole_picture
    if whole:
        seen |= (blocks[:, None] == blocks[None, :]) & (blocks[:, None] > 0)
    read = Tokens(
        torch.tensor([ids]), where[..., :2], where[..., 2], seen[None, None], blocks[None] if whole else None
    )
    return model.network(read)[0]


def uncached(model: Model, ids: list[int], steps: int, stop: int) -> list[int]:
    """Greedy continuation, everything read anew at every step."""
    return read_anew(model, ids, Sampling(max_tokens=steps), stop=[stop])


def read_anew(
    model: Model, prompt: list[int], sampling: Sampling, *, stop: Iterable[int] = (), key: int = 0
) -> list[int]:
    """The continuation of one prompt, everything read anew at every step, and for guidance the picture alone."""
    s, out, stop = model.sequences, [], set(stop)
    begin, end = s.vocabulary["<boi>"], s.vocabulary["<eoi>"]
    draws = np.random.Generator(np.random.Philox(key=[sampling.seed, key]))
    while len(out) < sampling.max_tokens:
        ids, uniform = prompt + out, torch.tensor([draws.random()]) if sampling.temperature else None
        since = next((n for n, i in enumerate(reversed(ids)) if i == begin), None)
        logits = logits_of(model, ids, len(prompt))[-1:]
        if since is not None and since < s.codes and sampling.guidance != 1:
            free = [s.vocabulary["<bos>"], *ids[len(ids) - since - 1 :]]
            logits = guide(logits, logits_of(model, free, 0)[-1:], sampling.guidance)
        if sampling.modalities == "text":
            logits[:, begin] = -torch.inf
        (token,) = choose(logits, sampling, uniform)
        if since == s.codes:
            token = end
        if sampling.modalities == "image" and not out and (since is None or since >= s.codes):
            token = begin
        if token in stop or (sampling.modalities == "image" and token == end):
            break
        out.append(token)
    return out
