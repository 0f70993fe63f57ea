"""Encodes the same texts again and again with one library: `tokenize_worker.py KIND TEXTS TOKENIZER IDS`.

Run by the interpreter of the peer's own environment, so only `ours` may import anything of this project.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROWS = 1024
"""Rows at a time: what an annotator is given, and the best batch for HF tokenizers too."""

Work = Callable[[], Any]
Lists = Callable[[Any], list[list[int]]]
Prepared = tuple[Work, Lists, dict[str, Any]]


def ours(texts: list[str], tokenizer: Path) -> Prepared:
    """Arrow in, Arrow out."""
    import pyarrow as pa

    from pipeline.tokens.text_bpe import TextBPE

    bpe, column = TextBPE.load(tokenizer), pa.array(texts, pa.string())

    def work() -> list[pa.ListArray]:
        return [bpe.encode_batch(column.slice(start, ROWS)) for start in range(0, len(column), ROWS)]

    def lists(made: list[pa.ListArray]) -> list[list[int]]:
        return [ids for batch in made for ids in batch.to_pylist()]

    known = column.dictionary_encode()
    ids = bpe.encode_batch(known.dictionary)

    def copied() -> None:
        for start in range(0, len(column), ROWS):
            ids.take(column.slice(start, ROWS).dictionary_encode().indices)

    copied()
    least = min(timed(copied)[0] for _ in range(5))
    return work, lists, {"limit_seconds": least, "distinct": len(known.dictionary)}


def hf(texts: list[str], tokenizer: Path) -> Prepared:
    """HF tokenizers without offsets: its fastest way."""
    from tokenizers import Tokenizer

    bpe = Tokenizer.from_str(tokenizer.read_text(encoding="utf-8"))
    bpe.encode_special_tokens = True
    batches = [texts[start : start + ROWS] for start in range(0, len(texts), ROWS)]

    def work() -> list[list[int]]:
        return [
            item.ids for batch in batches for item in bpe.encode_batch_fast(batch, add_special_tokens=False)
        ]

    return work, list, {"about": version("tokenizers")}


def tiktoken(texts: list[str], tokenizer: Path) -> Prepared:
    """tiktoken over the same merges: a token's id is its rank. The space before a text is given."""
    from tiktoken import Encoding

    described = json.loads(tokenizer.read_text(encoding="utf-8"))
    specials = {token["content"]: token["id"] for token in described["added_tokens"]}
    letters = {letter: byte for byte, letter in enumerate(byte_letters())}
    ranks = {
        bytes(letters[letter] for letter in token): rank
        for token, rank in described["model"]["vocab"].items()
        if token not in specials
    }
    pieces = described["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
    bpe = Encoding("ours", pat_str=pieces, mergeable_ranks=ranks, special_tokens=specials)
    spaced = [f" {text}" if text else "" for text in texts]

    def work() -> list[list[int]]:
        encode = bpe.encode_ordinary
        return [encode(text) for text in spaced]

    return work, list, {"about": version("tiktoken")}


def byte_letters() -> Iterator[str]:
    """The letter that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    others = 256
    for byte in range(256):
        if 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255:
            yield chr(byte)
        else:
            yield chr(others)
            others += 1


def timed(work: Work) -> tuple[float, Any]:
    """Seconds, and what was made."""
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def main(kind: str, texts: str, tokenizer: str, ids: str) -> None:
    """Says that it is ready; works once per line of standard input; writes the ids down at its end."""
    prepare = {"ours": ours, "hf": hf, "tiktoken": tiktoken}[kind]
    work, lists, about = prepare(json.loads(Path(texts).read_text(encoding="utf-8")), Path(tokenizer))
    print(json.dumps(about), flush=True)
    made: Any = []
    for _ in sys.stdin:
        del made  # so that taking the old lists apart is in nobody's time
        seconds, made = timed(work)
        print(json.dumps({"seconds": seconds}), flush=True)
    Path(ids).write_text(json.dumps(lists(made)))


if __name__ == "__main__":
    main(*sys.argv[1:])
