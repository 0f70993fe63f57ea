"""The configurations under examples/ bring in their real data; two of them train and evaluate on it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.config import read
from storage.store import Store

ROOT = Path(__file__).parents[2]
SETS = {
    "emoji": "emoji-multilingual",
    "emoji_hands": "emoji-multilingual",
    "easy_vqa": "easy-vqa",
    "picture_words": "picture-words",
    "textbook_figures": "textbook-figures",
    "articles": "parallel-text",
}
LANGUAGES = {
    "emoji": 26,
    "emoji_hands": 1,
    "easy_vqa": 1,
    "picture_words": 41,
    "textbook_figures": 3,
    "articles": 77,
}
TEXTS = {"articles"}
"""Those without pictures."""
DRAWN = {"it_pays", "objectives", "drawing"}
"""Those that need no real data: tests/flows/test_ablate.py, test_drawing.py."""
LABELLED = {"banking77", "mnist"}
"""Those that learn classes: test_labelled_examples.py."""
ONE_IN = 40
"""Documents that a test looks at: enough for every language, few enough for seconds."""
SMALL = """
[tokens.image]
steps = 5
width = 8
threads = 1
least_psnr = 0
least_usage = 0
[train.model]
width = 16
depth = 1
heads = 2
kv_heads = 1
hidden = 32
"""


def test_every_example_is_tested() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.toml")} == {*SETS, *DRAWN, *LABELLED}


@pytest.fixture
def shrunken(
    real_data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Copies an example, cut down to some documents and a few steps of training."""

    def shrink(name: str) -> Path:
        monkeypatch.setenv("MILLRACE_REAL_DATA", str(real_data(SETS[name]).parent))
        text = (ROOT / "examples" / f"{name}.toml").read_text(encoding="utf-8")
        some = rf'query = """SELECT * FROM (\1) WHERE md5_number_lower(document) % {ONE_IN} = 0"""'
        for pattern, instead in (
            (r'query = """(.*?)"""', some),
            (r"(?m)^seconds = \d+$", "steps = 5\nthreads = 1"),
            (r"(?m)^max_items = \d+", "max_items = 2\npictures = 1"),
        ):
            text, changed = re.subn(pattern, instead, text, flags=re.DOTALL)
            assert changed, pattern
        text = re.sub(r"(?ms)^\[tokens\.image\]\n.*?(?=^\[)", "", text)  # SMALL has its own
        path = tmp_path / f"{name}.toml"
        path.write_text(text + SMALL, encoding="utf-8")
        return path

    return shrink


@pytest.mark.parametrize("name", SETS)
def test_an_example_brings_in_its_data(
    name: str, shrunken: Callable[[str], Path], fresh_ingest: Callable[[], Any]
) -> None:
    config, ingest = read(shrunken(name)), fresh_ingest()
    held_out = [source.name for source in config.sources if source.held_out]
    assert ingest.run(config.source_steps, config.media, config.filter_steps, held_out) > 0
    counts = ingest.adds_up()
    assert set(counts) == set(config.source_steps)
    few = 0 if name in TEXTS else 15
    assert all(kept > 0.5 * came_in > few for came_in, kept in counts.values()), counts
    unread = ingest.sql("SELECT origin, reason FROM decisions JOIN samples USING (sample_id) "
                        "WHERE NOT kept AND stage = 'collect'")  # fmt: skip
    assert unread == []
    kept = "FROM samples JOIN verdicts USING (sample_id) WHERE kept"
    assert ingest.sql(f"SELECT count(DISTINCT lang) {kept}") == [(LANGUAGES[name],)]
    lacking = "text IS NULL OR author = ''" + ("" if name in TEXTS else " OR image_id IS NULL")
    assert ingest.sql(f"SELECT count(*) {kept} AND ({lacking})") == [(0,)]
    assert config.licences.allow is not None
    licences = {licence for (licence,) in ingest.sql(f"SELECT DISTINCT licence {kept}")}
    assert licences and licences <= set(config.licences.allow)
    assert ingest.run(config.source_steps, config.media, config.filter_steps, held_out) == 0


