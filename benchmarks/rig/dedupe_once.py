"""One side of the benchmark `image_dedupe`: `dedupe_once.py ours|imagededup|daft FOLDER ANSWER`, by its own interpreter.

Finds the pairs of near-copies among the files of a folder on two cores, and writes down as JSON: the pairs of names,
wall and CPU seconds (with those of its processes) after everything was imported. Only `ours` imports this project.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

CORES, FILES, DISTANCE = 2, 512, 2
Pairs = list[tuple[str, str]]
Work = Callable[[Path], Pairs]


def ours() -> Work:
    """The annotator's signatures, then the gather as a store would be given to it."""
    from concurrent.futures import ThreadPoolExecutor

    import cv2
    import duckdb
    import numpy as np
    import pyarrow as pa
    from PIL import Image

    from pipeline.annotators.perceptual_hash import shrink, signed
    from pipeline.gathers.near_duplicates import NearDuplicates
    from pipeline.signatures import GRID
    from storage.tables import TABLES

    cv2.setNumThreads(1)

    def signatures(files: Iterable[Path]) -> pa.Table:
        files, grids = list(files), []
        for file in files:
            side = GRID  # a PNG is decoded whole whatever its size
            if file.suffix == ".jpg":
                with Image.open(file) as header:
                    side = min(header.size)
            grids.append(shrink(file.read_bytes(), side))
        return pa.table({"image_id": [file.name for file in files], **signed(np.stack(grids))})

    def work(folder: Path) -> Pairs:
        files = sorted(folder.iterdir())
        chunks = [files[at : at + FILES] for at in range(0, len(files), FILES)]
        with ThreadPoolExecutor(CORES) as pool:
            hashes = pa.concat_tables(pool.map(signatures, chunks))
        with duckdb.connect(config={"threads": CORES}) as db:
            db.register("perceptual_hash", hashes)
            for name in ("samples", "groups", "images"):
                db.register(name, TABLES[name].schema.empty_table())
            for name in ("candidates", "incumbents"):
                db.register(name, pa.table({"sample_id": pa.array([], pa.string())}))
            groups = NearDuplicates().gather(db).tables["groups"]
        return together(zip(groups["image_id"].to_pylist(), groups["group_id"].to_pylist(), strict=True))

    return work


def together(groups: Iterable[tuple[str, str]]) -> Pairs:
    """Pairs of the names that share a group."""
    found: dict[str, list[str]] = {}
    for name, group in groups:
        found.setdefault(group, []).append(name)
    return [pair for names in found.values() for pair in itertools.combinations(sorted(names), 2)]


def imagededup() -> Work:
    """Its perceptual hash and its own search, as its documentation shows it."""
    from imagededup.methods import PHash

    def work(folder: Path) -> Pairs:
        hashes = PHash(verbose=False)
        known = hashes.encode_images(image_dir=folder, num_enc_workers=CORES)
        found = hashes.find_duplicates(
            encoding_map=known, max_distance_threshold=DISTANCE, num_dist_workers=CORES
        )
        return [(name, other) for name, others in found.items() for other in others if name < other]

    return work


def daft() -> Work:
    """Its perceptual hash; pairs by joining on each quarter of the hash, then by their distance."""
    import daft as library
    from daft import col
    from daft.functions import decode_image, download, hamming_distance, image_hash

    def work(folder: Path) -> Pairs:
        hashes = (
            library.from_glob_path(f"{folder}/*")
            .select(
                col("path"),
                image_hash(decode_image(download(col("path")), mode="RGB"), method="phash").alias("hash"),
            )
            .collect()
        )
        quarters = [
            hashes.with_column("part", col("hash").cast(library.DataType.binary()).slice(2 * at, 2))
            for at in range(4)
        ]
        near = [
            one.join(one, on="part", prefix="other_")
            .where(col("path") < col("other_path"))
            .where(hamming_distance(col("hash"), col("other_hash")) <= DISTANCE)
            .select("path", "other_path")
            for one in quarters
        ]
        found = near[0].concat(near[1]).concat(near[2]).concat(near[3]).distinct().to_pydict()
        names = ([path.rsplit("/", 1)[-1] for path in found[column]] for column in ("path", "other_path"))
        return list(zip(*names, strict=True))

    return work


def spent() -> float:
    """CPU seconds of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main(side: str, folder: str, answer: str) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    work = {"ours": ours, "imagededup": imagededup, "daft": daft}[side]()
    began, cpu = time.perf_counter(), spent()
    pairs = work(Path(folder))
    told = {"seconds": time.perf_counter() - began, "cpu_seconds": spent() - cpu, "pairs": sorted(pairs)}
    told["version"] = "" if side == "ours" else version(side)
    Path(answer).write_text(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
