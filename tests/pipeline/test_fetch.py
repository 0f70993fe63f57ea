"""Fetching against a server that misbehaves on purpose: every trouble has its error class, and its end."""

from __future__ import annotations

import gzip
import io
import socket
import threading
import time
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image

from pipeline.web import addresses, fetcher, ledger
from pipeline.web.addresses import is_public
from pipeline.web.client import Web
from tests.pipeline.trouble import CLOSED, OPEN, Server, body, get, get_many, head, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def test_a_body_comes_with_its_type_and_a_row_for_the_ledger(server: Server):
    found = get(server.says("/a", body(b"picture", Content_Type="Image/PNG; q=1")))
    assert (found.body, found.error, found.media_type) == (b"picture", None, "image/png")
    (row,) = ledger.attempts(found.attempts).to_pylist()
    assert (row["outcome"], row["status"], row["bytes"], row["attempt"]) == ("ok", 200, 7, 1)
    assert row["host"] == server.url.partition("//")[2] and row["next_due"] is None


def test_the_user_agent_is_what_the_settings_say(server: Server):
    get(server.says("/a", body(b"x")), OPEN.model_copy(update={"user_agent": "mill (+https://example.org)"}))
    assert "user-agent: mill (+https://example.org)" in server.requests[0].lower()


def test_answers_keep_the_order_of_the_urls_and_run_side_by_side(server: Server):
    gate = threading.Barrier(8, timeout=20)

    def together(sock: socket.socket, _: int) -> None:
        gate.wait()  # passes only when eight requests are under way at once
        sock.sendall(body(b"x"))

    urls = [server.does(f"/{n}", together) for n in range(8)]
    settings = OPEN.model_copy(update={"concurrency": 8})
    assert [(f.url, f.body) for f in get_many(urls, settings)] == [(url, b"x") for url in urls]


@pytest.mark.parametrize("limit", ["concurrency", "per_host"])
def test_no_more_requests_are_under_way_than_allowed(server: Server, limit: str):
    now, most, lock = 0, 0, threading.Lock()

    def counted(sock: socket.socket, _: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        server.closing.wait(0.05)
        with lock:
            now -= 1
        sock.sendall(body(b"x", Connection="close"))

    urls = [server.does(f"/{n}", counted) for n in range(12)]
    assert all(f.body == b"x" for f in get_many(urls, OPEN.model_copy(update={limit: 3})))
    assert most <= 3


def test_a_relative_url_is_none():
    assert get("a.jpg").error == "bad_url"


# --- addresses


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://10.1.2.3/", "http://192.168.0.1/x",
        "http://169.254.169.254/latest/meta-data", "http://0.0.0.0/", "http://0x7f.1/",
        "http://[::ffff:127.0.0.1]/", "http://[::ffff:a00:1]/", "http://[64:ff9b::7f00:1]/", "http://[fe80::1]/",
        "http://[fd00::1]/", "http://224.0.0.1/", "http://100.64.0.1/", "http://user:pass@127.0.0.1/",
        "file:///etc/passwd", "data:image/png;base64,AAAA", "ftp://example.org/a.jpg", "gopher://127.0.0.1/",
        "javascript:alert(1)",
    ],
)  # fmt: skip
def test_private_addresses_and_other_schemes_are_refused(url: str):
    found = get(url, CLOSED)
    assert (found.error, found.body) == ("forbidden_address", None)


def test_nothing_connects_to_a_forbidden_address(server: Server):
    assert get(server.says("/a", body(b"secret")), CLOSED).error == "forbidden_address"
    assert not server.requests


def test_a_redirect_to_a_private_address_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch):
    inside = server.says("/inside", body(b"secret"))
    outside = server.says("/outside", head("302 Found", Location=inside.replace("127.0.0.1", "127.0.0.2")))
    monkeypatch.setattr(
        addresses, "is_public", lambda address: address == "127.0.0.1"
    )  # as if it were public
    assert get(outside, CLOSED).error == "forbidden_address"
    assert server.asked == {"/outside": 1}


@pytest.mark.parametrize("target", ["file:///etc/passwd", "data:text/plain,x", "ftp://127.0.0.1/"])
def test_a_redirect_to_another_scheme_is_refused(server: Server, target: str):
    assert get(server.says("/a", head("302 Found", Location=target))).error == "forbidden_address"


def test_the_checked_address_is_the_one_connected_to(server: Server, monkeypatch: pytest.MonkeyPatch):
    answers = iter(["127.0.0.1", "127.0.0.3"])

    def changing(host: str, port: int, **about: object) -> list[tuple]:
        """A name server that answers otherwise the second time."""
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(fetcher.socket, "getaddrinfo", changing)
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
    url = server.says("/a", body(b"x")).replace("127.0.0.1", "rebinding.example")
    assert get(url, CLOSED).body == b"x"
    assert "host: rebinding.example" in server.requests[0].lower()
    assert next(answers) == "127.0.0.3"  # nobody asked again


def test_public_addresses_are_told_from_others():
    assert is_public("93.184.216.34") and is_public("2606:2800:220:1:248:1893:25c8:1946")
    assert is_public("64:ff9b::5db8:d822")
    for address in ("fec0::1", "::7f00:1", "::ffff:0:7f00:1", "64:ff9b:1::7f00:1", "::2"):
        assert not is_public(address), address
    for address in ("2002:7f00:1::", "::", "::1", "fe80::1%eth0", "240.0.0.1", "255.255.255.255", "ff02::1"):
        assert not is_public(address), address


