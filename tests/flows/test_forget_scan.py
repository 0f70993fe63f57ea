"""After a takedown a scan of every file, unpacked and decoded, finds neither picture nor text; before it, it finds both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.config import ConfigError
from pipeline.forgetting import Named
from storage import lineage, parts, purge
from tests.flows.guests import HELD, SECRET, drawn, put
from tests.flows.scanning import Needles, scan, small

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FORMER = "Isolde Brackwater sells eleven glass herons at the ferry"
CONTROL = "a parameter that Prefect was told and that nobody hid"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def needles(mill: Any, text: str, seed: int) -> Needles:
    rows = mill.sql(f"SELECT image_id FROM samples WHERE text = '{text}'")
    [(image,)] = mill.sql(f"SELECT image FROM images WHERE image_id = '{rows[0][0]}'")
    return Needles(text, [image], small(drawn(seed)))


@pytest.fixture
def used(guests: Any, tmp_path: Path) -> Any:
    """Trained, evaluated and reported on; a text was changed since, and a kill left a part and scratch files behind."""
    mill = guests.copy(tmp_path / "mill")
    put(mill.path / "data/guests", "former", drawn(500), FORMER)
    mill.ingest()
    put(mill.path / "data/guests", "former", drawn(500), "a text that stands here now instead of another")
    mill.ingest()
    run("train", "-c", mill.config)
    run("evaluate", "-c", mill.config)
    run("report", "-c", mill.config)
    run("catalog", "-c", mill.config)
    store = mill.store()
    row = store.read("samples", where=f"text = '{SECRET}'")
    at = row.column_names.index("sample_id")
    waiting = row.set_column(at, "sample_id", [["0" * 32]]).drop_columns(["part"])
    parts.stage(store, "left-by-a-kill", {"samples": waiting})
    for name in (".tmp", "cache/0123-train.3"):
        (store.path / name).mkdir(parents=True, exist_ok=True)
        (store.path / name / "spilled.bin").write_bytes(SECRET.encode())
    return mill


def places(found: list[str]) -> set[str]:
    """Kind of find, and the folder or file of the store."""
    cut = (one.split(" (")[0].split(": ") for one in found)
    return {f"{kind} in {'/'.join(place.split('/')[:2])}" for kind, place in cut}


def test_nothing_of_it_is_found_in_the_store_or_with_prefect(
    used: Any, prefect_home: Path, prefect_api: str
) -> None:
    from prefect import flow

    from flows.forget import forget

    @flow(name="control")
    def control(told: str) -> None:
        pass

    secret, held = needles(used, SECRET, 3), needles(used, HELD, 1002)
    former = Needles(FORMER, [], np.zeros((16, 16, 3), np.uint8))
    store = used.path / "store"
    found = places(scan(store, secret))
    assert {
        "text in tables/samples", "text in staging/left-by-a-kill", "text in .tmp/spilled.bin",
        "text in cache/0123-train.3", "text in catalog.duckdb:samples",
        "bytes in tables/images", "pixels in tables/images", "thumbnail in tables/perceptual_hash",
    } <= found, found  # fmt: skip
    found = places(scan(store, held))
    assert {"text in tables/answers", "text in reports/report.html", "pixels in reports/report.html"} <= found
    assert any(one.startswith("text in reports/") and "report.html" not in one for one in found)
    assert "text in tables/samples" in places(scan(store, former))
    control(CONTROL)
    assert scan(prefect_home, Needles(CONTROL, [], former.pixels))

    samples, ids = used.snapshot().samples(), {}
    for text in (SECRET, HELD):
        [(ids[text],)] = used.sql(f"SELECT sample_id FROM samples WHERE text = '{text}'")
    [(checkpoint,)] = used.sql("SELECT checkpoint_id FROM checkpoints WHERE step = 12")
    what = Named(texts=(SECRET, FORMER), files=(str(used.path / "data/heldout/h02.png"),))
    with pytest.raises(ConfigError):  # what was typed in must not stay for a mistake beside it
        forget(config=str(used.path / "nowhere.toml"), what=what, sure=True)
    forget(config=str(used.config), what=what, sure=True, requested_by="privacy desk")

    for one in (secret, held, former):
        assert scan(store, one) == []
        assert scan(prefect_home, one) == []
    assert not spoken(used, SECRET) and not spoken(used, HELD)
    assert (store / "reports/report.html").exists() and (store / "catalog.duckdb").exists()
    for text in (SECRET, HELD):
        told = json.loads(run("lineage", "sample", ids[text], "-c", used.config, "--json"))
        assert told["forgotten"] and told["sample"] is None
    assert lineage.sample(used.store(), ids[SECRET])["checkpoints"]
    left = sum(row["rows"] for row in lineage.counts(used.store(), checkpoint))
    assert left == samples.num_rows - 3

    for place in ("guests/g03", "heldout/h02"):  # so that the sources are listed again
        assert (used.path / "data" / f"{place}.png").exists()
    put(used.path / "data/guests", "new", drawn(900), "somebody who came later and stays")
    put(used.path / "data/heldout", "new", drawn(901), "somebody else who came later and stays")
    parts.discard(used.store(), "left-by-a-kill")
    used.ingest()
    for one in (secret, held):
        assert scan(store, one) == []
    assert used.sql("SELECT count(*) FROM decisions WHERE reason = 'forgotten'") == [(3,)]
    assert used.sql("SELECT bool_and(adds_up) FROM funnel_check") == [(True,)]


def spoken(mill: Any, text: str) -> bool:
    """Whether the token ids of any row, of whatever version, spell a text."""
    from flows import tokenizers

    store = mill.store()
    bpe = tokenizers.current(store)["text_tokenizer"]
    with store.cursor() as db:
        rows = db.sql(f"SELECT ids FROM ({purge.everything(store, 'text_tokens')})").fetchall()
    return any(text in bpe.decode(ids) for (ids,) in rows)
