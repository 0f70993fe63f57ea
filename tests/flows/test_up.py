"""`millrace up` as a person uses it: pages and API come up, a run is started there, and everything ends together."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from flows.config import ConfigError
from flows.deployments import DEPLOYMENTS
from flows.server import free_port
from flows.up import address, open_to_all, run
from tests.flows.serving import ENDED

ROOT = Path(__file__).parents[2]


def test_every_deployment_names_a_flow_that_is_there() -> None:
    from flows.deployments import flow_of

    for one in DEPLOYMENTS:
        assert flow_of(one).name == one.flow.rpartition(".")[2]
    assert {"ingest", "train", "evaluate", "retrain", "report"} <= {one.name for one in DEPLOYMENTS}


def test_parameters_have_descriptions_for_the_page(tmp_path: Path) -> None:
    from flows.deployments import deployments

    for one in deployments(tmp_path / "millrace.toml"):
        fields = one._parameter_openapi_schema.properties
        assert "config" in fields
        assert one.parameters == {"config": str(tmp_path / "millrace.toml")}
        assert all(field.get("description") for field in fields.values()), (one.name, fields)


def test_the_work_pool_file_holds_the_same_deployments() -> None:
    """prefect.yaml is for several machines; what it deploys is what `millrace up` serves."""
    pooled = {one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
    assert set(pooled) == {one.name for one in DEPLOYMENTS}
    for one in DEPLOYMENTS:
        same = pooled[one.name]
        assert (same["entrypoint"], same["description"]) == (one.flow, one.about)
        crons = [(each["cron"], each["active"]) for each in same.get("schedules", [])]
        assert crons == ([(one.cron, one.active)] if one.cron else [])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "mill.example.org"])
def test_who_listens_to_others_without_a_password_is_warned(host: str, monkeypatch: Any) -> None:
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    assert open_to_all(host)
    assert not any(open_to_all(own) for own in ("127.0.0.1", "127.1.2.3", "::1", "localhost"))
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "user:password")
    assert not open_to_all(host)


def test_one_that_listens_everywhere_is_asked_on_loopback() -> None:
    assert address("0.0.0.0", 1) == address("::", 1) == "http://127.0.0.1:1"
    assert address("::1", 1) == "http://[::1]:1"


def test_a_url_to_tell_that_is_not_there_is_a_mistake_told_before_anything_starts(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.delenv("MILLRACE_TELL", raising=False)
    path = tmp_path / "millrace.toml"
    path.write_text('[notify]\nurl_env = "MILLRACE_TELL"\n')
    with pytest.raises(ConfigError, match="MILLRACE_TELL"):
        run(path, free_port())
    path.write_text('[notify]\nurl_env = "https://hooks.example.org/secret"\n')
    with pytest.raises(ConfigError, match="url_env"):
        run(path, free_port())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_of_a_pool_runs_what_prefect_yaml_deploys(
    mill: Any, prefect_api: str, process: Callable[..., Any], wait_until: Any
) -> None:
    """As its first lines say it: make the pool, deploy, automate, start a worker; then a run is started through the API."""
    (mill.path / "prefect.yaml").write_text((ROOT / "prefect.yaml").read_text())
    early = process(mill, sys.executable, "-m", "flows.automate", "millrace.toml")
    assert early.process.wait(60) == 1 and "error: no deployment retrain yet" in early.said()
    prefect = [sys.executable, "-m", "prefect"]
    for arguments in (["work-pool", "create", "--type", "process", "millrace"], ["deploy", "--all"]):
        process(mill, *prefect, "--no-prompt", *arguments).wait()
    automated = process(mill, sys.executable, "-m", "flows.automate", "millrace.toml")
    automated.wait()
    assert "millrace: retrain on drift" in automated.said()
    worker = process(mill, *prefect, "worker", "start", "--pool", "millrace")
    client = httpx.Client(base_url=prefect_api, timeout=60)
    chosen = client.get("/deployments/name/ingest/ingest").json()
    before = mill.store().versions()
    run = client.post(f"/deployments/{chosen['id']}/create_flow_run", json={}).json()["id"]

    def state() -> str:
        return client.get(f"/flow_runs/{run}").json()["state"]["type"]

    assert wait_until(lambda: state() in ENDED or not worker.alive(), 240), worker.said()
    assert state() == "COMPLETED", worker.said()
    assert mill.store().versions() == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_up_serves_pages_runs_deployments_and_ends_as_a_whole(mill: Any, up: Any) -> None:
    """A second start finds what was switched on; SIGTERM ends server, runner and the flow that is on."""
    serving = up(mill)
    assert "<!DOCTYPE html>" in httpx.get(serving.url, follow_redirects=True, timeout=60).text
    assert httpx.get(f"{serving.url}/ui-settings", timeout=60).json()["api_url"] == f"{serving.url}/api"
    found = serving.deployments()
    assert set(found) == {one.name for one in DEPLOYMENTS}
    assert f"{serving.url}/deployments/deployment/{found['retrain']['id']}" in serving.command.said()
    schedules = {
        name: [(s["schedule"]["cron"], s["active"]) for s in one["schedules"]] for name, one in found.items()
    }
    assert schedules == {one.name: [(one.cron, one.active)] if one.cron else [] for one in DEPLOYMENTS}

    before = mill.store().versions()
    assert serving.finished(serving.start("ingest")) == "COMPLETED", serving.command.said()
    assert mill.store().versions() == before

    [nightly] = found["ingest"]["schedules"]
    path = f"/deployments/{found['ingest']['id']}/schedules/{nightly['id']}"
    serving.ask("PATCH", path, {"active": True, "schedule": {"cron": "30 3 * * *"}})
    mill.change("steps = 60", "steps = 100000")
    run = serving.start("train")
    runs = mill.path / "store/checkpoints"
    assert serving.wait_until(lambda: any(runs.glob("*/[0-9]*/metadata.json")), 240), serving.command.said()
    family = serving.command.family()
    assert len(family) >= 4  # the command, its server, its runner, the flow
    serving.command.process.send_signal(signal.SIGTERM)
    assert serving.command.process.wait(90) == 0
    assert serving.command.gone(10)

    serving = up(mill)
    assert serving.state(run) == "CANCELLED"
    [nightly] = serving.deployments()["ingest"]["schedules"]
    kept = (nightly["schedule"]["cron"], nightly["active"])
    assert kept == ("30 3 * * *", True), "what a person made of a schedule was undone"
    serving.command.process.send_signal(signal.SIGINT)
    assert serving.command.process.wait(90) == 0
    assert serving.command.gone(10)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_up_that_is_killed_leaves_nobody_behind(mill: Any, up: Any) -> None:
    mill.change("steps = 60", "steps = 100000")
    serving = up(mill)
    serving.start("train")
    runs = mill.path / "store/checkpoints"
    assert serving.wait_until(lambda: any(runs.glob("*/run.json")), 240), serving.command.said()
    serving.command.kill()
    assert serving.command.gone(90), [
        Path(f"/proc/{p}/cmdline").read_text() for p in serving.command.family()
    ]


@pytest.mark.slow
def test_up_says_when_a_part_of_it_dies(mill: Any, up: Any) -> None:
    serving = up(mill)
    serving.kill("flows.deployments")
    assert serving.command.process.wait(90) == 1
    assert "error: the runner of the deployments ended" in serving.command.said()
    assert serving.command.gone(10)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_drift_starts_retraining_without_a_person_and_a_lost_process_is_told(mill: Any, up: Any) -> None:
    """A champion is trained without captions; then they come in: another mix of tasks."""
    from flows import promote, train

    mill.change("min_words = 2", "min_words = 40")  # no caption is as long: other tasks are left
    mill.change("steps = 60", "steps = 1")
    mill.ingest()
    train.start(str(mill.config))
    champion = promote.start(str(mill.config))["checkpoint_id"]
    mill.change("min_words = 40", "min_words = 2")
    mill.ingest()

    mill.change("[tokens.text]", "[triggers]\nretrain_when_new = 100000\n[tokens.text]")
    serving = up(mill)
    names = {one["name"] for one in serving.ask("POST", "/automations/filter", {})}
    assert names == {
        "millrace: retrain on drift",
        "millrace: retrain when 100,000 rows are new",
        "millrace: tell of runs whose process is gone",
    }
    assert serving.finished(serving.start("drift")) == "COMPLETED", serving.command.said()
    retrain = serving.deployments()["retrain"]["id"]
    asked = {"deployments": {"id": {"any_": [retrain]}}}

    def runs() -> list[dict[str, Any]]:
        return serving.ask("POST", "/flow_runs/filter", asked)

    assert serving.wait_until(lambda: bool(runs()), 120), serving.command.said()
    [run] = runs()
    assert serving.finished(run["id"]) == "COMPLETED", serving.command.said()
    [(decisions, challengers)] = mill.sql(
        "SELECT count(*), count(DISTINCT checkpoint_id) FROM promotions WHERE champion IS NOT NULL"
    )
    assert decisions == challengers == 1
    assert mill.sql(f"SELECT count(*) FROM promotions WHERE checkpoint_id = '{champion}'") == [(1,)]

    # a snapshot with something new starts it, too, and it says that so little is not worth a training
    mill.add_noise(0)
    assert serving.finished(serving.start("ingest")) == "COMPLETED", serving.command.said()
    assert serving.wait_until(lambda: len(runs()) == 2, 120), serving.command.said()
    [second] = [one for one in runs() if one["id"] != run["id"]]
    assert second["parameters"]["least_new"] == 100000
    assert serving.finished(second["id"]) == "COMPLETED", serving.command.said()
    assert mill.sql("SELECT count(*) FROM checkpoints") == [(2,)]

    mill.change("steps = 1", "steps = 100000")
    lost = serving.start("train")
    folder = mill.path / "store/checkpoints"
    before = set(folder.glob("*/run.json"))
    assert serving.wait_until(lambda: set(folder.glob("*/run.json")) > before, 240), serving.command.said()
    serving.kill_flow()
    assert serving.finished(lost, 200) == "CRASHED"
