"""Nearly the same text again: what is found, what stays, and that nothing is read twice."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import minhash, stage
from pipeline.annotators.text_minhash import TextMinhash
from pipeline.collect import Origin
from pipeline.gathers import text_duplicates
from pipeline.gathers.text_duplicates import TextDuplicates, candidate_pairs
from pipeline.matching import components
from pipeline.shingles import Worded
from pipeline.sources.parquet import Parquet
from storage import parts
from storage.limits import Limits
from storage.store import Store
from storage.tables import signal_table

WORDS = [f"word{n}" for n in range(3000)]
STORY = " ".join(random.Random(0).sample(WORDS, 60))
OTHER = " ".join(random.Random(1).sample(WORDS, 60))
KEPT = (True, None, None)


def changed(text: str, places: int, seed: int = 0) -> str:
    """The text with another word in so many places."""
    words, rng = text.split(), random.Random(seed)
    for place in rng.sample(range(len(words)), places):
        words[place] = f"new{rng.randrange(10**6)}"
    return " ".join(words)


def dropped(best: str) -> tuple[bool, str, str]:
    return (False, "near_duplicate", best)


class Texts:
    """A corpus whose texts are annotated before each round."""

    def __init__(self, corpus: Any) -> None:
        self.corpus, self.db = corpus, corpus.db
        table = signal_table("text_minhash", "sample_id", TextMinhash.columns)
        corpus.db.register("schema_of", table.schema.empty_table())
        corpus.db.execute("CREATE TABLE text_minhash AS SELECT * FROM schema_of")

    def add(self, sample_id: str, text: str | None = None, image: str | None = None, **more: Any) -> None:
        self.corpus.sample(sample_id, image, text, **{"task": "text", **more})

    def fill(self, rows: list[str]) -> None:
        """Many rows at once, numbered."""
        ids, same = [f"{at:04d}" for at in range(len(rows))], pa.repeat("text", len(rows))
        self.corpus.insert("samples", pa.table({"sample_id": ids, "text": rows, "task": same}))

    def run(self, **set_to: Any) -> dict[str, tuple[bool, str | None, str | None]]:
        rows = self.db.sql(
            "SELECT sample_id, prompt, text FROM samples ANTI JOIN text_minhash USING (sample_id) ORDER BY 1"
        ).to_arrow_table()
        self.corpus.insert("text_minhash", TextMinhash().annotate(rows, {}))
        return self.corpus.run(TextDuplicates(**set_to))


@pytest.fixture
def texts(corpus) -> Texts:
    return Texts(corpus)


def kept(verdicts: dict) -> set[str]:
    return {sample for sample, (stays, _, _) in verdicts.items() if stays}


class TestWhatIsDropped:
    def test_nearly_equal_texts_go_and_others_stay(self, texts) -> None:
        texts.add("1", STORY)
        texts.add("2", STORY.upper() + "!")
        texts.add("3", STORY.rsplit(" ", 2)[0])
        texts.add("4", OTHER)
        texts.add("5", changed(STORY, 6))
        texts.add("6", None)
        texts.add("7", "…")
        assert texts.run() == {
            **dict.fromkeys(("1", "4", "5", "6", "7"), KEPT),
            **dict.fromkeys(("2", "3"), dropped("1")),
        }

    @pytest.mark.parametrize(
        "differs",
        [{"lang": "fr"}, {"task": "summarize"}, {"held_out": True}, {"prompt": "what else happened"}],
    )
    def test_language_task_prompt_and_the_held_out_must_agree(self, texts, differs: dict) -> None:
        texts.add("1", STORY)
        texts.add("2", STORY, **differs)
        assert kept(texts.run()) == {"1", "2"}

    def test_the_same_answer_to_nearly_the_same_question_goes_another_stays(self, texts) -> None:
        texts.add("1", "The long night", prompt=STORY, task="title")
        texts.add("2", "the long night", prompt=STORY + " again", task="title")
        texts.add("3", "Morning comes", prompt=STORY, task="title")
        texts.add("4", "The long night", prompt=OTHER, task="title")
        assert texts.run() == {"1": dropped("2"), "2": KEPT, "3": KEPT, "4": KEPT}

    def test_chinese_is_compared_by_characters(self, texts) -> None:
        text = "从前有一座山山里有一座庙庙里有一个老和尚在给小和尚讲故事他说今天天气很好我们一起去河边钓鱼吧大家都很高兴"
        texts.add("1", text, lang="zh")
        texts.add("2", text[:-2], lang="zh")
        texts.add("3", text[::-1], lang="zh")
        assert texts.run() == {"1": KEPT, "2": dropped("1"), "3": KEPT}

    @pytest.mark.parametrize(("threshold", "stay"), [(0.83, {"1", "2"}), (0.81, {"1"})])
    def test_the_threshold_is_exact(self, texts, threshold: float, stay: set[str]) -> None:
        texts.add("1", STORY)
        texts.add("2", STORY.rsplit(" ", 10)[0])
        assert pair_jaccard(STORY, STORY.rsplit(" ", 10)[0]) == pytest.approx(46 / 56)  # 0.821
        assert kept(texts.run(threshold=threshold)) == stay


class TestPictures:
    @pytest.fixture
    def captions(self, texts) -> Texts:
        for name in ("p", "q", "r"):
            texts.corpus.picture(name, np.full((8, 8, 3), 9, np.uint8))
        groups = [("p", "p"), ("q", "p"), ("r", "r")]
        texts.db.executemany("INSERT INTO groups (image_id, group_id) VALUES (?, ?)", groups)
        for sample, image in (("1", "p"), ("2", "q"), ("3", "r"), ("4", None), ("5", None)):
            texts.add(sample, STORY if sample < "4" else changed(STORY, 1), image, task="caption")
        return texts

    def test_by_default_only_rows_without_one_are_judged(self, captions) -> None:
        assert kept(captions.run()) == {"1", "2", "3", "4"}

    def test_jointly_only_those_of_one_group(self, captions) -> None:
        assert kept(captions.run(judge="joint")) == {"1", "3", "4"}

    def test_or_text_whatever_the_picture(self, captions) -> None:
        verdicts = captions.run(judge="text")
        assert kept(verdicts) == {"1"}
        assert {best for _, _, best in verdicts.values()} == {None, "1"}


class TestWhatStays:
    def test_a_labelled_row_then_the_longest_then_the_smallest_id(self, texts) -> None:
        for sample, text, label in (
            ("1", STORY, None),
            ("2", f"{STORY} end", None),
            ("3", STORY, "story"),
            ("4", OTHER, None),
            ("6", f"{OTHER} end", None),
            ("5", f"{OTHER} end", None),
        ):
            texts.add(sample, text, label=label)
        assert kept(texts.run()) == {"3", "5"}

    def test_the_larger_original_picture(self, texts) -> None:
        for name, side in (("p", 90), ("q", 900)):
            texts.corpus.picture(name, np.full((8, 8, 3), 9, np.uint8), side)
        texts.add("1", STORY, "p")
        texts.add("2", STORY, "q")
        assert kept(texts.run(judge="text")) == {"2"}

    def test_what_was_kept_before_stays_though_a_better_one_comes(self, texts) -> None:
        texts.add("z", STORY)
        assert texts.run() == {"z": KEPT}
        texts.add("a", f"{STORY} end", label="story")
        texts.add("b", OTHER)
        assert texts.run() == {"a": dropped("z"), "b": KEPT}
        texts.add("c", f"{STORY} at the end")
        assert texts.run() == {"c": dropped("z")}

    def test_a_text_like_one_that_was_dropped_goes_too(self, texts) -> None:
        steps = [STORY]
        while len(steps) < 4:
            steps.append(" ".join([*steps[-1].split()[5:], *(f"end{len(steps)}{n}" for n in range(2))]))
        assert pair_jaccard(steps[0], steps[1]) > 0.8 > pair_jaccard(steps[0], steps[2])
        for step, text in enumerate(steps):
            texts.add(f"s{step}", text)
            assert texts.run() == {f"s{step}": dropped("s0") if step else KEPT}

    def test_rows_kept_earlier_stay_though_one_between_them_comes(self, texts) -> None:
        middle = STORY.split()
        texts.add("1", " ".join(middle[:-6]))
        texts.add("2", " ".join(middle[6:]))
        assert kept(texts.run()) == {"1", "2"}
        texts.add("3", STORY)
        assert texts.run() == {"3": dropped("1")}

    def test_when_what_was_kept_is_gone_the_next_takes_its_place(self, texts) -> None:
        texts.add("1", STORY)
        texts.add("2", STORY)
        texts.run()
        for table in ("samples", "text_minhash", "decisions"):
            texts.db.execute(f"DELETE FROM {table} WHERE sample_id = '1'")
        texts.add("3", STORY)
        assert texts.run() == {"3": KEPT}

    def test_the_order_of_arrival_in_one_round_does_not_matter(self, texts) -> None:
        rows = [(f"{n}", changed(STORY, n % 3, seed=n)) for n in range(9)]
        for row in rows:
            texts.add(*row)
        there = Texts(type(texts.corpus)())
        for row in reversed(rows):
            there.add(*row)
        assert texts.run() == there.run()


class TestAgainstBruteForce:
    def test_of_all_pairs_at_the_threshold_nearly_all_are_found_and_none_below(self, texts) -> None:
        rng, rows = random.Random(0), []
        for _ in range(150):
            length = rng.choice((8, 14, 25, 60, 120))
            rows.append(text := " ".join(rng.choices(WORDS, k=length)))
            for seed in range(3):
                rows.append(edited(text, random.Random(f"{len(rows)} {seed}")))
        texts.fill(rows)
        texts.run()
        truth, together = pairs_of(rows), labels(texts.db)
        assert len(truth) > 150
        assert sum(together[i] == together[j] for i, j in truth) / len(truth) >= 0.95
        connected = components(len(rows), *np.array(sorted(truth)).T)
        assert all(connected[at] == connected[label] for at, label in enumerate(together)), "none below"

    def test_by_signatures_alone_as_many_are_found(self, texts) -> None:
        rng, rows = random.Random(1), []
        for _ in range(120):
            rows.append(text := " ".join(rng.choices(WORDS, k=80)))
            rows.append(edited(text, rng))
        texts.fill(rows)
        texts.run(exact=False)
        truth, verdicts = (
            pairs_of(rows),
            dict(texts.db.sql("SELECT sample_id, kept FROM decisions").fetchall()),
        )
        missed = [pair for pair in truth if all(verdicts[f"{at:04d}"] for at in pair)]
        assert len(missed) / len(truth) <= 0.05


def edited(text: str, rng: random.Random) -> str:
    """The text with words changed, left out, added, or cut off."""
    words = text.split()
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(words))
        match rng.randrange(4):
            case 0:
                words[at] = f"new{rng.randrange(10**6)}"
            case 1 if len(words) > 2:
                del words[at]
            case 2:
                words.insert(at, f"new{rng.randrange(10**6)}")
            case _:
                words = words[: max(2, len(words) * 9 // 10)]
    return " ".join(words)


def hashed(rows: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of all rows at the usual settings, where each row's begin, and how long they are."""
    worded = Worded.read(pa.array([""] * len(rows)), pa.array(rows))
    run = np.where(worded.count() < 20, 2, 5)
    return *worded.shingles(run), run


