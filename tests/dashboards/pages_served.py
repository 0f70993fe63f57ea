"""The live pages on a port of their own, as `millrace dashboard` serves them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import httpx
import uvicorn

from dashboards.app import create_app
from dashboards.page import Mill


@contextmanager
def serving(mill: Mill) -> Iterator[httpx.Client]:
    """A client of a server that ends with the block."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # who asks before the server runs waits for it
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(create_app(mill), log_level="error", lifespan="off"))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            with httpx.Client(base_url=url, timeout=60, follow_redirects=True) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(10)
