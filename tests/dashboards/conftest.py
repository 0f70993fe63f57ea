"""A small store filled by hand: sources, near-copies, hostile texts, a run and its scores."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.gallery import truth
from pipeline.gallery.corpus import EXPECT
from storage.store import Store

BEGAN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
HOSTILE = (
    """<script>document.title='taken over'</script>\"><img src=x onerror=\"document.title='taken over'\">"""
)
SECRET = "jane.doe@example.com"
RUN, CHECKPOINT, EVALUATION, SNAPSHOT = "run-1", "0123456789abcdef", "evaluation-1", "snapshot-1"


def drawing(colour: str, side: int = 40) -> bytes:
    """A PNG of one colour with a dark corner."""
    image = Image.new("RGB", (side, side), colour)
    image.paste((20, 20, 20), (0, 0, side // 3, side // 3))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def digest(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def sample_id(source: str, origin: str, position: int = 0) -> str:
    return digest(f"{source}/{origin}/{position}")[:32]


def append(store: Store, table: str, rows: list[dict], part: str = "") -> None:
    schema = pa.schema([(c.name, c.type) for c in store.table(table).columns if c.name != "part"])
    part = part or f"by hand {store.version(table)}"
    store.append(table, pa.Table.from_pylist(rows, schema=schema), parts=[part])


def sample(source: str, origin: str, image: bytes | None, text: str | None, **more: object) -> dict:
    made = {
        "sample_id": sample_id(source, origin, int(more.get("position", 0))),  # type: ignore[call-overload]
        "document_id": sample_id(source, origin, -1),
        "position": 0,
        "source": source,
        "origin": origin,
        "image_id": digest(image) if image else None,
        "text": text,
        "lang": "en",
        "task": "caption",
        "licence": "CC0-1.0",
        "consent": "unknown",
        "held_out": False,
        "fetched_at": BEGAN,
    }
    return {**made, **more}


def decided(row: dict, stage: str = "collect", reason: str | None = None, detail: str | None = None) -> dict:
    return {
        "sample_id": row["sample_id"],
        "source": row["source"],
        "stage": stage,
        "kept": reason is None,
        "reason": reason,
        "detail": detail,
        "policy": "by hand",
    }


RED, PALE_RED, BLUE, GREEN = (drawing(colour) for colour in ("red", "#ff1010", "blue", "green"))
LARGE = drawing("orange", 900)


def rows() -> tuple[list[dict], list[dict]]:
    """(samples, decisions)"""
    samples = [
        sample("folder", "g000001.png", RED, "a red square"),
        sample("folder", "g000001.png", RED, "ein rotes Quadrat", position=1, lang="de"),
        sample("folder", "g000002.png", PALE_RED, "a red square"),
        sample("folder", "g000003.png", BLUE, HOSTILE, author=HOSTILE, licence=HOSTILE),
        sample("folder", "g000004.png", None, "cut off"),
        sample("folder", "g000005.png", GREEN, f"a green square, write to {SECRET} or +1 212-555-0123"),
        sample("folder", "g000006.png", LARGE, "sehr große Frau", lang="de"),
        sample("tars", "g000007.png", BLUE, "blue", prompt="Which colour?", task="vqa", lang="en"),
        sample("tars", "g000008.png", GREEN, f"ask {SECRET}", task="caption"),
        sample("heldout", "h000001.png", GREEN, "a green square", held_out=True),
    ]
    folder, held = samples[:7], samples[9]
    decisions = [decided(row) for row in samples if row is not samples[4]]
    decisions += [
        decided(samples[4], reason="truncated", detail="ends after 20 bytes"),
        decided(folder[5], "filter", "contact_details"),
        decided(folder[2], "near_duplicates", "duplicate", samples[0]["sample_id"]),
        decided(held, "filter"),
    ]
    return samples, decisions


def picture_rows() -> list[dict]:
    sides = {RED: 40, PALE_RED: 40, BLUE: 40, GREEN: 40, LARGE: 900}
    return [
        {
            "image_id": digest(image),
            "image": image,
            "width": side,
            "height": side,
            "format": "png",
            "frames": 1,
            "original_format": "PNG",
            "original_width": side,
            "original_height": side,
            "original_bytes": len(image),
        }
        for image, side in sides.items()
    ]


def fill(store: Store) -> Store:
    """Puts everything into the store; `samples` last, as ingest does."""
    samples, decisions = rows()
    append(store, "images", picture_rows())
    append(store, "decisions", decisions)
    append(
        store,
        "groups",
        [{"image_id": digest(image), "group_id": digest(RED)} for image in (RED, PALE_RED)]
        + [{"image_id": digest(image), "group_id": digest(image)} for image in (BLUE, GREEN, LARGE)],
    )
    append(store, "samples", samples)
    kept = [samples[i] for i in (0, 1, 3, 6, 7, 8)]
    split = {samples[i]["sample_id"]: "train" for i in (0, 1, 3, 6)} | {samples[7]["sample_id"]: "test"}
    split[samples[8]["sample_id"]] = "test"
    append(
        store,
        "members",
        [{"snapshot": SNAPSHOT, "sample_id": r["sample_id"], "split": split[r["sample_id"]]} for r in kept],
        f"{SNAPSHOT}@{digest('content')[:16]}",
    )
    fetched = [
        ("http://a.test/1", 1, "http_503"),
        ("http://a.test/1", 2, "ok"),
        ("http://b.test/2", 1, "http_404"),
    ]
    append(
        store,
        "attempts",
        [
            {"url": url, "attempt": n, "host": url[7:13], "outcome": outcome, "recorded_at": BEGAN}
            for url, n, outcome in fetched
        ],
    )
    append(
        store, "consents", [{"url": fetched[0][0], "allowed": True, "basis": "robots", "evidence": "none"}]
    )
    append(store, "splits", [{"sample_id": i, "cluster_id": i, "split": s} for i, s in split.items()])
    append(
        store,
        "snapshots",
        [
            {
                "snapshot": SNAPSHOT,
                "content_hash": digest("content"),
                "versions": json.dumps({"samples": 0}),
                "text_tokenizer": "text-1",
                "image_tokenizer": "image-1",
                "rows": len(kept),
                "licences": "{}",
                "recorded_at": BEGAN + timedelta(minutes=1),
            }
        ],
    )
    model(store, samples)
    return store


def model(store: Store, samples: list[dict]) -> None:
    """A run, its figures, a checkpoint, scores, answers and drawn pictures."""
    at = BEGAN + timedelta(minutes=2)
    append(
        store,
        "runs",
        [
            {
                "run_id": RUN,
                "kind": "train",
                "state": "started",
                "snapshot": SNAPSHOT,
                "config": "{}",
                "code_version": "abc",
                "recorded_at": at,
            }
        ],
    )
    append(
        store,
        "metrics",
        [
            {"run_id": RUN, "step": step, "name": name, "value": value, "recorded_at": at}
            for step in range(1, 1001)
            for name, value in (
                ("loss_text", 5 / step),
                ("loss_image", 7 / step**0.5),
                ("tokens_per_second", 900.0 + step % 7),
                ("gradient_norm", float("nan") if step == 500 else 1.0),
            )
        ],
    )
    append(
        store,
        "batch_plan",
        [
            {
                "run_id": RUN,
                "step": 1,
                "slot": 0,
                "sample_ids": [samples[0]["sample_id"], samples[1]["sample_id"]],
            }
        ],
    )
    append(
        store,
        "checkpoints",
        [
            {
                "checkpoint_id": "older",
                "run_id": RUN,
                "step": 500,
                "snapshot": SNAPSHOT,
                "path": "x",
                "parameters": 9,
                "recorded_at": at,
            },
            {
                "checkpoint_id": CHECKPOINT,
                "run_id": RUN,
                "step": 1000,
                "snapshot": SNAPSHOT,
                "path": "y",
                "parameters": 2_700_000,
                "recorded_at": at + timedelta(minutes=3),
            },
        ],
    )
    same = {
        "evaluation_id": EVALUATION,
        "checkpoint_id": CHECKPOINT,
        "snapshot": SNAPSHOT,
        "recorded_at": at + timedelta(minutes=4),
    }
    scores = (
        ("caption", "exact", "all", 0.75, 0.7, 0.8),
        ("caption", "nearest_pixels_exact", "all", 0.15, 0.1, 0.2),
        ("caption", "exact", "unseen", 0.5, 0.4, 0.6),
        ("caption", "colour", "de", 0.9, 0.85, 0.95),
        ("caption", "perplexity", "all", 3.25, 3.0, 3.5),
    )
    append(
        store,
        "evaluations",
        [
            {**same, "task": t, "metric": m, "subset": s, "value": v, "low": low, "high": high, "n": 400}
            for t, m, s, v, low, high in scores
        ],
    )
    of_task = {
        "task": "vqa",
        "metric": "exact",
        "subset": "all",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "n": 9,
    }
    late = {"evaluation_id": "task-vqa-1", "recorded_at": at + timedelta(minutes=5)}
    append(store, "evaluations", [{**same, **of_task, **late}])
    append(
        store,
        "answers",
        [
            {
                "evaluation_id": EVALUATION,
                "sample_id": samples[0]["sample_id"],
                "task": "caption",
                "expected": "a red square",
                "output": "a red square",
                "correct": True,
            },
            {
                "evaluation_id": EVALUATION,
                "sample_id": samples[3]["sample_id"],
                "task": "caption",
                "expected": HOSTILE,
                "output": f"a blue <b>square</b> {HOSTILE}",
                "correct": False,
            },
            {
                "evaluation_id": EVALUATION,
                "sample_id": samples[7]["sample_id"],
                "task": "vqa",
                "expected": "blue",
                "output": "red",
                "correct": False,
            },
            {
                "evaluation_id": EVALUATION,
                "sample_id": "0" * 32,
                "task": "vqa",
                "expected": "of a forgotten row",
                "output": "gone",
                "correct": False,
            },
        ],
    )
    append(
        store,
        "promotions",
        [
            {
                "promotion_id": "first",
                "outcome": "promoted",
                "checkpoint_id": CHECKPOINT,
                "reason": "there was no champion",
                "decided_by": "gate",
                "recorded_at": at,
            }
        ],
    )
    saw = [{"checkpoint_id": "older", "run_id": RUN, "step": 500}]
    append(
        store,
        "forgotten",
        [
            {
                "request_id": "request-1",
                "requested_by": "privacy desk",
                "named": json.dumps([{"kind": "url", "digest": "0" * 64}]),
                "rows": 2,
                "pictures": 1,
                "counts": json.dumps({"samples": 2}),
                "affected": json.dumps({"snapshots": {}, "checkpoints": saw}),
                "recorded_at": at,
                "seal": "not its own",
            }
        ],
    )
    folder = store.folder("reports") / EVALUATION
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(drawing("purple", 32))
    (folder / "broken.png").write_bytes(b"no picture")
    (store.path / "secret.png").write_bytes(drawing("black"))
    listed = [
        {"file": "0.png", "caption": f"purple {HOSTILE}"},
        {"file": "broken.png", "caption": "broken"},
        {"file": "../../secret.png", "caption": "outside"},
        {"caption": "no file"},
        7,
    ]
    (folder / "pictures.json").write_text(json.dumps(listed), encoding="utf-8")


def planted() -> pa.Table:
    """What was planted in the rows above."""
    kinds = {
        "g000001": ("clean", None),
        "g000002": ("brightened_copy", "g000001"),
        "g000003": ("clean", None),
        "g000004": ("truncated", None),
        "g000005": ("email", None),
        "g000006": ("boilerplate", None),
        "g000008": ("phone", None),
        "h000001": ("clean", None),
        "g000999": ("too_small", None),
    }
    same = {"position": 0, "source": "folder", "lang": "en", "task": "caption"}
    rows = [
        same
        | {"picture": name, "file": f"{name}.png", "kind": kind, "of": of, "expect": EXPECT[kind]}
        | {"secret": SECRET if kind in ("email", "phone") else None}
        for name, (kind, of) in kinds.items()
    ]
    return pa.Table.from_pylist(rows, schema=truth.SCHEMA)


@pytest.fixture(scope="module")
def truth_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("truth") / "truth.parquet"
    pq.write_table(planted(), path)
    return path


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "empty")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fill(Store.open(tmp_path_factory.mktemp("filled") / "store"))


@pytest.fixture
def collected(empty: Store) -> Store:
    """Rows that came in and were judged, before any snapshot."""
    samples, decisions = rows()
    append(empty, "images", picture_rows())
    append(empty, "decisions", decisions)
    append(empty, "samples", samples)
    return empty
