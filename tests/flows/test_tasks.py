"""`millrace evaluate --task` and `millrace compare`: scores in rows that can be read again, and two answerers side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows.cli import app
from model.measures import exact
from tests.serving import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def told(*arguments: object) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Path:
    """A gallery with all tasks, and two runs of a step each."""
    from flows import ingest, train

    path = tmp_path_factory.mktemp("tasks") / "m.toml"
    sources = "".join(
        f'[[sources]]\nuse = "sources.gallery"\nname = "{part}"\nsize = 60\nheldout = 12\ntasks = "all"\npart = "{part}"\n'
        f"held_out = {str(part == 'heldout').lower()}\n"
        for part in ("train", "heldout")
    )
    path.write_text(
        sources
        + '[[annotators]]\nuse = "annotators.perceptual_hash"\n[[gathers]]\nuse = "gathers.near_duplicates"\n'
        '[[gathers]]\nuse = "gathers.decontaminate"\n[splits]\ntest = 0.0\n'
        "[tokens.text]\nvocab_size = 512\n[tokens.image]\nsteps = 5\nwidth = 8\nthreads = 1\nleast_psnr = 0\nleast_usage = 0\n"
        "[train]\nsteps = 1\nthreads = 1\n[train.model]\nwidth = 16\ndepth = 1\nheads = 2\nkv_heads = 1\nhidden = 32\n"
        "[train.batch]\nrows = 8\nrow_length = 128\ntext_share = 0.3\n[train.batch.language_weights]\nfr = 2.0\n"
        '[evaluate]\nmax_items = 4\nattributes = "pipeline.gallery.attributes"\njudged = ["shape"]\n'
        "drawn = 4\n[evaluate.settings.memorisation]\npictures = 2\n"
        "[evaluate.settings.bias]\nleast = 4\n",
        encoding="utf-8",
    )
    ingest.start(str(path))
    train.start(str(path), "latest", "one")
    path.write_text(
        path.read_text().replace("steps = 1\nthreads", "steps = 1\nseed = 1\nthreads"), encoding="utf-8"
    )
    train.start(str(path), "latest", "two")
    return path


def test_every_task_is_measured_beside_its_baseline_and_each_item_is_kept(trained: Path) -> None:
    from flows.config import read
    from model.tasks.task import NAMES

    done = told("evaluate", "-c", trained, "--checkpoint", "one", *(f"--task={name}" for name in NAMES))
    found = {(s["task"], s["metric"], s["subset"]): s for s in done["scores"]}
    assert {task for task, *_ in found} == set(NAMES)
    for task, metric in (("caption", "nearest_pixels_exact"), ("vqa", "most_frequent_exact"), ("translate", "copy_chrf"),
                         ("qa", "most_frequent_f1"), ("title", "first_sentence_chrf"), ("summarize", "first_sentence_rouge_l"),
                         ("text_to_image", "shuffled_agreement"), ("retrieval", "chance_text_of_image@1"),
                         ("classify", "nearest_pixels_accuracy"), ("perplexity", "token_frequency_bits_per_byte"),
                         ("memorisation", "references_repeats"), ("safety", "references_toxic")):  # fmt: skip
        assert (task, metric, "all") in found, task
    assert {f"{a}→{b}" for a in ("en", "fr", "de", "zh") for b in ("en", "fr", "de", "zh") if "en" in (a, b) and a != b} <= {
        subset for task, _, subset in found if task == "translate"
    }  # fmt: skip
    with read(trained).open_store().connect() as db:
        rows = db.sql(
            "SELECT evaluation_id, output, expected, scores FROM answers WHERE task = 'vqa'"
        ).fetchall()
        stored = dict(db.sql("SELECT evaluation_id, value FROM evaluations WHERE task = 'vqa' AND metric = 'exact' "
                             "AND subset = 'all'").fetchall())  # fmt: skip
    again = exact([output for _, output, *_ in rows], [expected for _, _, expected, _ in rows])
    assert again.whole() == pytest.approx(stored[rows[0][0]]), "the score can be made again of its items"
    assert again.each.tolist() == [json.loads(scores)["exact"] for *_, scores in rows]


def test_the_same_again_adds_nothing_and_a_person_sees_a_table(trained: Path) -> None:
    from flows.config import read

    def count() -> Any:
        with read(trained).open_store().connect() as db:
            return db.sql(
                "SELECT count(*), count(DISTINCT evaluation_id) FROM answers WHERE task = 'title'"
            ).fetchall()

    first = run("evaluate", "-c", trained, "--checkpoint", "one", "--task", "title")
    before = count()
    assert run("evaluate", "-c", trained, "--checkpoint", "one", "--task", "title").exit_code == 0
    assert count() == before
    assert "first_sentence" in first.stdout and "rouge_l" in first.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "--task", "poetry"], "use one of caption, vqa"),
        (["compare"], "--openai-base-url"),
        (["compare", "--with", "two", "--task", "retrieval"], "only tasks that a text answers"),
        (["compare", "--openai-base-url", "http://127.0.0.1:9/v1", "--model", "m", "--task", "title"], "is the server up"),
    ],
)  # fmt: skip
def test_mistakes_end_in_a_sentence(trained: Path, arguments: list[str], says: str) -> None:
    done = run(*arguments, "-c", trained)
    assert done.exit_code == 1 and says in done.output and "Traceback" not in done.output


def test_two_checkpoints_are_asked_the_same_and_one_beside_itself_is_no_better(trained: Path) -> None:
    asked = ["compare", "-c", trained, "--task", "title", "--task", "vqa", "--most", 4]
    same = told(*asked, "--checkpoint", "one", "--with", "one")
    assert {(row["gain"], row["p"]) for row in same["rows"]} == {(0, 1)}
    other = told(*asked, "--checkpoint", "one", "--with", "two")
    assert {(row["task"], row["metric"]) for row in other["rows"]} >= {("title", "chrf"), ("vqa", "accuracy")}
    assert all(row["baseline"] is not None and row["low"] <= row["high"] for row in other["rows"])
    assert [(one["sample_id"], one["ours"]) for one in same["items"]] == [
        (one["sample_id"], one["ours"]) for one in other["items"]
    ]


class Oracle(BaseHTTPRequestHandler):
    """Answers every title with the words that it was given, and counts pictures."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = asked["messages"][0]["content"]
        said = content.partition(":")[2] if isinstance(content, str) else content[1]["image_url"]["url"][:15]
        body = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def oracle() -> Iterator[str]:
    with running(ThreadingHTTPServer(("127.0.0.1", 0), Oracle)) as url:
        yield f"{url}/v1"


def test_an_endpoint_is_asked_the_same_in_words(trained: Path, oracle: str) -> None:
    done = told("compare", "-c", trained, "--checkpoint", "one", "--openai-base-url", oracle, "--model", "oracle",
                "--task", "title", "--task", "caption", "--most", 4)  # fmt: skip
    assert done["theirs"] == "oracle" and done["unanswered"] == 0
    theirs = {(row["task"], row["metric"], row["subset"]): row["theirs"] for row in done["rows"]}
    assert theirs["title", "chrf", "all"] > 30, "a title's words stand in its text"
    assert theirs["caption", "exact", "all"] == 0
    assert {one["theirs"] for one in done["items"] if one["task"] == "caption"} == {"data:image/png;"}
