"""What the server does not take, each with the status that says so; and it goes on as before."""

from __future__ import annotations

import io
import logging
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from model.generate import Model
from model.sampling import Sampling
from model.serving import engine
from model.serving.answering import Answering
from model.serving.engine import TOKENS, at_once
from model.serving.making import Making
from model.serving.pictures import FetchRefused
from model.serving.settings import ServeConfig
from model.serving.slots import Slots
from model.tokenizers import Tokenizers
from tests.model.greys import pictures
from tests.model.served import Served, answering, data_url, message, png, serving

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def who(toy: Model, tokenizers: Tokenizers) -> Answering:
    return answering("toy", toy, tokenizers)


@pytest.fixture(scope="module")
def served(who: Answering) -> Iterator[Served]:
    settings = ServeConfig(
        max_body=1 << 20, patience=1.0, max_tokens=200, max_prompt=100, max_pixels=1_000_000
    )
    with serving(who, settings) as made:
        yield made


def refused(answer: httpx.Response, status: int) -> str:
    """What a refusal says, in OpenAI's form."""
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["message"]


def bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes that says it has billions of pixels, all of them black."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 16))) + chunk(b"IEND", b"")


def test_pictures_that_are_not_taken(served: Served) -> None:
    def ask(*urls: str) -> httpx.Response:
        return httpx.post(served.url + CHAT, json={"messages": message("", *urls)}, timeout=30)

    large = png(np.zeros((1001, 1001, 3), np.uint8))
    before = psutil.Process().memory_info().rss
    for _ in range(20):
        assert "too_many_pixels" in refused(ask(data_url(bomb())), 413)
        assert "too_many_pixels" in refused(ask(data_url(large)), 413)
    assert psutil.Process().memory_info().rss - before < 64 << 20
    assert "not_an_image" in refused(ask(data_url(b"GIF, or so it says")), 400)
    assert "truncated" in refused(ask(data_url(png(pictures(1)[0])[:-40])), 400)
    assert "base64" in refused(ask("data:image/png;base64,%%%"), 400)
    assert "looks like" in refused(ask("data:image/png"), 400)
    assert "at most 8" in refused(ask(*[data_url(png(pictures(1)[0]))] * 9), 400)
    assert "fetches none" in refused(ask("http://127.0.0.1:1/a.png"), 400)
    assert "fetches none" in refused(ask("file:///etc/passwd"), 400)


