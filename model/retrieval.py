"""Retrieval from the network's own states: how far what is learned of pictures has reached texts, and back.

A picture's state is held against those of all distinct texts of the held-out captions, and a text's against those of all
pictures. States are projected where the network was taught by an image-text model; else each kind is centred.
"""

from __future__ import annotations

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


@torch.inference_mode()
def states(model: Model, corpus: Corpus, members: np.ndarray, longest: int) -> Tensor:
    """States of pictures, or of texts, at length 1: float32 `[n, width]` on the CPU."""
    network, device = model.network, str(model.device)
    found = []
    for start in range(0, len(members), ROWS):
        batch = items.laid_out(corpus, model.sequences, members[start : start + ROWS], longest)
        tokens, own = batch.tokens(device), items.own(batch).to(device)
        if network.config.teacher_width:
            is_text = torch.from_numpy(members[start : start + ROWS] < 0).to(device)
            found.append(network.projected(tokens, own, is_text))
        else:
            found.append(network.pooled(tokens, own))
    pooled = torch.cat(found)
    if network.config.teacher_width:
        return pooled.cpu()
    return F.normalize(pooled - pooled.mean(0), dim=1).cpu()


def recalls(likeness: np.ndarray, right: np.ndarray) -> list[Score]:
    """Recall both ways.

    Args:
        likeness: of each picture with each distinct text, float `[pictures, texts]`.
        right: the text of each picture, int `[pictures]`.
    """
    rows = np.arange(len(right))
    own = likeness[rows, right]
    # an item that is as near counts as nearer: states that are all the same find nothing
    ahead_of_text = (likeness >= own[:, None]).sum(1) - 1
    matches = right[:, None] == np.arange(likeness.shape[1])
    best = np.where(matches, likeness, -np.inf).max(0)
    ahead_of_picture = ((likeness >= best) & ~matches).sum(0)
    found = []
    for name, ahead in (("text_of_image", ahead_of_text), ("image_of_text", ahead_of_picture)):
        for k in NEAREST:
            hits = (ahead < k).tolist()
            found.append(Score(TASK, f"{name}@{k}", "all", *interval(hits), len(hits)))
    return found
