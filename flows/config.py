"""The whole `millrace.toml` as one pydantic model: a typo is an error that names the line's place and what is allowed."""

from __future__ import annotations

import os
import tomllib
from functools import cached_property
from itertools import combinations
from pathlib import Path
from string import Template
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.settings import (
    AblateConfig,
    DriftConfig,
    EvaluateConfig,
    NotifyConfig,
    PrefectConfig,
    PromoteConfig,
    TriggersConfig,
)
from model.clip_config import FilteringConfig, ImageTextConfig
from model.config import ImageTokenizerConfig, TrainConfig
from model.serving.settings import ServeConfig
from pipeline import upstream
from pipeline.collect import Origin
from pipeline.denoise import Denoise
from pipeline.errors import SourceError
from pipeline.gathers.decontaminate import Decontaminate
from pipeline.segment import Segment
from pipeline.splits import Splits
from pipeline.step import Annotator, Filter, Gather, Source, Step, StepError, load
from pipeline.web.settings import FetchSettings
from pipeline.web.source import WebSource
from storage import contamination
from storage.limits import Limits
from storage.settings import Settings
from storage.store import MEMORY_LIMIT, Store
from storage.tables import TABLES
from storage.upkeep import Keep


class ConfigError(Exception):
    """The configuration cannot be used; the message names the setting and what it allows."""


STEPS = ("annotators", "filters", "gathers")


class StoreConfig(Settings):
    """Where the tables live."""

    path: str = Field("store", description="Folder of the store; relative to the configuration file.")
    tables: str = Field(
        "",
        description="s3://bucket/folder of the tables of a new store, if not its own folder; ?endpoint=… and region=… may "
        "follow. Credentials come from the environment.",
    )


class SourceConfig(Settings):
    """A named source: `use` picks the module, `name` enters every sample id, the rest are its own settings."""

    model_config = ConfigDict(extra="allow")

    use: str = Field(description='Module below pipeline, e.g. "sources.folder".')
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Stable name of the source.")
    held_out: bool = Field(
        False, description="An evaluation set: never trained on, and guarded against leaks."
    )
    denoise: Denoise | None = Field(None, description="As [denoise], for the texts of this source.")
    segment: Segment | None = Field(None, description="As [segment], for the texts of this source.")


class StepConfig(Settings):
    """An annotator, filter or gather: `use` picks the module, the rest are its own settings."""

    model_config = ConfigDict(extra="allow")

    use: str = Field(description='Module below pipeline, e.g. "filters.aspect_ratio".')


class LicenceConfig(Settings):
    """Which licences may enter a snapshot."""

    allow: list[str] | None = Field(None, description="SPDX ids; leave out to allow all.")


class DecontaminateConfig(Settings):
    """What happens where training rows are held-out ones (`gathers.decontaminate` drops them before)."""

    allow: bool = Field(False, description="Make such snapshots, and train on them; `runs` says so then.")


class TextTokenizerConfig(Settings):
    """The byte-level BPE."""

    vocab_size: int = Field(2048, ge=300, le=200_000, description="Entries, special tokens included.")
    max_texts: int = Field(200_000, ge=1, description="Texts that it is fitted on, drawn by hash.")


class TokensConfig(Settings):
    """Both tokenizers, fitted once on the training split."""

    text: TextTokenizerConfig = TextTokenizerConfig()
    image: ImageTokenizerConfig = ImageTokenizerConfig()


class RunConfig(Settings):
    """How the work is spread over this machine, or over those of a Ray cluster."""

    runner: Literal["threads", "processes", "ray"] = "threads"
    workers: int = Field(2, ge=1, le=256, description="Tasks at once, each of one core.")
    address: str = Field(
        "",
        pattern=r"^([^/\s]+:\d{1,5})?$",
        description='Ray cluster, "host:6379"; left out, `runner = "ray"` starts one on this machine.',
    )
    memory_limit: str = Field(
        MEMORY_LIMIT,
        pattern=r"^\d+(\.\d+)?\s*([KMGT]i?B|%)$",
        description='Memory of each DuckDB, e.g. "2GB" or "25%"; it spills to the store\'s folder beyond.',
    )


