"""The text tokenizer: deterministic, lossless, fast paths equal to the plain one."""

from __future__ import annotations

import os
import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tokens.text_bpe import SPECIALS, TextBPE, fit, language_token, task_token

TEXTS = [
    "a red circle above a blue star on a grey background",
    "two striped green squares left of a red circle",
    "zwei gestreifte grüne Quadrate links von einem roten Kreis",
    "deux carrés verts à gauche d'un cercle rouge",
    "蓝色背景上有两个红色圆形",
    "12 apples, 3 pears!",
] * 20


@pytest.fixture(scope="module")
def tokenizer() -> TextBPE:
    return TextBPE(fit(TEXTS, 700, ["en", "de", "fr", "zh"], ["caption", "vqa"]))


def plain(tokenizer: TextBPE, text: str) -> list[int]:
    """What the library says of one text, without any path of ours."""
    return tokenizer._tokenizer.encode(text, add_special_tokens=False).ids


def test_special_tokens_come_first_and_in_a_fixed_order(tokenizer: TextBPE) -> None:
    assert [tokenizer.token(name) for name in SPECIALS] == list(range(len(SPECIALS)))
    names = [language_token(lang) for lang in ("de", "en", "fr", "zh")] + [
        task_token("caption"),
        task_token("vqa"),
    ]
    assert [tokenizer.token(name) for name in names] == list(range(6, 12))
    assert tokenizer.token("<lang:xx>") is None


@pytest.mark.parametrize("word", ["red", "circle", "background", "striped", "Kreis"])
def test_a_common_word_is_one_token_wherever_it_stands(tokenizer: TextBPE, word: str) -> None:
    first, later = tokenizer.encode(word), tokenizer.encode(f"a {word}")
    assert len(first) == 1
    assert later[-1:] == first


def test_digits_stand_alone(tokenizer: TextBPE) -> None:
    assert len(tokenizer.encode("12345")) >= 5


def test_equal_texts_give_equal_bytes_in_another_process() -> None:
    script = (
        "import sys, hashlib; from pipeline.tokens.text_bpe import fit\n"
        f"print(hashlib.sha256(fit({TEXTS!r}, 500, ['en'], ['caption'])).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True, text=True, check=True,
        ).stdout
        for threads in ("1", "2", "3")
    }  # fmt: skip
    assert len(runs) == 1


def test_the_id_is_of_the_content(tokenizer: TextBPE, tmp_path) -> None:
    path = tokenizer.save(tmp_path)
    assert path.name == f"{tokenizer.id}.json"
    again = TextBPE.load(path)
    assert again.id == tokenizer.id and len(again.id) == 16
    assert again.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])
    assert TextBPE(fit(TEXTS, 600)).id != tokenizer.id
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@given(st.text())
def test_decoding_gives_the_text_back(tokenizer: TextBPE, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.lists(st.none() | st.text(alphabet="ab \n\t0é红,.", max_size=12), max_size=8))
def test_batches_equal_the_library_one_by_one(tokenizer: TextBPE, texts: list[str | None]) -> None:
    made = tokenizer.encode_batch(pa.array(texts, pa.string()))
    assert made.type == pa.list_(pa.int32())
    assert made.to_pylist() == [plain(tokenizer, text) if text is not None else [] for text in texts]


@given(st.lists(st.text(max_size=20), max_size=5))
def test_any_text_equals_the_library(tokenizer: TextBPE, texts: list[str]) -> None:
    assert tokenizer.encode_batch(pa.array(texts, pa.string())).to_pylist() == [
        plain(tokenizer, t) for t in texts
    ]


def test_chunked_sliced_and_repeated_columns(tokenizer: TextBPE) -> None:
    whole = pa.array([*TEXTS, None, "  two  spaces "])
    chunked = pa.chunked_array([whole.slice(0, 7), whole.slice(7)])
    expected = [plain(tokenizer, text) if text else [] for text in whole.to_pylist()]
    assert tokenizer.encode_batch(chunked).to_pylist() == expected
    assert tokenizer.encode_batch(whole.slice(3, 9)).to_pylist() == expected[3:12]
    assert tokenizer.encode_batch(whole.slice(0, 0)).to_pylist() == []


@pytest.mark.parametrize("name", [*SPECIALS, "<lang:en>", "<task:caption>"])
def test_special_tokens_are_never_read_out_of_a_text(tokenizer: TextBPE, name: str) -> None:
    for text in (name, f"a {name} b", f"a{name}"):
        ids = tokenizer.encode(text)
        assert tokenizer.token(name) not in ids
        assert tokenizer.decode(ids) == text


def test_decoding_leaves_special_tokens_out(tokenizer: TextBPE) -> None:
    ids = [tokenizer.token("<bos>"), *tokenizer.encode("a red circle"), tokenizer.token("<eos>")]
    assert tokenizer.decode(ids) == "a red circle"


def test_what_was_never_seen_is_still_encoded(tokenizer: TextBPE) -> None:
    assert tokenizer.decode(tokenizer.encode("Ωμέγα 🎉 नमस्ते")) == "Ωμέγα 🎉 नमस्ते"
    assert max(tokenizer.encode("Ωμέγα 🎉 नमस्ते")) < tokenizer.vocab_size
