"""The corpus on disk: the same bytes every time, complete truth beside it, URLs that can be fetched."""

import csv
import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from pipeline.gallery import truth, writer
from pipeline.gallery.corpus import COPIES, LEAKS, MOST, UNREADABLE, GalleryTooLarge, plan
from pipeline.gallery.pictures import encoded
from pipeline.gallery.server import serve
from pipeline.gallery.texts import rows
from pipeline.gallery.writer import GalleryExists, write
from pipeline.step import RAW, Source, load

SIZE = 400


def digests(path):
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "truth.parquet")
    return {str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("gallery") / "demo", seed=5, size=SIZE, heldout=60)


@pytest.fixture(scope="module")
def corpus():
    return plan(5, SIZE, 60)


def found_rows(written) -> Counter:
    """(picture, lang, task, prompt, text) of every row that lies in the written corpus."""
    found = Counter()
    for folder in (written.folder, written.heldout):
        for line in (folder / "captions.jsonl").read_text().splitlines():
            row = json.loads(line)
            assert (folder / row["file"]).exists()
            found[row["document"], row["lang"], row["task"], row.get("prompt"), row["text"]] += 1
    for shard in written.tars.glob("*.tar"):
        with tarfile.open(shard) as members:
            content = {m.name: members.extractfile(m).read() for m in members}
        for name in content:
            if name.endswith(".txt"):
                row = json.loads(content[name[:-4] + ".json"])
                key = (row["document"], row["lang"], row["task"], row.get("prompt"), content[name].decode())
                found[key] += 1
                assert name[:-4] + ".png" in content or name[:-4] + ".jpg" in content
    for row in csv.DictReader(io.StringIO(written.urls.read_text())):
        assert (written.served / row["url"]).exists()
        found[row["document"], row["lang"], row["task"], row["prompt"] or None, row["text"]] += 1
    return found


def test_what_was_planned_lies_there_once(written, corpus):
    planned = Counter(
        (p.name, row.lang, row.task, row.prompt, row.text) for p in corpus.everything for row in rows(p, 5)
    )
    assert found_rows(written) == planned


def test_the_truth_has_a_row_for_every_row_and_no_other(written, corpus):
    told = truth.read(written.path)
    assert told.schema.equals(truth.SCHEMA)
    there = Counter((name, lang, task) for name, lang, task, _, _ in found_rows(written).elements())
    keys = zip(*(told[c].to_pylist() for c in ("picture", "lang", "task")), strict=True)
    assert Counter(keys) == there
    kinds = {r["picture"]: (r["kind"], r["of"] or "", r["source"]) for r in told.to_pylist()}
    assert kinds == {p.name: (p.kind, p.of, p.source) for p in corpus.everything}
    pairs = list(zip(told["picture"].to_pylist(), told["position"].to_pylist(), strict=True))
    assert len(set(pairs)) == len(pairs)


def test_the_truth_lies_outside_of_what_is_ingested(written):
    inside = [written.folder, written.tars, written.heldout, written.served]
    assert not any("truth" in p.name for folder in inside for p in folder.rglob("*"))
    assert b"exact_copy" not in written.urls.read_bytes() + (written.folder / "captions.jsonl").read_bytes()


