"""How many bits a text costs a model that knows its picture and prompt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from model.generate import Model
from model.outcome import Asked
from model.rows import Rows
from model.tokenizers import Tokenizers

TOKENS = 8_192
"""Tokens that go through the network at once."""


@torch.inference_mode()
def costs(
    model: Model,
    tokenizers: Tokenizers,
    codes: Callable[[Sequence[str]], np.ndarray],
    asked: Sequence[Asked],
    longest: int,
) -> np.ndarray:
    """Bits of the first `longest` tokens of each expected text, its end not counted: float64 `[items]`."""
    s, found = model.sequences, np.zeros(len(asked))
    told = [tokenizers.encode(one.prompt)[-longest:] for one in asked]
    right = [tokenizers.encode(one.expected)[:longest] for one in asked]
    size = [
        len(a) + len(b) + (s.codes + 2) * bool(one.image_id)
        for a, b, one in zip(told, right, asked, strict=True)
    ]
    order = sorted(range(len(asked)), key=lambda at: (size[at], at))
    while order:
        many = max(1, TOKENS // (size[order[-1]] + 8))
        part, order = order[-many:], order[:-many]
        ids = [asked[at].image_id for at in part]
        shown = (
            dict(zip(filter(None, ids), codes([one for one in ids if one]), strict=True)) if any(ids) else {}
        )
        paths = []
        for at in part:
            one, code = asked[at], shown.get(asked[at].image_id)
            head = s.text(one.lang, one.task, told[at])
            if code is not None:
                head = [*s.picture(code), *s.question(one.lang, one.task, told[at])]
            paths.append((head, right[at], code is not None))
        found[part] = bits(model, paths)
    return found


def bits(model: Model, paths: Sequence[tuple[list[int], list[int], bool]]) -> np.ndarray:
    """Bits of the second part of each path, after the first: float64 `[paths]`. The third says whether the first opens with a
    picture to be seen as a whole."""
    length = max(len(head) + len(text) for head, text, _ in paths)
    rows = Rows(len(paths), length, model.sequences)
    for row, (head, text, pictured) in enumerate(paths):
        rows.add(row, [*head, *text], 0, 0, 0, (len(head) - 1, len(head) + len(text) - 1))
        if pictured and model.network.config.see_whole_picture:
            rows.columns["blocks"][row, 1 : model.sequences.codes + 1] = 1
    batch = rows.batch()
    at = (batch.targets.flatten() >= 0).nonzero().squeeze(1)
    logits = model.network(batch.tokens(str(model.device)), None, at.to(model.device))
    wanted = batch.targets.flatten()[at].to(logits.device).long()
    nats = F.cross_entropy(logits.float(), wanted, reduction="none").double().cpu()
    owner = torch.div(at, length, rounding_mode="floor")
    return torch.zeros(len(paths), dtype=torch.float64).index_add_(0, owner, nats).numpy() / math.log(2)