def pairs_of(rows: list[str]) -> set[tuple[int, int]]:
    """Every pair of rows with an index of 0.8 or more."""
    hashes, starts, run = hashed(rows)
    names, column = np.unique(hashes, return_inverse=True)
    holds = np.zeros((len(rows), len(names)), np.float32)
    holds[np.repeat(np.arange(len(rows)), np.diff(starts)), column] = 1
    common, size = holds @ holds.T, holds.sum(1)
    near = (common >= 0.8 * (size[:, None] + size - common) - 1e-3) & (run[:, None] == run)
    i, j = np.nonzero(np.triu(near, 1))
    return set(zip(i.tolist(), j.tolist(), strict=True))


def pair_jaccard(one: str, other: str) -> float:
    hashes, starts, _ = hashed([one, other])
    return float(minhash.jaccard(hashes, starts, np.array([0]), np.array([1]))[0])


def labels(db: duckdb.DuckDBPyConnection) -> list[int]:
    """The first row of the group that each row was put into, in the order of the ids."""
    found = db.sql(
        "SELECT coalesce(together, head) FROM entries LEFT JOIN grouped ON grouped.n = head ORDER BY sample_id"
    )
    return [label for (label,) in found.fetchall()]


class TestBuckets:
    def test_the_same_text_many_times_is_looked_at_once(self, texts) -> None:
        texts.fill([STORY] * 5000)
        assert kept(texts.run()) == {"0000"}
        assert texts.db.sql("SELECT count(*) FROM alike").fetchall() == [(0,)]

    def test_however_many_share_a_band_the_pairs_grow_with_their_number(self, texts) -> None:
        template = STORY.split()
        texts.fill([" ".join([*template, f"number{at}"]) for at in range(400)])
        assert kept(texts.run(neighbours=2)) == {"0000"}
        for band in range(18):
            pairs = texts.db.sql(candidate_pairs(band, 2)).fetchall()
            assert 0 < len(pairs) <= 400 * 3

    def test_each_band_can_be_asked_by_itself(self, texts) -> None:
        for at in range(40):
            texts.add(f"{at:02d}", changed(STORY, at % 2, seed=at))
        texts.run()
        together = set(texts.db.sql("SELECT * FROM alike").fetchall())
        apart = [set(texts.db.sql(candidate_pairs(band, 8)).fetchall()) for band in reversed(range(18))]
        assert set().union(*apart) == together

    def test_pairs_of_earlier_rows_are_not_looked_at_again(self, texts) -> None:
        for at in range(30):
            texts.add(f"{at:02d}", changed(STORY, 1, seed=at))
        texts.run()
        texts.add("x", OTHER)
        assert texts.run() == {"x": KEPT}
        assert texts.db.sql("SELECT count(*) FROM alike").fetchall() == [(0,)]

    def test_chunks_of_texts_change_nothing(self, texts, monkeypatch) -> None:
        for at in range(30):
            texts.add(f"{at:02d}", changed(STORY, at % 3, seed=at))
        there = texts.run()
        texts.db.execute("DELETE FROM decisions")
        monkeypatch.setattr(text_duplicates, "WORDS", 50)
        monkeypatch.setattr(text_duplicates, "PAIRS", 3)
        assert texts.run() == there


