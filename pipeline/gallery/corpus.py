"""The plan of a corpus: which picture shows what, which defects lie where. A function of (seed, size)."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TypeVar

from pipeline.gallery.scene import Scene, caption, pick, recoloured, recolourings, sample

T = TypeVar("T")

VERSION = 2
"""Raised whenever the same (seed, size) would give other bytes."""

SHARES: Mapping[str, float] = {
    "exact_copy": 0.02,
    "shared_picture": 0.01,
    "reencoded_copy": 0.01,
    "resized_copy": 0.01,
    "brightened_copy": 0.01,
    "recoloured": 0.02,
    "mismatched_caption": 0.01,
    "truncated": 0.005,
    "html": 0.005,
    "empty": 0.005,
    "too_small": 0.01,
    "spam": 0.01,
    "boilerplate": 0.015,
    "email": 0.0075,
    "phone": 0.0075,
    "leaked_exact": 0.005,
    "leaked_reencoded": 0.005,
}
"""Share of the pictures with each defect; the rest is "clean"."""
NOISE: Mapping[str, Mapping[str, float]] = {
    "demo": SHARES,
    "web": {
        **SHARES,
        "exact_copy": 0.08,
        "reencoded_copy": 0.04,
        "resized_copy": 0.04,
        "brightened_copy": 0.04,
        "recoloured": 0.01,
        "mismatched_caption": 0.20,
        "spam": 0.08,
        "boilerplate": 0.12,
    },
}
"""How noisy a corpus is: a little, as a demo wants it, or two pictures of three, as pages of the web are."""

COPIES = ("exact_copy", "reencoded_copy", "resized_copy", "brightened_copy")
LEAKS = ("leaked_exact", "leaked_reencoded")
UNREADABLE = ("truncated", "html", "empty", "too_small")
FROM_CLEAN = ("shared_picture", "recoloured", *COPIES)
EXPECT = dict.fromkeys((*COPIES, *LEAKS, *UNREADABLE, "spam", "boilerplate"), "drop") | {
    "clean": "keep", "shared_picture": "keep", "recoloured": "keep",
    "mismatched_caption": "suspect", "email": "redact", "phone": "redact",
}  # fmt: skip
"""What a pipeline should do with each kind; a mismatched caption needs a model to be seen."""

SOURCES: Mapping[str, float] = {"folder": 0.75, "tars": 0.15, "urls": 0.10}
"""Shares of the ways in which the pictures reach a pipeline."""
APART = 4.0
"""Two pictures that show the same differ in the place of some object by at least this, in pixels of 64."""


MOST = 1_000_000
"""Pictures that the six digits of a name tell apart."""


class GalleryTooLarge(Exception):
    """More pictures are asked for than can be named; the message says how many there can be."""


@dataclass(frozen=True)
class Picture:
    """A picture of the corpus, and how it came to be."""

    name: str
    """"g000123", or "h000123" when held out: part of every path and URL, and so of every origin."""
    source: str
    """folder, tars, urls or heldout."""
    kind: str
    scene: Scene
    """What it shows."""
    told: Scene
    """What its texts tell of: another scene only if the caption is mismatched."""
    of: str = ""
    """Name of the picture that it copies or varies."""
    reserved: str = ""
    """A language in which this picture has no caption, because the one that shares it has."""

    @property
    def suffix(self) -> str:
        return ".jpg" if self.kind in ("reencoded_copy", "leaked_reencoded") else ".png"

    @property
    def file(self) -> str:
        """Its path within the source, or its URL."""
        folder = f"{self.name[1:4]}/" if self.source in ("folder", "heldout") else ""
        return f"{folder}{self.name}{self.suffix}"


@dataclass(frozen=True)
class Corpus:
    """All pictures, in the order of their names."""

    seed: int
    size: int
    pictures: tuple[Picture, ...]
    heldout: tuple[Picture, ...]

    @property
    def everything(self) -> tuple[Picture, ...]:
        return self.pictures + self.heldout


def default_heldout(size: int) -> int:
    """How many pictures are held out unless told otherwise."""
    return max(100, size // 20)


@lru_cache(maxsize=2)
def plan(seed: int, size: int, heldout: int | None = None, noise: str = "demo") -> Corpus:
    """Plans `size` training pictures, defects among them in the shares of NOISE, and the held-out ones.

    Raises:
        GalleryTooLarge: more than MOST of either.
    """
    number = default_heldout(size) if heldout is None else heldout
    if max(size, number) > MOST:
        raise GalleryTooLarge(f"{max(size, number):,} pictures: a gallery holds {MOST:,} at most")
    rng = random.Random(f"gallery {seed} plan {size}")
    seen = Layouts()
    held = tuple(
        Picture(f"h{i:06d}", "heldout", "clean", scene, scene)
        for i, scene in enumerate(islice(fresh(seed, seen, held_out=True), number))
    )
    kinds = counts(size, len(held), noise)
    draft = _draft(rng, kinds, held, seen, fresh(seed, seen, held_out=False))
    return Corpus(seed, size, _deal(rng, draft), held)


def counts(size: int, heldout: int, noise: str = "demo") -> dict[str, int]:
    """Pictures of each kind; every defect occurs at least once in a corpus of 100 or more."""
    floor = 1 if size >= 100 else 0
    found = {kind: max(floor, round(share * size)) for kind, share in NOISE[noise].items()}
    found["leaked_exact"] = min(found["leaked_exact"], heldout // 2)
    found["leaked_reencoded"] = min(found["leaked_reencoded"], heldout // 2)
    return {"clean": size - sum(found.values()), **found}


class Layouts:
    """Remembers what was shown where, so that no picture is by chance a copy of another."""

    def __init__(self) -> None:
        self._seen: dict[object, list[list[float]]] = defaultdict(list)

    def add(self, scene: Scene) -> bool:
        """False, and nothing remembered, if a picture that shows the same looks nearly the same."""
        if not self.free(scene):
            return False
        self._shown_alike(scene).append(_layout(scene))
        return True

    def free(self, scene: Scene) -> bool:
        """Whether no picture that shows the same looks nearly the same."""
        layout = _layout(scene)
        return not any(
            all(abs(a - b) < APART for a, b in zip(layout, other, strict=True))
            for other in self._shown_alike(scene)
        )

    def _shown_alike(self, scene: Scene) -> list[list[float]]:
        return self._seen[scene.groups, scene.relation, scene.background]


def _layout(scene: Scene) -> list[float]:
    objects = sorted(scene.objects, key=lambda placed: (placed.group, placed.x))
    return [value for placed in objects for value in (placed.x, placed.y)]


def fresh(seed: int, seen: Layouts, *, held_out: bool) -> Iterator[Scene]:
    """Scenes in the order of their numbers, without those that nearly repeat another."""
    index = 0
    while True:
        scene = sample(seed, index, held_out=held_out)
        index += 1
        if seen.add(scene):
            yield scene


def _draft(
    rng: random.Random,
    number: Mapping[str, int],
    held: tuple[Picture, ...],
    seen: Layouts,
    scenes: Iterator[Scene],
) -> list[Picture]:
    """The pictures before they are shuffled: still without names, `of` being an index into the list."""
    draft = [Picture("", "", "clean", scene, scene) for scene in islice(scenes, number["clean"])]
    originals = iter(_shuffled(rng, range(len(draft))))
    leakable = iter(_shuffled(rng, held))
    for kind, many in number.items():
        for _ in range(many if kind != "clean" else 0):
            if kind in FROM_CLEAN:
                draft.append(_derive(rng, kind, draft, _original(kind, draft, originals, seen), seen))
            elif kind in LEAKS:
                leaked = next(leakable)
                draft.append(Picture("", "", kind, leaked.scene, leaked.scene, of=leaked.name))
            else:
                scene = next(scenes)
                told = _another(rng, draft, scene) if kind == "mismatched_caption" else scene
                draft.append(Picture("", "", kind, scene, told))
    return draft


def _original(kind: str, draft: list[Picture], originals: Iterator[int], seen: Layouts) -> int:
    """The next picture to derive one from. What is there in every other colour already, as happens by chance among
    60,000 pictures, cannot be recoloured and is passed over."""
    if kind != "recoloured":
        return next(originals)
    return next(n for n in originals if any(map(seen.free, recolourings(draft[n].scene))))


def _derive(rng: random.Random, kind: str, draft: list[Picture], original: int, seen: Layouts) -> Picture:
    scene = draft[original].scene
    if kind == "recoloured":
        scene = recoloured(scene, rng)
        while not seen.add(scene):
            scene = recoloured(draft[original].scene, rng)
    language = ""
    if kind == "shared_picture" and rng.random() < 0.5:
        language = pick(rng, ("fr", "de", "zh"))
        draft[original] = replace(draft[original], reserved=language)
    return Picture("", "", kind, scene, scene, of=str(original), reserved=language)


def _another(rng: random.Random, draft: list[Picture], scene: Scene) -> Scene:
    while True:
        other = pick(rng, draft).scene
        if caption(other) != caption(scene):
            return other


def _deal(rng: random.Random, draft: list[Picture]) -> tuple[Picture, ...]:
    """Shuffles the pictures over names and sources, and writes the names into `of`."""
    order = _shuffled(rng, range(len(draft)))
    names = {index: f"g{slot:06d}" for slot, index in enumerate(order)}
    ends, share = [], 0.0
    for source, part in SOURCES.items():
        share += part
        ends.append((round(share * len(order)), source))
    dealt = []
    for slot, index in enumerate(order):
        picture = draft[index]
        of = names[int(picture.of)] if picture.of.isdigit() else picture.of
        source = next(source for end, source in ends if slot < end)
        dealt.append(replace(picture, name=names[index], source=source, of=of))
    return tuple(dealt)


def _shuffled(rng: random.Random, values: Iterable[T]) -> list[T]:
    """By random() alone, whose sequence is promised; that of shuffle() is not."""
    keyed = [(rng.random(), place, value) for place, value in enumerate(values)]
    return [value for *_, value in sorted(keyed, key=lambda entry: entry[:2])]