class Config(Settings):
    """Everything that a run reads."""

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be a password in the wrong place

    store: StoreConfig = StoreConfig()
    run: RunConfig = RunConfig()
    media: Limits = Limits()
    fetch: FetchSettings = FetchSettings()
    denoise: Denoise = Denoise()
    segment: Segment = Segment()
    sources: tuple[SourceConfig, ...] = ()
    annotators: tuple[StepConfig, ...] = ()
    filters: tuple[StepConfig, ...] = ()
    gathers: tuple[StepConfig, ...] = ()
    splits: Splits = Splits()
    licences: LicenceConfig = LicenceConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    tokens: TokensConfig = TokensConfig()
    image_text: ImageTextConfig = ImageTextConfig()
    filtering_network: FilteringConfig = FilteringConfig()
    train: TrainConfig = TrainConfig(seconds=300)
    evaluate: EvaluateConfig = EvaluateConfig()
    promote: PromoteConfig = PromoteConfig()
    drift: DriftConfig = DriftConfig()
    triggers: TriggersConfig = TriggersConfig()
    notify: NotifyConfig = NotifyConfig()
    ablate: AblateConfig = AblateConfig()
    maintain: Keep = Keep()
    serve: ServeConfig = ServeConfig()
    prefect: PrefectConfig = PrefectConfig()

    def allowing(self, contaminated: bool) -> Config:
        """The same, with held-out rows in training allowed if asked for."""
        return (
            self.model_copy(update={"decontaminate": DecontaminateConfig(allow=True)})
            if contaminated
            else self
        )

    def decontaminating(self) -> str:
        """What to change so that no training row is a held-out one."""
        steps = [step for step in self.gather_steps if isinstance(step, Decontaminate)]
        if not steps:
            return contamination.ADD
        said = []
        for step in steps:
            if step.sets:
                said.append(
                    f"gathers.decontaminate guards sets = {list(step.sets)} only: name the others there, too, or leave "
                    "`sets` out to guard all."
                )
            if step.min_characters > contamination.LEAST_CHARACTERS:
                said.append(
                    f"gathers.decontaminate passes over texts shorter than min_characters = {step.min_characters}: set "
                    f"it to {contamination.LEAST_CHARACTERS} or less."
                )
        return " ".join(said) or contamination.DROPPED

    def open_store(self, *, create: bool = False) -> Store:
        """The store that this names, its DuckDB within `run.memory_limit`."""
        return Store.open(
            self.store.path, create=create, memory_limit=self.run.memory_limit, tables=self.store.tables
        )

    @cached_property
    def source_steps(self) -> dict[str, Source | WebSource]:
        kinds = (Source, WebSource)
        return {
            s.name: _step(s, kinds, f"sources.{s.name}", set(SourceConfig.model_fields)) for s in self.sources
        }

    def check_sources(self) -> None:
        """Looks for the files and folders of this machine that sources name.

        Raises:
            SourceError: one is not there.
        """
        for name, source in self.source_steps.items():
            try:
                source.check()
            except SourceError as error:
                raise SourceError(f"source {name}: {error}") from error

    @cached_property
    def origins(self) -> dict[str, Origin]:
        """The sources by name, each with what is done to its texts."""
        return {
            s.name: Origin(
                s.name,
                self.source_steps[s.name],
                s.held_out,
                s.denoise or self.denoise,
                s.segment or self.segment,
            )
            for s in self.sources
        }

    @cached_property
    def annotator_steps(self) -> list[Annotator]:
        return [_step(s, Annotator, s.use, {"use"}) for s in self.annotators]

    @cached_property
    def filter_steps(self) -> list[Filter]:
        return [_step(s, Filter, s.use, {"use"}) for s in self.filters]

    @cached_property
    def gather_steps(self) -> list[Gather]:
        return [_step(s, Gather, s.use, {"use"}) for s in self.gathers]


def _step(settings: BaseModel, kind: type | tuple[type, ...], place: str, own: set[str]) -> Any:
    try:
        cls = load(settings.use, kind)  # type: ignore[attr-defined]
    except StepError as error:
        raise ConfigError(f"[{place}] {error}") from error
    try:
        return cls(**{k: v for k, v in (settings.model_extra or {}).items() if k not in own})
    except ValidationError as error:
        raise ConfigError(explain(error, cls, place)) from error


