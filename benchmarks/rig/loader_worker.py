"""Reads samples of one store again and again: `loader_worker.py KIND FOLDER SAMPLES`, KIND ours, litdata or webdataset.

A sample is a picture's codes and the ids of its texts. Run by the interpreter of the peer's own environment, so only
`ours` may import anything of this project. FOLDER holds `samples.npz`: codes `[pictures, codes]`, the ids of all texts
one after the other and where each ends, three texts a picture; the peers write it in their own format first.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

TEXTS = 3
BATCH = 40
"""Samples of a peer's batch: what ours packs into one."""
SHARD = 1000
SHUFFLED = 1000
Work = Callable[[], Callable[[], int]]
"""Reads at least so many samples; asked afterwards, says how many."""


def sample(arrays: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    """One sample as arrays."""
    ends = arrays["ends"][TEXTS * i : TEXTS * (i + 1) + 1]
    return {"codes": arrays["codes"][i], "ids": arrays["ids"][ends[0] : ends[-1]], "ends": ends[1:] - ends[0]}


def padded(samples: list[dict[str, np.ndarray]]) -> Any:
    """Samples as one tensor of ids, padded to the longest: the least that a network needs."""
    import torch

    parts = [(one["codes"], one["ids"]) for one in samples]
    rows = np.zeros((len(parts), max(len(codes) + len(ids) for codes, ids in parts)), np.int64)
    for row, (codes, ids) in zip(rows, parts, strict=True):
        row[: len(codes)] = codes
        row[len(codes) : len(codes) + len(ids)] = ids
    return torch.from_numpy(rows)


def batches(stream: Iterator[Any], samples: int) -> Callable[[], int]:
    """Takes batches until there are as many samples."""
    seen = 0
    while seen < samples:
        seen += len(next(stream))
    return lambda: seen


def ours(folder: Path, samples: int) -> tuple[Work, dict[str, Any]]:
    """Batches as training reads them, packed into rows, over arrays that are mapped from files."""
    from benchmarks.rig import made_corpus
    from model.batches import Batches
    from model.config import BatchConfig
    from model.corpus import Corpus

    drawn = BatchConfig()
    made = Batches(
        Corpus.mapped(folder / "corpus"), drawn, made_corpus.model("tiny"), made_corpus.vocabulary(), 0
    )
    steps = -(-samples // int(made.per_step))
    at = [0]

    def work() -> Callable[[], int]:
        turn = range(at[0], at[0] + steps)
        for step in turn:
            made.batch(step)
        at[0] += steps
        return lambda: sum(len(row) for step in turn for row in made.plan(step))

    filled = [float((made.batch(step).units >= 0).float().mean()) for step in range(20)]
    return work, {"about": "ours", "filled": sum(filled) / len(filled), "batch": made.per_step}


def endless(make: Callable[[], Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from make()


def litdata(folder: Path, samples: int) -> tuple[Work, dict[str, Any]]:
    """Its streaming dataset, shuffled, read in this process."""
    from litdata import StreamingDataLoader, StreamingDataset, optimize

    arrays, path = dict(np.load(folder / "samples.npz")), folder / "litdata"
    if not (path / "index.json").exists():
        optimize(
            fn=partial(sample, arrays),
            inputs=list(range(len(arrays["codes"]))),
            output_dir=str(path),
            chunk_bytes="64MB",
            num_workers=1,
            mode="overwrite",
        )
    dataset = StreamingDataset(str(path), shuffle=True)
    loader = StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0, collate_fn=padded)
    return partial(batches, endless(lambda: loader), samples), {"about": f"litdata {version('litdata')}"}


def webdataset(folder: Path, samples: int) -> tuple[Work, dict[str, Any]]:
    """Tars of .npy files, shuffled through a buffer, read in this process."""
    import webdataset as wds

    arrays, path = dict(np.load(folder / "samples.npz")), folder / "tars"
    if not path.exists():
        scratch = folder / "tars.partial"
        scratch.mkdir(exist_ok=True)
        for first in range(0, len(arrays["codes"]), SHARD):
            with tarfile.open(scratch / f"{first:08d}.tar", "w") as tar:
                for i in range(first, min(first + SHARD, len(arrays["codes"]))):
                    for name, values in sample(arrays, i).items():
                        data = BytesIO()
                        np.save(data, values)
                        info = tarfile.TarInfo(f"{i:08d}.{name}.npy")
                        info.size = data.tell()
                        data.seek(0)
                        tar.addfile(info, data)
        scratch.rename(path)
    urls = sorted(map(str, path.glob("*.tar")))

    def epoch() -> Any:
        stream = wds.WebDataset(urls, shardshuffle=len(urls), empty_check=False).shuffle(SHUFFLED).decode()
        named = stream.map(lambda one: {"codes": one["codes.npy"], "ids": one["ids.npy"]})
        return named.batched(BATCH, collation_fn=padded)

    return partial(batches, endless(epoch), samples), {"about": f"webdataset {version('webdataset')}"}


def main(kind: str, folder: str, samples: str) -> None:
    """Says that it is ready; reads so many samples per line of standard input."""
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # litdata prints
    work, about = {"ours": ours, "litdata": litdata, "webdataset": webdataset}[kind](
        Path(folder), int(samples)
    )
    print(json.dumps(about), file=told, flush=True)
    for _ in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        seen = work()
        took = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}
        number = seen()
        print(json.dumps({name: each / number for name, each in took.items()}), file=told, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