def test_a_name_that_does_not_resolve():
    found = get("http://no-such-host.invalid/a.jpg", CLOSED)
    assert found.error == "dns"
    assert found.attempts[0].next_due is not None


# --- bodies


def test_one_byte_at_a_time_ends_at_the_deadline(server: Server):
    def drip(sock: socket.socket, _: int) -> None:
        sock.sendall(head(Content_Length=1000))
        while not server.closing.wait(0.05):
            sock.sendall(b"x")

    found = get(server.does("/drip", drip), OPEN.model_copy(update={"deadline": 0.7}))
    assert (found.error, found.body) == ("deadline", None)
    assert found.attempts[0].milliseconds < 10_000
    assert found.attempts[0].next_due is not None


def test_headers_that_drip_end_at_the_deadline_too(server: Server):
    def drip(sock: socket.socket, _: int) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\n")
        while not server.closing.wait(0.05):
            sock.sendall(b"X: y\r\n")

    assert get(server.does("/d", drip), OPEN.model_copy(update={"deadline": 0.7})).error == "deadline"


def test_a_server_that_never_answers_ends_at_the_deadline(server: Server):
    url = server.does("/mute", lambda sock, _: server.closing.wait(30))
    assert get(url, OPEN.model_copy(update={"deadline": 0.5})).error == "deadline"


def test_300_megabytes_are_stopped_at_the_limit(server: Server):
    sent = 0

    def flood(sock: socket.socket, _: int) -> None:
        nonlocal sent
        sock.sendall(head(Transfer_Encoding="chunked"))
        for _ in range(300):
            sock.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
            sent += 1

    settings = OPEN.model_copy(update={"max_bytes": 2 << 20})
    found = get(server.does("/flood", flood), settings)
    assert (found.error, found.body) == ("too_large", None)
    assert sent < 100
    announced = get(server.says("/announced", head(Content_Length=300 << 20)), settings)
    assert announced.error == "too_large"


def test_gzip_is_decoded_and_counted_after_decoding(server: Server):
    packed = gzip.compress(b"a picture")
    assert get(server.says("/a", body(packed, Content_Encoding="gzip"))).body == b"a picture"
    assert get(server.says("/d", body(zlib.compress(b"x"), Content_Encoding="deflate"))).body == b"x"
    bomb = gzip.compress(bytes(50 << 20))
    settings = OPEN.model_copy(update={"max_bytes": 1 << 20})
    assert len(bomb) < settings.max_bytes
    assert get(server.says("/bomb", body(bomb, Content_Encoding="gzip")), settings).error == "too_large"


def test_broken_encodings(server: Server):
    packed = gzip.compress(bytes(range(256)) * 40)
    cases = {
        "/cut": (body(packed[:-20], Content_Encoding="gzip"), "incomplete"),
        "/head": (body(packed[:5], Content_Encoding="gzip"), "incomplete"),
        "/garbage": (body(b"no gzip", Content_Encoding="gzip"), "bad_encoding"),
        "/br": (body(b"x", Content_Encoding="br"), "bad_encoding"),
    }
    for path, (answer, want) in cases.items():
        assert get(server.says(path, answer)).error == want, path


def test_a_body_that_breaks_off_is_incomplete(server: Server):
    def reset(sock: socket.socket, _: int) -> None:
        sock.sendall(head(Content_Length=1000) + b"x" * 10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    cases = {
        server.says("/short", head(Content_Length=1000) + b"x" * 10): "incomplete",
        server.says("/chunk", head(Transfer_Encoding="chunked") + b"not a length\r\n"): "incomplete",
        server.says("/cut", head(Transfer_Encoding="chunked") + b"a\r\n0123"): "incomplete",
        server.does("/reset", reset): "incomplete",
    }
    for url, want in cases.items():
        found = get(url)
        assert (found.error, found.body) == (want, None), url


def test_no_http_at_all_is_a_connection_error(server: Server):
    assert get(server.says("/ssh", b"SSH-2.0-OpenSSH_9.2\r\n")).error == "connection"
    assert get(server.says("/empty", b"")).error == "connection"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    assert get(f"http://127.0.0.1:{port}/").error == "connection"


def test_what_is_no_tls_is_a_connection_error():
    def answer() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        assert get(f"https://127.0.0.1:{listener.getsockname()[1]}/").error == "connection"
        thread.join()


@pytest.mark.parametrize(
    "url",
    ["", "http://", "http://[::1", "http://a b/", "//x", "http://\x00/", "http://2130706433/", "x" * 70_000],
)
def test_odd_urls_are_error_rows(url: str):
    assert get(url, CLOSED).error in {"bad_url", "forbidden_address", "dns"}


def test_giving_up_halfway_ends_the_requests(server: Server):
    picture = io.BytesIO()
    Image.new("RGB", (9, 9)).save(picture, "PNG")
    urls = [server.says(f"/{n}", body(picture.getvalue())) for n in range(200)]
    with Web(OPEN.model_copy(update={"concurrency": 2})) as web:
        assert next(web.get_many(iter(urls))).body == picture.getvalue()
    assert len(server.requests) < 200
    deadline = time.monotonic() + 10
    while any(thread.name == "fetch" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
