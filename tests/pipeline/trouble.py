"""A server for fetching: each path is answered by bytes or by a function that writes to the socket, as it likes."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from pipeline.web.client import Web
from pipeline.web.ledger import Fetched
from pipeline.web.settings import FetchSettings

OPEN = FetchSettings(allow=("127.0.0.0/8",), consent=(), retries=0, deadline=10)
CLOSED = FetchSettings(consent=(), retries=0)


def head(status: str = "200 OK", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def body(content: bytes, **headers: object) -> bytes:
    return head(Content_Length=len(content), **headers) + content


class Server(socketserver.ThreadingTCPServer):
    """Answers each path by a function that writes to the socket; counts what was asked."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths: dict[str, Callable[[socket.socket, int], None]] = {}
        self.asked: Counter[str] = Counter()
        self.requests: list[str] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def says(self, path: str, *answers: bytes) -> str:
        """The n-th request gets the n-th answer, later ones the last; returns the URL."""
        self.paths[path] = lambda sock, n: sock.sendall(answers[min(n, len(answers)) - 1])
        return self.url + path

    def does(self, path: str, act: Callable[[socket.socket, int], None]) -> str:
        self.paths[path] = act
        return self.url + path


class Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            more = self.request.recv(65536)
            if not more:
                return
            asked += more
        text = asked.decode()
        path = text.split()[1]
        self.server.requests.append(text)
        self.server.asked[path] += 1
        with contextlib.suppress(OSError):  # the client had enough
            self.server.paths[path](self.request, self.server.asked[path])


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


def get(url: str, settings: FetchSettings = OPEN) -> Fetched:
    with Web(settings) as web:
        return web.get(url)


def get_many(urls: Iterable[str], settings: FetchSettings = OPEN) -> list[Fetched]:
    with Web(settings) as web:
        return list(web.get_many(urls))
