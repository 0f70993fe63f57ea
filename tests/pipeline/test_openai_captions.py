"""Captions from an OpenAI-compatible endpoint: a true server on loopback that answers, refuses, dawdles and lies."""

from __future__ import annotations

import base64
import json
import logging
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline import chat
from pipeline.annotators.openai_captions import OpenaiCaptions
from pipeline.step import StepError
from tests.serving import running

KEY = "sk-not-to-be-seen-anywhere"


def reply(text: Any, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": more.pop("refusal", None)}
    choice = {"index": 0, "message": message, "finish_reason": more.pop("finish", "stop")}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m-2026",
        "choices": [choice],
        **more,
    }


class Endpoint(ThreadingHTTPServer):
    """Answers the picture's own bytes as its caption, unless it was told something else about that picture."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.scripts: dict[bytes, list[Any]] = {}
        """What it does about a picture, one after the other; the last one for good."""
        self.at_once = self.most = 0
        self.takes = 0.0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *args: Any) -> None:
        """Says nothing of clients that went away."""


class Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.seen.append(body)
        server.headers.append(dict(self.headers))
        server.at_once += 1
        server.most = max(server.most, server.at_once)
        try:
            time.sleep(server.takes)
            if self.path != "/v1/chat/completions":
                return self.send(404, {"error": {"message": "no such path"}})
            [said, shown] = body["messages"][0]["content"]
            assert (said["type"], shown["type"]) == ("text", "image_url")
            head, _, data = shown["image_url"]["url"].partition(",")
            assert head in ("data:image/png;base64", "data:image/jpeg;base64")
            picture = base64.b64decode(data, validate=True)
            script = server.scripts.get(picture, [reply(f"It is {picture.decode('latin-1')}.")])
            step = script.pop(0) if len(script) > 1 else script[0]
            return step(self) if callable(step) else self.send(200, step)
        finally:
            server.at_once -= 1

    def send(self, status: int, body: Any, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    def raw(self, sent: bytes) -> None:
        self.wfile.write(sent)
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass


def status(number: int, **headers: str) -> Any:
    return lambda handler: handler.send(number, {"error": {"message": f"no, {KEY}"}}, **headers)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = Endpoint()
    with running(server):
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, without making them."""
    made: list[float] = []
    monkeypatch.setattr(chat, "sleep", made.append)
    return made


def captions(url: str, *images: bytes, **settings: Any) -> list[tuple[Any, Any, Any]]:
    rows = pa.table(
        {"image_id": [f"id{n}" for n in range(len(images))], "image": pa.array(images, pa.binary())}
    )
    made = OpenaiCaptions(base_url=url, model="m", **settings).annotate(rows, {})
    assert made.schema.names == ["image_id", "caption", "caption_model", "error"]
    assert made.drop(["image_id"]).schema.types == OpenaiCaptions.columns.types
    assert made["image_id"].to_pylist() == rows["image_id"].to_pylist()
    return [(r["caption"], r["caption_model"], r["error"]) for r in made.to_pylist()]


def test_each_picture_has_its_own_caption_in_order(endpoint: Endpoint):
    images = [b"number %d" % n for n in range(40)]
    endpoint.takes = 0.05
    found = captions(endpoint.url, *images, concurrency=6)
    assert found == [(f"It is number {n}.", "m-2026", None) for n in range(40)]
    assert 1 < endpoint.most <= 6
    assert captions(endpoint.url) == []


def test_what_is_sent_is_what_the_interface_documents(endpoint: Endpoint):
    png = b"\x89PNG and so on"
    captions(endpoint.url + "/", png, prompt="What?", max_tokens=7, seed=5)
    url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
    assert endpoint.seen == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": content}],
            "max_tokens": 7,
            "temperature": 0,
            "seed": 5,
        }
    ]
    assert endpoint.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_the_key_comes_from_the_variable_that_is_named_or_none_is_sent(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTHER", "another-key")
    captions(endpoint.url, b"a", api_key_env="OTHER")
    captions(endpoint.url, b"a", api_key_env="NOT_SET")
    captions(endpoint.url, b"a", api_key_env="")
    assert [h.get("Authorization") for h in endpoint.headers] == ["Bearer another-key", None, None]
    monkeypatch.setenv("OTHER", "another-key\nX: y")
    with pytest.raises(StepError, match=r"^OTHER: holds no key") as caught:
        captions(endpoint.url, b"a", api_key_env="OTHER")
    assert "another-key" not in str(caught.value)


# --- failures


@pytest.mark.parametrize(
    ("does", "error"),
    [
        (status(500), "server_error"),
        (status(429, Retry_After="0"), "rate_limited"),
        (status(400), "rejected"),
        (status(401), "unauthorized"),
        (status(404), "not_found"),
        (status(302, Location="http://127.0.0.1:9/"), "not_found"),
        (b"<html>rubbish</html>", "bad_reply"),
        (b"", "bad_reply"),
        (b"[" * 100_000, "bad_reply"),
        ([], "bad_reply"),
        ({"choices": []}, "bad_reply"),
        ({"choices": [{"message": None}]}, "bad_reply"),
        ({"choices": {"a": 1}}, "bad_reply"),
        (reply(7), "bad_reply"),
        (reply(["a"]), "bad_reply"),
        (reply("x", model=5), "bad_reply"),
        (reply(None), "empty"),
        (reply(" \n\0"), "empty"),
        (reply("no", refusal="I will not"), "refused"),
        (reply("", finish="content_filter"), "refused"),
        (reply("A long", finish="length"), "cut_off"),
        (reply("x" * 30_000), "too_long"),
        (reply("x" * (2 << 20)), "too_long"),
        (lambda handler: handler.raw(b""), "broken_off"),
        (lambda handler: handler.raw(b"SSH-2.0-Open\r\n\r\n"), "broken_off"),
        (lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), "broken_off"),
    ],
)
def test_a_failure_is_null_with_its_class_and_the_others_have_captions(
    endpoint: Endpoint, pauses: list[float], does: Any, error: str
):
    endpoint.scripts[b"bad"] = [does]
    found = captions(endpoint.url, b"a", b"bad", b"c", retries=1)
    assert found[0] == ("It is a.", "m-2026", None) and found[2] == ("It is c.", "m-2026", None)
    assert (found[1][0], found[1][2]) == (None, error)