class Ingest:
    """A store, the texts of a Parquet file, and the stages that judge them."""

    def __init__(self, folder: Path, **set_to: Any) -> None:
        self.folder, self.store = folder, Store.open(folder / "store")
        self.annotator, self.gather = TextMinhash(), TextDuplicates(**set_to)

    def take(self, name: str, rows: list[str]) -> int:
        """Takes in a file; how many rows the gather judged."""
        pq.write_table(pa.table({"text": rows}), self.folder / f"{name}.parquet")
        origin = Origin("texts", Parquet(path=str(self.folder / "*.parquet"), task="text"), False)
        jobs = stage.plan_collect(self.store, origin, Limits())
        parts.commit(self.store, [stage.work_collect(self.store, job, Limits()) for job in jobs])
        jobs = stage.plan_annotate(self.store, self.annotator, {})
        parts.commit(self.store, [stage.work_annotate(self.store, job, self.annotator, {}) for job in jobs])
        return stage.run_gather(self.store, self.gather, stage.gather_policy(self.gather, "upstream"))

    def kept(self) -> set[str]:
        with self.store.connect() as db:
            query = "SELECT origin FROM samples JOIN decisions USING (sample_id) WHERE stage = ? AND kept"
            return {origin for (origin,) in db.execute(query, [self.gather.name()]).fetchall()}


def test_in_a_store_a_new_ingest_is_held_against_all_earlier_ones(tmp_path: Path) -> None:
    ingest = Ingest(tmp_path)
    assert ingest.take("a", [STORY, OTHER, changed(STORY, 1)]) == 3
    first = ingest.kept()
    assert len(first) == 2 and "a.parquet#1" in first
    assert ingest.take("b", [f"{OTHER} end", "Something new", changed(STORY, 1, seed=3)]) == 3
    assert ingest.kept() == first | {"b.parquet#1"}
    assert ingest.take("b", [f"{OTHER} end", "Something new", changed(STORY, 1, seed=3)]) == 0
    looser = Ingest(tmp_path, threshold=0.99)
    assert looser.take("c", []) == 6
    assert len(looser.kept()) == 6
