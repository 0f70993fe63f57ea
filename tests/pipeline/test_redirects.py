"""Where a request leads: redirects within a host and to others, statuses, and when it is tried again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from pipeline.web import client, fetcher
from pipeline.web.client import Web
from tests.pipeline.trouble import OPEN, Server, body, get, head, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def test_redirects_are_followed_and_limited(server: Server):
    server.says("/a", head("302 Found", Location="/b", Content_Length=0))
    server.says("/b", head("308 Permanent Redirect", Location=server.url + "/c", Content_Length=0))
    server.says("/c", body(b"x"))
    server.says("/loop", head("301 Moved", Location="/loop", Content_Length=0))
    assert get(server.url + "/a").body == b"x"
    assert get(server.url + "/loop").error == "too_many_redirects"
    assert server.asked["/loop"] == OPEN.redirects + 1


@pytest.fixture
def names(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Every name, at every port, is the server."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", server.server_address)]
    monkeypatch.setattr(fetcher.socket, "getaddrinfo", lambda *_, **__: found)
    return server


def test_a_host_that_others_redirect_to_gets_no_more_than_its_share(names: Server):
    lock, at_once, most = threading.Lock(), 0, 0

    def shared(sock: socket.socket, _: int) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        names.closing.wait(0.03)
        with lock:
            at_once -= 1
        sock.sendall(body(b"x"))

    names.does("/shared", shared)
    names.says("/go", head("302 Found", Location="http://cdn.test/shared", Content_Length=0))
    urls = [f"http://a{n}.test/go" for n in range(10)] + ["http://cdn.test/shared"] * 10
    with Web(OPEN.model_copy(update={"per_host": 2})) as web:
        found = list(web.get_many(urls))
    assert [(one.url, one.body, one.asked) for one in found] == [(url, b"x", "cdn.test") for url in urls]
    assert most == 2 and names.asked["/shared"] == 20


def test_a_pause_that_a_host_asks_for_holds_for_all_who_would_ask_it(names: Server):
    names.says("/busy", head("429 Slow down", Retry_After=7200, Content_Length=0))
    names.says("/go", head("302 Found", Location="http://cdn.test/busy", Content_Length=0))
    with Web(OPEN.model_copy(update={"per_host": 1})) as web:
        assert web.get("http://a.test/go").error == "http_429"
        found = [web.get(url) for url in ("http://b.test/go", "http://cdn.test/other")]
    assert [(one.error, one.attempts[-1].host) for one in found] == [("postponed", "cdn.test")] * 2
    assert names.asked == {"/go": 2, "/busy": 1}


def test_hosts_that_redirect_to_each_other_come_to_an_end(names: Server):
    names.says("/a", head("302 Found", Location="http://b.test/b", Content_Length=0))
    names.says("/b", head("302 Found", Location="http://a.test/a", Content_Length=0))
    found = get("http://a.test/a")
    assert found.error == "too_many_redirects"
    assert names.asked["/a"] + names.asked["/b"] == OPEN.redirects + 1


def test_a_redirect_to_another_host_brings_no_new_deadline(names: Server):
    def late(sock: socket.socket, n: int) -> None:
        names.closing.wait(0.3)
        sock.sendall(head("302 Found", Location=f"http://h{n}.test/late", Content_Length=0))

    names.does("/late", late)
    found = get("http://h.test/late", OPEN.model_copy(update={"deadline": 0.8, "redirects": 20}))
    assert found.error == "deadline" and names.asked["/late"] <= 3
    assert 800 <= found.attempts[0].milliseconds < 5_000


def test_a_run_that_ends_answers_for_those_who_wait_at_another_host(names: Server):
    names.does("/mute", lambda sock, _: names.closing.wait(30))
    names.says("/go", head("302 Found", Location="http://cdn.test/mute", Content_Length=0))
    urls = ["http://cdn.test/mute", *(f"http://a{n}.test/go" for n in range(3))]
    with Web(OPEN.model_copy(update={"per_host": 1, "run_deadline": 1.0})) as web:
        found = list(web.get_many(urls))
    assert [(one.error, len(one.attempts)) for one in found] == [("run_deadline", 1)] * 4


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Example.org/a", "example.org"),
        ("https://ann:secret@example.org:443/a", "example.org"),
        ("http://example.org:8080/", "example.org:8080"),
        ("http://[2001:db8::1]/a", "[2001:db8::1]"),
        ("http://b\u00fccher.example/", "xn--bcher-kva.example"),
        ("nonsense", ""),
    ],
)
def test_a_host_has_one_name(url: str, host: str):
    assert client.host_of(url) == host
    assert not host or fetcher.authority(fetcher.parsed(url)) == host


@pytest.mark.parametrize(
    "status", ["404 Not Found", "403 Forbidden", "204 No Content", "500 Oops", "206 Partial"]
)
def test_a_status_is_an_error_class(server: Server, status: str):
    found = get(server.says("/a", head(status, Content_Length=0)))
    assert found.error == f"http_{status[:3]}"
    assert found.attempts[0].status == int(status[:3])
    assert (found.attempts[0].next_due is not None) == (status[:3] == "500")


def test_transient_errors_are_tried_again_and_others_are_not(server: Server):
    settings = OPEN.model_copy(update={"retries": 2})
    found = get(server.says("/busy", head("503 Busy", Retry_After=0, Content_Length=0), body(b"x")), settings)
    assert found.body == b"x" and found.error is None
    assert [a.outcome for a in found.attempts] == ["http_503", "ok"]
    get(server.says("/gone", head("404 Not Found", Content_Length=0)), settings)
    assert server.asked["/gone"] == 1
    found = get(server.says("/down", head("503 Busy", Retry_After=0, Content_Length=0)), settings)
    assert found.error == "http_503" and server.asked["/down"] == 3


def test_a_long_pause_asked_for_is_left_for_later(server: Server):
    url = server.says("/later", head("429 Slow down", Retry_After=7200, Content_Length=0))
    found = get(url, OPEN.model_copy(update={"retries": 3}))
    (attempt,) = found.attempts
    assert attempt.next_due is not None
    assert (attempt.next_due - attempt.recorded_at).total_seconds() == 7200
