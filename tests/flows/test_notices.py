"""Who is told: the automations that `[notify]` asks for, made on a real Prefect API."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from flows.config import ConfigError
from flows.settings import NotifyConfig

SECRET = "https://hooks.example.org/services/secret"


def made(settings: NotifyConfig) -> list[str]:
    from flows import automations, notices

    async def make() -> list[str]:
        return await automations.ensure(await notices.wanted(settings))

    return asyncio.run(make())


def known(prefect_api: str) -> list[dict[str, Any]]:
    answer = httpx.post(f"{prefect_api}/automations/filter", json={}, timeout=60)
    return [one for one in answer.json() if one["name"].startswith("millrace: tell of runs")]


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
