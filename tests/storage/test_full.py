"""A full device: a clear error, and everything that was committed before."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from storage import backup, catalog, parts
from storage.errors import StoreFull
from storage.store import Store

LIMITED = """
import os, resource, sys, pyarrow as pa
from storage import parts
from storage.errors import StoreFull
from storage.store import Store

store = Store.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
big = pa.table({"image_id": [str(n) for n in range(100)], "image": [os.urandom(10_000) for _ in range(100)]})
for attempt in (
    lambda: store.append("images", big, parts=["big"]),
    lambda: parts.stage(store, "big", {"images": big}),
):
    try:
        attempt()
    except StoreFull as error:
        print(error, flush=True)
    else:
        sys.exit("no error")
small = pa.table({"image_id": ["small"], "image": [b"x"]})
assert store.append("images", small, parts=["small"])
"""


def test_a_file_size_limit_is_a_full_device(store, rows, child):
    parts.stage(store, "p", rows(["a", "b"]))
    parts.commit(store, ["p"])
    process = child(LIMITED, store.path)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    lines = out.strip().splitlines()
    assert len(lines) == 2
    assert all("no room left on the device" in line for line in lines)
    assert store.read("images").num_rows == 3
    assert not store.has("images", "big")
    assert parts.waiting(store) == []
    named = {Path(file).name for file in store.files("images")}
    assert {file.name for file in (store.path / "tables/images").glob("*.parquet")} == named


@pytest.fixture
def small_disk(tmp_path):
    """Three megabytes of memory as a device of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small device needs root")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip(f"mounting is not allowed here: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place: Path) -> None:
    with open(place / "fill", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            pass


def test_a_full_device_loses_nothing_and_can_be_used_again(small_disk, tmp_path, rows):
    store = Store.open(small_disk / "store")
    (small_disk / "spare").write_bytes(b"x" * 300_000)
    parts.stage(store, "waits", rows(["w"]))
    committed = []
    with pytest.raises(StoreFull, match="no room left on the device"):
        for n in range(10_000):
            noise = pa.table({"run_id": [os.urandom(20).hex() for _ in range(1000)]})
            store.append("metrics", noise, parts=[f"p{n}"])
            committed.append(f"p{n}")
    fill(small_disk)
    one = pa.table({"run_id": ["r"]})
    for attempt in (
        lambda: store.append("runs", one, parts=["x"]),
        lambda: store.append("metrics", one, parts=["x"]),
        lambda: store.clear("metrics", {}),
        lambda: parts.stage(store, "new", {"runs": one}),
        lambda: parts.commit(store, ["waits"]),
        lambda: catalog.rebuild(store),
    ):
        with pytest.raises(StoreFull) as error:
            attempt()
        assert "\n" not in str(error.value)
    fresh = Store.open(store.path)
    assert len(committed) > 3
    assert fresh.missing("metrics", committed) == []
    assert fresh.read("metrics").num_rows == 1000 * len(committed)
    with fresh.connect() as con:
        assert con.sql("SELECT count(*) FROM metrics").fetchall() == [(1000 * len(committed),)]
    with pytest.raises(StoreFull):
        backup.backup(fresh, small_disk / "backup")

    for unneeded in ("fill", "spare"):
        (small_disk / unneeded).unlink()
    shutil.rmtree(small_disk / "backup", ignore_errors=True)
    assert parts.commit(fresh, ["waits"]) == 3
    assert fresh.clear("metrics", {}) == 1000 * len(committed)
    copy = backup.restore(backup.backup(fresh, tmp_path / "backup"), tmp_path / "roomy")
    roomy = Store.open(copy)
    assert roomy.read("metrics").num_rows == 0
    assert roomy.append("metrics", one, parts=["x"])