def test_seed_and_size_give_the_same_bytes_with_any_number_of_processes(written, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SMALL", 0)
    seen = []
    again = write(
        tmp_path / "other", seed=5, size=SIZE, heldout=60, processes=2, progress=lambda *at: seen.append(at)
    )
    assert digests(again.path) == digests(written.path)
    assert truth.read(again.path).equals(truth.read(written.path))
    assert seen == sorted(seen) and seen[-1] == (SIZE + 60, SIZE + 60)


def test_another_seed_gives_another_corpus(written, tmp_path):
    other = write(tmp_path / "other", seed=6, size=SIZE, heldout=60)
    assert digests(other.path) != digests(written.path)


def test_writing_again_finds_it_there_and_touches_nothing(written):
    before = {p: p.stat().st_mtime_ns for p in written.path.rglob("*")}
    assert write(written.path, seed=5, size=SIZE, heldout=60) == written == writer.found(written.path)
    assert {p: p.stat().st_mtime_ns for p in written.path.rglob("*")} == before


def test_it_overwrites_nothing(written, tmp_path):
    with pytest.raises(GalleryExists, match="another gallery"):
        write(written.path, seed=6, size=SIZE, heldout=60)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(GalleryExists, match="no gallery"):
        write(tmp_path, seed=5, size=10)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_what_an_interrupted_write_left_is_replaced(tmp_path):
    (tmp_path / "demo.partial" / "folder").mkdir(parents=True)
    (tmp_path / "demo.partial" / "folder" / "stale.png").write_bytes(b"x")
    done = write(tmp_path / "demo", seed=1, size=20, heldout=4)
    assert not list(done.path.rglob("stale.png")) and not (tmp_path / "demo.partial").exists()


def test_a_base_url_stands_before_every_name(tmp_path):
    done = write(tmp_path / "demo", seed=1, size=20, heldout=4, base_url="https://pictures.example.org/")
    urls = [row["url"] for row in csv.DictReader(io.StringIO(done.urls.read_text()))]
    assert urls and all(url.startswith("https://pictures.example.org/g0000") for url in urls)


def test_the_server_gives_each_file_as_it_is_to_many_at_once(written):
    names = [row["url"] for row in csv.DictReader(io.StringIO(written.urls.read_text()))]
    with serve(written.path) as base, ThreadPoolExecutor(16) as threads:

        def fetch(name):
            with urllib.request.urlopen(base + name, timeout=10) as answer:
                return answer.read()

        bodies = list(threads.map(fetch, names))
        for missing in ("nothing.png", "", "../truth.parquet"):
            with pytest.raises(urllib.error.HTTPError) as error:
                fetch(missing)
            assert error.value.code == 404
            error.value.close()
    assert bodies == [(written.served / name).read_bytes() for name in names]


def test_two_servers_have_two_ports(written):
    with serve(written.path) as one, serve(written.path) as two:
        assert one != two


def test_the_source_yields_the_same_rows_as_the_files(corpus):
    step = load("sources.gallery", Source)
    for part, pictures in (("train", corpus.pictures), ("heldout", corpus.heldout)):
        source = step(seed=5, size=SIZE, heldout=60, part=part)
        shards = list(source.shards(RAW.empty_table()))
        assert len({shard.key for shard in shards}) == len(shards)
        table = pa.concat_tables(batch for shard in shards for batch in source.read(shard))
        assert table.schema.equals(RAW)
        got = [
            (r["document"], r["position"], r["image"], r["text"].decode(), r["prompt"], r["label"])
            for r in table.to_pylist()
        ]
        assert got == [
            (p.name, position, encoded(p, 5), row.text, row.prompt, row.label)
            for p in pictures
            for position, row in enumerate(rows(p, 5))
        ]
        keys = list(zip(table["origin"].to_pylist(), table["position"].to_pylist(), strict=True))
        assert len(set(keys)) == len(keys)
        assert truth.picture_of(table["origin"]).to_pylist() == table["document"].to_pylist()


def test_shards_of_other_settings_have_other_keys():
    step = load("sources.gallery", Source)
    keys = [
        shard.key
        for settings in ({}, {"seed": 1}, {"size": 1500}, {"part": "heldout"}, {"heldout": 7})
        for shard in step(**{"size": 1200, **settings}).shards(RAW.empty_table())
    ]
    assert len(set(keys)) == len(keys)


def test_the_picture_is_found_in_any_origin():
    origins = ["000/g000012.png", "a-00001.tar/g000013", "g000014.jpg?x=1", "h000015", "other.png", None]
    expected = ["g000012", "g000013", "g000014", "h000015", None, None]
    assert truth.picture_of(pa.array(origins)).to_pylist() == expected


def test_scores_count_what_was_found_missed_and_wrongly_dropped(written):
    told = truth.read(written.path)
    by_kind: dict[str, list[str]] = {}
    for row in told.to_pylist():
        by_kind.setdefault(row["kind"], []).append(row["picture"])
    leaks = {name for kind in LEAKS for name in by_kind[kind]}
    perfect = truth.score(told, LEAKS, leaks)
    assert (perfect.precision, perfect.recall) == (1.0, 1.0)
    wrong = truth.score(told, LEAKS, {*list(leaks)[1:], by_kind["clean"][0]})
    assert wrong.recall == (len(leaks) - 1) / len(leaks) == wrong.precision
    assert truth.score(told, UNREADABLE, set()).recall == 0

    pairs = {r["picture"]: r["of"] for r in told.to_pylist() if r["kind"] in COPIES}
    for dropped in (set(pairs), set(pairs.values())):  # either of a pair may go
        assert truth.score_copies(told, dropped).recall == truth.score_copies(told, dropped).precision == 1
    both = truth.score_copies(told, {*pairs, *pairs.values()})
    assert both.right == 0 and both.precision == 0
    assert truth.score_copies(told, {*pairs, *by_kind["recoloured"]}).precision < 1


def test_a_corpus_that_is_too_large_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(GalleryTooLarge, match="a gallery holds 1,000,000 at most"):
        write(tmp_path / "demo", size=MOST + 1)
    assert list(tmp_path.iterdir()) == []
