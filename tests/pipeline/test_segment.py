"""Cuts fall where they should, nothing is lost, and a long text's rows are found again."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import collect, stage
from pipeline.collect import Origin, forget_former
from pipeline.segment import Segment, cut_documents, estimated, passages, tokens
from pipeline.sentences import characters, clauses, groups, sentences, words
from pipeline.sources.parquet import Parquet
from pipeline.tokens.text_bpe import TextBPE, fit
from pipeline.web import intake
from storage import parts
from storage.limits import Limits
from storage.store import Store

TOLD = {
    "en": ["Dr. Smith paid 3.50 dollars.", "He left... slowly.", '"Why?" she asked.', "Fig. 3 shows it at 5 p.m. today.",
           "Mr. J. R. R. Tolkien was from the U.S. Army, e.g. not.", "Really?!", "Yes!"],
    "de": ["Am 3. Mai kam z. B. Herr Dr. Meier.", "„Warum?“, fragte er.", "Das kostet 3,50 Euro.", "Ach so!"],
    "fr": ["M. Dupont est arrivé à 10 h.", "Il a dit : « Bonjour ! »", "Puis il est parti.", "Pourquoi ?"],
    "es": ["¿Qué tal?", "¡Bien!", "El Sr. López vive aquí.", "Hoy no."],
    "pl": ["To jest np. kot.", "Prof. Nowak mieszka przy ul. Długiej.", "Koniec."],
    "zh": ["今天天气很好。", "我们去公园吧！", "你来吗？", "价格是3.5元。", "他说：“你好！”"],
    "ja": ["今日は天気がいい。", "「行こう。」と彼は言った。", "田中さんは3.5キロ走った！", "本当？"],
    "ar": ["هل أنت بخير؟", "نعم، أنا بخير.", "شكرا!"],
    "hi": ["यह एक है।", "वह दो है।"],
    "ru": ["Он ушёл.", "Почему?", "Это стоит 3,5 р. за штуку!"],
}  # fmt: skip


@pytest.mark.parametrize("lang", TOLD)
def test_sentences_end_where_they_end(lang: str):
    joint = "" if lang in ("zh", "ja") else " "
    for order in itertools.islice(itertools.permutations(TOLD[lang]), 0, 120, 7):
        found = [sentence.strip() for sentence in sentences(joint.join(order), lang)]
        assert found == list(order)


def test_a_tag_of_a_region_and_an_unknown_language_are_taken():
    assert len(sentences("Hello. World.", "en-GB")) == len(sentences("Hello. World.", "xx")) == 2
    assert sentences("", "en") == []
    assert sentences("Hello.\n\nWorld.") == ["Hello.\n\n", "World."]


TEXTS = st.lists(
    st.sampled_from(
        [
            "Red barn. ",
            "a, b; c ",
            "word ",
            "中文句子。",
            "「はい。」と",
            "x" * 70,
            "\n\n",
            "é",
            "!? ",
            "e.g. ",
            " ",
        ]
    ),
    max_size=40,
).map("".join)
ANY = st.one_of(TEXTS, st.text(max_size=150))


@given(ANY)
def test_pieces_give_the_text_back(text: str):
    for cut in (sentences, clauses, words, groups, characters):
        assert "".join(cut(text)) == text
        assert all(cut(text))


def fitted() -> TextBPE:
    texts = [
        "the red barn stands in a green field.",
        "ein rotes Haus, ein Baum",
        "红色的谷仓在绿色的田野里。",
    ] * 20
    return TextBPE(fit(texts, 400))


BPE = fitted()


@given(ANY, st.sampled_from([32, 40, 100]), st.sampled_from([estimated, tokens(BPE)]))
def test_passages_lose_nothing_and_stay_within_their_bound(text: str, most: int, count):
    found = passages(text, most, count)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert len(found) == 1 or all(0 < size <= most for size in count(found))
    assert len(found) > 1 or count(found)[0] <= most or not text.strip()
    if (
        len(found) > 1
    ):  # no two neighbours would have fitted into one, but where a long sentence begins or ends
        assert all(passages(one, most, count) == [one] for one in found)


def test_a_passage_ends_with_a_sentence_and_a_long_sentence_is_cut_at_a_comma():
    text = " ".join(f"Sentence number {n} is here." for n in range(30))
    found = passages(text, 64)
    assert all(one.endswith("here.") and one.startswith("Sentence") for one in found)
    assert len(found) == 8 and all(estimated([f"{a} {b}"])[0] > 64 for a, b in itertools.pairwise(found[:-1]))
    long = "One short one. " + ", ".join(f"clause {n} of a long one" for n in range(20)) + "."
    assert all(one.endswith((",", ".")) for one in passages(long, 64))
    assert passages(long, 64)[0] == "One short one."
    assert [len(one) for one in passages("x" * 200, 32)] == [48, 48, 48, 56]


def test_an_answer_is_no_number():
    assert len(sentences("No. It was Ms. Lee, no. 5 of the list. No. 6 left.", "en")) == 3
    assert len(sentences("¿Tú? Hoy no. Ella sí.", "es")) == 3


def test_the_estimate_is_careful():
    texts = ["the red barn stands in a green field.", "ein rotes Haus", "红色的谷仓", "12.5%", ""]
    assert all(a >= b for a, b in zip(estimated(texts), tokens(BPE)(texts), strict=True))
    assert estimated(["ab cd", "é中1."]) == [3, 8]


# --- rows -------------------------------------------------------------------------------------------------

STORY = " ".join(f"Sentence number {n} is here &amp; there." for n in range(20))


class Shelf:
    """A Parquet file of texts and a store that it is collected into."""

    def __init__(self, folder: Path) -> None:
        self.store, self.file = Store.open(folder / "store"), folder / "texts.parquet"

    def take(self, rows: list[dict], **settings: int | str) -> int:
        """Collects the rows; how many parts that made."""
        pq.write_table(pa.Table.from_pylist(rows), self.file)
        origin = Origin("shelf", Parquet(path=str(self.file), task="text"), segment=Segment(**settings))
        jobs = stage.plan_collect(self.store, origin, Limits())
        parts.commit(self.store, [stage.work_collect(self.store, job, Limits()) for job in jobs])
        self.former = forget_former(self.store, "shelf")
        assert stage.plan_collect(self.store, origin, Limits()) == []
        return len(jobs)

    def rows(self) -> list[dict]:
        with self.store.connect() as db:
            [(right,)] = db.sql("SELECT bool_and(adds_up) FROM funnel_check").fetchall()
            assert right
            query = "SELECT * FROM samples JOIN decisions USING (sample_id) ORDER BY position, origin"
            return db.sql(query).to_arrow_table().to_pylist()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_long_text_is_rows_of_one_document(shelf: Shelf):
    shelf.take([{"key": "a", "text": STORY}, {"key": "b", "text": "Short."}], passage_tokens=64)
    told = [row for row in shelf.rows() if row["origin"].startswith("a")]
    assert " ".join(row["text"] for row in told) == STORY.replace("&amp;", "&")
    assert [row["origin"] for row in told] == ["a", *(f"a ¶{n:05d}" for n in range(1, len(told)))]
    assert {row["document_id"] for row in told} == {collect.sample_id("shelf", "a", -1)}
    assert {row["sample_id"] for row in told} == {
        collect.sample_id("shelf", row["origin"], 0) for row in told
    }
    assert sum(row["text_bytes"] for row in told) == len(STORY)
    assert [row["detail"] for row in told] == ["markup 80", *[None] * (len(told) - 1)]
    assert len(shelf.rows()) == len(told) + 1 and all(row["kept"] for row in told)


def test_only_long_texts_of_these_tasks_are_cut(shelf: Shelf):
    rows = [
        {"key": "a", "text": STORY, "task": "caption", "prompt": None},
        {"key": "b", "text": STORY, "task": "text", "prompt": "Why?"},
    ]
    shelf.take(rows, passage_tokens=64)
    assert [row["origin"] for row in shelf.rows()] == ["a", "b"]


def test_what_is_left_of_an_earlier_cut_goes(shelf: Shelf):
    rows = [{"key": "a", "text": STORY}, {"key": "b", "text": STORY}]
    shelf.take(rows, passage_tokens=64)
    many = {row["origin"]: row["text"] for row in shelf.rows()}
    assert shelf.take(rows, passage_tokens=64) == 0
    shelf.take(rows, passage_tokens=128)
    fewer = {row["origin"]: row["text"] for row in shelf.rows()}
    assert set(fewer) < set(many)
    assert " ".join(text for origin, text in sorted(fewer.items()) if origin[0] == "b") == STORY.replace(
        "&amp;", "&"
    )
    shelf.take([{"key": "a", "text": "Short now."}, {"key": "b", "text": STORY}], passage_tokens=64)
    assert {o: t for o, t in many.items() if o[0] == "b"} | {"a": "Short now."} == {
        row["origin"]: row["text"] for row in shelf.rows()
    }
    shelf.take(rows)
    assert [row["origin"] for row in shelf.rows()] == ["a", "b"]
    shelf.take(rows, passage_tokens=64)
    assert {row["origin"]: row["text"] for row in shelf.rows()} == many


def test_an_origin_that_ends_like_a_passage_is_a_row_of_its_own(shelf: Shelf):
    rows = [{"key": key, "text": f"Short {key}"} for key in ("a", "a ¶00001", "b ¶00001", "c ¶1.png")]
    shelf.take(rows, passage_tokens=64)
    first = shelf.rows()
    shelf.take([{"key": "a", "text": STORY[:90]}, *rows[1:]], passage_tokens=64)
    assert shelf.former == 0 and [row["origin"] for row in shelf.rows()] == [row["key"] for row in rows]
    with shelf.store.connect() as db:
        known = db.sql(stage.WHOLE, params=["shelf", "shelf"]).fetchall()
    assert sorted(row[0] for row in known) == [row["origin"] for row in first]


def test_a_passage_that_was_withdrawn_alone_stays_withdrawn(shelf: Shelf):
    shelf.take([{"key": "a", "text": STORY}], passage_tokens=64)
    one = shelf.rows()[1]["sample_id"]
    intake.withdraw(shelf.store, [one], "somebody asked")
    assert shelf.take([{"key": "a", "text": STORY}], passage_tokens=64) == shelf.former == 0
    assert [row["reason"] for row in shelf.rows() if row["sample_id"] == one] == ["somebody asked"]


def test_a_tokenizer_is_known_by_its_content(tmp_path: Path):
    first, second = BPE.save(tmp_path), tmp_path / "copy.json"
    second.write_bytes(first.read_bytes())
    same = {Segment(passage_tokens=64, tokenizer=str(path)).fingerprint() for path in (first, second)}
    assert len(same) == 1 and Segment(passage_tokens=64).fingerprint() not in same
    assert Segment().fingerprint() == Segment(image_tokens=5, tokenizer="nowhere").fingerprint()
    settings = Segment(passage_tokens=64, tokenizer=str(first))
    assert settings.count(["the red barn"]) == [len(BPE.encode("the red barn"))]


def page(kinds: str) -> tuple[list[dict], list[bool]]:
    """A document of texts (t, 20 tokens), pictures (p), captioned pictures (c) and rows that were dropped (d)."""
    rows = []
    for n, kind in enumerate(kinds):
        text = "x" * 39 if kind in "tcd" else None
        image = "i" if kind in "pc" else None
        rows.append(
            {
                "document_id": "doc",
                "position": n,
                "origin": "page",
                "text": text,
                "prompt": None,
                "image_id": image,
            }
        )
    return rows, [kind != "d" for kind in kinds]


@pytest.mark.parametrize(
    ("kinds", "want"),
    [
        ("tttttt", ["tttttt"]),
        ("tttttttt", ["tttttt", "tt"]),
        ("tttdttdtt", ["tttdttdt", "t"]),
        ("ttttpttt", ["tttt", "pttt"]),  # the picture goes on with its caption
        ("ttttttttp", ["tttttt", "ttp"]),
        ("cccc", ["cc", "cc"]),
        ("ppptt", ["pppt", "t"]),  # more than the bound, and in one piece
        ("ttttttp", ["ttttt", "tp"]),
    ],
)
def test_documents_are_cut_between_rows_and_no_picture_from_its_caption(kinds: str, want: list[str]):
    rows, kept = page(kinds)
    rows_before = [dict(row) for row in rows]
    order = [3, 1, 2, 0, *range(4, len(rows))]  # rows come in any order
    shuffled, fate = [rows[i] for i in order], [kept[i] for i in order]
    cut_documents(shuffled, fate, Segment(document_tokens=120, image_tokens=40))
    pieces = {document: "".join(kinds[row["position"]] for row in group)
              for document, group in itertools.groupby(rows, key=lambda row: row["document_id"])}  # fmt: skip
    assert list(pieces.values()) == want
    assert next(iter(pieces)) == "doc" and len(pieces) == len(set(pieces))
    assert all(document.startswith("doc") for document in pieces)
    assert [{**row, "document_id": "doc"} for row in rows] == rows_before


@given(st.text("tpcd", min_size=2, max_size=40), st.integers(32, 200))
def test_document_cuts_lose_nothing_and_keep_their_bound(kinds: str, most: int):
    rows, kept = page(kinds)
    cut_documents(rows, kept, Segment(document_tokens=most, image_tokens=30))
    groups = [list(group) for _, group in itertools.groupby(rows, key=lambda row: row["document_id"])]
    assert [row["position"] for group in groups for row in group] == list(range(len(kinds)))
    assert len({group[0]["document_id"] for group in groups}) == len(groups)
    costs = {"t": 20, "p": 30, "c": 50, "d": 0}
    for group in groups:
        said = "".join(kinds[row["position"]] for row in group)
        fits = sum(costs[kind] for kind in said) <= most
        assert fits or re.fullmatch("d*p*[tcd]?d*p*d*", said), "one block that is too long by itself"
    assert not any(kinds[group[-1]["position"]] == "p" for group in groups[:-1])


def test_pieces_of_a_picture_stay_with_it():
    rows, kept = page("tptttt")
    rows += [{**rows[1], "position": 100 + n} for n in range(2)]  # of the picture at position 1
    cut_documents(
        rows,
        [*kept, True, True],
        Segment(document_tokens=120, image_tokens=30),
        lambda n: 1 if n >= 100 else n,
    )
    assert [row["document_id"] for row in rows] == ["doc", "doc.1", "doc.1", *["doc.3"] * 3, "doc.1", "doc.1"]
