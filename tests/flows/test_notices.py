"""Who is told, and what starts by itself: the automations that the configuration asks for, made on a real Prefect API."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from email import message_from_bytes
from typing import Any

import httpx
import pytest

from flows.config import ConfigError
from flows.settings import NotifyConfig, TriggersConfig
from tests.flows.letters import Mailbox

SECRET = "https://hooks.example.org/services/secret"


def made(settings: NotifyConfig) -> list[str]:
    from flows import automations, notices

    async def make() -> list[str]:
        return await automations.ensure(await notices.wanted(settings))

    return asyncio.run(make())


def known(prefect_api: str) -> list[dict[str, Any]]:
    return httpx.post(f"{prefect_api}/automations/filter", json={}, timeout=60).json()


def test_what_the_configuration_no_longer_asks_for_goes_and_a_persons_own_stays(prefect_api: str) -> None:
    """Another number of new rows is another automation; of 0 there is none; and nobody is told who is no longer named."""
    from prefect.automations import Automation
    from prefect.events.actions import DoNothing
    from prefect.events.schemas.automations import EventTrigger

    from flows import automations

    posted = httpx.post(f"{prefect_api}/flows/", json={"name": f"retrain-{uuid.uuid4()}"}, timeout=60).json()
    body = {"flow_id": posted["id"], "name": "retrain", "entrypoint": "flows.retrain.retrain"}
    retrain = uuid.UUID(httpx.post(f"{prefect_api}/deployments/", json=body, timeout=60).json()["id"])

    async def make(new: int, *more: Automation) -> list[str]:
        return await automations.ensure(
            [*automations.wanted(retrain, TriggersConfig(retrain_when_new=new)), *more]
        )

    asyncio.run(automations.ensure([]))  # what other tests have left
    own = Automation(name="my own", trigger=EventTrigger(expect={"x"}), actions=[DoNothing()])
    teller = Automation(
        name="millrace: tell of runs failed, by chat/team", trigger=own.trigger, actions=own.actions
    )
    own.create()
    always = {"millrace: retrain on drift", "millrace: tell of runs whose process is gone", "my own"}

    def names() -> set[str]:
        return {one["name"] for one in known(prefect_api)}

    assert asyncio.run(make(5000, teller)) and names() == {
        *always,
        "millrace: retrain when 5,000 rows are new",
        teller.name,
    }
    assert asyncio.run(make(5000, teller)) == []
    assert asyncio.run(make(7)) == ["millrace: retrain when 7 rows are new"]
    assert names() == {*always, "millrace: retrain when 7 rows are new"}
    [started] = [one for one in known(prefect_api) if "when 7 rows" in one["name"]]
    assert started["actions"][0]["parameters"] == {"least_new": 7}
    assert asyncio.run(make(0)) == [] and names() == always
    httpx.delete(f"{prefect_api}/automations/{own.id}", timeout=60).raise_for_status()
    assert made(NotifyConfig()) == [] and names() == set()


def test_a_block_that_is_not_there_is_a_mistake_that_says_where_to_make_it(prefect_api: str) -> None:
    with pytest.raises(ConfigError, match=r"slack-webhook/nobody.*make it in the UI"):
        made(NotifyConfig(block="slack-webhook/nobody"))


def test_nobody_is_told_unless_it_is_asked_for(prefect_api: str) -> None:
    assert made(NotifyConfig()) == []


def test_a_block_of_a_chat_is_told_and_one_that_was_made_anew_is_found(prefect_api: str) -> None:
    """Made once, and left alone as long as its block is there."""
    from prefect.blocks.notifications import SlackWebhook

    async def block() -> str:
        return str(await SlackWebhook(url=SECRET).asave("team"))

    first = asyncio.run(block())
    settings = NotifyConfig(block="slack-webhook/team")
    assert len(made(settings)) == 3
    assert made(settings) == []
    assert {one["actions"][0]["type"] for one in known(prefect_api)} == {"send-notification"}
    httpx.delete(f"{prefect_api}/block_documents/{first}", timeout=60).raise_for_status()
    second = asyncio.run(block())
    assert len(made(settings)) == 3
    assert {one["actions"][0]["block_document_id"] for one in known(prefect_api)} == {second}


def test_a_url_is_kept_in_a_block_that_does_not_show_it(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_TELL", SECRET)
    assert len(made(NotifyConfig(url_env="MILLRACE_TELL"))) == 3
    blocks = httpx.post(f"{prefect_api}/block_documents/filter", json={}, timeout=60)
    [block] = [one for one in blocks.json() if one["name"] == "millrace-notify"]
    assert "secret" not in block["data"]["url"]
    assert SECRET not in str(known(prefect_api))


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as box:
        yield box


def test_a_letter_arrives_at_ones_own_mail_server(mailbox: Mailbox) -> None:
    from flows.mail import MailServer

    block = MailServer(
        host="127.0.0.1",
        port=mailbox.port,
        mode="insecure",
        sender="mill@example.org",
        to=["miller@example.org", "guest@example.org"],
    )
    block.notify("Nothing & nobody: 100% <ok>", subject="Das Mühlrad steht")
    assert [letter.rcpt_tos for letter in mailbox.letters] == [["miller@example.org"], ["guest@example.org"]]
    letter = message_from_bytes(mailbox.letters[0].content)
    assert letter.get_content_type() == "text/plain"
    assert letter.get_payload(decode=True).decode().strip() == "Nothing & nobody: 100% <ok>"
    assert "mill@example.org" in letter["From"]


def test_a_user_and_a_password_reach_the_mail_server_as_they_are_and_are_not_shown() -> None:
    from apprise import Apprise

    from flows.mail import MailServer

    made = MailServer(
        host="mail.example.org",
        user="mill@example.org",
        password="p:/@ %&?",
        sender="m@example.org",
        to=["a@example.org"],
    )
    sends = Apprise.instantiate(made.url().get_secret_value())
    assert (sends.user, sends.password) == ("mill@example.org", "p:/@ %&?")
    assert (sends.smtp_host, sends.port, str(sends.secure_mode)) == ("mail.example.org", 587, "starttls")
    assert "%&" not in f"{made!r} {made.url()}"
