"""One loop for everything that is generated: texts from pictures, pictures from texts, texts from texts, in
one batch.

A row is a path of tokens over a cache. Rows may be of different lengths and in different modalities; several
rows may share a trunk (a picture), which is read once. After `<boi>` exactly one picture's codes follow,
then a forced `<eoi>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from model import checkpoint
from model.config import ModelConfig, Settings, Vocabulary
from model.sequences import Cursor, Sequences
from model.tokens import Cache, Tokens
from model.transformer import Transformer


class Sampling(Settings):
    """How the next token is chosen."""

    temperature: float = Field(default=0.0, ge=0, description="0 takes the likeliest token")
    top_k: int | None = Field(default=None, ge=1, description="Only the k likeliest")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Only the likeliest that make up this share")
    guidance: float = Field(
        default=1.0, ge=0, description="Weight of the caption against no caption, for pictures; 1 is none"
    )
    seed: int = 0
    max_tokens: int = Field(default=96, ge=1, description="Most new tokens of a row")


@dataclass(frozen=True)
class Model:
    """A trained network, ready to be asked."""

    network: Transformer
    sequences: Sequences
    saved: checkpoint.Checkpoint | None = None

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", *, bf16: bool = False) -> Model:
        """From a checkpoint's folder or a run's; `bf16` computes in bfloat16.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        saved = checkpoint.read(folder).verify()
        config = ModelConfig.model_validate(saved.meta["model"])
        with torch.device("meta"):
            network = Transformer(config)
        network = network.to_empty(device=device)
        network.load_state_dict(saved.weights(device))
        network.reset_constants()
        network.bf16 = bf16
        vocabulary = Vocabulary.model_validate(saved.meta["vocabulary"])
        return cls(network.eval().requires_grad_(False), Sequences(config, vocabulary), saved)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device


