"""A snapshot's split as contiguous arrays: what batches are made of. Large ones are mapped from files, not
loaded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model import gaps
from storage import amend
from storage.snapshot import Snapshot
from storage.store import Store

MAPPED_FROM = 200_000
"""Texts from which on the corpus is mapped from files instead of held in memory."""
FORMAT = 3
"""Raised whenever the files that `save` writes change."""
NAMES = ("langs", "tasks", "classes")
"""Fields that are names, and no arrays."""


class CorpusError(Exception):
    """A snapshot's tables do not fit together; the message says how."""


@dataclass(frozen=True)
class Corpus:
    """Texts by sample id, pictures by image id; everything in the order of those ids, so that it depends on
    content alone."""

    codes: np.ndarray
    """int32 `[pictures, codes]`."""
    sample_ids: np.ndarray
    """bytes `[texts]`."""
    picture: np.ndarray
    """int64 `[texts]`: index of the text's picture, -1 for none."""
    ids: np.ndarray
    """int32: ids of all texts, one after the other."""
    ends: np.ndarray
    """int64 `[texts + 1]`: where each text ends; the first entry is 0."""
    prompts: np.ndarray
    prompt_ends: np.ndarray
    lang: np.ndarray
    """int32 `[texts]`: index into `langs`."""
    task: np.ndarray
    order: np.ndarray
    """int64: texts sorted by picture."""
    starts: np.ndarray
    """int64 `[pictures + 1]`: where each picture's texts start in `order`."""
    image_ids: np.ndarray
    """bytes `[pictures]`."""
    shown_by: np.ndarray
    """bytes `[pictures]`: the first sample that shows each picture."""
    picture_label: np.ndarray
    """int32 `[pictures]`: index into `classes`, of the first labelled sample that shows it; -1 for none."""
    text_label: np.ndarray
    """int32 `[texts]`: the same for texts without a picture; -1 beside a picture, whose label it is."""
    gone: np.ndarray
    """bool `[texts]`: what stood there was forgotten; padding of its length stands for it."""
    gone_picture: np.ndarray
    """bool `[pictures]`: the same."""
    langs: tuple[str, ...]
    tasks: tuple[str, ...]
    classes: tuple[str, ...]

    def text(self, i: int) -> list[int]:
        """Ids of a text, without special tokens."""
        return self.ids[self.ends[i] : self.ends[i + 1]].tolist()

    def prompt(self, i: int) -> list[int]:
        """Ids of what conditions a text."""
        return self.prompts[self.prompt_ends[i] : self.prompt_ends[i + 1]].tolist()

    def texts_of(self, picture: int) -> np.ndarray:
        """Indices of a picture's texts."""
        return self.order[self.starts[picture] : self.starts[picture + 1]]

    @classmethod
    def of(
        cls,
        samples: pa.Table,
        text_tokens: pa.Table,
        image_tokens: pa.Table,
        empty: pa.Table | None = None,
    ) -> Corpus:
        """From `samples` (sample_id, image_id, lang, task, and label if there are any), `text_tokens` and
        `image_tokens`; of rows without text only the picture and its label are known. `empty`: where there is nothing
        any more (`storage.amend.gaps`).

        Raises:
            CorpusError: a text's picture has no codes, or pictures differ in their number of codes.
        """
        empty = no_gaps() if empty is None else empty
        images = image_tokens.select(["image_id", "codes"]).sort_by("image_id").combine_chunks()
        images, gone_picture = gaps.pictures(images, empty)
        codes = _matrix(images["codes"])
        tokens = text_tokens.select(["sample_id", "prompt_ids", "ids"])
        tokens = tokens.filter(pc.greater(pc.list_value_length(tokens["ids"]), 0))
        if "label" not in samples.column_names:
            samples = samples.append_column("label", pa.nulls(len(samples), pa.string()))
        samples = samples.select(["sample_id", "image_id", "lang", "task", "label"]).combine_chunks()
        found = pc.index_in(tokens["sample_id"], value_set=samples["sample_id"])
        tokens, found = tokens.filter(pc.is_valid(found)), found.drop_null()
        for name in ("image_id", "lang", "task", "label"):
            tokens = tokens.append_column(name, samples[name].take(found))
        table = tokens.take(pc.sort_indices(tokens["sample_id"])).combine_chunks()
        table, gone = gaps.texts(table, images, empty)
        picture = pc.index_in(table["image_id"], value_set=images["image_id"], skip_nulls=True)
        lost = pc.sum(pc.and_(pc.is_valid(table["image_id"]), pc.is_null(picture))).as_py() or 0
        if lost:
            raise CorpusError(
                f"{lost} samples of the snapshot have a picture without codes: run millrace ingest again"
            )
        pictures = pc.fill_null(picture, -1).to_numpy().astype(np.int64)
        order = np.argsort(pictures, kind="stable")
        order = order[pictures[order] >= 0]
        starts = np.searchsorted(pictures[order], np.arange(len(codes) + 1))
        (ids, ends), (prompts, prompt_ends) = _flat(table["ids"]), _flat(table["prompt_ids"])
        (lang, langs), (task, tasks) = _indexed(table["lang"]), _indexed(table["task"])
        shown_by, of_picture = _first(samples, images["image_id"])
        own = pc.if_else(pc.is_null(table["image_id"]), table["label"], None)
        classes = pc.unique(pa.chunked_array([*of_picture.chunks, *own.chunks], pa.string()).drop_null())
        return cls(
            codes=codes,
            sample_ids=_names(table["sample_id"]),
            picture=pictures,
            ids=ids,
            ends=ends,
            prompts=prompts,
            prompt_ends=prompt_ends,
            lang=lang,
            task=task,
            order=order,
            starts=starts,
            image_ids=_names(images["image_id"]),
            shown_by=_names(pc.fill_null(shown_by, "")),
            picture_label=_place(of_picture, classes.sort()),
            text_label=_place(own, classes.sort()),
            gone=gone,
            gone_picture=gone_picture,
            langs=langs,
            tasks=tasks,
            classes=tuple(classes.sort().to_pylist()),
        )

    def save(self, folder: Path) -> None:
        """Writes the arrays as a folder of .npy files, whole or not at all."""
        scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
        scratch.mkdir(parents=True, exist_ok=True)
        for name in self._arrays():
            np.save(scratch / f"{name}.npy", getattr(self, name), allow_pickle=False)
        (scratch / "names.json").write_text(json.dumps({name: getattr(self, name) for name in NAMES}))
        try:
            scratch.replace(folder)
        except OSError:  # another process was first, with the same content
            shutil.rmtree(scratch, ignore_errors=True)

    @classmethod
    def mapped(cls, folder: Path) -> Corpus:
        """Opens what `save` wrote without reading it into memory."""
        names = json.loads((folder / "names.json").read_text())
        found: dict[str, Any] = {name: tuple(names[name]) for name in NAMES}
        mapped = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in cls._arrays()}
        return cls(
            **found, **{n: array.view(np.ndarray) for n, array in mapped.items()}
        )  # slices cost a tenth

    @classmethod
    def _arrays(cls) -> Sequence[str]:
        return [f.name for f in fields(cls) if f.name not in NAMES]


