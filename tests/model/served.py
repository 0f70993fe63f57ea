"""A server of our API on loopback, over a small model, for tests."""

from __future__ import annotations

import base64
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from model.generate import Model
from model.serving.answering import Answering
from model.serving.app import create_app
from model.serving.engine import Engine
from model.serving.run import server
from model.serving.settings import ServeConfig
from model.tokenizers import Tokenizers


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    port: int
    engine: Engine

    @property
    def who(self) -> Answering:
        return self.engine.who


def answering(name: str, model: Model, tokenizers: Tokenizers) -> Answering:
    """A checkpoint of that name."""
    return Answering(name, model, tokenizers, f"# Card of {name}")


@contextmanager
def serving(who: Answering, settings: ServeConfig = ServeConfig(), **more: Any) -> Iterator[Served]:
    """Serves in a thread until it is left."""
    engine, listening = Engine(who, settings), socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    made = server(create_app(engine, settings, **more), settings)
    thread = threading.Thread(target=made.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not made.started:
        assert thread.is_alive()
        time.sleep(0.005)
    yield Served(f"http://127.0.0.1:{port}", port, engine)
    made.should_exit = True
    thread.join(30)
    engine.stop()


def png(pixels: np.ndarray) -> bytes:
    """uint8 [h, w, 3] as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def data_url(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


def message(words: str = "", *urls: str) -> list[dict[str, Any]]:
    """A conversation of one question with pictures."""
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*parts, *([{"type": "text", "text": words}] if words else [])]}]


def drawn_pixels(found: Any) -> np.ndarray:
    """The pixels of a picture in base64."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(found))).convert("RGB"))
