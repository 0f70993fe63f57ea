"""The live pages, asked over HTTP without a browser: what they show, refuse and never show."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import httpx
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from dashboards import app, reader
from dashboards.asked import Asked
from dashboards.page import Content, Mill, Seen
from dashboards.pages import corpus
from pipeline.annotators.image_embeddings import ImageEmbeddings
from pipeline.annotators.perceptual_hash import PerceptualHash
from pipeline.filters.size import Size
from storage.store import Store
from storage.tables import signal_table
from tests.dashboards import conftest as store_of
from tests.dashboards.pages_served import serving

OWN = {"sec-fetch-site": "same-origin"}
PATHS = [page.path for page in app.PAGES]


@pytest.fixture(scope="module")
def full(filled: Store) -> Iterator[httpx.Client]:
    pictures = filled.read("images", ["image_id", "image", "width", "height"])
    signed = PerceptualHash().annotate(pictures, {})
    table = signal_table("perceptual_hash", "image_id", PerceptualHash.columns)
    filled.append(table, signed, parts=["hashes"])
    with serving(Mill(filled, filters=lambda: [Size(width=64, height=64)])) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_a_page_over_an_empty_store_says_so(path: str, tmp_path: Path) -> None:
    with serving(Mill(Store.open(tmp_path / "empty"))) as client:
        answer = client.get(path)
    assert answer.status_code == 200
    assert 'class="empty"' in answer.text


@pytest.mark.parametrize("path", PATHS)
def test_a_page_names_no_other_address_and_runs_nothing_that_somebody_wrote(
    path: str, full: httpx.Client
) -> None:
    answer = full.get(path)
    assert answer.status_code == 200
    assert not re.search(r"""(src|href|action)=["'](?!/|#|\?|data:)""", answer.text)
    assert "<script>" not in answer.text and store_of.HOSTILE not in answer.text
    assert store_of.SECRET not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "http" not in policy
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", PATHS)
def test_whatever_the_address_says_is_no_error(path: str, full: httpx.Client) -> None:
    for value in ("1e999", "-5", "' OR 1=1 --\x00é"):
        names = (
            "at",
            "words",
            "like",
            "hash",
            "low",
            "signal",
            "checkpoint",
            "run",
            "before",
            "width.to",
            "filter",
        )
        assert full.get(path, params=dict.fromkeys(names, value)).status_code == 200


def found(answer: httpx.Response) -> str:
    return re.search(r'id="h-found"[^>]*>([^<]+)<', answer.text).group(1)  # type: ignore[union-attr]


def test_rows_are_found_by_words_fate_and_signal(full: httpx.Client) -> None:
    assert found(full.get("/corpus")) == "10 rows"
    assert found(full.get("/corpus", params={"words": "SQUARE red"})) == "2 rows"
    assert found(full.get("/corpus", params={"fate": "dropped"})) == "3 rows"
    assert found(full.get("/corpus", params={"signal": "width", "low": "100"})) == "1 row"
    assert found(full.get("/corpus", params={"lang": "de", "source": "folder"})) == "2 rows"
    shown = full.get("/corpus", params={"signal": "width", "low": "100"}).text
    assert "width of 9 rows, from 40 to 900" in shown  # the histogram stays, whatever the bounds are


def test_a_search_of_very_many_rows_looks_at_some_first_and_says_so(
    full: httpx.Client, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "MOST_SEARCHED", 4)
    monkeypatch.setattr(corpus, "ON_A_PAGE", 1)
    some = filled.read("samples", ["sample_id", "lang"]).to_pylist()
    looked_at = [row for row in some if row["sample_id"] < "66666666"]  # four of ten
    english = sum(row["lang"] == "en" for row in looked_at)
    page = full.get("/corpus", params={"order": "lowest", "signal": "width"})
    assert found(page) == "10 rows" and "Looked for in 40" in page.text
    page = full.get("/corpus", params={"lang": "en", "all": "1"})
    assert found(page) == f"{sum(row['lang'] == 'en' for row in some)} rows"
    page = full.get("/corpus", params={"lang": "en"})
    assert found(page) == f"About {round(english / 0.4)} rows" and "Looked for in 40" in page.text
    monkeypatch.setattr(corpus, "ON_A_PAGE", 9)  # what is found fills no page: all are looked at
    page = full.get("/corpus", params={"lang": "de"})
    assert found(page) == "2 rows" and "Looked for in" not in page.text


def test_pictures_are_found_by_a_picture_that_is_not_in_the_store(tmp_path: Path) -> None:
    grids = [
        np.kron(np.random.default_rng(seed).integers(0, 256, (4, 4, 3)), np.ones((16, 16, 1)))
        for seed in (1, 2)
    ]
    coded = []
    for grid in grids:
        out = io.BytesIO()
        Image.fromarray(grid.astype(np.uint8)).save(out, "PNG")
        coded.append(out.getvalue())
    store = Store.open(tmp_path / "store")
    rows = [store_of.sample("folder", f"{i}.png", image, f"number {i}") for i, image in enumerate(coded)]
    sides = {"width": 64, "height": 64, "format": "png"}
    stored = [
        {"image_id": row["image_id"], "image": image, **sides} for row, image in zip(rows, coded, strict=True)
    ]
    store_of.append(store, "images", stored)
    store_of.append(store, "samples", rows)
    signed = PerceptualHash().annotate(pa.Table.from_pylist(stored), {})
    store.append(signal_table("perceptual_hash", "image_id", PerceptualHash.columns), signed, parts=["h"])
    jpeg = io.BytesIO()
    Image.fromarray(grids[1].astype(np.uint8)).resize((90, 90)).save(jpeg, "JPEG")
    with serving(Mill(store)) as asking:
        hashes = asking.post("/like", content=jpeg.getvalue(), headers=OWN).json()
        answer = asking.get("/corpus", params=hashes)
        assert found(answer) == "1 row" and "number 1" in answer.text
        assert found(asking.get("/corpus", params={"like": rows[0]["image_id"]})) == "1 row"


