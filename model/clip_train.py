"""Fits a small contrastive model on the user's own pictures and texts, and saves it as open_clip would.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021: in a batch, each picture is
to be told from all texts, and each text from all pictures. Where two texts of a batch are the same, neither is wrong.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.checkpoint import write_file
from model.clip import CONFIG, FITTED, MEAN, STD, WEIGHTS, Place, floats, read
from model.clip_config import FilteringConfig
from model.machine import keep_freed_memory

VOCABULARY = 49_408
"""Entries of open_clip's own tokenizer."""
EMBEDDING = "text.token_embedding.weight"
MOST_SCALE = math.log(100)
"""The similarities' factor stays below, as in the paper."""
WARMUP = 50
"""Steps in which the step size grows, at most a fifth of all."""

Progress = Callable[[int, int, float], None]


class FitError(Exception):
    """A filtering network cannot be fitted on what there is, or so; the message says what was found."""


@dataclass(frozen=True)
class Fitted:
    """A network that was fitted, not yet on disk."""

    weights: dict[str, Tensor]
    settings: FilteringConfig
    context: int
    about: dict[str, Any]
    """steps, pictures, texts, loss."""

    def save(self, root: Path) -> str:
        """Writes `root/<id>/`, which open_clip loads as "local-dir:", and returns the id."""
        scratch = root / "unfinished"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        scaling = {"size": self.settings.size, "mean": MEAN, "std": STD, "fill_color": 255}
        scaling |= {"interpolation": "bicubic", "resize_mode": "longest"}
        config = {"model_cfg": architecture(self.settings, self.context), "preprocess_cfg": scaling}
        write_file(scratch / CONFIG, json.dumps(config, indent=1).encode())
        write_file(scratch / WEIGHTS, save({name: w.contiguous() for name, w in self.weights.items()}))
        name = read(Place(str(scratch))).id
        meta = {"id": name, "settings": self.settings.model_dump(mode="json"), **self.about}
        write_file(scratch / FITTED, json.dumps(meta, indent=1, ensure_ascii=False).encode())
        shutil.rmtree(root / name, ignore_errors=True)
        scratch.replace(root / name)
        return name


def architecture(settings: FilteringConfig, context: int, vocabulary: int = VOCABULARY) -> dict[str, Any]:
    """The model in open_clip's own terms: a ResNet for pictures, a transformer for texts.

    Of few pictures, convolutions learn much faster than a vision transformer.
    """
    vision = {
        "image_size": settings.size,
        "width": settings.width,
        "layers": [settings.depth] * 4,
        "head_width": min(64, 32 * settings.width),
    }
    text = {
        "context_length": context,
        "vocab_size": vocabulary,
        "width": settings.text_width,
        "heads": settings.text_width // 64,
        "layers": settings.text_layers,
    }
    return {"embed_dim": settings.dim, "custom_text": True, "vision_cfg": vision, "text_cfg": text}


