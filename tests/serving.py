"""Servers of tests: a real one on a port of its own, whose answers are a function of the path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""


@contextmanager
def running(server: HTTPServer) -> Iterator[str]:
    """Serves in a thread; gives the server's URL, without a slash at its end."""
    with server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def answering(answer: Callable[[str], Answer]) -> Iterator[str]:
    """Answers each GET as the function says."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@contextmanager
def folder(path: Path, heard: Callable[[str], None] = lambda path: None) -> Iterator[str]:
    """Serves the files of a folder; `heard` is told each path that is asked for."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            heard(self.path)
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    def make(*args: object) -> Handler:
        return Handler(*args, directory=str(path))  # type: ignore[arg-type]

    with running(ThreadingHTTPServer(("127.0.0.1", 0), make)) as url:  # type: ignore[arg-type]
        yield url
