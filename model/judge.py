"""An independent judge of drawn pictures: a small convolutional network that names a picture's attributes (shapes, colours).

It learns from real pictures alone, never from drawn ones, and shares nothing with the network that draws: what it finds in a
drawn picture is there to be seen. What it can tell at all is measured on real held-out pictures, beside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from model.checkpoint import write_file
from model.plan import philox

WIDTHS = (32, 64, 128, 128)
"""Channels of the convolutions; all but the first halve the picture's sides."""
BATCH, LR, STREAM = 128, 2e-3, 32
ASKED = 512
"""Pictures that are judged at once."""
SETTINGS = "judge.json"
NOTHING = "nothing"
"""Stands where a picture has fewer things than another."""

Attributes = Mapping[str, Hashable]


@dataclass(frozen=True)
class Settings:
    """How a judge is fitted."""

    names: tuple[str, ...]
    """Attributes that it tells."""
    epochs: int = 20
    seed: int = 0


class Network(nn.Module):
    """Pictures `[n, 3, size, size]` in [-1, 1] to logits, one head for each place of each attribute."""

    def __init__(self, classes: Mapping[str, Sequence[str]], size: int) -> None:
        super().__init__()
        side = -(-size // 2 ** (len(WIDTHS) - 1))
        ends = zip((3, *WIDTHS), WIDTHS, strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, 1 + (b > WIDTHS[0]), 1) for a, b in ends)
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in WIDTHS)
        self.hidden = nn.Linear(WIDTHS[-1] * side**2, 256)
        self.heads = nn.ModuleDict({place: nn.Linear(256, len(known)) for place, known in classes.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        states = self.states(x)
        return {place: head(states) for place, head in self.heads.items()}

    def states(self, x: Tensor) -> Tensor:
        """Its last hidden layer: `[n, 256]`."""
        for convolve, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolve(x)))
        return F.gelu(self.hidden(x.flatten(1)))


class Judge:
    """A fitted judge."""

    def __init__(self, network: Network, classes: Mapping[str, Sequence[str]], size: int) -> None:
        self.network, self.size = network.eval(), size
        self.classes = {place: list(known) for place, known in classes.items()}

    @torch.inference_mode()
    def names(self, pictures: np.ndarray) -> list[dict[str, str]]:
        """What it sees in uint8 pictures `[n, size, size, 3]`: place ("shape 0") to value."""
        found: list[dict[str, str]] = []
        for start in range(0, len(pictures), ASKED):
            logits = self.network(scaled(pictures[start : start + ASKED]))
            said = {place: one.argmax(1).tolist() for place, one in logits.items()}
            rows = zip(*said.values(), strict=True)
            found += [{p: self.classes[p][at] for p, at in zip(said, row, strict=True)} for row in rows]
        return found

    @torch.inference_mode()
    def features(self, pictures: np.ndarray) -> np.ndarray:
        """Its last hidden layer's view of uint8 pictures `[n, size, size, 3]`: float32 `[n, 256]`."""
        parts = (pictures[start : start + ASKED] for start in range(0, len(pictures), ASKED))
        return np.concatenate([self.network.states(scaled(part)).numpy() for part in parts])

    def agrees(self, pictures: np.ndarray, wanted: Sequence[Attributes], name: str) -> np.ndarray:
        """Whether it finds an attribute as wanted, in all places: bool `[n]`."""
        mine = [place for place in self.classes if place.rsplit(" ", 1)[0] == name]
        right = []
        for seen, asked in zip(self.names(pictures), wanted, strict=True):
            told = places({name: asked[name]})
            right.append(
                set(told) <= set(mine) and all(seen[place] == told.get(place, NOTHING) for place in mine)
            )
        return np.array(right, bool)

    def save(self, folder: Path) -> None:
        """Writes it; its settings last."""
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / "judge.safetensors", save(self.network.state_dict()))
        told = {"size": self.size, "classes": self.classes}
        write_file(folder / SETTINGS, json.dumps(told, ensure_ascii=False).encode())

    @classmethod
    def load(cls, folder: Path) -> Judge:
        """Reads one that `save` wrote.

        Raises:
            FileNotFoundError: there is none.
        """
        told = json.loads((folder / SETTINGS).read_text("utf-8"))
        network = Network(told["classes"], told["size"])
        network.load_state_dict(load_file(folder / "judge.safetensors"))
        return cls(network, told["classes"], told["size"])


def places(attributes: Attributes) -> dict[str, str]:
    """The values of attributes by place: {"shape": ("circle", "star")} is "circle" at "shape 0", "star" at "shape 1"."""
    found = {}
    for name, value in attributes.items():
        for at, one in enumerate(value if isinstance(value, tuple) else (value,)):
            found[f"{name} {at}"] = str(one)
    return found


def scaled(pictures: np.ndarray) -> Tensor:
    """uint8 `[n, size, size, 3]` to float32 `[n, 3, size, size]` in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def roughened(x: Tensor, seed: int, step: int) -> Tensor:
    """Real pictures moved by up to two pixels, more or less blurred, with grain: drawn ones are never as clean, and what they
    show should be told all the same."""
    draw = philox(seed, STREAM + 1, step)
    down, across = draw.integers(-2, 3, 2)
    x = F.pad(x, (2, 2, 2, 2), mode="replicate")
    x = x[:, :, 2 + down : x.shape[2] - 2 + down, 2 + across : x.shape[3] - 2 + across]
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    strength = torch.from_numpy(draw.uniform(0, 0.8, (len(x), 1, 1, 1)).astype(np.float32))
    grain = torch.from_numpy(draw.normal(0, 0.08, x.shape).astype(np.float32))
    return x + strength * (blurred - x) + grain


def fit(
    pictures: np.ndarray,
    wanted: Sequence[Attributes],
    settings: Settings,
    progress: Callable[[int, int], None] | None = None,
) -> Judge:
    """Fits a judge on uint8 pictures `[n, size, size, 3]` and their attributes; the same for equal pictures and settings."""
    told = [places({name: one[name] for name in settings.names}) for one in wanted]
    names = sorted({place for one in told for place in one})
    classes = {place: sorted({one.get(place, NOTHING) for one in told}) for place in names}
    rows = [[classes[place].index(one.get(place, NOTHING)) for place in names] for one in told]
    truth = torch.tensor(rows)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.seed)
        network = Network(classes, pictures.shape[1])
    steps = settings.epochs * (len(pictures) // BATCH or 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    order = np.zeros(0, np.int64)
    for step in range(steps):
        if len(order) < min(BATCH, len(pictures)):
            order = philox(settings.seed, STREAM, step).permutation(len(pictures))
        part, order = order[:BATCH], order[BATCH:]
        logits = network(roughened(scaled(pictures[part]), settings.seed, step))
        losses = [F.cross_entropy(logits[place], truth[part, at]) for at, place in enumerate(names)]
        optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).mean().backward()
        optimizer.step()
        schedule.step()
        if progress:
            progress(step + 1, steps)
    return Judge(network, classes, pictures.shape[1])


def key(settings: Settings, pictures: object, size: int) -> str:
    """Name of the judge of pictures (named by anything that JSON can say) of a size."""
    told = json.dumps([3, pictures, size, settings.names, settings.epochs, settings.seed, WIDTHS, BATCH, LR])
    return hashlib.sha256(told.encode()).hexdigest()[:16]
