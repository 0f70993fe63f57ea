"""How many tokens a second does our text path make on one thread, against HF tokenizers and tiktoken?

Measured: captions, questions, answers and stories of the gallery in four languages, `--size` of them as
they come (repetitions included), to ids with the byte-level BPE that an ingest would fit on them (2,048
entries). Ours is `TextBPE.encode_batch`, Arrow in and Arrow out, 1,024 rows at a time as the annotator gets
them; the peers map Python strings to Python lists, each in its own environment and at its fastest, with the
same merge table. All run by turns after a warm-up. Not measured: reading files, fitting, loading. The limit
is what Arrow takes when every text's ids are known: looking the texts up and copying ids. Quality is the
share of texts whose ids are those of HF tokenizers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.rig.contract import Bench, Result
from benchmarks.rig.peers import Worker, by_turns, environment
from pipeline.gallery import corpus
from pipeline.gallery.texts import rows

SIZE = 200_000
GOAL = 1.0
PAIRS = 7
SEED = 0
VOCABULARY = 2048
TEXTS_PER_PICTURE = 3.4
SCRIPT = Path(__file__).parent / "rig" / "tokenize_worker.py"
TITLES = {"hf": "HF tokenizers", "tiktoken": "tiktoken"}
PACKAGES = {"hf": "tokenizers", "tiktoken": "tiktoken"}


def run(bench: Bench) -> list[Result]:
    """A result for each peer."""
    folder = bench.folder("tokenize")
    texts, tokenizer = prepared(folder, bench.size)
    kinds = ["ours", *TITLES]
    ids = {kind: folder / f"{kind}.json" for kind in kinds}
    with ExitStack() as stack:
        workers = {}
        for kind in kinds:
            python = Path(sys.executable) if kind == "ours" else environment(bench, PACKAGES[kind])
            words = (kind, str(texts), str(tokenizer), str(ids[kind]))
            workers[kind] = Worker(python, SCRIPT, *words, ours=kind == "ours")
            stack.callback(workers[kind].stop)
        took = dict(zip(kinds, by_turns(list(workers.values()), bench.pairs), strict=True))
        for worker in workers.values():
            worker.finish()
    made = {kind: json.loads(file.read_text()) for kind, file in ids.items()}
    tokens = sum(map(len, made["hf"]))
    rate = {kind: tokens / median(seconds) / 1e6 for kind, seconds in took.items()}
    about = workers["ours"].about
    print(f"{bench.size:,} texts, {about['distinct']:,} of them distinct, {tokens:,} tokens", flush=True)
    return [
        Result(
            name="tokenize",
            ours=rate["ours"],
            peer=rate[peer],
            peer_name=f"{title} {workers[peer].about['about']}, one thread",
            unit="Mtok/s",
            ratio=rate["ours"] / rate[peer],
            limit=tokens / about["limit_seconds"] / 1e6,
            quality_ours=agreement(made["ours"], made["hf"]),
            quality_peer=agreement(made[peer], made["hf"]),
        )
        for peer, title in TITLES.items()
    ]


def prepared(folder: Path, size: int) -> tuple[Path, Path]:
    """The texts as a JSON list, and the tokenizer fitted on them; made once for each size."""
    from pipeline.tokens import text_bpe

    texts, tokenizer = (folder / f"v{corpus.VERSION}-{size}.{what}.json" for what in ("texts", "bpe"))
    if not tokenizer.exists():
        drawn = list(islice(gallery_texts(size), size))
        write(texts, json.dumps(drawn, ensure_ascii=False))
        write(tokenizer, text_bpe.fit(sorted(drawn), VOCABULARY).decode())
    return texts, tokenizer


def gallery_texts(size: int) -> Iterator[str]:
    """At least `size` texts and prompts, in the order of the pictures."""
    planned = corpus.plan(SEED, round(size / TEXTS_PER_PICTURE) + 100, 0)
    for picture in planned.pictures:
        for row in rows(picture, SEED):
            yield row.text
            if row.prompt:
                yield row.prompt


def write(path: Path, text: str) -> None:
    """Puts a file in its place only when it is whole."""
    scratch = path.with_suffix(".partial")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def agreement(ids: list[list[int]], truth: list[list[int]]) -> float:
    """Share of the texts with equal ids."""
    return sum(a == b for a, b in zip(ids, truth, strict=True)) / max(len(truth), 1)
