"""A bad day under `millrace up`: whatever dies, runs end in a true state, somebody is told, and the next run makes good.

One `millrace up` for all of it, behind a password, since its start costs more than each of the troubles.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from flows import server
from tests.flows.letters import Mailbox
from tests.flows.serving import Up, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(450)]

WORD = "miller:grist-and-stones"
SECRET = "token-of-a-webhook"


class Listener:
    """A webhook on loopback, and what it was sent."""

    def __init__(self) -> None:
        told: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["Content-Type"].startswith("application/json")
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)  # of 204 a chat's client thinks that it failed
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                pass

        self.told = told
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/{SECRET}"

    def of(self, flow: str) -> list[str]:
        return [one["state"] for one in self.told if one["flow"] == flow]

    def heard(self, *words: str) -> bool:
        """Whether a message in the format of Slack and its likes holds all of the words."""
        return any(all(word in one["text"] for word in words) for one in self.told)


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def environment(listener: Listener, prefect_api: str) -> Iterator[None]:
    """The session's API has begun without the word, and the word goes with this module, under both of its names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in server.WORDS:
            patch.setenv(name, WORD)
        patch.setenv("MILLRACE_TELL", listener.url)
        yield


@pytest.fixture(scope="module")
def project(gallery: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    mill = gallery.copy(tmp_path_factory.mktemp("bad-day") / "project")
    mill.config.write_text(mill.config.read_text() + '\n[notify]\nurl_env = "MILLRACE_TELL"\n')
    return mill


def started(project: Any, lasting: Callable[..., Any]) -> Up:
    port = server.free_port()
    serving = Up(lasting(project, "up", "--port", str(port), own_server=True), port, until)
    serving.login = httpx.BasicAuth(*WORD.split(":"))
    return serving


@pytest.fixture(scope="module")
def serving(project: Any, lasting: Callable[..., Any], environment: None) -> Up:
    return started(project, lasting)


def test_who_does_not_say_the_word_is_refused(
    serving: Up, project: Any, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert httpx.post(f"{serving.url}/api/deployments/filter", json={}).status_code == 401
    assert serving.deployments()
    monkeypatch.setenv("PREFECT_API_URL", f"{serving.url}/api")
    for name in server.WORDS:
        monkeypatch.delenv(name)
    refused = command(project, "ingest")
    assert refused.process.wait(60) == 1
    assert "PREFECT_API_AUTH_STRING=user:password" in refused.said()
    assert "Traceback" not in refused.said()
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "miller:another")
    with pytest.raises(server.ServerError, match="401"):
        server.refuse_dead(f"{serving.url}/api")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", WORD)
    server.refuse_dead(f"{serving.url}/api")


def test_a_killed_ingest_has_crashed_and_a_killed_server_disturbs_nobody(
    serving: Up, project: Any, listener: Listener, milled: Any
) -> None:
    lost = serving.start("ingest")
    serving.begun(lambda: (project.path / "store/store.json").exists())
    serving.kill_flow()
    assert serving.finished(lost) == "CRASHED"
    assert serving.wait_until(lambda: listener.of("ingest"), 60)
    assert listener.of("ingest") == ["Crashed"]

    run = serving.start("ingest")
    serving.begun(lambda: serving.state(run) == "RUNNING")
    serving.kill_server()
    serving.begun(lambda: "answers again" in serving.command.said())
    assert serving.finished(run) == "COMPLETED", serving.command.said()
    assert project.snapshot().content_hash == milled.snapshot().content_hash
    assert os.listdir(project.store().folder("staging")) == []
    assert project.sql("SELECT count(*) FROM funnel_check WHERE NOT adds_up") == [(0,)]


def test_a_killed_training_goes_on_though_its_deployment_is_deleted(
    serving: Up, project: Any, listener: Listener
) -> None:
    """A run that waits for its turn meanwhile is late, and somebody is told of that, too."""
    lost = serving.start("train")
    serving.begun(lambda: any(project.path.glob("store/checkpoints/*/run.json")))
    serving.kill_flow()
    assert serving.finished(lost) == "CRASHED"
    run = serving.start("train")
    serving.begun(lambda: serving.state(run) in ("PENDING", "RUNNING"))
    waiting = serving.start("report", due=datetime.now(UTC) - timedelta(hours=1))
    serving.begun(lambda: serving.state(run) == "RUNNING")
    serving.ask("DELETE", f"/deployments/{serving.deployments()['train']['id']}")
    assert serving.finished(run) == "COMPLETED", serving.command.said()
    assert project.sql("SELECT count(*), max(step) FROM checkpoints") == [(12, 60)]
    assert serving.finished(waiting) == "COMPLETED"
    assert listener.of("report") == ["Late"]


async def tell_two_more(chat: Listener, mailbox: Mailbox) -> None:
    """Makes what a person makes in the UI, a block for a chat and one for e-mail, and what [notify] makes of each."""
    from prefect.blocks.notifications import MattermostWebhook

    from flows import notices
    from flows.mail import MailServer
    from flows.settings import NotifyConfig

    port = chat.server.server_port
    await MattermostWebhook(hostname="127.0.0.1", port=port, token="a" * 26).asave("chat")
    letters = MailServer(
        host="127.0.0.1",
        port=mailbox.port,
        mode="insecure",
        sender="mill@example.org",
        to=["miller@example.org"],
    )
    await letters.asave("miller")
    for block in ("mattermost-webhook/chat", "mail-server/miller"):
        for one in await notices.wanted(NotifyConfig(block=block)):
            await one.acreate()


def test_a_failed_run_is_told_once_with_its_reason(serving: Up, listener: Listener) -> None:
    """To whoever is named: a URL, a chat, and a mail server."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    chat = Listener()
    with Mailbox() as mailbox:
        with temporary_settings({PREFECT_API_URL: f"{serving.url}/api", PREFECT_API_AUTH_STRING: WORD}):
            asyncio.run(tell_two_more(chat, mailbox))
        fails(serving, listener)
        assert serving.wait_until(lambda: chat.heard("promote", "Failed", "nobody", serving.url), 60), (
            chat.told
        )
        assert serving.wait_until(lambda: mailbox.letters, 60)
        [letter] = mailbox.letters
    assert b"Subject: Millrace: promote is failed" in letter.content
    assert b"nobody" in letter.content
    chat.server.shutdown()


def fails(serving: Up, listener: Listener) -> None:
    run = serving.start("promote", checkpoint="nobody")
    assert serving.finished(run) == "FAILED"
    assert serving.wait_until(lambda: "Failed" in listener.of("promote"), 60)
    [told] = [one for one in listener.told if one["flow"] == "promote" and one["state"] == "Failed"]
    assert "nobody" in told["text"]
    assert told["url"].startswith(serving.url)


def hurry(serving: Up) -> None:
    """A run that is silent for 31 s has lost its process: as a person would change it in the UI."""
    [known] = [
        one for one in serving.ask("POST", "/automations/filter", {}) if "process is gone" in one["name"]
    ]
    known["trigger"]["within"] = 31
    kept = {name: known[name] for name in ("name", "description", "enabled", "trigger", "actions")}
    serving.ask("PUT", f"/automations/{known['id']}", kept)


def said_to_be_on(serving: Up) -> str:
    """A run whose process ended where nobody heard it: a command's that had a server of its own, for one."""
    flow = serving.ask("GET", "/flows/name/ingest")["id"]
    run = serving.ask("POST", "/flow_runs/", {"flow_id": flow})["id"]
    serving.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "RUNNING"}, "force": True})
    return run


