"""A server in the place of a bucket's, which answers every request alike, or never."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NEVER_S = 3.0
"""Longer than the time-outs of a test."""


class Refusing(ThreadingHTTPServer):
    """Gives one status and one body, in which {sent} stands for the credentials that came; without a status, no answer."""

    status, body = 403, "<Error><Code>AccessDenied</Code><Message>{sent}</Message></Error>"
    missing = 0
    """Bytes of what the header says that never come."""
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Reads nothing but who asks."""

    server: Refusing

    def do_GET(self) -> None:
        if not self.server.status:
            time.sleep(NEVER_S)
            return
        body = self.server.body.replace("{sent}", self.headers.get("Authorization", "")).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body) + self.server.missing))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        pass