@dataclass
class _Paths:
    """Rows of tokens that have been read, and where each stands."""

    model: Model
    cache: Cache
    cursors: list[Cursor]

    @classmethod
    def start(cls, model: Model, rows: int, length: int) -> _Paths:
        cache = Cache(model.network.config, rows, length, device=model.device, dtype=model.network.dtype)
        return cls(model, cache, [model.sequences.cursor() for _ in range(rows)])

    def select(self, rows: Sequence[int]) -> None:
        """Goes on with these rows; a row may be taken several times."""
        self.cache.select(torch.tensor(rows, device=self.model.device))
        self.cursors = [self.cursors[r].copy() for r in rows]

    def feed(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Reads at least one token in each row; logits `[rows, ids]` after the last one of each."""
        length = max(map(len, ids))
        shape = (len(ids), length)
        tokens, blocks = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        located = np.zeros((*shape, 3), np.int64)
        for r, (row, cursor) in enumerate(zip(ids, self.cursors, strict=True)):
            tokens[r, : len(row)] = row
            located[r, : len(row)] = [cursor.step(i) for i in row]
            if self.model.network.config.see_whole_picture and len(row) > 1:
                blocks[r, : len(row)] = self.model.sequences.blocks(row)
        lengths = torch.tensor([len(row) for row in ids])
        at = torch.arange(len(ids)) * length + lengths - 1
        t, b, p = (torch.from_numpy(z).to(self.model.device) for z in (tokens, blocks, located))
        mask = self.cache.mask(b) if blocks.any() else None
        logits = self.model.network(Tokens(t, p[..., :2], p[..., 2], mask, b), self.cache, at.to(t.device))
        self.cache.lengths += lengths.to(t.device)
        return logits


@torch.inference_mode()
def generate(
    model: Model,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling = Sampling(),
    *,
    trunks: Sequence[Sequence[int]] | None = None,
    trunk_of: Sequence[int] | None = None,
    without: Sequence[int] | None = None,
    stop: Iterable[int] | None = None,
    keys: Sequence[int] | None = None,
) -> list[list[int]]:
    """Continues each prompt until a stop id (not part of the result) or `max_tokens`.

    Args:
        prompts: ids, at least one each.
        trunks: what is read before, once however many prompts follow it; `trunk_of` says which precedes each
            prompt.
        without: for guidance, the prompt that wishes for nothing in particular.
        stop: ids that end a row; `<eos>` if None.
        keys: a number for each row that, with the seed, sets its random draws; its index if None.

    Returns:
        The new ids of each prompt. They do not depend on what else is in the batch.
    """
    if not prompts:
        return []
    ends = frozenset(stop if stop is not None else [model.sequences.vocabulary["<eos>"]])
    rows = keys if keys is not None else range(len(prompts))
    return _Loop(model, sampling, ends).run(prompts, trunks or [], trunk_of, without, rows)


@dataclass
class _Loop:
    """The loop and what stays the same through it."""

    model: Model
    sampling: Sampling
    stop: frozenset[int]

    def run(
        self,
        prompts: Sequence[Sequence[int]],
        trunks: Sequence[Sequence[int]],
        trunk_of: Sequence[int] | None,
        without: Sequence[int] | None,
        keys: Sequence[int],
    ) -> list[list[int]]:
        guided = without is not None and self.sampling.guidance != 1.0
        feed = [*prompts, *([without] * len(prompts) if guided and without else [])]
        most = max(map(len, feed)) + self.sampling.max_tokens
        if trunks:
            paths = _Paths.start(self.model, len(trunks), most + max(map(len, trunks)))
            paths.feed(trunks)
            paths.select(
                list(trunk_of if trunk_of is not None else range(len(prompts))) * (2 if guided else 1)
            )
        else:
            paths = _Paths.start(self.model, len(feed), most)
        out: list[list[int]] = [[] for _ in prompts]
        draws = [np.random.Generator(np.random.Philox(key=[self.sampling.seed, key])) for key in keys]
        active = list(range(len(prompts)))
        logits = paths.feed(feed)
        for turn in range(self.sampling.max_tokens):
            if guided:
                logits = guide(logits[: len(active)], logits[len(active) :], self.sampling.guidance)
            uniform = torch.tensor([draws[r].random() for r in active]) if self.sampling.temperature else None
            chosen = choose(logits, self.sampling, uniform)
            forced = [self.model.sequences.forced(cursor) for cursor in paths.cursors[: len(active)]]
            ids = [f if f is not None else int(c) for f, c in zip(forced, chosen, strict=True)]
            go_on = [i for i, token in enumerate(ids) if token not in self.stop]
            for i in go_on:
                out[active[i]].append(ids[i])
            if not go_on or turn == self.sampling.max_tokens - 1:
                break
            if len(go_on) < len(active):
                paths.select([*go_on, *(len(active) + i for i in go_on if guided)])
                active = [active[i] for i in go_on]
            logits = paths.feed([[ids[i]] for i in go_on] * (2 if guided else 1))
        return out


def guide(wished: Tensor, free: Tensor, weight: float) -> Tensor:
    """Classifier-free guidance on logits `[rows, ids]`, where the head is on."""
    on = torch.isfinite(wished)
    moved = torch.where(on, free, 0.0) + weight * torch.where(on, wished - free, 0.0)
    return torch.where(on, moved, wished)


def choose(logits: Tensor, sampling: Sampling, uniform: Tensor | None) -> list[int]:
    """The next id of each row, from one number in [0, 1) a row; the likeliest if there is none."""
    if uniform is None:
        return logits.argmax(-1).tolist()
    values, ids = (logits / sampling.temperature).sort(descending=True, stable=True)
    if sampling.top_k:
        values[:, sampling.top_k :] = float("-inf")
    shares = values.softmax(-1)
    before = shares.cumsum(-1) - shares
    shares = torch.where(before < sampling.top_p, shares, 0.0)
    reached = shares.cumsum(-1)
    wanted = uniform.to(reached)[:, None] * reached[:, -1:]
    place = (reached <= wanted).sum(-1, keepdim=True).clamp(max=shares.shape[-1] - 1)
    return ids.gather(1, place).squeeze(1).tolist()


@dataclass(frozen=True)
class Question:
    """What is asked of a picture."""

    picture: int
    """Index of the picture."""
    lang: str | None = "en"
    task: str | None = "caption"
    prompt: tuple[int, ...] = ()


def read_pictures(
    model: Model,
    codes: np.ndarray,
    questions: Sequence[Question],
    sampling: Sampling = Sampling(),
    *,
    batch: int = 128,
) -> list[list[int]]:
    """Text ids that answer each question on pictures given as int codes `[pictures, codes]`; each is read
    once a batch."""
    out: list[list[int]] = []
    for start in range(0, len(questions), batch):
        asked = questions[start : start + batch]
        shown = sorted({q.picture for q in asked})
        s = model.sequences
        out += generate(
            model,
            [s.question(q.lang, q.task, q.prompt) for q in asked],
            sampling,
            trunks=[s.picture(codes[p]) for p in shown],
            trunk_of=[shown.index(q.picture) for q in asked],
            keys=range(start, start + len(asked)),
        )
    return out


def draw_pictures(
    model: Model,
    wishes: Sequence[tuple[str | None, Sequence[int] | None]],
    sampling: Sampling = Sampling(),
    *,
    batch: int = 64,
) -> np.ndarray:
    """int32 codes `[wishes, codes]` of a picture for each (language, caption ids); a caption of None leaves
    it free."""
    s, n = model.sequences, model.sequences.codes
    exact = sampling.model_copy(update={"max_tokens": n + 1})
    low, out = s.config.offsets[s.config.modality("image")], []
    for start in range(0, len(wishes), batch):
        prompts = [s.wish(lang, ids) for lang, ids in wishes[start : start + batch]]
        out += generate(
            model,
            prompts,
            exact,
            without=s.wish(),
            stop=[s.vocabulary["<eoi>"]],
            keys=range(start, start + len(prompts)),
        )
    return np.array(out, np.int32).reshape(len(wishes), n) - low
