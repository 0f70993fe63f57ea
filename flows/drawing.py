"""From text to picture: how often an independent judge finds in a drawn picture what the caption says.

The judge is fitted on real pictures, once for a snapshot: those of training, and held-out ones whose captions are not drawn,
so that it knows combinations that training never shows. Beside the model stand what it finds in the real pictures of the
same captions and in those that only went through the image tokenizer, which no drawing can pass, and in pictures drawn for
another caption.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from flows.checkpoints import Loaded
from flows.config import Config, ConfigError, EvaluateConfig
from flows.progress import bar, say
from flows.tokenizers import decoded
from model import judge
from model.evaluate import Score, interval
from model.generate import Sampling
from model.judge import Judge
from model.ranking import draw_best
from storage.snapshot import Snapshot
from storage.store import Store

FITTED_ON = 12_000
"""Pictures of each split, at most."""
TASK, ALL = "text_to_image", "agreement"
"""All that is judged at once."""
Parse = Callable[[str], Mapping[str, Hashable] | None]

CAPTIONED = """
SELECT s.image_id, min(s.text) AS text, min(s.lang) AS lang FROM samples s JOIN members m USING (sample_id)
WHERE m.split = ? AND s.task = 'caption' AND s.image_id IS NOT NULL AND s.text IS NOT NULL AND s.lang = ?
GROUP BY s.image_id ORDER BY md5(s.image_id)
"""


def scores(store: Store, config: Config, loaded: Loaded, parse: Parse | None) -> list[Score]:
    """Shares of held-out captions whose drawn picture the judge finds right; none where nothing is to be judged.

    Raises:
        ConfigError: `judged` names an attribute that captions do not have.
    """
    asked = config.evaluate
    if not asked.judged or not asked.drawn:
        return []
    if parse is None:
        raise ConfigError('[evaluate] judged needs attributes = "…": the module that takes captions apart')
    snapshot = Snapshot.open(store, loaded.snapshot)
    held = to_judge(snapshot, asked, parse)
    if not held:
        return []
    size = loaded.tokenizers.image.size
    judged = ready(store, snapshot, asked, parse, size)
    real = decoded(store, _ids(held), size)
    wanted = [one["attributes"] for one in held]
    kinds = np.array([bool(one["attributes"].get("unseen")) for one in held])
    through = loaded.tokenizers.image.decode(loaded.tokenizers.image.encode(real))
    found = rows(judged, "real_", real, wanted, asked.judged, kinds)
    found += rows(judged, "reconstructed_", through, wanted, asked.judged, kinds)
    for guidance in dict.fromkeys((asked.guidance, *asked.guidances)):
        pictures = draw(loaded, held, asked, guidance)
        where = "" if guidance == asked.guidance else f"guidance {guidance:g}"
        found += rows(judged, "", pictures, wanted, asked.judged, kinds, where)
        if not where:
            found += rows(judged, "shuffled_", np.roll(pictures, 1, axis=0), wanted, asked.judged, kinds)
    return found


def rows(
    judged: Judge,
    prefix: str,
    pictures: np.ndarray,
    wanted: list[Mapping[str, Hashable]],
    names: tuple[str, ...],
    unseen: np.ndarray,
    where: str = "",
) -> list[Score]:
    """Scores of each attribute and of all of them at once: over all, and by whether training showed such things."""
    right = {name: judged.agrees(pictures, wanted, name) for name in names}
    right[ALL] = np.logical_and.reduce(list(right.values()))
    subsets = {"all": np.ones_like(unseen)}
    if unseen.any():
        subsets |= {"seen_combination": ~unseen, "unseen_combination": unseen}
    return [
        Score(TASK, prefix + name, where or subset, *interval(found[chosen].tolist()), int(chosen.sum()))
        for name, found in right.items()
        for subset, chosen in subsets.items()
        if not where or subset == "all"
    ]


def captioned(
    snapshot: Snapshot, split: str, names: tuple[str, ...], parse: Parse, lang: str = "en"
) -> list[dict[str, Any]]:
    """Pictures of a split with a caption that can be taken apart, and its attributes.

    Raises:
        ConfigError: captions have no such attribute.
    """
    with snapshot.connect() as db:
        found = db.sql(CAPTIONED, params=[split, lang]).to_arrow_table().to_pylist()
    held = [{**row, "attributes": told} for row in found if (told := parse(row["text"]))]
    unknown = {name for name in names if held and name not in held[0]["attributes"]}
    if unknown:
        known = ", ".join(held[0]["attributes"])
        raise ConfigError(
            f"[evaluate] judged: captions have no {', '.join(sorted(unknown))}; they have {known}"
        )
    return held


def to_judge(snapshot: Snapshot, asked: EvaluateConfig, parse: Parse) -> list[dict[str, Any]]:
    """Held-out pictures whose captions are drawn."""
    return captioned(snapshot, asked.split, asked.judged, parse)[: asked.drawn]


def to_learn(snapshot: Snapshot, asked: EvaluateConfig, parse: Parse) -> list[dict[str, Any]]:
    """Real pictures that the judge learns from: of training, and held-out ones that it will not be asked about."""
    known = captioned(snapshot, "train", asked.judged, parse)[:FITTED_ON]
    return known + captioned(snapshot, asked.split, asked.judged, parse)[asked.drawn :][:FITTED_ON]


def ready(store: Store, snapshot: Snapshot, asked: EvaluateConfig, parse: Parse, size: int) -> Judge:
    """The judge of a snapshot's pictures, fitted first if there is none."""
    settings = judge.Settings(asked.judged)
    folder = store.folder("judges") / judge.key(
        settings, [snapshot.content_hash, asked.split, asked.drawn], size
    )
    if not (folder / judge.SETTINGS).exists():
        known = to_learn(snapshot, asked, parse)
        say(f"fitting an independent judge on {len(known):,} real pictures, once for this snapshot")
        real = decoded(store, _ids(known), size)
        with bar("fit judge", None, "steps") as shown:
            made = judge.fit(
                real,
                [one["attributes"] for one in known],
                settings,
                lambda step, steps: shown.update(step, total=steps),
            )
        made.save(folder)
    return Judge.load(folder)


def draw(
    loaded: Loaded, held: Sequence[Mapping[str, Any]], asked: EvaluateConfig, guidance: float | None = None
) -> np.ndarray:
    """A picture for each caption (`lang` and `text`), drawn as the configuration says: uint8 [n, size, size, 3]."""
    weight = asked.guidance if guidance is None else guidance
    sampling = Sampling(temperature=1.0, top_p=asked.top_p, guidance=weight)
    wishes = [(one["lang"] or None, loaded.tokenizers.encode(one["text"])) for one in held]
    with bar(f"draw, guidance {weight:g}", len(wishes), "pictures") as shown:
        codes = draw_best(loaded.model, wishes, sampling, asked.candidates)
        shown.advance(len(wishes))
    return loaded.tokenizers.image.decode(np.asarray(codes))


def _ids(rows: list[dict[str, Any]]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([row["image_id"] for row in rows], pa.string())])