def test_pictures_of_urls_come_by_the_fetcher_that_is_handed_in(who: Answering) -> None:
    picture = png(pictures(1)[0])

    def fetch(url: str) -> bytes:
        if "private" in url:
            raise FetchRefused("forbidden_address")
        return picture

    def ask(served: Served, url: str) -> httpx.Response:
        return httpx.post(served.url + CHAT, json={"messages": message("", url)}, timeout=30)

    with serving(who, ServeConfig(remote_images=True), fetch=fetch) as made:
        told = [ask(made, url).json()["choices"] for url in ("https://example.org/a.png", data_url(picture))]
        assert told[0] == told[1]
        assert "forbidden_address" in refused(ask(made, "https://private.example/"), 400)
        assert "begins with" in refused(ask(made, "file:///etc/passwd"), 400)
    with serving(who, ServeConfig(), fetch=fetch) as made:
        assert "fetches none" in refused(ask(made, "https://example.org/a.png"), 400)


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        (CHAT, {"messages": []}, 400, "at least 1"),
        (CHAT, {"messages": [{"role": "system", "content": "a"}]}, 400, "none of role user"),
        (CHAT, {"messages": [{"role": "user", "content": ""}]}, 400, "empty"),
        (CHAT, {"messages": [{"role": "user", "content": "a"}], "model": "gpt"}, 404, "no model"),
        (CHAT, {"messages": [{"role": "user", "content": "a"}], "max_tokens": 201}, 400, "at most 200"),
        (CHAT, {"messages": [{"role": "user", "content": "a"}], "temperature": -1}, 400, "temperature"),
        (CHAT, {"messages": [{"role": "user", "content": "a"}], "n": 9}, 400, "at most 8"),
        (CHAT, {"messages": [{"role": "user", "content": "a"}], "lang": "xx"}, 400, "<lang:en>"),
        (CHAT, {"messages": [{"role": "user", "content": "a " * 120}]}, 400, "at most 100"),
        (CHAT, {"messages": [{"role": "user", "content": "a" * 9000}]}, 400, "far beyond"),
        ("/v1/completions", {"prompt": [1, 10**9]}, 400, "not one of the model's"),
        ("/v1/completions", {"prompt": []}, 400, "there is none"),
        ("/v1/completions", {}, 400, "prompt"),
        ("/v1/images/generations", {"prompt": "a", "size": "9999x9999"}, 400, "up to 1024"),
        ("/v1/images/generations", {"prompt": " "}, 400, "drawn"),
        ("/v1/embeddings", {"input": []}, 400, "1 to 256"),
        ("/v1/embeddings", {"input": "a", "dimensions": 3}, 400, "16"),
        ("/v1/nothing", {}, 404, "Not Found"),
    ],
)
def test_requests_that_cannot_be_fulfilled(
    served: Served, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    assert says in refused(httpx.post(served.url + path, json=body, timeout=30), status)


def test_who_has_no_key_gets_nothing(who: Answering, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), serving(who, keys=["first-secret", "second-secret"]) as made:
        for path in ("/v1/models", "/metrics", "/card", "/openapi.json", "/v1/nothing"):
            assert "key" in refused(httpx.get(made.url + path), 401)
        for said in (
            "Bearer wrong-secret",
            "first-secret",
            "Basic first-secret",
            "Bearer first-secretx",
        ):
            refused(httpx.get(f"{made.url}/v1/models", headers={"Authorization": said}), 401)
        for key in ("first-secret", "second-secret"):
            headers = {"Authorization": f"Bearer {key}"}
            assert httpx.get(f"{made.url}/v1/models", headers=headers).status_code == 200
        assert httpx.get(f"{made.url}/healthz").status_code == httpx.get(made.url).status_code == 200
        large = httpx.post(
            made.url + CHAT, content=b"x" * 100, headers={"Authorization": "Bearer wrong-secret"}
        )
        refused(large, 401)
    assert "secret" not in caplog.text


def test_a_request_that_is_too_long_is_not_read(served: Served) -> None:
    assert "at most" in refused(httpx.post(served.url + CHAT, content=b"x" * (2 << 20)), 413)

    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * (1 << 16)

    with suppress(httpx.WriteError):  # it may hang up before all is said
        refused(httpx.post(served.url + CHAT, content=endless(), timeout=30), 413)
    deep = b'{"messages":' + b"[" * 100_000
    refused(httpx.post(served.url + CHAT, content=deep, headers={"content-type": "application/json"}), 400)


def spoken(port: int, *said: bytes) -> bytes:
    """What comes back of a connection that says so much and waits."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        for part in said:
            line.sendall(part)
        heard = b""
        while part := line.recv(1 << 16):
            heard += part
        return heard


def test_who_never_says_what_it_wants_is_not_waited_for(served: Served) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
    began = time.monotonic()
    assert spoken(served.port, head).startswith(b"HTTP/1.1 408")
    assert spoken(served.port, head[:20]) == b""  # not even a whole head
    assert spoken(served.port, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert time.monotonic() - began < 15


@contextmanager
def kept_busy(made: Served) -> Iterator[None]:
    """The worker is at something until this is left."""
    done, begun = threading.Event(), threading.Event()

    def prepare(who: Answering) -> list[int]:
        begun.set()
        done.wait(60)
        return who.model.sequences.text("en", None, [10])

    made.engine.submit([Making(prepare, Sampling(max_tokens=1), lambda told: None)])
    assert begun.wait(30)
    try:
        yield
    finally:
        done.set()


def test_more_than_can_wait_are_told_to_come_again(who: Answering) -> None:
    with (
        serving(who, ServeConfig(rows=1, queue=2)) as made,
        httpx.Client(base_url=made.url, timeout=60) as client,
    ):
        body = {"prompt": "a", "max_tokens": 3}
        statuses: list[int] = []
        with kept_busy(made):
            waiting = [
                threading.Thread(
                    target=lambda: statuses.append(
                        httpx.post(f"{made.url}/v1/completions", json=body, timeout=60).status_code
                    )
                )
                for _ in range(3)
            ]
            for one in waiting:
                one.start()
            while made.engine.waiting < 3:
                time.sleep(0.005)
            full = client.post("/v1/completions", json=body)
            assert "come again" in refused(full, 429)
            assert int(full.headers["retry-after"]) >= 1
            assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 429
            assert client.get("/healthz").status_code == 200
        for one in waiting:
            one.join(60)
        assert statuses == [200] * 3
        assert client.post("/v1/completions", json=body).status_code == 200


def test_an_answer_ends_in_time(who: Answering) -> None:
    with serving(who, ServeConfig(seconds=0.3, max_tokens=100_000)) as made:
        body = {"prompt": "a", "max_tokens": 100_000, "temperature": 100}
        began = time.monotonic()
        told = httpx.post(f"{made.url}/v1/completions", json=body, timeout=60)
        assert told.status_code == 200
        assert time.monotonic() - began < 10


def test_who_goes_away_takes_no_place(who: Answering) -> None:
    with serving(who, ServeConfig(max_tokens=100_000)) as made:
        body = {"prompt": "a", "max_tokens": 100_000, "temperature": 50, "stream": True, "n": 8}
        with httpx.stream("POST", f"{made.url}/v1/completions", json=body, timeout=60) as answer:
            next(answer.iter_lines())
        deadline = time.monotonic() + 20
        while made.engine.running and time.monotonic() < deadline:
            time.sleep(0.01)
        assert made.engine.running == 0


def test_who_goes_away_without_a_stream_takes_no_place_either(who: Answering) -> None:
    with serving(who) as made:
        body = {"prompt": "a", "max_tokens": 50, "n": 8}
        with kept_busy(made):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{made.url}/v1/completions", json=body, timeout=0.5)
            deadline = time.monotonic() + 20
            while not all(row.cancelled for row in made.engine._waiting) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert [row.cancelled for row in made.engine._waiting] == [True] * 8
        while made.engine.waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        assert made.engine.tokens <= 1, "nothing is made for who has gone"
        told = httpx.post(f"{made.url}/v1/completions", json={"prompt": "a", "max_tokens": 2}, timeout=60)
        assert told.status_code == 200


def test_many_large_requests_at_once_are_told_to_come_again(who: Answering) -> None:
    with serving(who, ServeConfig(max_body=1 << 20, max_held=1 << 20, patience=5)) as made:
        head = b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 999999\r\n\r\n"
        with socket.create_connection(("127.0.0.1", made.port), timeout=20) as first:
            first.sendall(head + b" " * 900_000)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                second = httpx.post(made.url + CHAT, content=b" " * 900_000, timeout=30)
                if second.status_code == 429:
                    break
            assert "at once" in refused(second, 429)
            assert httpx.get(f"{made.url}/healthz").status_code == 200
        body = {"prompt": "a" + " " * 900_000, "max_tokens": 2}
        while time.monotonic() < deadline:  # once the first has gone there is room
            again = httpx.post(f"{made.url}/v1/completions", json=body, timeout=60)
            if again.status_code != 429:
                break
        assert again.status_code == 400, "too many characters, and heard whole"


def test_what_is_no_unicode_is_a_mistake_of_the_request(served: Served) -> None:
    lone = '"\\ud800"'
    for path, body in (
        (CHAT, f'{{"messages": [{{"role": "user", "content": {lone}}}]}}'),
        (CHAT, f'{{"messages": [{{"role": "user", "content": [{{"type": "text", "text": {lone}}}]}}]}}'),
        ("/v1/completions", f'{{"prompt": {lone}}}'),
        ("/v1/completions", f'{{"prompt": "a", "stop": {lone}}}'),
        ("/v1/images/generations", f'{{"prompt": {lone}}}'),
        ("/v1/embeddings", f'{{"input": {lone}}}'),
        ("/v1/embeddings", '{"input": "data:image/png,\\ud800"}'),
    ):
        headers = {"content-type": "application/json"}
        told = httpx.post(served.url + path, content=body.encode(), headers=headers, timeout=30)
        assert 400 <= told.status_code < 500, (path, told.text)


def test_a_mistake_of_ours_ends_those_that_were_read_with_it_alone(
    who: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in, calls = Slots.take_in, []

    def second_fails(*arguments: Any) -> None:
        calls.append(len(calls))
        if len(calls) == 2:  # the first is of the row that kept it busy
            raise RuntimeError("ours")
        take_in(*arguments)

    heard: list[int] = []
    with serving(who) as made:

        def ask() -> None:
            body = {"prompt": "a", "max_tokens": 3}
            heard.append(httpx.post(f"{made.url}/v1/completions", json=body, timeout=60).status_code)

        asking = [threading.Thread(target=ask) for _ in range(2)]
        with kept_busy(made):  # so that both are taken in at once, one after the other
            for one in asking:
                one.start()
            while made.engine.waiting < 2:
                time.sleep(0.005)
            monkeypatch.setattr(engine, "TOKENS", 1)
            monkeypatch.setattr(Slots, "take_in", second_fails)
        for one in asking:
            one.join(60)
    assert sorted(heard) == [200, 500]


def test_what_is_read_at_once_is_bounded() -> None:
    lengths = [5000, 3000, 2000, 9000, 1, 1]
    cut = list(at_once(lengths, lambda length: length))
    assert [length for few in cut for length in few] == lengths
    assert all(len(few) == 1 or max(few) * len(few) <= TOKENS for few in cut)
    assert cut == [[5000], [3000, 2000], [9000], [1, 1]]
    assert list(at_once([], lambda length: length)) == []


def test_the_page_asks_nobody_else(served: Served) -> None:
    page = httpx.get(served.url)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
    nonce = policy.split("nonce-")[1].split("'")[0]
    assert page.text.count(f'nonce="{nonce}"') == 2 and "{{nonce}}" not in page.text
    assert "http://" not in page.text and "https://" not in page.text
    assert httpx.get(served.url).headers["content-security-policy"] != policy


def test_a_picture_of_every_kind_is_read(served: Served) -> None:
    for kind in ("JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        out = io.BytesIO()
        Image.fromarray(pictures(1)[0]).save(out, kind)
        told = httpx.post(
            served.url + CHAT, json={"messages": message("", data_url(out.getvalue()))}, timeout=30
        )
        assert told.status_code == 200, (kind, told.text)
