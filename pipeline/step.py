"""Source, Annotator, Filter, Gather: a step is its own configuration.

A step is a frozen pydantic model, so a typo in the TOML is a readable error that names the allowed fields.
Its fingerprint covers module, version, settings and needed models: what is done under a fingerprint is skipped.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from storage.content import content
from storage.settings import Settings

if TYPE_CHECKING:
    import duckdb


class StepError(Exception):
    """A step cannot be loaded or configured; the message says what to change."""


class Step(Settings):
    """What all steps share: settings, version, fingerprint."""

    version: ClassVar[int] = 1
    """Raised whenever the same settings would give another result."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Models that the flow loads and hands in, e.g. ("image_tokenizer",)."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Columns or tables that it is given; "annotator.column" for what an annotator made."""
    unfingerprinted: ClassVar[frozenset[str]] = frozenset()
    """Settings that say where or how fast, and cannot change a result."""
    files: ClassVar[tuple[str, ...]] = ()
    """Settings that name a file, from the configuration's folder: what it holds counts, not where it lies."""

    @classmethod
    def module(cls) -> str:
        """Where the step lives below `pipeline`: "filters.aspect_ratio"."""
        return cls.__module__.removeprefix("pipeline.")

    @classmethod
    def name(cls) -> str:
        return cls.module().rsplit(".", 1)[-1]

    def fingerprint(self, models: Mapping[str, str] | None = None) -> str:
        """sha256 of (module, version, settings, hash of each needed model, of each file), hex, first 32."""
        settings = self.model_dump(mode="json", exclude={*self.unfingerprinted, *self.files})
        needed = {name: (models or {})[name] for name in self.needs}
        held = [content(getattr(self, name)) for name in self.files]
        return digest([self.module(), self.version, settings, needed, *([held] if held else [])])


class Annotator(Step, ABC):
    """Returns new columns for the rows that it is given, in a narrow table of its own name."""

    key: ClassVar[str] = "sample_id"
    """"image_id" annotates each picture once, "sample_id" each row."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Columns of `samples`, `images` ("image", "width" …) or signals ("perceptual_hash.flat")."""
    columns: ClassVar[pa.Schema]
    """What it adds, without the key."""

    @classmethod
    def table(cls) -> str:
        """Where its columns are stored."""
        return cls.name()

    def check(self) -> None:
        """Raises its own error if files that it names cannot be used: the flow asks before it collects anything."""

    @abstractmethod
    def annotate(self, rows: pa.Table, models: Mapping[str, Any]) -> pa.Table:
        """Maps n rows (key and `reads`) to n rows of `columns`, in the same order."""


class Filter(Step, ABC):
    """Deletes nothing: says which rows to keep, and why the others go."""

    reads: ClassVar[tuple[str, ...]] = ()
    reason: ClassVar[str] = ""
    """Recorded for the rows that it drops; the step's name if empty."""

    @abstractmethod
    def keep(self, rows: pa.Table) -> pa.Array | pa.ChunkedArray:
        """n booleans; null counts as True: a filter judges only what it can see."""


@dataclass(frozen=True)
class Gathered:
    """What a gather found: a decision on every candidate, and rows to append to other tables."""

    decisions: pa.Table
    """sample_id, kept, reason, detail: one row per candidate, ordered by sample_id."""
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    """New rows by table name, e.g. of `groups`."""


