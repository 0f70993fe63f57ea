"""What the server takes, and how it works: the `[serve]` of a configuration."""

from __future__ import annotations

from pydantic import Field, model_validator

from model.config import PICTURE_GUIDANCE
from storage.settings import Settings


class ServeConfig(Settings):
    """Limits of one server. Whatever goes beyond one is refused with a 4xx that says so."""

    rows: int = Field(default=32, ge=1, le=1024, description="Answers that are made at once, in one batch.")
    queue: int = Field(
        default=64, ge=0, description="Answers that wait beyond these; more are told to come again."
    )
    gather: int = Field(
        default=4, ge=0, description="Steps that newcomers wait at most for others to be read together with."
    )
    max_tokens: int = Field(default=1024, ge=1, description="Most new tokens of an answer.")
    max_prompt: int = Field(default=2048, ge=1, description="Longest prompt, in tokens, pictures included.")
    max_body: int = Field(default=16 << 20, ge=1024, description="Longest request, in bytes.")
    max_held: int = Field(
        default=256 << 20,
        ge=1024,
        description="Bytes of all requests at once, beyond which new ones are told to come again.",
    )
    max_pictures: int = Field(default=8, ge=1, description="Most pictures of a request.")
    max_pixels: int = Field(default=16_000_000, gt=0, description="Most pixels of a picture.")
    max_choices: int = Field(default=8, ge=1, description="Most answers to one request.")
    seconds: float = Field(default=60.0, gt=0, description="An answer ends after this time, finished or not.")
    patience: float = Field(
        default=15.0, gt=0, description="Seconds that a client may take to say what it wants."
    )
    look: float = Field(default=5.0, gt=0, description="Seconds between two looks for a new champion.")
    threads: int = Field(default=1, ge=0, description="Threads of the network; 0 leaves it to torch.")
    remote_images: bool = Field(
        default=False, description="Whether pictures are fetched from URLs, by the rules of [fetch]."
    )
    guidance: float = Field(
        default=PICTURE_GUIDANCE, ge=0, description="Weight of the words in drawn pictures."
    )
    lang: str = Field(
        default="en", description="Language of answers where a request names none and the model knows it."
    )

    @model_validator(mode="after")
    def _hold_together(self) -> ServeConfig:
        if self.max_held < self.max_body:
            raise ValueError(
                "[serve] max_held: at least max_body, or the longest request would never be heard"
            )
        return self
