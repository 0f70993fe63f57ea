"""Any prompt, any output: texts and pictures in any order, in one batch, with guidance, streamed."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch

from model import paths
from model.corpus import Corpus
from model.generate import Model, Sampling, generate, stream
from model.sequences import Picture, PromptError, Text
from model.text_stream import StopStrings
from model.tokenizers import Tokenizers
from tests.model.reading import VARIANTS, make_model, read_anew


@pytest.fixture(params=VARIANTS, scope="module")
def model(request: pytest.FixtureRequest, tokenizers: Tokenizers) -> Model:
    return make_model(tokenizers, **VARIANTS[request.param])


@pytest.fixture(scope="module")
def default(tokenizers: Tokenizers) -> Model:
    return make_model(tokenizers)


def prompts(model: Model, corpus: Corpus) -> list[list[int]]:
    """Text, one picture, several pictures, interleaved, and a picture that is to be drawn: all of unequal length."""
    s = model.sequences
    one, two, three = (Picture(tuple(map(int, corpus.codes[i]))) for i in range(3))
    return [
        s.text("en", "caption", [12]),
        s.document([one]) + s.question("en", "caption"),
        s.document([one, two]) + s.question("fr", "vqa", [18, 19]),
        s.document([Text((10, 11)), one, Text((13,)), two, three, Text((12, 14, 15))]),
        s.wish("en", [10, 11, 12]),
        [*s.document([two, Text((16,))]), s.vocabulary["<boi>"]],
    ]


MIXED = {
    "greedy": Sampling(max_tokens=30),
    "drawn": Sampling(max_tokens=40, temperature=1.5, seed=3),
    "drawn with top-k and top-p": Sampling(max_tokens=30, temperature=2.0, top_k=12, top_p=0.9, seed=1),
    "guided": Sampling(max_tokens=40, temperature=1.5, guidance=3.0, seed=4),
    "guided, greedy": Sampling(max_tokens=24, guidance=2.0),
    "text": Sampling(max_tokens=12, temperature=1.0, modalities="text", guidance=3.0),
    "image": Sampling(max_tokens=18, temperature=1.0, modalities="image", guidance=3.0),
}


@pytest.mark.parametrize("sampling", MIXED.values(), ids=MIXED)
def test_every_mode_says_in_a_batch_what_each_row_says_read_anew(
    model: Model, corpus: Corpus, sampling: Sampling
) -> None:
    asked = prompts(model, corpus)
    if sampling.modalities == "text":
        asked = asked[:4]
    eos = model.sequences.vocabulary["<eos>"]
    got = generate(model, asked, sampling)
    assert got == [read_anew(model, p, sampling, stop=[eos], key=i) for i, p in enumerate(asked)]
    for i in (0, 3, len(asked) - 1):
        assert generate(model, [asked[i]], sampling, keys=[i]) == [got[i]]


def test_pictures_in_the_output_are_whole_and_guided(default: Model, corpus: Corpus) -> None:
    s, sampling = default.sequences, Sampling(max_tokens=90, temperature=1.5, guidance=3.0, seed=4)
    asked = prompts(default, corpus)[:4] * 3
    got = generate(default, asked, sampling, stop=[])
    begin, end, low = s.vocabulary["<boi>"], s.vocabulary["<eoi>"], s.config.offsets[1]
    opened = [(row, place) for row in got for place, i in enumerate(row[:-18]) if i == begin]
    assert len(opened) > 10
    for row, place in opened:
        assert all(i >= low for i in row[place + 1 : place + 17])
        assert row[place + 17] == end
        assert row[place + 18] < low
    plain = generate(default, asked, sampling.model_copy(update={"guidance": 1.0}), stop=[])
    for guided_row, plain_row in zip(got, plain, strict=True):
        first = guided_row.index(begin) if begin in guided_row else len(guided_row)
        assert guided_row[: first + 1] == plain_row[: first + 1]
    assert got != plain


def test_text_alone_never_opens_a_picture(default: Model, corpus: Corpus) -> None:
    asked, begin = prompts(default, corpus)[:4] * 4, default.sequences.vocabulary["<boi>"]
    free = Sampling(max_tokens=60, temperature=3.0)
    assert any(begin in row for row in generate(default, asked, free, stop=[]))
    only = free.model_copy(update={"modalities": "text"})
    assert all(begin not in row for row in generate(default, asked, only, stop=[]))
    with pytest.raises(PromptError, match="opens a picture"):
        generate(default, [default.sequences.wish()], only)


def test_a_picture_alone_is_opened_closed_and_nothing_else(default: Model, corpus: Corpus) -> None:
    got = generate(default, prompts(default, corpus), Sampling(temperature=1.0, modalities="image"))
    for ids in got:
        (picture,) = default.sequences.parts(ids)
        assert isinstance(picture, Picture)
        assert len(picture.codes) == 16


def test_the_seed_and_the_key_decide(default: Model, corpus: Corpus) -> None:
    asked = prompts(default, corpus)
    sampling = Sampling(max_tokens=30, temperature=1.0, seed=1)
    first = generate(default, asked, sampling)
    assert first == generate(default, asked, sampling)
    assert first != generate(default, asked, sampling.model_copy(update={"seed": 2}))
    assert first[:1] != generate(default, asked[:1], sampling, keys=[7])


def test_a_stream_tells_step_by_step_what_generate_returns(model: Model, corpus: Corpus) -> None:
    asked, sampling = prompts(model, corpus), MIXED["guided"]
    steps = list(stream(model, asked, sampling))
    assert all(len(step) == len(asked) for step in steps)
    columns = [list(column) for column in zip(*steps, strict=True)]
    for column in columns:
        told = [i for i in column if i is not None]
        assert column == told + [None] * (len(column) - len(told))
    assert [[i for i in column if i is not None] for column in columns] == generate(model, asked, sampling)


def test_who_reads_a_stream_may_record_gradients(default: Model) -> None:
    steps = stream(default, [[1]], Sampling(max_tokens=3), stop=[])
    next(steps)
    assert not torch.is_inference_mode_enabled()


def test_a_stream_that_is_abandoned_lets_its_cache_go(
    default: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[Any]] = []

    class Watched(paths.Cache):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            held.append(weakref.ref(self))

    monkeypatch.setattr(paths, "Cache", Watched)
    steps = stream(default, [[1], [1, 10]], Sampling(max_tokens=50), stop=[])
    next(steps)
    assert [cache() is not None for cache in held] == [True]
    steps.close()  # type: ignore[attr-defined]
    gc.collect()
    assert [cache() for cache in held] == [None]


def test_a_stop_string_ends_its_row_across_tokens(default: Model, tokenizers: Tokenizers) -> None:
    asked = [default.sequences.text("en", None, [i]) for i in range(10, 20)]
    sampling = Sampling(max_tokens=40, temperature=2.0, modalities="text")
    free = generate(default, asked, sampling, stop=[])
    stopped = 0
    for stop in ("e i", "picture a", "ry"):
        strings = StopStrings(tokenizers.text, [stop, "never said"])
        for ids, whole in zip(
            generate(default, asked, sampling, stop=[], stop_strings=strings), free, strict=True
        ):
            text = tokenizers.decode(whole)
            assert ids == whole[: len(ids)]
            if stop not in text:
                assert ids == whole
                continue
            stopped += 1
            assert stop in tokenizers.decode(ids)
            assert stop not in tokenizers.decode(ids[:-1])
            assert strings.cut(tokenizers.decode(ids)) == text[: text.index(stop)]
    assert stopped >= 3


def test_parts_come_back_as_they_were_written(default: Model, corpus: Corpus) -> None:
    one, two = (Picture(tuple(map(int, corpus.codes[i]))) for i in range(2))
    s = default.sequences
    for written in ([Text((10, 11))], [one], [one, two], [Text((12,)), one, two, Text((13, 14)), one]):
        assert s.parts(s.document(written)) == written
    assert s.document([one]) == s.picture(one.codes)
    assert s.document([Text((10,)), one])[:2] == [s.vocabulary["<bos>"], 10]
    assert s.document([]) == [s.vocabulary["<bos>"]]


@pytest.mark.parametrize(
    "broken", ["empty", "unknown", "negative", "loose code", "short", "long", "unclosed"]
)
def test_a_prompt_that_cannot_be_read_is_refused(default: Model, broken: str) -> None:
    s = default.sequences
    whole, low = s.picture([1] * 16), s.config.offsets[1]
    ids = {
        "empty": [],
        "unknown": [1, s.config.size],
        "negative": [-1],
        "loose code": [1, low],
        "short": [*whole[:10], 12],
        "long": [*whole[:-1], low, whole[-1]],
        "unclosed": [*whole[:-1], 12],
    }[broken]
    with pytest.raises(PromptError):
        generate(default, [[1], ids])


def test_nothing_is_asked_and_nothing_is_said(default: Model) -> None:
    assert generate(default, []) == []