class Gather(Step, ABC):
    """Asks one question of the whole corpus: which pictures are copies, which rows are contaminated.

    It sees the store's tables as views, and two more that the engine makes for it:
    `candidates(sample_id)`, the rows that passed all earlier stages and await its decision, and
    `incumbents(sample_id)`, the rows that it kept earlier under the same policy. Those stay kept.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    """Tables of annotators, or of gathers, that must be there: ("perceptual_hash",)."""
    writes: ClassVar[tuple[str, ...]] = ()
    """Tables of its own, cleared when its settings change: ("groups",)."""
    guards: ClassVar[bool] = False
    """Whether it holds rows against the held-out ones, and decides anew when those change."""

    def tables(self) -> tuple[str, ...]:
        """`reads`, and the tables that its settings ask for besides: what it decided is stale when they change."""
        return self.reads

    @abstractmethod
    def gather(self, db: duckdb.DuckDBPyConnection) -> Gathered:
        """Decides on every row of `candidates`; may make temporary tables, and nothing lasting."""


@dataclass(frozen=True)
class Shard:
    """A piece of a source that is read in one go; equal keys mean equal content."""

    key: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    rows: int | None = None
    """Rows if known beforehand, for progress bars."""


RAW = pa.schema(
    [
        ("origin", pa.string()),  # required: stable within the source
        ("document", pa.string()),
        ("position", pa.int32()),
        ("version", pa.string()),
        ("image", pa.binary()),  # the bytes as they came, or null
        ("prompt", pa.string()),
        ("text", pa.binary()),  # as it came: perhaps not UTF-8
        ("lang", pa.string()),
        ("task", pa.string()),
        ("label", pa.string()),
        ("url", pa.string()),
        ("page_url", pa.string()),
        ("licence", pa.string()),
        ("author", pa.string()),
        ("consent", pa.string()),
        ("http", pa.string()),  # JSON of the answer's headers that matter
        ("fetched_at", pa.timestamp("us", tz="UTC")),  # null for now
        ("error", pa.string()),  # the source's own reason to drop the row: "missing_file", "http_404"
        ("detail", pa.string()),
    ]
)
"""What a source yields; a missing column is null."""


class Source(Step, ABC):
    """Yields shards, and reads one."""

    unfingerprinted: ClassVar[frozenset[str]] = frozenset()

    def check(self) -> None:
        """Raises SourceError if a file or folder of this machine that it names is not there: asked before Prefect
        starts, which takes a while. Reads no file, and asks no bucket."""

    def state(self) -> str | None:
        """A digest of all that listing would look at, where that is much cheaper than listing; else None."""
        return None

    @abstractmethod
    def shards(self, known: pa.Table) -> Iterable[Shard]:
        """Lists what there is. `known` (origin, version) holds what was ingested under this source's name,
        for sources that must group only what is new; others may ignore it: a shard whose key is committed is skipped."""

    @abstractmethod
    def read(self, shard: Shard) -> Iterator[pa.RecordBatch | pa.Table]:
        """The shard's rows in the columns of RAW; unreadable rows too, with their `error`."""


def digest(value: Any) -> str:
    """sha256 of canonical JSON, hex, first 32."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load(use: str, kind: type[Step] | tuple[type[Step], ...]) -> type[Step]:
    """The one Step in `pipeline.<use>`, or in a module of the user's own if `use` names it in full.

    Raises:
        StepError: no such module, one that cannot be imported, or not exactly one step of that kind in it.
    """
    for path in (f"pipeline.{use}", use) if all(map(str.isidentifier, use.split("."))) else ():
        try:
            module = importlib.import_module(path)
            break
        except (ImportError, SyntaxError, TypeError, ValueError) as error:  # the user's own module, perhaps
            absent = error.name if isinstance(error, ModuleNotFoundError) else None
            if absent is None or not f"{path}.".startswith(f"{absent}."):
                raise StepError(f'use = "{use}": {path} cannot be imported: {error}') from error
    else:
        raise StepError(
            f'use = "{use}": no such module, neither pipeline.{use} nor {use}; `millrace steps` lists all that there are'
        )
    steps = [
        thing
        for thing in vars(module).values()
        if inspect.isclass(thing)
        and issubclass(thing, kind)
        and thing.__module__ == module.__name__
        and not inspect.isabstract(thing)
    ]
    if len(steps) != 1:
        names = ", ".join(step.__name__ for step in steps) or "none"
        wanted = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise StepError(f'use = "{use}": expected one {wanted} in {module.__name__}, found {names}')
    return steps[0]
