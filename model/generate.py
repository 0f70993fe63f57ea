"""One loop for everything that is generated: texts from pictures, pictures from texts, texts from texts, in
one batch.

A row is a path of tokens over a cache. Rows may be of different lengths and in different modalities; several
rows may share a trunk (a picture), which is read once. After `<boi>` exactly one picture's codes follow,
then a forced `<eoi>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model import checkpoint
from model.config import ModelConfig, Vocabulary
from model.decode import Head
from model.paths import Paths
from model.sampling import Sampling, choose, guide
from model.sequences import Cursor, PromptError, Sequences
from model.text_stream import StopStrings, TextStream
from model.transformer import Transformer

__all__ = [
    "Model",
    "Question",
    "Sampling",
    "choose",
    "draw_pictures",
    "generate",
    "guide",
    "read_pictures",
    "stream",
]

KEPT = 0.75
"""Rows that have ended are taken out of the cache once no more than this share goes on: it is copied then."""


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
class _Row:
    """A row that is being made."""

    index: int
    """Which prompt it continues."""
    draws: np.random.Generator
    watch: TextStream | None
    on: bool = True

    def takes(self, token: int) -> None:
        """Ends the row if the token completes a stop string."""
        if self.watch is not None:
            self.watch.add([token])
            self.on = not self.watch.stopped


@dataclass(frozen=True)
class _Loop:
    """The loop and what stays the same through it."""

    model: Model
    sampling: Sampling
    stop: frozenset[int]
    strings: StopStrings | None
    keys: Sequence[int]

    @torch.inference_mode()
    def run(self, prompts: Sequence[Sequence[int]], **start: Any) -> Iterator[list[int | None]]:
        """For each step the new id of each row; None once it has ended."""
        s, most = self.model.sequences, self.sampling.max_tokens
        paths = Paths(self.model.network, s, len(prompts), guidance=self.sampling.guidance, **start)
        heads, rows = paths.read(prompts), [self._row(i) for i in range(len(prompts))]
        for turn in range(most):
            chosen = self._chosen(heads, rows)
            new: list[int | None] = [None] * len(prompts)
            fed: list[int | None] = [None] * len(rows)
            for r, row in enumerate(rows):
                if not row.on:
                    continue
                forced = self._forced(paths.cursors[r], turn)
                token = chosen[r] if forced is None else forced
                row.on = token not in self.stop
                if row.on:
                    new[row.index] = fed[r] = token
                    row.takes(token)
            if any(token is not None for token in new):
                yield new
            on = [r for r, row in enumerate(rows) if row.on]
            if not on or turn == most - 1:
                return
            if len(on) <= KEPT * len(rows):
                paths.select(on)
                rows, fed = [rows[r] for r in on], [fed[r] for r in on]
            heads = paths.step([token if row.on else None for token, row in zip(fed, rows, strict=True)])

    def _row(self, index: int) -> _Row:
        key = [self.sampling.seed, self.keys[index]]
        watch = self.strings.watch() if self.strings else None
        return _Row(index, np.random.Generator(np.random.Philox(key=key)), watch)

    def _forced(self, cursor: Cursor, turn: int) -> int | None:
        """The id that comes whatever is likely: a whole picture is closed, and one that is asked for is opened."""
        if self.sampling.modalities == "image" and turn == 0 and not cursor.drawing:
            return self.model.sequences.vocabulary["<boi>"]
        return self.model.sequences.forced(cursor)

    def _chosen(self, heads: Sequence[Head], rows: Sequence[_Row]) -> dict[int, int]:
        """The likeliest or a drawn id for each row that is on."""
        found: dict[int, int] = {}
        for head in heads:
            if head.modality == 0 and self.sampling.modalities == "text":
                head.logits.select(1, self.model.sequences.vocabulary["<boi>"]).fill_(float("-inf"))
            drawn = None
            if self.sampling.temperature:
                drawn = torch.tensor([rows[r].draws.random() for r in head.rows])
            low = self.model.network.config.offsets[head.modality]
            for r, token in zip(head.rows, choose(head.logits, self.sampling, drawn), strict=True):
                found[r] = token + low
        return found


def stream(
    model: Model,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling = Sampling(),
    *,
    trunks: Sequence[Sequence[int]] | None = None,
    trunk_of: Sequence[int] | None = None,
    without: Sequence[int] | None = None,
    stop: Iterable[int] | None = None,
    stop_strings: StopStrings | None = None,
    keys: Sequence[int] | None = None,
) -> Iterator[list[int | None]]:
    """What `generate` returns, step by step: the new id of each row, None once the row has ended. A stream that is
    closed, or that nobody holds any more, lets its cache go.

    Arguments and errors: see `generate`.
    """
    s, image = model.sequences, sampling.modalities == "image"
    for ids in (*prompts, *(trunks or [])):
        s.checked(ids)
        if sampling.modalities == "text" and s.opens(ids):
            raise PromptError("the prompt opens a picture, and only text may come out: allow modalities")
    ends = {
        *(stop if stop is not None else [s.vocabulary["<eos>"]]),
        *([s.vocabulary["<eoi>"]] if image else []),
    }
    loop = _Loop(
        model, sampling, frozenset(ends), stop_strings, keys if keys is not None else range(len(prompts))
    )
    free = None
    if sampling.guidance != 1.0 and sampling.modalities != "text":
        free = s.checked(without if without is not None else s.wish())
        if not s.opens(free):
            raise PromptError("the prompt without a wish must end where the picture is opened (<boi>)")
    longest = max(map(len, [*prompts, free or []])) + max(map(len, trunks or [[]])) + sampling.max_tokens
    start = {"length": longest, "trunks": trunks or (), "trunk_of": trunk_of, "without": free}
    return loop.run(prompts, **start) if prompts else iter(())


def generate(
    model: Model,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling = Sampling(),
    *,
    trunks: Sequence[Sequence[int]] | None = None,
    trunk_of: Sequence[int] | None = None,
    without: Sequence[int] | None = None,
    stop: Iterable[int] | None = None,
    stop_strings: StopStrings | None = None,
    keys: Sequence[int] | None = None,
) -> list[list[int]]:
    """Continues each prompt until a stop id (not part of the result), a stop string or `max_tokens`.

    Args:
        prompts: ids, at least one each.
        trunks: what is read before, once however many prompts follow it; `trunk_of` says which precedes each
            prompt.
        without: for guidance, the prompt that wishes for no picture in particular, up to where it is opened; `<bos>
            <boi>` if None.
        stop: ids that end a row; `<eos>` if None.
        stop_strings: strings of text that end a row.
        keys: a number for each row that, with the seed, sets its random draws; its index if None.

    Returns:
        The new ids of each prompt. They do not depend on what else is in the batch.

    Raises:
        PromptError: a prompt is empty, has an unknown id or a broken picture, or opens a picture where only text may
            come out.
    """
    out: list[list[int]] = [[] for _ in prompts]
    steps = stream(
        model,
        prompts,
        sampling,
        trunks=trunks,
        trunk_of=trunk_of,
        without=without,
        stop=stop,
        stop_strings=stop_strings,
        keys=keys,
    )
    for new in steps:
        for ids, token in zip(out, new, strict=True):
            if token is not None:
                ids.append(token)
    return out


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
    said = sampling.model_copy(update={"modalities": "text"})
    out: list[list[int]] = []
    for start in range(0, len(questions), batch):
        asked = questions[start : start + batch]
        shown = sorted({q.picture for q in asked})
        s = model.sequences
        out += generate(
            model,
            [s.question(q.lang, q.task, q.prompt) for q in asked],
            said,
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
    first: int = 0,
) -> np.ndarray:
    """int32 codes `[wishes, codes]` of a picture for each (language, caption ids); a caption of None leaves
    it free. Wish number i is drawn by the seed and `first` + i."""
    s, n = model.sequences, model.sequences.codes
    exact = sampling.model_copy(update={"max_tokens": n + 1, "modalities": "image"})
    low, out = s.config.offsets[s.config.modality("image")], []
    for start in range(0, len(wishes), batch):
        prompts = [s.wish(lang, ids) for lang, ids in wishes[start : start + batch]]
        out += generate(
            model,
            prompts,
            exact,
            keys=range(first + start, first + start + len(prompts)),
        )
    return np.array(out, np.int32).reshape(len(wishes), n) - low
