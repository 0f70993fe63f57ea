"""The text tokenizer: a byte-level BPE fitted on the corpus, frozen, and named by its content."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PAD, BOS, EOS, SEP, BOI, EOI = SPECIALS = ("<pad>", "<bos>", "<eos>", "<sep>", "<boi>", "<eoi>")
PIECES = r" ?[\p{L}\p{M}]+| ?\p{N}| ?[^ \t\n\r\f\p{L}\p{M}\p{N}]+|[ \t\n\r\f]+"
"""A piece is never split across tokens' borders: a word with the space before it, a digit, other signs, white space."""


def language_token(lang: str) -> str:
    """The token that asks for a language: <lang:en>."""
    return f"<lang:{lang}>"


def task_token(task: str) -> str:
    """The token that asks for a task: <task:caption>."""
    return f"<task:{task}>"


def fit(
    texts: Iterable[str], vocab_size: int, languages: Sequence[str] = (), tasks: Sequence[str] = ()
) -> bytes:
    """Fits a byte-level BPE and returns its JSON file; equal texts in equal order give equal bytes."""
    tokenizer = Tokenizer(models.BPE())
    # A space before every text: a word is one token wherever it stands, and decoding takes that space off again.
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[
            *SPECIALS,
            *map(language_token, sorted(set(languages))),
            *map(task_token, sorted(set(tasks))),
        ],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        max_token_length=32,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str(pretty=False).encode()


class TextBPE:
    """A frozen tokenizer: text to ids and back; special tokens are never read out of a text."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.id = hashlib.sha256(data).hexdigest()[:16]
        self._tokenizer = Tokenizer.from_str(data.decode())
        self._tokenizer.encode_special_tokens = True
        self.vocab_size = self._tokenizer.get_vocab_size()

    @classmethod
    def load(cls, path: str | Path) -> TextBPE:
        """Reads a tokenizer's file."""
        return cls(Path(path).read_bytes())

    def save(self, folder: str | Path) -> Path:
        """Writes `<id>.json` into a folder, and returns where."""
        path = Path(folder) / f"{self.id}.json"
        scratch = path.with_suffix(".tmp")
        scratch.write_bytes(self.data)
        return scratch.replace(path)

    def token(self, name: str) -> int | None:
        """Id of a special token such as "<eos>" or "<lang:en>"; None if the tokenizer has none."""
        return self._tokenizer.token_to_id(name)

    def encode(self, text: str) -> list[int]:
        """Ids of one text."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: pa.Array | pa.ChunkedArray) -> pa.ListArray:
        """Ids of n texts: list<int32> [n]; empty where null. Each distinct text is encoded once."""
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        coded = texts.cast(pa.string()).dictionary_encode()
        encoded = self._tokenizer.encode_batch_fast(coded.dictionary.to_pylist(), add_special_tokens=False)
        ids = [item.ids for item in encoded]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(lengths.sum()))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        distinct = pa.ListArray.from_arrays(offsets, flat)
        return distinct.take(coded.indices) if not coded.null_count else _with_empty(distinct, coded)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; special tokens are left out."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text.removeprefix(" ")


def _with_empty(lists: pa.ListArray, coded: pa.DictionaryArray) -> pa.ListArray:
    """The list of each code, and an empty one where the code is null."""
    more = pa.concat_arrays([lists, pa.array([[]], lists.type)])
    return more.take(coded.indices.fill_null(len(lists)))
