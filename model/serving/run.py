"""The server: uvicorn, ended gracefully by SIGTERM or Ctrl-C, and impatient with clients that never say what they want."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from model.serving.engine import Engine
from model.serving.settings import ServeConfig

CONNECTIONS = 1000
"""Open at once; more are told to come again."""


class Hasty(H11Protocol):
    """A connection that is closed when no request has begun on it in time; uvicorn alone would wait for the rest of a request's
    head for ever."""

    patience = 15.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.patience, self._late)

    def handle_events(self) -> None:
        super().handle_events()
        if self._busy():
            self._forget()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._busy():
            self._forget()
            self._deadline = self.loop.call_later(self.patience, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        if not self._busy():
            self.transport.close()


def server(app: FastAPI, settings: ServeConfig) -> uvicorn.Server:
    """A server for an app; who has been heard when it is told to stop gets an answer."""
    hasty = type("Hasty", (Hasty,), {"patience": settings.patience})
    config = uvicorn.Config(
        app,
        http=hasty,
        ws="none",
        loop="uvloop",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=max(5, int(settings.patience)),
        timeout_graceful_shutdown=int(settings.seconds) + 5,
        h11_max_incomplete_event_size=64 << 10,
    )
    return uvicorn.Server(config)


def run(app: FastAPI, engine: Engine, settings: ServeConfig, listening: socket.socket) -> None:
    """Serves on a socket until SIGTERM or Ctrl-C, finishes what was begun, and returns."""
    made: Any = server(app, settings)
    try:
        made.run(sockets=[listening])
    finally:
        engine.stop()
