"""Drops near-duplicate captions once, with one tool: `minhash_once.py TOOL CAPTIONS FOLDER SETTINGS`.

CAPTIONS is a Parquet file of `id` and `text`; the ids that are kept end up in Parquet or Arrow files in FOLDER.
SETTINGS is JSON: permutations, run (words), threshold, bands, rows. Run by the interpreter of the peer's own
environment, so only `ours` may import anything of this project.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ROWS = 8192
MEMORY = "1GB"


def ours(captions: Path, folder: Path, told: dict[str, Any]) -> None:
    """The annotator a batch at a time, then the gather, over tables of a DuckDB that may spill."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.annotators.text_minhash import TextMinhash
    from pipeline.gathers.text_duplicates import TextDuplicates
    from storage.tables import TABLES, signal_table

    annotator = TextMinhash(permutations=told["permutations"], run=told["run"], short_run=told["run"])
    db = duckdb.connect(
        config={"memory_limit": MEMORY, "threads": 2, "temp_directory": str(folder / "spill")}
    )
    signatures = signal_table("text_minhash", "sample_id", annotator.columns)
    for table in (*(TABLES[name] for name in ("samples", "images", "groups", "decisions")), signatures):
        db.register("schema_of", table.schema.empty_table())
        db.execute(f"CREATE TABLE {table.name} AS SELECT * FROM schema_of")
    db.execute(
        "INSERT INTO samples BY NAME SELECT id AS sample_id, text FROM read_parquet(?)", [str(captions)]
    )
    db.execute("CREATE TEMP TABLE candidates AS SELECT sample_id FROM samples")
    db.execute("CREATE TEMP TABLE incumbents AS SELECT sample_id FROM samples WHERE false")
    for batch in pq.ParquetFile(captions).iter_batches(ROWS):
        rows = pa.table(
            [*batch.columns, pa.nulls(len(batch), pa.string())], names=["sample_id", "text", "prompt"]
        )
        db.register("signed", annotator.annotate(rows, {}))
        db.execute("INSERT INTO text_minhash BY NAME SELECT * FROM signed")
    found = TextDuplicates(threshold=told["threshold"]).gather(db).decisions
    pq.write_table(
        found.filter(found["kept"]).select(["sample_id"]).rename_columns(["id"]), folder / "kept.parquet"
    )


def text_dedup(captions: Path, folder: Path, told: dict[str, Any]) -> None:
    """Its own command, with its faster hash, in one process: more of them take more CPU time."""
    chosen = {
        "path": "parquet",
        "data_files": captions,
        "split": "train",
        "column": "text",
        "num_proc": 1,
        "cache_dir": folder / "cache",
        "output": folder / "kept",
        "hash_func": "xxh3",
        "min_length": 1,
        "ngram": told["run"],
        "num_perm": told["permutations"],
        "threshold": told["threshold"],
        "b": told["bands"],
        "r": told["rows"],
    }
    words = [str(word) for name, value in chosen.items() for word in (f"--{name}", value)]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    os.execve(sys.executable, [sys.executable, "-m", "text_dedup.minhash", *words], offline)  # noqa: S606


def datatrove(captions: Path, folder: Path, told: dict[str, Any]) -> None:
    """Its four stages in one process, with its faster hash, whole files in memory, and words that it splits at
    spaces: its tokenizers take longer, and the captions hold nothing else."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
    )
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.word_tokenizers import WhitespaceTokenizer

    class Spaces(WhitespaceTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

    left_alone = ("norm_numbers", "norm_weekdays", "norm_monthnames", "remove_punctuation", "norm_whitespace")
    config = MinhashConfig(
        n_grams=told["run"],
        num_buckets=told["bands"],
        hashes_per_bucket=told["rows"],
        norm_config=TextNormConfig(**dict.fromkeys((*left_alone, "norm_unicode_diacritics"), False)),
        hash_config=HashConfig(precision=64, hash_fc="xxhash"),
    )
    reader = ParquetReader(str(captions.parent), glob_pattern=captions.name, read_metadata=False)
    signed, paired, gone = (str(folder / name) for name in ("signatures", "buckets", "remove"))
    signature = MinhashDedupSignature(signed, config, language="chr_Cher")
    signature.word_tokenizer = Spaces()
    stages = [
        [reader, signature],
        [MinhashDedupBuckets(signed, paired, config=config, lines_to_buffer=-1)],
        [MinhashDedupCluster(paired, gone, config=config, lines_to_buffer=-1)],
        [reader, MinhashDedupFilter(gone, lines_to_buffer=-1), ParquetWriter(str(folder / "kept"))],
    ]
    for number, stage in enumerate(stages):
        tasks = told["bands"] if number == 1 else 1
        LocalPipelineExecutor(stage, tasks=tasks, workers=1, logging_dir=str(folder / f"log{number}")).run()


def main(tool: str, captions: str, folder: str, told: str) -> None:
    """Runs one tool into a folder that is there and empty."""
    run = {"ours": ours, "text-dedup": text_dedup, "datatrove": datatrove}[tool]
    run(Path(captions), Path(folder), json.loads(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
