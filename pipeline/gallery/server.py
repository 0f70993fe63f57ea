"""Serves the pictures of the URL list on this machine, so that the demo fetches as a user would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """As many clients at once as a fetcher opens."""

    daemon_threads = True
    request_queue_size = 128


class Handler(SimpleHTTPRequestHandler):
    """Files as they are, over connections that stay open, without a log."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = -1  # headers and body leave in one packet: delayed acknowledgements would cost 40 ms each

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: what was asked for stands in the ledger of the fetcher."""

    def list_directory(self, path):
        """Refuses: only files that are named are served."""
        self.send_error(404, "Not found")


@contextmanager
def serve(path: str | Path) -> Iterator[str]:
    """Serves a written corpus's `served/` on a free port of 127.0.0.1; yields the base URL, "http://127.0.0.1:…/"."""
    with Server(("127.0.0.1", 0), partial(Handler, directory=str(Path(path) / "served"))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()
