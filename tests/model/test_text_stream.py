"""Streamed text is what all ids decode to, told in whole characters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from model.text_stream import BROKEN, WINDOW, StopStrings, TextStream

SAID = [
    "a red circle",
    "un cercle rouge à côté",
    "ein großer Kreis",
    "日本語の丸い絵",
    "🎨 peint 👩‍🎨 d'été",
    "\ufffd odd",
]


def byte_level() -> Tokenizer:
    """A vocabulary in which most characters beyond ASCII are several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SAID[:3], trainer)
    return tokenizer


TOKENIZER = byte_level()
IDS = st.lists(st.integers(0, TOKENIZER.get_vocab_size() + 5), max_size=80)
TEXTS = st.lists(st.sampled_from(SAID), min_size=1, max_size=8).map(" ".join)


def decoded(ids: list[int]) -> str:
    return TOKENIZER.decode(ids, skip_special_tokens=True).removeprefix(" ")


@given(IDS | TEXTS.map(lambda text: TOKENIZER.encode(text).ids))
def test_all_that_is_told_is_the_whole_text(ids: list[int]) -> None:
    told = TextStream(TOKENIZER)
    assert "".join([*(told.add([i]) for i in ids), told.end()]) == decoded(ids)


@given(TEXTS)
def test_only_whole_characters_are_told_and_as_soon_as_they_are(text: str) -> None:
    text = text.replace(BROKEN, "").strip()
    ids, told, known = TOKENIZER.encode(text).ids, TextStream(TOKENIZER), ""
    for n, token in enumerate(ids, 1):
        new = told.add([token])
        assert BROKEN not in new
        known += new
        assert known == decoded(ids[:n]).rstrip(BROKEN)
    assert known == text


@given(
    TEXTS,
    st.lists(
        st.sampled_from(["cle", "e rouge", "ß", "🎨 p", "絵", "zzz", "circle u"]), min_size=1, max_size=3
    ),
)
def test_the_text_ends_before_the_first_stop_string(text: str, stops: list[str]) -> None:
    told, known = TextStream(TOKENIZER, stops), ""
    for token in TOKENIZER.encode(text).ids:
        known += told.add([token])
        assert not any(stop in known for stop in stops)
        if told.stopped:
            break
    known += told.end()
    assert known == StopStrings(TOKENIZER, stops).cut(text)
    assert told.stopped == any(stop in text for stop in stops)


def test_a_long_text_is_not_decoded_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    told = TextStream(TOKENIZER)
    ids = TOKENIZER.encode("a red circle " * 100).ids
    most = 0
    for token in ids:
        told.add([token])
        most = max(most, len(told._ids))
    assert len(ids) > 300 and most <= WINDOW + 1