def test_text_that_is_no_valid_unicode_is_mended(endpoint: Endpoint):
    endpoint.scripts[b"odd"] = [
        b'{"model": "\\ud800", "choices": [{"message": {"content": " a\\u0000b \\ud83d "}}]}'
    ]
    assert captions(endpoint.url, b"odd") == [("ab ?", "?", None)]


def test_an_error_that_passes_is_tried_again(endpoint: Endpoint, pauses: list[float]):
    endpoint.scripts[b"a"] = [
        status(500),
        status(503),
        status(429, Retry_After="7"),
        status(502),
        reply("at last"),
    ]
    assert captions(endpoint.url, b"a") == [("at last", "m-2026", None)]
    assert pauses == [0.5, 1.0, 7.0, 4.0]


@pytest.mark.parametrize(
    ("stated", "least", "most"),
    [
        ("3600", 60, 60),
        (formatdate(time.time() + 20, usegmt=True), 0, 20),
        ("soon", 0.5, 0.5),
        ("-5", 0.5, 0.5),
    ],
    ids=["too long", "a date", "no number", "negative"],  # a date in a name would differ by worker
)
def test_a_pause_is_as_long_as_asked_within_bounds(
    endpoint: Endpoint, pauses: list[float], stated: str, least: float, most: float
):
    endpoint.scripts[b"a"] = [status(429, Retry_After=stated), reply("x")]
    captions(endpoint.url, b"a")
    assert len(pauses) == 1 and least <= pauses[0] <= most


def test_an_error_that_stays_is_not_tried_again(endpoint: Endpoint, pauses: list[float]):
    endpoint.scripts[b"a"] = [status(400)]
    captions(endpoint.url, b"a")
    assert len(endpoint.seen) == 1 and pauses == []


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        time.sleep(0.05)


@pytest.mark.parametrize("slow", [drip, lambda handler: time.sleep(3)])
def test_a_slow_answer_is_given_up(endpoint: Endpoint, slow: Any):
    endpoint.scripts[b"slow"] = [slow]
    started = time.monotonic()
    found = captions(endpoint.url, b"a", b"slow", b"c", deadline=0.5, retries=0)
    assert [f[2] for f in found] == [None, "timeout", None] and time.monotonic() - started < 2.5


# --- an endpoint that is no use


def test_an_endpoint_that_is_not_there_stops_at_the_first_request(pauses: list[float]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    with pytest.raises(
        StepError, match=rf"^annotators\.openai_captions: {url} does not answer: is the server up"
    ):
        captions(url, b"a", b"b")
    assert pauses == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (status(401), "refuses: name in api_key_env"),
        (status(404), "knows no such path or model: look at base_url"),
    ],
)
def test_an_endpoint_that_wants_another_key_or_model_stops_at_the_first_request(
    endpoint: Endpoint, does: Any, says: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    endpoint.scripts[b"a"] = [does]
    with pytest.raises(StepError, match=says) as caught:
        captions(endpoint.url, b"a", b"b")
    assert len(endpoint.seen) == 1 and "\n" not in str(caught.value)
    assert KEY not in str(caught.value) and KEY not in caplog.text


def test_an_endpoint_that_fails_for_many_in_a_row_stops_the_part(endpoint: Endpoint, pauses: list[float]):
    images = [b"%d" % n for n in range(200)]
    endpoint.scripts.update({image: [status(503)] for image in images[1:]})
    with pytest.raises(
        StepError, match=r"32 requests in a row failed \(server_error\): look at the server and run"
    ):
        captions(endpoint.url, *images, retries=0, concurrency=2)
    assert len(endpoint.seen) < 60
    endpoint.scripts = {image: [status(503)] for image in images[1::2]}
    errors = [error for _, _, error in captions(endpoint.url, *images, retries=0, concurrency=1)]
    assert errors == [None, "server_error"] * 100


# --- settings


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key_env": KEY},
        {"api_key_env": "gsk_" + KEY.replace("-", "")},
        {"base_url": f"http://user:{KEY}@127.0.0.1/v1"},
        {"base_url": f"http://127.0.0.1/v1?key={KEY}"},
        {"base_url": "127.0.0.1:8000/v1"},
        {"base_url": "http://[::1"},
        {"base_url": "file:///etc"},
    ],
)
def test_settings_that_hold_a_secret_or_no_server_are_refused_without_being_repeated(
    settings: dict[str, str],
):
    with pytest.raises(ValidationError) as caught:
        OpenaiCaptions(model="m", **settings)
    assert "input_value" not in str(caught.value) and "not-to-be-seen" not in str(caught.value)


def test_where_and_how_fast_change_no_result():
    one = OpenaiCaptions(model="m")
    other = OpenaiCaptions(
        model="m", base_url="https://h/v1", concurrency=1, deadline=1, retries=0, api_key_env="OTHER"
    )
    assert one.fingerprint() == other.fingerprint() != OpenaiCaptions(model="m", prompt="What?").fingerprint()
