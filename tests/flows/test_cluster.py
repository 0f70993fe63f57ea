"""The mill on a Ray cluster: the same rows as elsewhere, whoever dies; and words for what is missing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import cluster
from flows.server import free_port
from flows.work import make_there
from storage.errors import StoreNotFound
from storage.snapshot import content_hash
from storage.store import Store

TABLES = ("images", "samples", "decisions", "groups", "splits", "text_tokens", "image_tokens", "members")
ON_RAY = 'runner = "ray"\nworkers = 2'


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(cluster.ClusterError, match=r"millrace\[ray\]"):
        cluster.check("")


def test_a_cluster_that_does_not_answer_is_told_before_anything_starts(
    gallery: Any, command: Any, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    mill, port = gallery.copy(tmp_path / "project"), free_port()
    mill.change('runner = "threads"', f'runner = "ray"\naddress = "127.0.0.1:{port}"')
    one = command(mill, "ingest", own_server=True)
    assert one.process.wait(60) == 1
    said = " ".join(one.said().split())
    assert f"error: [run] address = '127.0.0.1:{port}': no Ray cluster answers there" in said
    assert "ray start --head" in said
    assert "Traceback" not in said
    assert not (mill.path / "store").exists()


def test_a_machine_without_the_store_makes_none(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="all machines of the cluster must see it"):
        make_there(done, str(tmp_path / "store"), "1GB", [], {})
    assert not (tmp_path / "store").exists()


def test_a_machine_that_sees_an_older_store_does_not_work_on_it(tmp_path: Path) -> None:
    """It would find no rows in a part, and stage none."""
    Store.open(tmp_path / "store")
    with pytest.raises(StoreNotFound, match=r"older than where the flow runs \(table samples\)"):
        make_there(done, str(tmp_path / "store"), "1GB", [], {"samples": 0}, patience=0.2)


def done(store: Store, job: Any) -> str:
    return job.key


def below(pid: int) -> Iterator[int]:
    """The descendants of a process; psutil would look at every process of the machine, and take the core from the ingest."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            yield child
            yield from below(child)


def at_work(root: int) -> list[int]:
    """Ray's workers among the descendants of a process, if any of them is at a task."""
    try:
        named = {pid: Path(f"/proc/{pid}/comm").read_text() for pid in below(root)}
    except OSError:  # one has just ended
        return []
    workers = {pid: name for pid, name in named.items() if name.startswith("ray::")}
    return list(workers) if any("make_there" in name for name in workers.values()) else []


def working(family: list[int]) -> list[str]:
    """The names of those that could still do something: Ray's agents look for its dead server for a minute, then end."""
    names = []
    for pid in family:
        with suppress(OSError):
            names.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return [name for name in names if name not in ("ray::DashboardA", "ray::RuntimeEnv")]


@pytest.fixture
def nodes() -> Iterator[dict[str, Any]]:
    """Two nodes of one core each."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    started = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("ray_nodes.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert started.stdin is not None and started.stdout is not None
    try:
        yield json.loads(started.stdout.readline())
    finally:
        started.stdin.close()
        started.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_that_dies_during_an_ingest_costs_nothing(
    nodes: dict[str, Any],
    milled: Any,
    fresh: Any,
    command: Any,
    wait_until: Callable[..., bool],
    monkeypatch: Any,
) -> None:
    """Its task is done again on the other one: what is there afterwards is what threads make, in other parts."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # as its nodes: 127.0.0.1
    fresh.change('runner = "threads"', f'{ON_RAY}\naddress = "{nodes["address"]}"')
    fresh.change("shard_rows = 30", "shard_rows = 10")
    one = command(fresh, "ingest")
    dying: list[int] = []

    def busy() -> bool:
        dying[:] = at_work(nodes["second"])
        return bool(dying) or not one.alive()

    assert wait_until(busy, 240) and dying, one.said()
    for pid in (nodes["second"], *dying):
        with suppress(ProcessLookupError):  # a worker whose node is gone ends by itself, too
            os.kill(pid, signal.SIGKILL)
    one.wait()
    assert fresh.snapshot().content_hash == milled.snapshot().content_hash
    for table in TABLES:
        assert content_hash(fresh.store(), table) == content_hash(milled.store(), table), table
    assert os.listdir(fresh.store().folder("staging")) == []
    assert fresh.sql("SELECT count(*) FROM funnel_check WHERE NOT adds_up") == [(0,)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cluster_of_ones_own_is_heard_on_loopback_alone_and_ends_with_a_killed_flow(
    milled: Any, fresh: Any, command: Any, wait_until: Callable[..., bool]
) -> None:
    """And whoever goes on, by whatever runner, ends in the same snapshot."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    fresh.change('runner = "threads"', ON_RAY)
    fresh.change("shard_rows = 30", "shard_rows = 10")  # more parts than threads would make
    one = command(fresh, "ingest")
    assert wait_until(lambda: at_work(one.process.pid) or not one.alive(), 240) and one.alive(), one.said()
    family = one.family()
    listening = {
        socket.laddr.ip
        for pid in family
        for socket in psutil.Process(pid).net_connections("tcp")
        if socket.status == psutil.CONN_LISTEN
    }
    assert listening and listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert not any(
        "RAY_AUTH_TOKEN" in argument for pid in family for argument in psutil.Process(pid).cmdline()
    )
    one.kill()
    assert wait_until(lambda: not working(one.family()), 60), working(one.family())
    fresh.change(ON_RAY, 'runner = "threads"')
    fresh.ingest()
    assert fresh.snapshot().content_hash == milled.snapshot().content_hash
    assert os.listdir(fresh.store().folder("staging")) == []