def no_gaps() -> pa.Table:
    """Nothing is empty."""
    return pa.table({name: pa.array([], pa.int64()) for name in ("picture_of", "place")})


def load_corpus(store: Store, snapshot: Snapshot, split: str, *, in_place: bool = False) -> Corpus:
    """A split as arrays; a large one through files under the store, made once for its content.

    What was forgotten is not there; `in_place`, padding stands for it, as the order of batches asks for.
    """
    empty = amend.gaps(snapshot, split) if in_place else no_gaps()
    mark = ".gaps" * bool(empty.num_rows)
    cache = store.path / "cache" / f"{snapshot.content_hash[:32]}-{split}{mark}.{FORMAT}"
    if (cache / "names.json").is_file():
        return Corpus.mapped(cache)
    samples = snapshot.samples(split, ["sample_id", "image_id", "lang", "task", "label"])
    corpus = Corpus.of(samples, snapshot.text_tokens(split), snapshot.image_tokens(split), empty)
    if len(corpus.sample_ids) < MAPPED_FROM:
        return corpus
    corpus.save(cache)
    return Corpus.mapped(cache)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A list column of equal lengths as int32 `[rows, length]`."""
    flat, ends = _flat(column)
    lengths = np.unique(np.diff(ends))
    if len(lengths) > 1:
        raise CorpusError(
            f"pictures of {lengths[0]} and of {lengths[-1]} codes in one snapshot: use one image tokenizer"
        )
    return flat.reshape(len(column), int(lengths[0]) if len(lengths) else 0)


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A list column as its values, one after the other, and where each row ends; null counts as empty."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return pc.list_flatten(column).to_numpy().astype(np.int32), ends


def _first(samples: pa.Table, images: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """For each picture the first sample that shows it, and the label of the first one that has one."""
    shown = samples.filter(samples["image_id"].is_valid()).sort_by("sample_id")
    found = []
    for column, rows in (("sample_id", shown), ("label", shown.filter(shown["label"].is_valid()))):
        firsts = rows.group_by("image_id", use_threads=False).aggregate([(column, "first")])
        found.append(firsts[f"{column}_first"].take(pc.index_in(images, value_set=firsts["image_id"])))
    return found[0], found[1]


def _place(labels: pa.ChunkedArray, classes: pa.Array) -> np.ndarray:
    """Index of each label among the classes, -1 for none: int32."""
    return pc.fill_null(pc.index_in(labels, value_set=classes, skip_nulls=True), -1).to_numpy()


def _names(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), dtype=np.bytes_)


def _indexed(column: pa.ChunkedArray) -> tuple[np.ndarray, tuple[str, ...]]:
    """A string column as indices into its sorted distinct values; null counts as ''."""
    filled = pc.fill_null(column, "")
    names = pc.unique(filled).sort()
    return pc.index_in(filled, value_set=names).to_numpy().astype(np.int32), tuple(names.to_pylist())