def test_pictures_are_found_by_what_they_mean_where_embeddings_are_stored(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    pictures = {"cat": store_of.RED, "kitten": store_of.BLUE, "car": store_of.GREEN}
    rows = [store_of.sample("folder", f"{name}.png", image, name) for name, image in pictures.items()]
    store_of.append(store, "samples", rows)
    ids = [row["image_id"] for row in rows]
    signed = PerceptualHash().annotate(
        pa.table({"image_id": ids, "image": list(pictures.values()), "width": [40] * 3, "height": [40] * 3}),
        {},
    )
    store.append(signal_table("perceptual_hash", "image_id", PerceptualHash.columns), signed, parts=["h"])
    vectors = pa.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], pa.list_(pa.float32()))
    table = signal_table("image_embeddings", "image_id", ImageEmbeddings.columns)
    store.append(table, pa.table({"image_id": ids, "embedding": vectors}), parts=["e"])
    with serving(Mill(store)) as asking:
        page = asking.get("/corpus", params={"like": ids[0], "by": "meaning"}).text
    places = [page.index(f'<bdi lang="en">{name}</bdi>') for name in ("cat", "kitten", "car")]
    assert places == sorted(places) and "by their embeddings" in page


def test_what_is_no_picture_is_told(full: httpx.Client) -> None:
    answer = full.post("/like", content=b"no picture", headers=OWN)
    assert (answer.status_code, "cannot be read" in answer.json()["said"]) == (422, True)
    assert full.post("/like", content=bytes(app.LARGEST_UPLOAD + 1), headers=OWN).status_code == 413


def test_a_threshold_is_tried_and_saved(filled: Store) -> None:
    saved: list[tuple] = []
    mill = Mill(filled, filters=lambda: [Size(width=32, height=32)], save=lambda *what: saved.append(what))
    with serving(mill) as asking:
        page = asking.get("/thresholds", params={"width.to": "500"}).text
        assert re.search(r"<b>(\d+)</b><span>more dropped", page).group(1) == "8"  # type: ignore[union-attr]
        form = {"filter": "filters.size", "setting": "width", "value": "500"}
        answer = asking.post("/thresholds/save", data=form, headers=OWN)
        assert saved == [(0, "filters.size", "width", 500)] and "the next ingest judges by it" in answer.text
        refused = asking.post("/thresholds/save", data={**form, "value": "-1"}, headers=OWN)
        assert refused.status_code == 422 and "takes no width" in refused.text
        asking.post("/thresholds/save", data={**form, "value": "32"}, headers=OWN)
        assert len(saved) == 1  # it has this value already


def test_another_page_may_neither_save_nor_ask(filled: Store) -> None:
    saved: list[tuple] = []
    mill = Mill(filled, filters=lambda: [Size()], save=lambda *what: saved.append(what))
    form = {"filter": "filters.size", "setting": "width", "value": "500"}
    with serving(mill) as asking:
        for theirs in ({"origin": "http://evil.test"}, {"sec-fetch-site": "cross-site"}):
            assert asking.post("/thresholds/save", data=form, headers=theirs).status_code == 403
        assert asking.get("/", headers={"host": "evil.test"}).status_code == 400
    assert not saved


def test_nearest_training_rows_say_how_often_they_were_seen(full: httpx.Client) -> None:
    page = full.get("/lineage", params={"checkpoint": store_of.CHECKPOINT, "words": "a red square"}).text
    near = page[page.index("Training rows nearest") : page.index("What it said")]
    assert "100% of the words · seen once" in near


def test_an_answer_leads_to_its_rows(full: httpx.Client) -> None:
    page = full.get("/lineage", params={"checkpoint": store_of.CHECKPOINT}).text
    [link] = {one for one in re.findall(r'href="(/lineage\?[^"]+)"', page) if "sample=" in one} & {
        f"/lineage?checkpoint={store_of.CHECKPOINT}&amp;sample={store_of.rows()[0][0]['sample_id']}"
    }
    assert "Training rows nearest" in full.get(link.replace("&amp;", "&")).text


def test_pages_follow_a_writer_and_neither_waits_for_the_other(tmp_path: Path) -> None:
    """While rows are committed one by one, each page shows all that was committed before it was asked for."""
    growing, commits = Store.open(tmp_path / "growing"), 25
    written, failed = [0], []

    def write() -> None:
        try:
            for count in range(1, commits + 1):
                row = store_of.sample("folder", f"{count}.png", None, f"text {count}")
                store_of.append(growing, "samples", [row])
                written[0] = count
        except Exception as error:
            failed.append(error)

    with serving(Mill(Store.open(tmp_path / "growing", create=False))) as asking:
        writer = Thread(target=write)
        writer.start()
        while writer.is_alive():
            before, shown = written[0], int(found(asking.get("/corpus")).split()[0])
            assert before <= shown <= commits
        assert found(asking.get("/corpus")) == f"{commits} rows"
    assert not failed


def test_a_question_that_takes_too_long_is_given_up(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(seen: Seen, asked: Asked) -> Content:
        return {
            "rows": seen.db.execute(
                "SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b"
            ).fetchall()
        }

    monkeypatch.setattr(reader, "PATIENCE_S", 0.1)
    monkeypatch.setattr(app, "PAGES", [replace(app.PAGES[5], content=endless)])
    with serving(Mill(filled)) as asking:
        answer = asking.get("/drift")
    assert answer.status_code == 503 and "narrow the search" in answer.text