def test_after_a_power_cut_no_run_is_running_for_ever_and_what_was_deleted_is_there_again(
    serving: Up, project: Any, lasting: Callable[..., Any]
) -> None:
    hurry(serving)
    project.change("steps = 60", "steps = 100000")
    silent = said_to_be_on(serving)
    run = serving.start("retrain")
    before = set(project.path.glob("store/checkpoints/*/run.json"))
    serving.begun(lambda: set(project.path.glob("store/checkpoints/*/run.json")) > before)
    retrain = serving.deployments()["retrain"]["id"]
    serving.ask("DELETE", f"/deployments/{retrain}")
    for pid in serving.command.family():
        os.kill(pid, signal.SIGKILL)

    again = started(project, lasting)
    assert again.finished(run, 120) == "CRASHED"
    assert again.finished(silent, 60) == "CRASHED"
    assert again.wait_until(lambda: not again.runs(state="RUNNING"), 60), again.runs(state="RUNNING")
    assert {"train", "retrain"} <= set(again.deployments())
    automations = again.ask("POST", "/automations/filter", {})
    assert not [one["name"] for one in automations if "mail-server" in one["name"]]  # [notify] names none
    [drift] = [one for one in automations if one["name"] == "millrace: retrain on drift"]
    assert drift["actions"][0]["deployment_id"] == again.deployments()["retrain"]["id"] != retrain
    again.stop()
    files = [path for path in project.path.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    assert any(path.name == "prefect.db" for path in files)
    assert [path for path in files for word in (WORD, SECRET) if word.encode() in path.read_bytes()] == []
