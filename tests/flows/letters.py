"""A mail server on loopback, and what it was sent."""

from __future__ import annotations

from typing import Any

from aiosmtpd.controller import Controller

from flows.server import free_port


class Mailbox:
    """Takes every letter."""

    def __init__(self) -> None:
        self.letters: list[Any] = []
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.letters.append(envelope)
        return "250 taken"

    def __enter__(self) -> Mailbox:
        self._controller.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._controller.stop()
