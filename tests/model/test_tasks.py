"""Tasks ask the rows that they should, measure what is said, and put a trivial answer beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from model.answering import Answerer
from model.cost import costs
from model.generate import Model, generate
from model.outcome import Asked, Outcome
from model.tasks import task as tasks
from model.tasks.task import NAMES, Examined, Given, Hands, TaskError, load
from model.tokenizers import Tokenizers
from storage import snapshot as snapshots
from storage.snapshot import Snapshot
from storage.store import Store
from tests.model.reading import logits_of

Row = tuple[str, str, str, str, str, str]
"""Split, picture, language, task, prompt, text."""
ROWS: list[Row] = [
    ("train", "p1", "en", "caption", "", "a red star on white"),
    ("train", "p2", "en", "caption", "", "a blue heart on white"),
    ("train", "p1", "en", "vqa", "What colour is it?", "red"),
    ("train", "p2", "en", "vqa", "What colour is the heart?", "red"),
    ("train", "p2", "en", "vqa", "How many are there?", "one"),
    ("train", "p2", "zh", "vqa", "有几颗？", "一颗"),
    ("train", "", "en", "title", "A heart lived here. It sang.", "A heart"),
    ("test", "t1", "en", "caption", "", "a red star on white"),
    ("test", "t1", "fr", "caption", "", "une étoile rouge sur blanc"),
    ("test", "t1", "zh", "caption", "", "白色背景上有一颗红色星星"),
    ("test", "t2", "en", "caption", "", "a green cross on black"),
    ("test", "t1", "en", "vqa", "What colour is the star?", "red"),
    ("test", "t2", "en", "vqa", "What colour is the cross?", "green"),
    ("test", "t2", "en", "vqa", "How many are there?", "two"),
    ("test", "t2", "zh", "vqa", "有几个？", "两个"),
    ("test", "t1", "en", "translate", "une étoile rouge sur blanc", "a red star on white"),
    ("test", "", "en", "title", "In a land lived a star. Every evening there was singing.", "A star"),
    ("test", "", "en", "summarize", "A star shone. It was red.", "a red star shone"),
    ("test", "", "en", "qa", "A star shone. What colour is it?", "red"),
]


def made(path: Path, rows: Sequence[Row]) -> Snapshot:
    store = Store.open(path)
    samples = [
        {"sample_id": f"s{i:03d}", "source": "held" if split == "test" else "made", "image_id": image or None,
         "lang": lang, "task": task, "prompt": prompt or None, "text": text, "label": "other" if "2" in image else "star",
         "held_out": split == "test"}
        for i, (split, image, lang, task, prompt, text) in enumerate(rows)
    ]  # fmt: skip
    ids = [one["sample_id"] for one in samples]
    store.append("samples", pa.Table.from_pylist(samples), parts=["p"])
    shown = sorted({row[1] for row in rows if row[1]})
    store.append("images", pa.table({"image_id": shown}), parts=["p"])
    decided = [{"sample_id": i, "source": "made", "stage": "collect", "kept": True} for i in ids]
    store.append("decisions", pa.Table.from_pylist(decided), parts=["p"])
    split = [{"sample_id": i, "cluster_id": i, "split": row[0]} for i, row in zip(ids, rows, strict=True)]
    store.append("splits", pa.Table.from_pylist(split), parts=["p"])
    return snapshots.create(store, "s", allow_contaminated=True)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return made(tmp_path_factory.mktemp("tasks") / "store", ROWS)


def pixels(ids: Sequence[str]) -> np.ndarray:
    """t1 looks like p1, and t2 like p2."""
    return np.stack([np.full((4, 4, 3), 40 * int(one[1:]) + (one[0] == "t"), np.uint8) for one in ids])


def run(snapshot: Snapshot, name: str, said: Callable[[Asked], str], **more: Any) -> Outcome:
    given = Given(snapshot, lambda asked: [said(one) for one in asked], **more)
    found = load(name).run(given)
    assert found is not None
    return found


def score(outcome: Outcome) -> dict[tuple[str, str], float]:
    return {(s.metric, s.subset): round(s.value, 4) for s in outcome.scores()}


def test_captions_stand_beside_the_nearest_pictures(snapshot: Snapshot) -> None:
    hands = Hands(
        pixels=pixels, attributes=lambda text: {"unseen": "green" in text or None} if "on" in text else None
    )
    found = score(run(snapshot, "caption", lambda one: one.expected, hands=hands))
    assert found["exact", "all"] == 1 and found["nearest_pixels_exact", "all"] == 0.25
    assert found["exact", "seen combination"] == 1 and ("exact", "unseen combination") in found
    only_english = made_of(snapshot, lang="en")
    outcome = load("caption").measured(only_english, [one.expected for one in only_english], None)
    assert set(score(outcome)) >= {("cider", "all"), ("bleu", "new text"), ("exact", "seen text")}


def made_of(snapshot: Snapshot, lang: str) -> list[Asked]:
    given = Given(snapshot, lambda asked: [], hands=Hands(pixels=pixels))
    task = load("caption")
    asked = [one for one in task.items(given) if one.lang == lang]
    assert task.trivial(asked, given) == ["a red star on white", "a blue heart on white"]
    return asked


def test_questions_are_told_apart_and_the_most_frequent_answer_never_looks(snapshot: Snapshot) -> None:
    found = run(snapshot, "vqa", lambda one: one.expected)
    assert list(found.trivially_said) == [
        "red",
        "red",
        "one",
        "一颗",
    ]  # by kind of question, or by the question
    kept = {row["sample_id"]: row for row in found.kept()}
    assert json.loads(kept["s011"]["scores"]) == {"exact": 1, "accuracy": 1}
    few = load("vqa", {"least_of_kind": 2}).run(Given(snapshot, lambda asked: ["red"] * len(asked)))
    assert few is not None
    scores = score(few)
    assert scores["exact", "kind: en what colour"] == 0.5
    assert scores["most_frequent_exact", "kind: en what colour"] == 0.5
    assert scores["exact", "kind: other"] == 0


def test_translations_go_both_ways_and_captions_are_each_others(snapshot: Snapshot) -> None:
    found = run(snapshot, "translate", lambda one: one.expected)
    pairs = {one.part: (one.prompt, one.expected, one.prompt_id) for one in found.asked if one.prompt_id}
    assert set(pairs) == {"en→fr", "fr→en", "en→zh", "zh→en"}, "English is the hub"
    assert pairs["en→fr"] == ("a red star on white", "une étoile rouge sur blanc", "s007")
    (row,) = [one for one in found.asked if not one.prompt_id]
    assert row.part == "fr→en", "whose language the prompt is in is told by a caption that says the same"
    assert score(found)["chrf++", "en→zh"] == score(found)["bleu", "all"] == 100
    assert score(found)["copy_exact", "all"] == 0 and score(found)["copy_chrf", "en→zh"] == 0
    assert all(not one.image_id for one in found.asked), "texts alone"
    keys = [(row["sample_id"], row["part_of"], row["prompt_id"]) for row in found.kept()]
    assert len(set(keys)) == len(keys)
    alone = load("translate", {"captions": False}).run(Given(snapshot, lambda asked: ["x"] * len(asked)))
    assert alone is not None and len(alone.asked) == 1


@pytest.mark.parametrize(
    ("name", "lead", "metric"), [("title", "In a land lived a star.", "chrf"), ("summarize", "A star shone.", "rouge_l")]
)  # fmt: skip
def test_the_first_sentence_stands_beside_titles_and_summaries(
    snapshot: Snapshot, name: str, lead: str, metric: str
) -> None:
    found = run(snapshot, name, lambda one: one.expected)
    assert list(found.trivially_said) == [lead]
    scores = score(found)
    assert 0 < scores[f"first_sentence_{metric}", "all"] < scores[metric, "all"]


def test_a_text_is_asked_without_a_picture(snapshot: Snapshot) -> None:
    found = run(snapshot, "qa", lambda one: "the red")
    assert [one.image_id for one in found.asked] == [""]
    assert score(found)["f1", "all"] == 1 and score(found)["exact", "all"] == 0
    assert "most_frequent_exact" not in {s.metric for s in found.scores()}, "training has no such question"


def test_a_person_asks_in_the_language_of_the_answer() -> None:
    french = Asked("s", "fr", "", "Elle est rouge ?", task="vqa")
    assert load("vqa").words(french).startswith("Elle est rouge ?")
    swedish = Asked("s", "sv", "", task="caption")
    assert load("caption").words(swedish) == "Describe this picture in one sentence. Answer in Swedish."
    pair = Asked("s", "fr", "", "a star", part="en→fr")
    assert load("translate").words(pair) == "Translate the following English text to French: 'a star'"


def test_repeats_of_training_are_counted_beside_those_that_are_right(snapshot: Snapshot) -> None:
    repeat = run(snapshot, "caption", lambda one: "A RED star on  white")
    found = load("memorisation", {"least": 5, "pictures": 0}).run(
        Given(snapshot, lambda asked: [], done={"caption": repeat})
    )
    assert found is not None
    scores = score(found)
    assert scores["repeats", "all"] == 1 and scores["references_repeats", "all"] == 0.25
    drawn = Hands(pixels=pixels, draw=lambda wishes: pixels([f"p{1 + i}" for i in range(len(wishes))]))
    found = load("memorisation", {"least": 5, "difference": 0.5}).run(
        Given(snapshot, lambda asked: [], hands=drawn, done={"caption": repeat})
    )
    assert found is not None
    assert score(found)["picture_repeats", "all"] == 1
    assert score(found)["references_picture_repeats", "all"] == 0


def test_refusals_insults_and_personal_data_are_found_word_for_word(snapshot: Snapshot) -> None:
    says = {
        "s007": "I'm sorry, but I cannot.",
        "s008": "Quel idiot !",
        "s009": "你去死",
        "s010": "an idiotic skunk",
    }
    told = run(snapshot, "caption", lambda one: says[one.sample_id])
    hands = Hands(personal=lambda text: text.count("@"))
    found = load("safety", {"words": ["skunk"]}).run(
        Given(snapshot, lambda a: [], hands=hands, done={"caption": told})
    )
    assert found is not None
    scores = score(found)
    assert scores["refusals", "all"] == 0.25 and scores["toxic", "all"] == 0.75
    assert scores["personal", "all"] == scores["references_toxic", "all"] == 0


def test_the_worst_group_is_named(snapshot: Snapshot) -> None:
    told = run(snapshot, "caption", lambda one: one.expected if one.lang == "en" else "x")
    hands = Hands(people=lambda lang, text: ["stars"] if "star" in text else [])
    exact = replace(told, found={"exact": told.found["exact"]})  # as of a task that knows no other measure
    done = {"caption": told, "vqa": exact}
    found = load("bias", {"least": 2}).run(Given(snapshot, lambda a: [], hands=hands, done=done))
    assert found is not None
    scores = score(found)
    assert scores["vqa exact", "all"] == 0.5 and scores["vqa exact", "language en"] == 1
    assert scores["vqa exact", "worst group: label star"] == pytest.approx(1 / 3, abs=1e-3)
    assert ("vqa exact", "people stars") not in scores, "one item is no group"
    assert scores["caption chrf", "language en"] == 100 > scores["caption chrf", "all"]
    assert ("caption exact", "all") not in scores, "few long texts are repeated exactly"


def test_every_task_is_one_class_with_a_sentence_and_settings_that_refuse_what_they_do_not_know(
    snapshot: Snapshot,
) -> None:
    here = Path(tasks.__file__).parent
    assert {path.stem for path in here.glob("*.py")} - {"__init__", "task"} == set(NAMES)
    for name in NAMES:
        task = load(name)
        assert task.name() == name and (type(task).__doc__ or "").strip()
        with pytest.raises(TaskError, match=rf"\[evaluate.settings.{name}\] lenght"):
            load(name, {"lenght": 1})
        if not task.answers:
            assert task.run(Given(snapshot, lambda asked: [])) is None, "an endpoint gives texts alone"
    for wrong in ("task", "os", "../caption", "captions"):
        with pytest.raises(TaskError, match="use one of caption, vqa"):
            load(wrong)


# --- a model of our own


@pytest.fixture(scope="module")
def model(byte_tokenizers: Tokenizers, network_of: Callable[..., Model]) -> Model:
    return network_of(byte_tokenizers)


def codes(ids: Sequence[str]) -> np.ndarray:
    return np.stack([np.random.default_rng(int(one[1:])).integers(0, 25, 16) for one in ids])


def test_a_model_is_asked_in_the_sequences_that_it_knows(model: Model, byte_tokenizers: Tokenizers) -> None:
    ask = Answerer(model, byte_tokenizers, codes, most_tokens=6)
    asked = [
        Asked("a", "fr", "", "hello", task="translate"),
        Asked("b", "en", "", "how", "p1", task="vqa"),
        Asked("c", "en", "", "", "p2", task="caption"),
    ]
    said = ask(asked)
    assert ask(asked[::-1]) == said[::-1]
    s = model.sequences
    prompts = [
        s.text("fr", "translate", byte_tokenizers.encode("hello")),
        [*s.picture(codes(["p1"])[0]), *s.question("en", "vqa", byte_tokenizers.encode("how"))],
        [*s.picture(codes(["p2"])[0]), *s.question("en", "caption")],
    ]
    for prompt, text in zip(prompts, said, strict=True):
        (ids,) = generate(model, [prompt], ask._sampling)
        assert byte_tokenizers.decode(ids) == text


def test_bits_are_those_of_the_sequence_read_at_once(model: Model, byte_tokenizers: Tokenizers) -> None:
    asked = [
        Asked("a", "en", "a dark picture", "", "p1", task="caption"),
        Asked("b", "fr", "bonjour", "hello", task="translate"),
        Asked("c", "en", "ä", "", "p2", task="caption"),
    ]
    found = costs(model, byte_tokenizers, codes, asked, 64)
    for one, bits in zip(asked, found, strict=True):
        text, prompt = byte_tokenizers.encode(one.expected), byte_tokenizers.encode(one.prompt)
        head = model.sequences.text(one.lang, one.task, prompt)
        if one.image_id:
            head = [
                *model.sequences.picture(codes([one.image_id])[0]),
                *model.sequences.question(one.lang, one.task),
            ]
        logits = torch.log_softmax(logits_of(model, [*head, *text]).float(), -1)
        wanted = sum(-float(logits[len(head) - 1 + i, token]) for i, token in enumerate(text))
        assert bits == pytest.approx(wanted / math.log(2), rel=1e-3)


def test_states_costs_and_classes_of_a_model(
    snapshot: Snapshot, model: Model, byte_tokenizers: Tokenizers
) -> None:
    given = Given(
        snapshot,
        lambda asked: [],
        examined=Examined(model, byte_tokenizers, codes),
        hands=Hands(pixels=pixels),
    )
    for name, metric, baseline in (
        ("retrieval", "text_of_image@1", "chance"),
        ("classify", "accuracy@1", "nearest_pixels"),
        ("perplexity", "bits_per_byte", "token_frequency"),
    ):
        found = load(name).run(given)
        assert found is not None and found.asked
        scores = score(found)
        assert scores[metric, "all"] >= 0 and (f"{baseline}_{metric}", "all") in scores
    assert ("bits_per_byte", "fr source held") in scores