def explain(error: ValidationError, cls: type[BaseModel], place: str = "") -> str:
    """Says in a line per mistake where it is and, for an unknown field, which ones there are."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            allowed = ", ".join(_fields_at(cls, item["loc"][:-1])) or "none"
            lines.append(f"{_in(place)}unknown setting `{where}`; allowed here: {allowed}")
        elif item["type"] == "tuple_type" and not place and where in ("sources", *STEPS):
            lines.append(f"`{where}`: one table for each, under [[{where}]]")
        else:
            variable = isinstance(item["input"], str) and "${" in item["input"]
            hint = "; ${NAME} stands for an environment variable in paths alone" if variable else ""
            lines.append(f"{_in(place)}`{where}`: {item['msg']}{hint}")
    return "\n".join(lines)


def _in(place: str) -> str:
    return f"[{place}] " if place else ""


def _fields_at(cls: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    for part in loc:
        info = cls.model_fields.get(part) if isinstance(part, str) else None
        annotation = info.annotation if info else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            cls = annotation
    return sorted(cls.model_fields)


def read(path: str | Path) -> Config:
    """Reads a TOML file; paths inside it are taken relative to it.

    Raises:
        ConfigError: no such file, not TOML, or a setting that is unknown or out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(
            f"no configuration at {path}: `millrace init FOLDER` writes one for a folder of pictures, "
            "examples/ has others; or name yours with --config"
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    config = parse(resolve(raw, path.resolve().parent), str(path))
    _ = config.source_steps
    check_reads(config)
    return config


def check_reads(config: Config) -> None:
    """Every annotation that a step reads is made by an annotator of this configuration, and no gather reads what a
    later one writes.

    Raises:
        ConfigError: it is not; the message names the annotator to add, or the gathers to swap.
    """
    made = {step.table() for step in config.annotator_steps}
    for step in (*config.annotator_steps, *config.filter_steps, *config.gather_steps):
        tables = {*step.tables()} if isinstance(step, Gather) else upstream.signals(step)
        for table in sorted(tables - made - set(TABLES)):
            raise ConfigError(
                f'{step.module()} reads "{table}": add [[annotators]] use = "annotators.{table}"'
            )
    for step, later in combinations(config.gather_steps, 2):
        for table in sorted({*step.tables()} & {*later.writes}):
            raise ConfigError(
                f'{step.module()} reads "{table}", which {later.module()} writes only after it: put [[gathers]] '
                f'use = "{later.module()}" before use = "{step.module()}"'
            )


def parse(raw: dict[str, Any], origin: str = "configuration") -> Config:
    try:
        config = Config(**raw)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explain(error, Config)}") from error
    names = [s.name for s in config.sources]
    if doubled := {n for n in names if names.count(n) > 1}:
        raise ConfigError(f"{origin}: source names must differ; used twice: {', '.join(sorted(doubled))}")
    return config


def resolve(raw: dict[str, Any], base: Path) -> dict[str, Any]:
    """Makes the relative paths of the store, the sources, weights, and the image-text model ("./folder") absolute."""
    raw = dict(raw)
    raw["store"] = _anchored(raw.get("store", {}), base, {"path": "store"})
    if isinstance(model := raw.get("image_text"), dict):
        paths = {k: v for k, v in model.items() if isinstance(v, str) and v.startswith((".", "~", "$"))}
        raw["image_text"] = model | {key: _absolute(value, base) for key, value in paths.items()}
    if isinstance(media := raw.get("media"), dict) and isinstance(weights := media.get("blur_faces"), str):
        raw["media"] = media | {"blur_faces": _absolute(weights, base) if weights else ""}
    if isinstance(sources := raw.get("sources"), list):
        raw["sources"] = [_anchored(source, base) for source in sources]
    for kind in STEPS:
        if isinstance(steps := raw.get(kind), list):
            raw[kind] = [_with_files(one, base) for one in steps]
    for settings in (raw, *(raw["sources"] if isinstance(sources, list) else ())):
        if isinstance(settings, dict) and "segment" in settings:
            settings["segment"] = _anchored(settings["segment"], base)
    return raw


def _anchored(settings: Any, base: Path, defaults: dict[str, str] | None = None) -> Any:
    """The settings with absolute paths; what is no table, or no path, is left for the model to refuse."""
    if not isinstance(settings, dict):
        return settings
    return {
        key: _absolute(value, base)
        if (key in ("path", "root", "tokenizer") or (key == "tables" and value)) and isinstance(value, str)
        else value
        for key, value in {**(defaults or {}), **settings}.items()
    }


def _with_files(settings: Any, base: Path) -> Any:
    """A step's settings, the files that it names with absolute paths; what is no step is left to be refused later."""
    try:
        files = load(str(settings["use"]), Step).files
    except (TypeError, KeyError, StepError):
        return settings
    named = {key: settings.get(key) for key in files}
    return settings | {
        key: _absolute(path, base) for key, path in named.items() if path and isinstance(path, str)
    }


def _absolute(path: str, base: Path) -> str:
    """`${NAME}` stands for an environment variable, so that a configuration names no place of one machine."""
    try:
        path = Template(path).substitute(os.environ)
    except (KeyError, ValueError) as error:
        raise ConfigError(f'path = "{path}": set the environment variable {error}') from error
    return path if "://" in path else str((base / Path(path).expanduser()).resolve())


__all__ = ["Config", "ConfigError", "Step", "explain", "parse", "read"]
