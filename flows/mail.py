"""E-mail through a mail server of one's own: a block of the Prefect UI, whose own one knows a single company's service.

The server must know it, too: it is the server that tells.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote, urlencode

from prefect.blocks.notifications import AbstractAppriseNotificationBlock
from pydantic import Field, SecretStr


class MailServer(AbstractAppriseNotificationBlock):
    """Tells by e-mail, through a server that speaks SMTP."""

    _block_type_name = "Mail Server"
    _block_type_slug = "mail-server"
    _description = "Tells by e-mail, through a server that speaks SMTP."

    host: str = Field(
        pattern=r"^[A-Za-z0-9.-]+$",
        description="Name or address of the mail server.",
        examples=["mail.example.org"],
    )
    port: int = Field(
        587, ge=1, le=65535, description="Where it listens: mostly 587 with starttls, 465 with ssl."
    )
    mode: Literal["starttls", "ssl", "insecure"] = Field(
        "starttls", description="How what is sent is encrypted; insecure: not at all."
    )
    user: str = Field("", description="Who sends, where the server asks for that.")
    password: SecretStr = Field(SecretStr(""), description="That user's password.")
    sender: str = Field(description="The address that it comes from.", examples=["mill@example.org"])
    to: list[str] = Field(min_length=1, description="The addresses that it goes to.")

    def block_initialization(self) -> None:
        self._start_apprise_client(self.url())

    def url(self) -> SecretStr:
        """What Apprise, which sends it, asks for: all in one URL."""
        login = (
            f"{quote(self.user, safe='')}:{quote(self.password.get_secret_value(), safe='')}@"
            if self.user
            else ""
        )
        told = {
            "smtp": self.host,
            "from": self.sender,
            "to": ",".join(self.to),
            "mode": self.mode,
            "format": "text",
        }
        scheme = "mailto" if self.mode == "insecure" else "mailtos"
        return SecretStr(f"{scheme}://{login}{self.host}:{self.port}/?{urlencode(told)}")
