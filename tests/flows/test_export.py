"""`millrace export`: one folder that transformers loads, with a card that names what the model was made from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows import card
from flows.cli import app
from storage.errors import SnapshotNotFound


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def trained(milled: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The ingested gallery with a checkpoint of a few steps and an evaluation of it: to be read, not to be changed."""
    from flows.config import read
    from model.train import train

    mill = milled.copy(tmp_path_factory.mktemp("trained") / "mill")
    config = read(mill.config)
    train(mill.store(), mill.snapshot(), config.train.model_copy(update={"steps": 5}), run_id="few")
    [(checkpoint,)] = mill.sql("SELECT checkpoint_id FROM checkpoints")
    row = {
        "evaluation_id": "e1",
        "checkpoint_id": checkpoint,
        "snapshot": mill.snapshot().name,
        "task": "caption",
        "metric": "exact",
        "subset": "all",
        "value": 0.4375,
        "low": 0.25,
        "high": 0.625,
        "n": 32,
    }
    mill.store().append("evaluations", pa.Table.from_pylist([row]), parts=["e1"])
    return mill


@pytest.fixture(scope="module")
def exported(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "gallery-tiny"
    result = run("export", "latest", folder, "-c", trained.config, "--json")
    assert result.exit_code == 0, result.output
    [(checkpoint,)] = trained.sql("SELECT checkpoint_id FROM checkpoints")
    told = json.loads(result.stdout)
    assert told == {"checkpoint": checkpoint, "folder": str(folder), "card": str(folder / "README.md")}
    return folder


def test_one_folder_holds_everything(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "image_tokenizer.json",
        "image_tokenizer.safetensors",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_the_example_of_its_card_runs_and_asks_for_what_training_taught(exported: Path, trained: Any) -> None:
    """The prompt that the example makes is that of the corpus's own translations: its tags, then the source sentence."""
    from model.corpus import Corpus
    from model.hub import GPT4ForConditionalGeneration, GPT4Tokenizer
    from model.templates import translation

    model = GPT4ForConditionalGeneration.from_pretrained(exported)
    tokenizer = GPT4Tokenizer.from_pretrained(exported)
    input_ids = tokenizer.encode(
        "Translate the following English text to French: 'Hello, how are you?'", return_tensors="pt"
    )
    assert tokenizer.decode(model.generate(input_ids)[0]).startswith("Hello, how are you?")
    [[prompt, sample]] = trained.sql(
        "SELECT prompt, sample_id FROM members JOIN samples USING (sample_id) WHERE task = 'translate' AND lang = 'fr' "
        "AND members.split = 'train' ORDER BY sample_id LIMIT 1"
    )
    snapshot = trained.snapshot()
    columns = ["sample_id", "image_id", "lang", "task"]
    tables = snapshot.samples("train", columns), snapshot.text_tokens("train"), snapshot.image_tokens("train")
    corpus = Corpus.of(*tables)
    at = corpus.sample_ids.tolist().index(sample.encode())
    s = model.sequences
    wanted = s.text(corpus.langs[corpus.lang[at]], corpus.tasks[corpus.task[at]], corpus.prompt(at))
    assert tokenizer.encode(translation(prompt, "English", "French")) == wanted


def test_the_card_names_every_source_and_licence(exported: Path, trained: Any) -> None:
    page = (exported / "README.md").read_text("utf-8")
    snapshot = trained.snapshot()
    rows = trained.sql(
        "SELECT source, licence, count(*), count(DISTINCT image_id) FROM members JOIN samples USING (sample_id) GROUP BY ALL"
    )
    assert {source for source, *_ in rows} == {"folder", "tars", "urls", "heldout"}
    for source, licence, number, pictures in rows:
        assert f"| {source} | {licence} | {number:,} | {pictures:,} |" in page
    assert sum(number for *_, number, _ in rows) == snapshot.rows
    for said in (snapshot.name, snapshot.content_hash, snapshot.text_tokenizer, snapshot.image_tokenizer):
        assert f"`{said}`" in page


def test_the_card_tells_what_was_dropped_annotated_scored_and_seen(exported: Path, trained: Any) -> None:
    page = (exported / "README.md").read_text("utf-8")
    dropped = trained.sql("SELECT stage, reason, count(*) FROM decisions WHERE NOT kept GROUP BY ALL")
    assert len(dropped) > 2
    for stage, reason, number in dropped:
        assert f"| {card.text(stage)} | {card.text(reason)} | {number:,} |" in page
    assert "| perceptual\\_hash |" in page and "| contact\\_details |" in page
    assert "| caption | all | exact | 0.438 | 0.250 to 0.625 | 32 |" in page
    [[seen]] = trained.sql("SELECT count(DISTINCT sample_id) FROM trained_on")
    assert f"| {seen:,} |" in page.split("### What its batches held")[1].split("##")[0]
    [[parameters]] = trained.sql("SELECT parameters FROM checkpoints")
    assert f"{parameters:,}" in page and "5 of 5" in page
    for title in ("## Use", "## Bias and safety", "## Limits"):
        assert title in page
    assert "no text without a picture" in page  # every row of the gallery has one
    assert "Training had not ended" not in page and "no evaluation is recorded" not in page


def test_its_header_is_what_hubs_read(exported: Path) -> None:
    from huggingface_hub import ModelCard

    data = ModelCard.load(exported / "README.md").data
    assert data.library_name == "transformers" and set(data.language) == {"en", "fr", "de", "zh"}


def test_the_figures_of_the_card_are_those_of_the_pinned_versions(trained: Any, tmp_path: Path) -> None:
    """Rows that come in later are no business of an older checkpoint."""
    from model import checkpoint

    mill = trained.copy(tmp_path / "mill")
    [(path,)] = mill.sql("SELECT path FROM checkpoints")
    meta = checkpoint.read(mill.path / "store" / path).meta
    before = card.write(mill.store(), meta, "m")
    more = [{"sample_id": "new", "source": "later", "stage": "filter", "kept": False, "reason": "late"}]
    mill.store().append("decisions", pa.Table.from_pylist(more), parts=["later"])
    assert card.write(mill.store(), meta, "m") == before
    with pytest.raises(SnapshotNotFound, match="another one"):
        card.write(mill.store(), {**meta, "content_hash": "0"}, "m")


@pytest.mark.parametrize(
    "value", ["a | b", "two\nlines", "<script>x</script>", "[x](http://y)", "# head", "`code`"]
)
def test_what_strangers_wrote_stays_a_cell(value: str) -> None:
    [head, rule, line, _] = card.table([{"a": value, "b": 1}], {"a": "A", "b": "B"})
    assert (head, rule) == ("| A | B |", "| --- | --- |")
    assert "\n" not in line and "<" not in line
    assert line.replace("\\|", "").count("|") == 3


def test_mistakes_are_told_in_a_line(trained: Any, exported: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def complaint(*arguments: object) -> str:
        result = run("export", *arguments, "-c", trained.config)
        assert result.exit_code == 1 and result.stderr.startswith("error: "), result.output
        return result.stderr

    assert "holds something" in complaint("latest", exported)
    assert 'no checkpoint "none"' in complaint("none", tmp_path / "out")
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delattr("model.hub")
    for name in [one for one in sys.modules if one.startswith("model.hub")]:
        monkeypatch.delitem(sys.modules, name)
    assert "millrace[hub]" in complaint("latest", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_half_done(trained: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(card, "write", full)
    result = run("export", "latest", tmp_path / "out", "-c", trained.config)
    assert result.exit_code == 1 and "No space left" in result.stderr
    assert list(tmp_path.iterdir()) == []
