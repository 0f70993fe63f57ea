"""A thousand malformed requests, made from our OpenAPI document: the server is never at fault, and answers on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode

from model.generate import Model
from model.serving.settings import ServeConfig
from model.tokenizers import Tokenizers
from tests.model.served import Served, answering, serving

pytestmark = pytest.mark.slow
REQUESTS = 1000
ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/images/generations", "/v1/embeddings")


@pytest.fixture(scope="module")
def served(toy: Model, tokenizers: Tokenizers) -> Iterator[Served]:
    with serving(answering("toy", toy, tokenizers), ServeConfig(max_tokens=40, seconds=5)) as made:
        yield made


def test_no_malformed_request_is_our_fault(served: Served) -> None:
    document = httpx.get(f"{served.url}/openapi.json").json()
    for one in document["components"]["schemas"].values():  # else most would end at the name of the model
        if "model" in one.get("properties", {}) and "description" in one["properties"]["model"]:
            one["properties"]["model"] = {"enum": ["millrace"]}
    api = schemathesis.openapi.from_dict(document)
    statuses: Counter[int] = Counter()
    before = psutil.Process().memory_info().rss
    with httpx.Client(base_url=served.url, timeout=60) as client:
        for mode, share in ((GenerationMode.NEGATIVE, 0.8), (GenerationMode.POSITIVE, 0.2)):
            for route in ROUTES:
                ask(api[route]["POST"], mode, int(REQUESTS * share / len(ROUTES)), client, statuses)
        assert client.post("/v1/completions", json={"prompt": "a"}).status_code == 200
    assert psutil.Process().memory_info().rss - before < 256 << 20
    assert statuses.total() == REQUESTS
    assert not [status for status in statuses if status >= 500], statuses
    assert statuses[400] > REQUESTS / 2 and statuses[200] > 20, statuses


def ask(
    operation: Any, mode: GenerationMode, number: int, client: httpx.Client, statuses: Counter[int]
) -> None:
    """Sends so many requests, the same ones each time; hypothesis leaves out what it made twice, and is asked again."""
    most, made = statuses.total() + number, 0
    while statuses.total() < most:
        before, made = statuses.total(), made + 1
        some(operation, mode, most - before, client, statuses, made)
        assert statuses.total() > before, "nothing new is made"


def some(
    operation: Any,
    mode: GenerationMode,
    number: int,
    client: httpx.Client,
    statuses: Counter[int],
    drawn: int,
) -> None:
    """Sends up to so many."""

    @seed(drawn)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        answer = case.call(base_url=str(client.base_url))
        statuses[answer.status_code] += 1

    one()