class Commands:
    """`millrace …` in processes of their own, beside a configuration."""

    def __init__(self, config: Path) -> None:
        self.config = config

    def __call__(self, *words: str) -> Any:
        """What the command prints as JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *words, "--config", str(self.config), "--json"],
            cwd=self.config.parent, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    def sql(self, query: str) -> list[tuple]:
        with Store.open(self.config.parent / read(self.config).store.path, create=False).connect() as db:
            return db.sql(query).fetchall()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["emoji", "easy_vqa"])
def test_an_example_ingests_trains_and_evaluates(
    name: str, shrunken: Callable[[str], Path], prefect_api: str
) -> None:
    millrace = Commands(shrunken(name))
    ingested = millrace("ingest")
    assert 0 < ingested["kept"] <= ingested["came_in"]
    assert millrace.sql("SELECT DISTINCT adds_up FROM funnel_check") == [(True,)]
    assert millrace.sql("SELECT snapshot, rows FROM snapshots") == [(ingested["snapshot"], ingested["kept"])]
    sides = millrace.sql(
        "SELECT DISTINCT held_out, split = 'test' FROM samples JOIN members USING (sample_id)"
    )
    assert sorted(sides) == [(False, False), (True, True)]

    trained = millrace("train")
    assert trained["step"] == 5
    assert millrace.sql("SELECT checkpoint_id, snapshot FROM checkpoints") == [
        (trained["checkpoint"], ingested["snapshot"])
    ]

    evaluated = millrace("evaluate")
    assert evaluated["checkpoint"] == trained["checkpoint"]
    scores = {(row["task"], row["subset"], row["metric"]): row for row in evaluated["scores"]}
    languages = {lang for (lang,) in millrace.sql("SELECT DISTINCT lang FROM samples WHERE held_out")}
    assert len(languages) == LANGUAGES[name]
    task = "caption" if name == "emoji" else "vqa"
    for subset in ("all", *languages):
        assert (task, subset, "exact") in scores, (subset, sorted(scores))
        assert name != "emoji" or (task, subset, "nearest_pixels_exact") in scores, (subset, sorted(scores))
    assert scores[task, "all", "exact"]["n"] == 2 * len(languages)
    assert all(0 <= row["value"] <= 1 for row in evaluated["scores"])
    kept = millrace.sql("SELECT count(*) FROM evaluations")
    assert kept == [(len(evaluated["scores"]),)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_texts_alone_are_evaluated_by_the_tasks_that_the_configuration_names(
    shrunken: Callable[[str], Path], prefect_api: str
) -> None:
    millrace = Commands(shrunken("articles"))
    millrace("ingest")
    trained = millrace("train")
    done = millrace("evaluate")
    assert done["scores"] == [] and done["checkpoint"] == trained["checkpoint"]
    found = {(row["task"], row["metric"]) for row in done["tasks"]["scores"] if row["subset"] == "all"}
    assert {("translate", "copy_chrf"), ("title", "chrf"), ("perplexity", "bits_per_byte")} <= found


def test_near_copies_of_figures_are_found(
    real_data: Callable[[str], Path], fresh_ingest: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures of several books that are known to be the same: other sizes, other encodings."""
    folder = real_data("textbook-figures")
    monkeypatch.setenv("MILLRACE_REAL_DATA", str(folder.parent))
    source = read(ROOT / "examples/textbook_figures.toml").source_steps["figures"]
    with duckdb.connect() as db:
        truth = db.sql(f"SELECT image_a, image_b, relation FROM '{folder}/near_duplicates.csv' "
                       "WHERE relation <> 'relabelled'").fetchall()  # fmt: skip
    named = ", ".join("'" + name.replace("'", "''") + "'" for a, b, _ in truth for name in (a, b))
    ingest = fresh_ingest()
    query = f"SELECT image_id AS key, image, licence FROM images WHERE image_id IN ({named})"
    ingest.run({"figures": source.model_copy(update={"query": query})})
    ingest.adds_up()
    groups = dict(ingest.sql("SELECT origin, group_id FROM samples JOIN groups USING (image_id)"))
    found: dict[str, list[bool]] = {}
    for a, b, relation in truth:
        found.setdefault(relation, []).append(groups[a] == groups[b])
    assert all(found["pixel-exact"])
    shares = {relation: sum(same) / len(same) for relation, same in found.items()}
    assert shares["near"] > 0.85 and shares["pixel-near"] > 0.6, shares
