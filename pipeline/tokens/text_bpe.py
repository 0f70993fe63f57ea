"""The text tokenizer: a byte-level BPE fitted on the corpus, frozen, and named by its content."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PAD, BOS, EOS, SEP, BOI, EOI = SPECIALS = ("<pad>", "<bos>", "<eos>", "<sep>", "<boi>", "<eoi>")
PIECES = r" ?[\p{L}\p{M}]+| ?\p{N}| ?[^ \t\n\r\f\p{L}\p{M}\p{N}]+|[ \t\n\r\f]+"
"""No token crosses a piece's border: a word with the space before it, a digit, other signs, white space."""
SPACED_OTHERWISE = r"^$|^[ \t\n\r\f]|[ \t\n\r\f]{2}|[ \t\n\r\f]$"
"""Texts that are more, or less, than words with one space between them."""
MOST_KNOWN = 1 << 17
"""Words remembered with their ids."""


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
    # A space before every text: a word is one token wherever it stands. Decoding takes that space off again.
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
        self._known: dict[str, list[int]] = {}

    @classmethod
    def load(cls, path: str | Path) -> TextBPE:
        """Reads a tokenizer's file."""
        return cls(Path(path).read_bytes())

    def save(self, folder: str | Path) -> Path:
        """Writes `<id>.json` into a folder, complete or not at all, and returns where."""
        path = Path(folder) / f"{self.id}.json"
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_bytes(self.data)
        return scratch.replace(path)

    def token(self, name: str) -> int | None:
        """Id of a special token such as "<eos>" or "<lang:en>"; None if the tokenizer has none."""
        return self._tokenizer.token_to_id(name)

    def encode(self, text: str) -> list[int]:
        """Ids of one text."""
        return self.encode_batch(pa.array([text])).to_pylist()[0]

    def encode_batch(self, texts: pa.Array | pa.ChunkedArray) -> pa.ListArray:
        """Ids of n texts: list<int32> [n]; empty where null.

        Each distinct text is encoded once. No token crosses a single space, so text with no other space is
        cut there, and each distinct word is encoded once, whatever text and batch it comes in.
        """
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        coded = texts.cast(pa.string()).fill_null("").dictionary_encode()
        return self._encode_distinct(coded.dictionary).take(coded.indices)

    def _encode_distinct(self, texts: pa.StringArray) -> pa.ListArray:
        whole = pc.match_substring_regex(texts, SPACED_OTHERWISE)
        cut = pc.split_pattern(texts.filter(pc.invert(whole)), " ")
        words = cut.values.dictionary_encode()
        ids = self._ids_of(words.dictionary.to_pylist()).take(words.indices)
        ends = ids.offsets.to_numpy()[cut.offsets.to_numpy()]
        plain = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), ids.values)
        if len(plain) == len(texts):
            return plain
        rest = _lists(
            [item.ids for item in self._tokenizer.encode_batch_fast(texts.filter(whole).to_pylist())]
        )
        place = np.argsort(np.argsort(whole.to_numpy(zero_copy_only=False), kind="stable"))
        return pa.concat_arrays([plain, rest]).take(pa.array(place))

    def _ids_of(self, words: list[str]) -> pa.ListArray:
        known = self._known if len(self._known) < MOST_KNOWN else {}
        new = [word for word in words if word not in known]
        encoded = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        known.update(zip(new, (item.ids for item in encoded), strict=True))
        self._known = known
        return _lists([known[word] for word in words])

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids; special tokens are left out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True).removeprefix(" ")


def _lists(ids: list[list[int]]) -> pa.ListArray:
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    flat = np.fromiter(itertools.chain.from_iterable(ids), np.int32, int(lengths.sum()))
    return pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), flat)
