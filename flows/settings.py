"""The tables of the TOML about measuring and operating: [evaluate], [promote], [drift], [triggers], [notify], [ablate],
[prefect]; `flows.config` has all."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from model.config import PICTURE_GUIDANCE, PICTURE_TOP_P
from storage.settings import Settings


class EvaluateConfig(Settings):
    """What is measured on the held-out rows."""

    max_items: int = Field(500, ge=1, description="Items per task and source, drawn by hash.")
    split: Literal["validation", "test"] = "test"
    labelled: int = Field(10_000, ge=0, description="Labelled items whose class the label head is asked.")
    retrieval: int = Field(500, ge=0, description="Pictures that are to find their captions, and back.")
    pictures: int = Field(16, ge=0, description="Pictures drawn from held-out captions for the report.")
    attributes: str = Field("", description="Module whose attributes(caption) is scored one by one.")
    guidance: float = Field(PICTURE_GUIDANCE, ge=1.0, description="Classifier-free guidance when drawing.")
    guidances: tuple[float, ...] = Field((), description="Further ones, to compare what drawing gains by it.")
    top_p: float = Field(
        PICTURE_TOP_P, gt=0, le=1, description="Codes are drawn from the likeliest that make up this share."
    )
    candidates: int = Field(
        1,
        ge=1,
        le=64,
        description="Drawings of each caption; kept is the one in which the model reads it best.",
    )
    judged: tuple[str, ...] = Field(
        (), description="Attributes of drawn pictures that an independent judge holds against the caption."
    )
    drawn: int = Field(200, ge=0, description="Pictures drawn from held-out captions for the judge.")
    tasks: tuple[str, ...] = Field(
        (),
        description="Tasks that `millrace evaluate` measures by their own metrics, too; --task names others.",
    )
    settings: dict[str, dict[str, Any]] = Field(
        {}, description="Settings of some of them: [evaluate.settings.translate] hub = …"
    )


class VariantConfig(Settings):
    """A way to train that is held against others."""

    name: str = Field(min_length=1, description="What the table calls it.")
    train: dict[str, Any] = Field({}, description="Settings of [train] that differ, table by table.")


class AblateConfig(Settings):
    """The experiment that asks whether each step pays, or which of several ways to train does."""

    steps: int = Field(600, ge=1, description="Optimizer steps of each run: equal training tokens for all.")
    seconds: float | None = Field(
        None,
        gt=0,
        le=300,
        description="Time of each run instead of `steps`: equal for all, whatever a step costs (on an idle machine).",
    )
    variants: tuple[VariantConfig, ...] = Field(
        (),
        description="Ways to train on the corpus as it is; without any, steps that prepare it are left out.",
    )
    seeds: int = Field(3, ge=1, le=20, description="Runs of each variant.")
    always: tuple[str, ...] = Field(
        ("gathers.decontaminate",),
        description="Steps that are no matter of quality: every variant has them, or its scores mean nothing.",
    )


class PromoteConfig(Settings):
    """When a new checkpoint takes the place of the champion."""

    gain: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="Share of held-out rows by which it must be right more often: the lower bound of the 95% interval.",
    )
    most_fall: float = Field(
        0.02, ge=0, le=1, description="Share by which no task, language or source may fall."
    )
    falls: dict[str, float] = Field(
        {}, description='Other limits for some of them, e.g. "language zh" = 0.05.'
    )
    least_items: int = Field(50, ge=1, description="Groups of fewer held-out rows say nothing.")
    approval: bool = Field(False, description="Whether a person must approve, by a form in the Prefect UI.")


class DriftConfig(Settings):
    """When the corpus has moved so far that the champion should be trained anew."""

    limit: float = Field(
        0.2, gt=0, description="Population stability index of a column beyond which it has drifted."
    )
    limits: dict[str, float] = Field({}, description="Other limits for some columns, e.g. lang = 0.1.")


class TriggersConfig(Settings):
    """What starts by itself while `millrace up` serves."""

    retrain_when_new: int = Field(
        0,
        ge=0,
        description="A committed snapshot starts retraining when so many training rows are new to the champion; 0: never.",
    )


class PrefectConfig(Settings):
    """Where `millrace up` keeps what Prefect knows of runs."""

    database: str = Field(
        "",
        description="Postgres, as postgresql://user@host/name with its password in PGPASSWORD; left out, SQLite.",
    )

    @field_validator("database")
    @classmethod
    def names_a_postgres(cls, url: str) -> str:
        """Refuses other databases, and a password: a configuration is read by many, and copied."""
        parts = urlsplit(url)
        if url and parts.scheme not in ("postgresql", "postgresql+asyncpg"):
            raise ValueError("a Postgres: postgresql://user@host/name")
        if parts.password is not None or "password" in parts.query:
            raise ValueError("no password here: set PGPASSWORD in the environment of `millrace up`")
        return url


class NotifyConfig(Settings):
    """Who is told of runs that failed, crashed, are late or wait for a person; never the secret itself."""

    block: str = Field(
        "",
        pattern=r"^([a-z0-9-]+/[a-z0-9-]+)?$",
        description='A notification or webhook block that was made in the UI: its type and name, "slack-webhook/team".',
    )
    url_env: str = Field(
        "",
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
        description="Environment variable with a URL that is sent a JSON document.",
    )
    late_minutes: int = Field(30, ge=1, description="A run that has waited so long for its turn is late.")