@dataclass(frozen=True)
class Pairs:
    """Pictures, and for each one or more texts."""

    images: np.ndarray
    """uint8 [pictures, size, size, 3]."""
    pictures: np.ndarray
    """Which picture each text is of: int [texts], ascending."""
    tokens: Tensor
    """Token ids [texts, context]; the end of a text is the largest id."""
    used: Tensor
    """Ids of the tokenizer by the ids above: only tokens that occur are learned."""

    @classmethod
    def of(cls, images: np.ndarray, pictures: Sequence[int], texts: Sequence[str], most: int) -> Pairs:
        """Cuts the texts into tokens, at most `most` of each.

        Raises:
            FitError: fewer than two pictures have a text.
        """
        import open_clip

        places = np.asarray(pictures, np.int64)
        if len(np.unique(places)) < 2:
            raise FitError(
                f"the filtering network needs two pictures with a text, and found {len(np.unique(places))}: look at "
                "sources, langs, tasks and least under [filtering_network]"
            )
        order = np.argsort(places, kind="stable")
        cut = open_clip.tokenizer.SimpleTokenizer(context_length=most)([texts[i] for i in order])
        longest = int((cut != 0).sum(1).max())
        cut = cut[:, : min(most, -(-longest // 8) * 8)]
        used, tokens = torch.unique(cut, return_inverse=True)
        return cls(images, places[order], tokens, used)

    def batches(self, settings: FilteringConfig) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Without end: (pictures [n], tokens [n, context]), each picture once in a round, with one of its texts."""
        first = np.flatnonzero(np.r_[True, np.diff(self.pictures) > 0])
        counts = np.diff(np.r_[first, len(self.pictures)])
        batch, round_ = min(settings.batch, len(first)), 0
        while True:
            rng = np.random.Generator(np.random.Philox(key=[settings.seed, round_]))
            order = rng.permutation(len(first))
            chosen = first + (rng.random(len(first)) * counts).astype(np.int64)
            for start in range(0, len(order) - batch + 1, batch):
                rows = chosen[order[start : start + batch]]
                yield self.pictures[rows], self.tokens[torch.from_numpy(rows)]
            round_ += 1


def fit(
    images: np.ndarray,
    pictures: Sequence[int],
    texts: Sequence[str],
    settings: FilteringConfig,
    progress: Progress | None = None,
) -> Fitted:
    """Fits a network on pictures uint8 [p, size, size, 3] and texts, each of the picture with that number.

    Deterministic in its arguments and the class of machine, unless `seconds` ends it. `progress` hears (step, steps,
    loss).

    Raises:
        FitError: too few pictures have a text, or the loss is no number any more.
    """
    import open_clip

    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    pairs = Pairs.of(images, pictures, texts, settings.context)
    context = pairs.tokens.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        made = architecture(settings, context, len(pairs.used))
        network = open_clip.model.CustomTextCLIP(**{k: v for k, v in made.items() if k != "custom_text"})
    optimizer, started, loss = _optimizer(network, settings), time.monotonic(), math.nan
    for step, (seen, tokens) in enumerate(pairs.batches(settings)):
        spent = (time.monotonic() - started) / settings.seconds if settings.seconds else 0.0
        if step == settings.steps or spent >= 1:
            break
        rate = min(1.0, (step + 1) / min(WARMUP, max(1, settings.steps // 5))) * (
            1 - max(step / settings.steps, spent)
        )
        for group in optimizer.param_groups:
            group["lr"] = settings.step_size * rate
        loss = _step(network, optimizer, floats(pairs.images[seen]), tokens)
        if not math.isfinite(loss):
            raise FitError(
                f"the filtering network's loss was {loss} at step {step + 1}: set a smaller step_size than "
                f"{settings.step_size:g} under [filtering_network]"
            )
        if progress and (step % 10 == 0 or step == settings.steps - 1):
            progress(step + 1, settings.steps, loss)
    about = {"steps": step, "pictures": len(np.unique(pairs.pictures)), "texts": len(texts), "loss": loss}
    return Fitted(_whole(network, pairs.used), settings, context, about)


def _optimizer(network: Any, settings: FilteringConfig) -> torch.optim.Optimizer:
    matrices = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": settings.decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, settings.step_size, betas=(0.9, 0.98), fused=True)


def _step(network: Any, optimizer: torch.optim.Optimizer, images: Tensor, tokens: Tensor) -> float:
    # The kernel for attention is slow in training on a CPU: it is written out instead.
    with sdpa_kernel(SDPBackend.MATH):
        seen, said = network.encode_image(images), network.encode_text(tokens)
    loss = contrast(seen.float(), said.float(), tokens, network.logit_scale.exp())
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        network.logit_scale.clamp_(0, MOST_SCALE)
    return float(loss.detach())


def contrast(seen: Tensor, said: Tensor, tokens: Tensor, scale: Tensor) -> Tensor:
    """The loss of vectors [n, dim] of pictures and of their texts; an equal text elsewhere counts as no mistake."""
    logits = scale * F.normalize(seen, dim=-1) @ F.normalize(said, dim=-1).T
    _, text = torch.unique(tokens, dim=0, return_inverse=True)
    same = (text[:, None] == text).fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)
    right = torch.arange(len(logits))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def _whole(network: Any, used: Tensor) -> dict[str, Tensor]:
    """The weights under the whole vocabulary; a token that never occurred says nothing."""
    weights = {name: weight.detach().clone() for name, weight in network.state_dict().items()}
    learned = weights[EMBEDDING]
    weights[EMBEDDING] = torch.zeros(VOCABULARY, learned.shape[1]).index_copy_(0, used, learned)
    return weights
