"""The page: complete, self-contained, accessible, and unmoved by what strangers wrote into captions."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dashboards import report
from storage.store import Store

SECTIONS = ["funnel", "languages", "licences", "kept", "dropped", "duplicates", "contamination", "balance"]
SECTIONS += ["training", "scores", "answers", "drawn", "lineage"]
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Elements with their attributes, and the words of the page; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def page_file(filled: Store, truth_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report.write(filled, tmp_path_factory.mktemp("page") / "sub" / "report.html", truth=truth_file)


@pytest.fixture(scope="module")
def page(page_file: Path) -> Page:
    return Page(page_file.read_text(encoding="utf-8"))


def test_every_section_survives_an_empty_store(empty: Store, tmp_path: Path) -> None:
    written = report.write(empty, tmp_path / "report.html")
    found = Page(written.read_text(encoding="utf-8"))
    assert [one["id"] for one in found.all("section")] == SECTIONS
    assert "No checkpoint yet" in found.text
    assert "the store is empty" in found.text
    assert found.all("img") == [] and found.all("svg") == []


def test_a_store_with_rows_and_no_model_is_reported(collected: Store, tmp_path: Path) -> None:
    found = Page(report.write(collected, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "No snapshot yet" in found.text
    assert "7 + 3 = 10" in found.text
    assert "No run has written metrics yet" in found.text


def test_all_sections_are_there_and_linked(page: Page) -> None:
    assert [one["id"] for one in page.all("section")] == [*SECTIONS[:6], "planted", *SECTIONS[6:]]
    targets = {str(one["href"]) for one in page.all("a")}
    ids = {f"#{attributes['id']}" for _, attributes in page.elements if "id" in attributes}
    assert targets <= ids


def test_nothing_is_fetched_and_nothing_runs(page: Page) -> None:
    assert not {name for name, _ in page.elements} & {
        "script",
        "iframe",
        "object",
        "embed",
        "link",
        "form",
        "base",
    }
    for name, attributes in page.elements:
        assert not [one for one in attributes if one.startswith("on")], (name, attributes)
        assert all(
            str(attributes[one]).startswith("data:image/")
            for one in ("src", "xlink:href")
            if one in attributes
        )
        assert str(attributes.get("href", "#")).startswith("#")
    policy = next(
        one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy and "default-src 'none'" in policy


def test_no_address_in_the_style(page_file: Path) -> None:
    style = re.search(r"<style>(.*?)</style>", page_file.read_text(encoding="utf-8"), re.DOTALL)
    assert style and "url(" not in style[1] and "@import" not in style[1] and "http" not in style[1]


def test_hostile_captions_stand_as_they_were_written(page: Page) -> None:
    assert (
        page.text.count("<script>document.title='taken over'</script>") >= 3
    )  # kept, wrong answer, drawn picture
    assert any("onerror=" in str(one["alt"]) for one in page.all("img"))


def test_the_sum_is_shown(page: Page) -> None:
    assert "✓ 4 + 3 = 7" in page.text
    assert "✓ 7 + 3 = 10" in page.text
    assert "≠" not in page.text


def test_a_sum_that_is_wrong_is_shown_as_wrong(tmp_path: Path, empty: Store) -> None:
    import pyarrow as pa

    rows = pa.table({"sample_id": ["1", "2"], "source": ["s", "s"]})
    empty.append("samples", rows, parts=["p"])  # and no decisions
    assert "✗ 0 + 0 ≠ 2" in Page(report.write(empty, tmp_path / "r.html").read_text(encoding="utf-8")).text


def test_contact_details_are_nowhere(page_file: Path) -> None:
    text = page_file.read_text(encoding="utf-8")
    assert "jane.doe" not in text
    assert "555-0123" not in text
    assert "text not shown (64 characters)" in text  # dropped for it: not shown at all
    assert "ask [e-mail masked]" in text  # kept: only the address is hidden


def test_pictures_have_words_and_tables_captions(page: Page) -> None:
    pictures = page.all("img")
    assert pictures and all(one.get("alt") for one in pictures)
    assert all(one["width"] and one["height"] for one in pictures)
    tables = page.all("table")
    assert len(tables) == len(page.all("caption")) >= 8
    charts = page.all("svg")
    assert charts and all(one.get("role") == "img" and one.get("aria-label") for one in charts)
    assert page.all("html")[0]["lang"] == "en"
    assert {one.get("scope") for one in page.all("th")} <= {"row", "col"}


def test_captions_carry_their_language(page: Page) -> None:
    assert {"en", "de"} <= {one.get("lang") for one in page.all("bdi")}


def test_large_pictures_become_thumbnails(page: Page) -> None:
    assert max(int(str(one["width"])) for one in page.all("img")) <= 224


def test_equal_stores_give_equal_bytes(
    filled: Store, truth_file: Path, page_file: Path, tmp_path: Path
) -> None:
    again = report.write(filled, tmp_path / "again.html", truth=truth_file)
    assert again.read_bytes() == page_file.read_bytes()
    assert [one.name for one in tmp_path.iterdir()] == ["again.html"]


def test_scores_stand_beside_the_baseline(page: Page) -> None:
    assert "75.0% 70.0% to 80.0% 400 15.0% 10.0% to 20.0% 5 ×" in re.sub(r"(?<=\d)(?=×)", " ", _cells(page))
    assert "nearest pixels exact" not in page.words  # it stands beside ours, not below it
    assert len(page.all("details")) == 4  # stages, distribution, attributes by subset, pinned versions
    assert "perplexity" in page.text


def _cells(page: Page) -> str:
    return " ".join(word.strip() for word in page.words if word.strip())


def test_answers_are_right_or_wrong_and_forgotten_rows_are_gone(page: Page) -> None:
    assert "caption ✓ right" in page.text and "caption ✗ wrong" in page.text
    assert "of a forgotten row" not in page.text
    assert len(page.all("mark")) >= 1


def test_drawn_pictures_come_from_their_folder_only(page: Page) -> None:
    drawn = [one for one in page.all("img") if str(one["alt"]).startswith("Drawn by the model for: ")]
    assert [str(one["alt"])[:30] for one in drawn] == ["Drawn by the model for: purple"]
    assert "outside" not in page.text


def test_lineage_leads_back_to_the_licences(page: Page) -> None:
    for word in (
        "snapshot-1",
        "run-1",
        "0123456789abcdef",
        "text-1",
        "image-1",
        "4 to train on",
        "2,700,000 parameters",
    ):
        assert word in page.text


def test_an_older_checkpoint_can_be_asked_for(filled: Store, tmp_path: Path) -> None:
    found = Page(report.write(filled, tmp_path / "r.html", checkpoint="older").read_text(encoding="utf-8"))
    assert "checkpoint older" in found.text
    assert "No checkpoint has been evaluated yet" in found.text  # the scores are those of another one


def test_an_unknown_checkpoint_is_refused_with_those_that_there_are(filled: Store, tmp_path: Path) -> None:
    with pytest.raises(report.UnknownCheckpoint, match=r"no checkpoint 'nope'.*0123456789abcdef, older"):
        report.write(filled, tmp_path / "r.html", checkpoint="nope")
    assert not (tmp_path / "r.html").exists()


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(page_file: Path, scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", page_file.read_text(encoding="utf-8"), re.DOTALL)
    colours = dict(re.findall(r"--([\w]+): (#[0-9a-f]{6});", blocks[scheme]))
    for paper in ("paper", "card"):
        for words in ("ink", "soft", "accent", "good", "bad"):
            assert contrast(colours[words], colours[paper]) >= 4.5, (words, paper)
        for shape in (*(f"t{i}" for i in range(8)), "kept", "rest", "ours", "base"):
            assert contrast(colours[shape], colours[paper]) >= 3, (shape, paper)
    assert contrast(colours["ink"], colours["mark"]) >= 4.5


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium on this machine")
def test_a_browser_shows_it_and_runs_nothing(page_file: Path, tmp_path: Path) -> None:
    shown = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path}",
            "--dump-dom",
            page_file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    title = re.search(r"<title>(.*?)</title>", shown)
    assert title and title[1] == "Millrace report: snapshot snapshot-1"
    assert "Lineage" in shown


def test_each_snapshot_and_model_gets_a_card(filled: Store, empty: Store) -> None:
    assert [path.name for path in report.write_all(empty)] == ["report.html"]
    written, data, model = report.write_all(filled)
    assert written == filled.path / "reports/report.html"
    assert (data.name, model.name) == ("data-card-snapshot-1.html", "model-card-0123456789abcdef.html")
    card = Page(data.read_text(encoding="utf-8"))
    assert [one["id"] for one in card.all("section")] == ["about_data", *SECTIONS[:8]]
    assert "holds 6 rows of text" in card.text and "takedowns so far" in card.text
    card = Page(model.read_text(encoding="utf-8"))
    assert [one["id"] for one in card.all("section")] == [
        "about_model",
        "scores",
        "answers",
        "drawn",
        "training",
        "lineage",
    ]
    assert "2,700,000 parameters" in card.text and "must not be used for them" in card.text
    targets = {str(one["href"]) for one in card.all("a")}
    assert targets <= {f"#{one['id']}" for _, one in card.elements if "id" in one}
