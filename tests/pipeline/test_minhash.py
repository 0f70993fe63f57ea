"""Words, runs of words, and what their signatures say of how alike two texts are."""

from __future__ import annotations

import hashlib
import itertools
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import minhash, shingles
from pipeline.annotators import text_minhash
from pipeline.annotators.text_minhash import TextMinhash

ASSIGNED = st.characters(exclude_categories=("Cn", "Cs"), exclude_characters="\u0130")
"""Characters that every version of Unicode since 14 folds in the same way, one to one."""
WORDS = [f"word{n}" for n in range(5000)]


def hashes_of(*texts: str | None) -> list[list[int]]:
    """The words of each text, as numbers."""
    hashes, starts = shingles.words(pa.array(texts, pa.string()))
    return [hashes[low:high].tolist() for low, high in itertools.pairwise(starts)]


def spelled(text: str) -> list[str]:
    """The words of a text, one character at a time."""
    found, before = [], False
    for character in map(str.lower, unicodedata.normalize("NFKC", text)):
        code, category = ord(character), unicodedata.category(character)
        named = category[0] in "LMN" and not 0xFE00 <= code <= 0xFE0F and code < shingles.LAST
        tone = 0x1F3FB <= code <= 0x1F3FF
        alone = category == "So" or tone or (named and any(a <= code <= b for a, b in shingles.UNSPACED))
        if alone or (named and not before):
            found.append(character)
        elif named:
            found[-1] += character
        before = named and not alone
    return found


def annotated(texts: list[str | None], prompts: list[str | None] | None = None, **set_to: int) -> pa.Table:
    columns = {
        "sample_id": pa.array([str(n) for n in range(len(texts))]),
        "prompt": pa.array(prompts or [None] * len(texts), pa.string()),
        "text": pa.array(texts, pa.string()),
    }
    return TextMinhash(**set_to).annotate(pa.table(columns), {})


def signed(*texts: str, prompts: list[str | None] | None = None, **set_to: int) -> np.ndarray:
    found = annotated(list(texts), prompts, **set_to)["signature"].to_pylist()
    return np.stack([np.frombuffer(value, "<u4") for value in found])


def alike(one: str, other: str, prompts: list[str | None] | None = None) -> float:
    return float(minhash.agreement(*np.split(signed(one, other, prompts=prompts), 2))[0])


def true_jaccard(one: str, other: str, run: int) -> float:
    a, b = (
        {tuple(w[n : n + run]) for n in range(max(len(w) - run, 0) + 1)} for w in map(spelled, (one, other))
    )
    return len(a & b) / len(a | b)


class TestWords:
    @pytest.mark.parametrize(
        "other",
        ["THE  naïve café", "the nai\u0308ve\ncafe\u0301", "The, (naïve) café!", "ｔｈｅ naïve — café."],
    )
    def test_what_does_not_matter(self, other: str) -> None:
        assert hashes_of("the naïve café") == hashes_of(other)

    @pytest.mark.parametrize("other", ["the naive café", "thenaïve café", "the naïve", "naïve the café", ""])
    def test_what_does(self, other: str) -> None:
        assert hashes_of("the naïve café") != hashes_of(other)

    @pytest.mark.parametrize(
        ("text", "many"),
        [("日本語の text", 5), ("ตกลง", 4), ("🐶🐱", 2), ("❤️", 1), ("한국어 말", 2), ("it's 3.5", 4), ("—!…", 0), (None, 0)],
    )  # fmt: skip
    def test_scripts_without_spaces_and_emoji_give_a_word_for_each_character(self, text, many) -> None:
        assert len(hashes_of(text)[0]) == many

    @given(st.lists(st.text(ASSIGNED, max_size=12), max_size=6))
    @settings(max_examples=100, deadline=None)
    def test_they_are_those_that_one_spells_out_whatever_stands_beside(self, texts: list[str]) -> None:
        found = hashes_of(*texts)
        names: dict[int, str] = {}
        for text, words in zip(texts, found, strict=True):
            assert [names.setdefault(w, s) for w, s in zip(words, spelled(text), strict=True)] == spelled(
                text
            )
        assert len(set(names.values())) == len(names)


class TestJaccard:
    @given(
        st.lists(st.text("ab ", max_size=30).filter(str.strip), min_size=2, max_size=5),
        st.integers(1, 4),
    )
    @settings(max_examples=100, deadline=None)
    def test_runs_have_the_index_of_the_tuples_of_words(self, texts: list[str], run: int) -> None:
        prompts = pa.array([None] * len(texts), pa.string())
        hashes, starts = shingles.Worded.read(prompts, pa.array(texts)).shingles(np.full(len(texts), run))
        i, j = np.triu_indices(len(texts), 1)
        expected = [true_jaccard(texts[a], texts[b], run) for a, b in zip(i, j, strict=True)]
        assert minhash.jaccard(hashes, starts, i, j).tolist() == pytest.approx(expected)

    @pytest.mark.parametrize("changed", [1, 3, 10])
    def test_signatures_estimate_it_without_bias(self, changed: int) -> None:
        rng, errors = np.random.default_rng(0), []
        for _ in range(60):
            words = rng.choice(WORDS, 120, replace=False)
            other = words.copy()
            other[rng.choice(120, changed, replace=False)] = "another"
            one, two = " ".join(words), " ".join(other)
            errors.append(alike(one, two) - true_jaccard(one, two, 5))
        assert abs(np.mean(errors)) < 3 * 0.044 / np.sqrt(60)  # at most sqrt(1 / 4 / 128) each
        assert np.std(errors) < 0.06


