"""Items through an OpenAI-compatible endpoint: a true server on loopback that answers, refuses, dawdles and lies."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flows.endpoint import RETRIES, Endpoint, EndpointError
from model.outcome import Asked
from pipeline import chat
from tests.serving import running

KEY = "sk-not-to-be-seen-anywhere"
PNG = b"\x89PNG and so on"


class Server(ThreadingHTTPServer):
    """Answers each question with itself, turned round, unless it was told what to do first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.first: list[tuple[int, dict[str, str], bytes]] = []
        self.seen: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.lock = threading.Lock()
        self.handle_error = lambda request, client: None  # who reads no further hangs up
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    """See Server."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append(asked)
            self.server.keys.append(self.headers.get("Authorization"))
            status, headers, body = self.server.first.pop(0) if self.server.first else (200, {}, b"")
        if not body and status == 200:
            content = asked["messages"][0]["content"]
            text = content if isinstance(content, str) else content[0]["text"]
            body = json.dumps({"choices": [{"message": {"content": f" {text[::-1]}\n"}}]}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made = Server()
    with running(made):
        yield made


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, without making them."""
    made: list[float] = []
    monkeypatch.setattr(chat, "sleep", made.append)
    return made


def ask(server: Server, number: int = 3, image: str = "", **more: Any) -> Endpoint:
    made = Endpoint(server.url, "m", lambda one: one.prompt, lambda image_id: PNG, **more)
    made.said = made([Asked(f"s{i}", "en", "", f"abc{i}", image) for i in range(number)])
    return made


def test_each_item_has_its_own_answer_in_order(server: Server) -> None:
    assert ask(server, 40).said == [f"abc{i}"[::-1] for i in range(40)]
    assert ask(server, 0).said == []


def test_pictures_go_along_as_data_and_the_key_in_the_header(server: Server) -> None:
    ask(server, 1, image="i")
    ((text, picture),) = [one["messages"][0]["content"] for one in server.seen]
    assert text == {"type": "text", "text": "abc0"}
    assert picture["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert (server.seen[0]["model"], server.seen[0]["temperature"]) == ("m", 0)
    assert server.keys == [f"Bearer {KEY}"]


def test_what_may_pass_is_tried_again_and_what_is_no_answer_is_counted(
    server: Server, pauses: list[float]
) -> None:
    server.first = [(503, {}, b""), (429, {"Retry-After": "7"}, b""), (200, {}, b"")]
    assert ask(server, 1).said == ["0cba"] and pauses == [0.5, 7]
    for lie in (b"<html>", b"[" * 100_000, b'{"choices": []}', b'{"choices": [{"message": {"content": 7}}]}'):
        server.first = [(200, {}, lie)]
        made = ask(server, 1)
        assert (made.said, made.unanswered) == ([""], 1)
    server.first = [(400, {}, b"no")]
    assert ask(server, 2).unanswered == 1
    server.first = [(500, {}, b"no")] * (RETRIES + 1)
    assert ask(server, 2).unanswered == 1


def test_a_reply_without_end_is_not_read(server: Server) -> None:
    server.first = [(200, {}, b" " * (chat.MAX_REPLY + 1))]
    assert ask(server, 1).unanswered == 1


@pytest.mark.parametrize(
    ("status", "says"), [(401, "holds a valid key"), (403, "holds a valid key"), (404, "--model")]
)
def test_what_no_item_can_pass_ends_it_with_what_to_change(server: Server, status: int, says: str) -> None:
    server.first = [(status, {}, f"wrong key {KEY}".encode())]
    with pytest.raises(EndpointError, match=says) as caught:
        ask(server)
    assert KEY not in str(caught.value)


def test_an_endpoint_that_answers_nothing_is_given_up(server: Server, pauses: list[float]) -> None:
    server.first = [(400, {}, b"no")] * 200
    with pytest.raises(EndpointError, match="in a row got no answer"):
        ask(server, 100)
    server.shutdown()
    server.server_close()
    with pytest.raises(EndpointError, match="is the server up"):
        ask(server)


@pytest.mark.parametrize(
    ("url", "model", "key", "says"),
    [
        ("ftp://x/v1", "m", "", "base-url"),
        ("http://me:secret@x/v1", "m", "", "base-url"),
        ("http://x/v1?key=secret", "m", "", "base-url"),
        ("http://x/v1", "", "", "--model"),
        ("http://x/v1", "m", KEY, "api-key-env"),
    ],
)
def test_mistakes_are_told_without_repeating_a_secret(url: str, model: str, key: str, says: str) -> None:
    with pytest.raises(EndpointError, match=says) as caught:
        Endpoint(url, model, lambda one: "", lambda image_id: b"", key)
    assert "secret" not in str(caught.value) and KEY not in str(caught.value)
