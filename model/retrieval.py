"""Retrieval from the network's own states: how far what is learned of pictures has reached texts, and back.

A picture's state is held against those of all distinct texts of the held-out captions, and a text's against those of all
pictures. States are projected where the network was taught by an image-text model; else each kind is centred.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model import items
from model.corpus import Corpus
from model.evaluate import Score, interval
from model.generate import Model

NEAREST = (1, 5, 10)
TASK = "retrieval"
ROWS = 256
"""Items that go through the network at once."""


def retrieval_scores(
    model: Model, corpus: Corpus, most: int, *, task: str = "caption", lang: str = "en", longest: int = 160
) -> list[Score]:
    """Recall at 1, 5 and 10 both ways over up to `most` pictures, each with its first caption, in `lang` if it has one.
    There is none where fewer than two texts differ."""
    pictures, texts = pairs(corpus, most, task, lang)
    told = [repr(corpus.text(i)) for i in texts]
    _, first, right = np.unique(told, return_index=True, return_inverse=True)
    if len(first) < 2:
        return []
    image = states(model, corpus, pictures, longest)
    text = states(model, corpus, -1 - texts[first], longest)
    return recalls((image @ text.T).numpy(), right)


def pairs(corpus: Corpus, most: int, task: str, lang: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures in an order of no meaning, and the index of a caption of each."""
    task_number = corpus.tasks.index(task) if task in corpus.tasks else -1
    asked = np.flatnonzero((corpus.picture >= 0) & (corpus.task == task_number))
    lang_number = corpus.langs.index(lang) if lang in corpus.langs else -1
    asked = asked[np.argsort(corpus.lang[asked] != lang_number, kind="stable")]
    pictures, first = np.unique(corpus.picture[asked], return_index=True)
    drawn = np.random.Generator(np.random.Philox(0)).permutation(len(pictures))[:most]
    return pictures[drawn], asked[first][drawn]


def states(model: Model, corpus: Corpus, members: np.ndarray, longest: int) -> Tensor:
    """States of pictures, or of texts, at length 1: float32 `[n, width]` on the CPU."""
    return pooled(
        model,
        [items.path(corpus, model.sequences, int(member), longest) for member in members],
        members < 0,
    )


def picture_states(model: Model, codes: np.ndarray) -> np.ndarray:
    """States of pictures given as int codes `[n, codes]`: float32 `[n, width]`."""
    paths = [model.sequences.picture(row) for row in codes]
    return pooled(model, paths, np.zeros(len(paths), bool)).numpy()


def ranked(
    model: Model, codes: np.ndarray, texts: Sequence[tuple[str, Sequence[int]]], longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """How many other texts are at least as near to each picture as its own, and how many other pictures to its text: int64
    `[n]` each. Pictures are int codes `[n, codes]`, texts their language and ids; equal texts count once."""
    s, distinct = model.sequences, list(dict.fromkeys((lang, tuple(ids)) for lang, ids in texts))
    own = np.array([distinct.index((lang, tuple(ids))) for lang, ids in texts])
    wishes = [s.wish(lang, ids) for lang, ids in distinct]
    paths = [[*wish[:-1][: longest - 1], wish[-1]] for wish in wishes]
    image = torch.from_numpy(picture_states(model, codes))
    likeness = (image @ pooled(model, paths, np.ones(len(paths), bool)).T).numpy()
    ahead_of_text, ahead_of_picture = ahead(likeness, own)
    return ahead_of_text, ahead_of_picture[own]


@torch.inference_mode()
def pooled(model: Model, paths: Sequence[list[int]], is_text: np.ndarray) -> Tensor:
    """One state of each path at length 1: float32 `[n, width]` on the CPU."""
    network, device = model.network, str(model.device)
    found = []
    for start in range(0, len(paths), ROWS):
        texts = is_text[start : start + ROWS]
        batch = items.lined_up(model.sequences, paths[start : start + ROWS], (~texts).tolist())
        tokens, own = batch.tokens(device), items.own(batch).to(device)
        if network.config.teacher_width:
            found.append(network.projected(tokens, own, torch.from_numpy(texts).to(device)))
        else:
            found.append(network.pooled(tokens, own))
    all_of_them = torch.cat(found)
    if network.config.teacher_width:
        return all_of_them.cpu()
    return F.normalize(all_of_them - all_of_them.mean(0), dim=1).cpu()


def recalls(likeness: np.ndarray, right: np.ndarray) -> list[Score]:
    """Recall both ways.

    Args:
        likeness: of each picture with each distinct text, float `[pictures, texts]`.
        right: the text of each picture, int `[pictures]`.
    """
    found = []
    for name, nearer in zip(("text_of_image", "image_of_text"), ahead(likeness, right), strict=True):
        for k in NEAREST:
            hits = (nearer < k).tolist()
            found.append(Score(TASK, f"{name}@{k}", "all", *interval(hits), len(hits)))
    return found


def ahead(likeness: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many texts are nearer to each picture than its own, and how many pictures to each text than the nearest of its own;
    see `recalls`. An item that is as near counts as nearer: states that are all the same find nothing."""
    own = likeness[np.arange(len(right)), right]
    ahead_of_text = (likeness >= own[:, None]).sum(1) - 1
    matches = right[:, None] == np.arange(likeness.shape[1])
    best = np.where(matches, likeness, -np.inf).max(0)
    return ahead_of_text, ((likeness >= best) & ~matches).sum(0)