class TestSignatures:
    def test_a_set_has_the_same_one_alone_and_among_others(self) -> None:
        rng = np.random.default_rng(0)
        sizes = [1, 5, minhash.BLOCK + 7, 3, minhash.BLOCK, 2, 2 * minhash.BLOCK, 9]
        sets = [rng.integers(0, 1 << 32, size, dtype=np.uint64) for size in sizes]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        found = minhash.signatures(np.concatenate(sets), starts, 32)
        for one, signature in zip(sets, found, strict=True):
            alone = minhash.signatures(np.repeat(one[::-1], 2), np.array([0, 2 * len(one)]), 32)
            assert (alone[0] == signature).all(), "neither order nor repetition matters"

    def test_they_are_the_least_of_multiply_shift(self) -> None:
        sets = np.array([5, 9, 1 << 31], np.uint64)
        factors, terms = minhash._functions(16, 7)
        expected = [
            min((int(x) * int(a) + int(b)) % 2**64 >> 32 for x in sets) for a, b in zip(factors, terms, strict=True)
        ]  # fmt: skip
        assert minhash.signatures(sets, np.array([0, 3]), 16, 7)[0].tolist() == expected

    def test_they_are_the_same_on_every_machine_and_day(self) -> None:
        found = signed("A red circle on grey.", "日本語の文章です。", "word " * 30)
        digest = hashlib.sha256(found.tobytes()).hexdigest()[:16]
        assert digest == "8cf7a874ea8a329e", (
            "signatures in stores would no longer fit new ones: raise the version"
        )


class TestBands:
    @pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 0.97])
    @pytest.mark.parametrize("permutations", [64, 128, 256])
    def test_recall_is_reached_with_the_most_rows_that_reach_it(self, threshold, permutations) -> None:
        count, rows = minhash.bands(threshold, permutations, 0.95)
        assert count * rows <= permutations
        assert minhash.shared(threshold, count, rows) >= 0.95
        assert minhash.shared(threshold, permutations // (rows + 1), rows + 1) < 0.95

    def test_at_the_usual_setting(self) -> None:
        assert minhash.bands(0.8, 128, 0.95) == (18, 7)

    def test_out_of_reach_there_is_a_band_for_each_permutation(self) -> None:
        assert minhash.bands(0.01, 16, 0.99) == (16, 1)


class TestAnnotator:
    def test_rows_without_words_have_null(self) -> None:
        made = annotated(["one two", None, "", "!?", "x"], [None, "a prompt", None, None, "why"])
        assert [value is None for value in made["signature"].to_pylist()] == [False, True, True, True, False]
        assert made["words"].to_pylist() == [2, None, None, None, 2]
        assert made["run"].to_pylist() == [2, None, None, None, 2]
        assert {len(v) for v in made["signature"].to_pylist() if v} == {4 * 128}

    def test_of_no_rows_there_is_nothing(self) -> None:
        made = annotated([])
        assert made.num_rows == 0
        assert made.schema.names == ["sample_id", *TextMinhash.columns.names]
        assert made.schema.field("signature").type == pa.binary()

    def test_short_texts_have_short_runs(self) -> None:
        long, short = " ".join(WORDS[:20]), " ".join(WORDS[:19])
        assert annotated([long, short])["run"].to_pylist() == [5, 2]
        assert annotated([long, short], run=3, short=0)["run"].to_pylist() == [3, 3]

    def test_equal_texts_have_equal_signatures_in_any_company(self, monkeypatch) -> None:
        texts = ["a b c", " ".join(WORDS[:700]), "日本語", "a b c", "A, b: c!"]
        there = annotated(texts)["signature"].to_pylist()
        monkeypatch.setattr(text_minhash, "AT_ONCE", 4)
        assert annotated(texts)["signature"].to_pylist() == there
        assert [annotated([text])["signature"][0].as_py() for text in texts] == there
        assert there[0] == there[3] == there[4]

    def test_a_text_shorter_than_a_run_is_one_run(self) -> None:
        assert alike("hello", "Hello!") == 1.0
        assert alike("hello", "goodbye") < 0.1

    def test_prompt_and_text_weigh_the_same_however_long(self) -> None:
        prompt, other = " ".join(WORDS[:400]), " ".join(WORDS[1000:1400])
        assert alike("A title", "a title", [prompt, prompt]) == 1.0
        assert alike("A title", "Other words", [prompt, prompt]) == pytest.approx(1 / 3, abs=0.12)
        assert alike("A title", "A title", [prompt, other]) == pytest.approx(1 / 3, abs=0.12)
        assert alike("A title", "A title", [prompt, prompt + " more"]) > 0.95

    def test_a_prompt_is_not_a_text(self) -> None:
        assert alike("red", "what is it", ["what is it", "red"]) < 0.1
        assert alike("red", "red", ["red", None]) < 0.7
