"""How the network is used: limits, politeness, safety, consent. One table of the configuration: `[fetch]`."""

from __future__ import annotations

import ipaddress
from typing import Literal

from pydantic import Field, field_validator

from pipeline.decoders import MEMORY
from storage.settings import Settings

Signal = Literal["robots", "x-robots-tag", "meta", "tdmrep"]


class FetchSettings(Settings):
    """How URLs are fetched."""

    concurrency: int = Field(128, ge=1, le=4096, description="Requests under way at once, slow ones apart.")
    per_host: int = Field(8, ge=1, le=256, description="Requests under way at one host.")
    delay: float = Field(0.0, ge=0, description="Pause between two requests to one host, in seconds.")
    patience: float = Field(
        1.0,
        gt=0,
        description="After so long a request counts as slow and gives its place to another, in seconds.",
    )
    deadline: float = Field(30.0, gt=0, description="One request, from DNS to the last byte, in seconds.")
    run_deadline: float | None = Field(
        None,
        gt=0,
        description="The whole collecting of one source, in seconds; what is left waits for the next run.",
    )
    retries: int = Field(2, ge=0, le=10, description="Further tries after an error that may pass.")
    retry_later: float = Field(3600.0, ge=0, description="A later run tries again after so many seconds.")
    redirects: int = Field(5, ge=0, le=20, description="Most redirects followed.")
    max_bytes: int = Field(64 << 20, gt=0, description="Longest body taken, after decompression, in bytes.")
    allow: tuple[str, ...] = Field(
        (), description='Networks beside the public internet that may be asked, e.g. "10.2.0.0/16".'
    )
    user_agent: str = Field("millrace/0.1", description="Who asks.")
    contact: str = Field("", description="A page or an address to reach you at; part of the user agent.")
    consent: tuple[Signal, ...] = Field(
        ("robots", "x-robots-tag", "meta", "tdmrep"),
        description="Signs by which a site says no that are asked for.",
    )
    refusals: tuple[str, ...] = Field(
        ("noai", "noimageai", "noml", "none"),
        description="Words of X-Robots-Tag and meta robots that mean no.",
    )
    decoders: int = Field(2, ge=1, le=64, description="Processes that decode what is fetched.")
    decoder_memory: int = Field(
        MEMORY,
        ge=64 << 20,
        description="Memory of a process that decodes pictures, wherever they come from, in bytes.",
    )

    @field_validator("allow")
    @classmethod
    def _networks(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        for network in allow:
            ipaddress.ip_network(network)
        return allow

    @property
    def agent(self) -> str:
        """The User-Agent header."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent
