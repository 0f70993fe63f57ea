"""One shard of a source into rows: sample ids, decoded and re-encoded pictures, cleaned text, first decisions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.decoders import Decoders
from pipeline.step import RAW, Shard, Source, digest
from pipeline.text import clean
from pipeline.web.source import WITHDRAWN, WebSource
from storage import media, panels, tables
from storage.media import Limits, MediaError

STAGE = "collect"
VERSION = 1
"""Raised whenever the same shard would give other rows."""
FIRST_PIECE = 1 << 30
"""Position of the first piece of a document's first picture; those of its n-th row begin `panels.MOST` * n later. They stand
behind all rows of the document, under its origin: what is withdrawn or replaced there takes them with it."""


@dataclass(frozen=True)
class Origin:
    """A source with what the configuration says of it."""

    name: str
    source: Source | WebSource
    held_out: bool = False


def policy(limits: Limits) -> str:
    """Fingerprint of all that decides here."""
    return digest(["collect", VERSION, limits.model_dump(mode="json")])


def part_key(origin: Origin, shard: Shard, limits: Limits) -> str:
    """Key of the part that holds a shard: its content, the source's settings and the limits."""
    return digest([origin.name, origin.held_out, origin.source.fingerprint(), policy(limits), shard.key])


def sample_id(source: str, origin: str, position: int) -> str:
    """blake2b-128 of (source name, origin, position): the same wherever the store lies."""
    text = f"{source}\0{origin}\0{position}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Rows:
    """A part's rows of `images`, `samples` and `decisions`, as they come in."""

    def __init__(self, origin: Origin, limits: Limits) -> None:
        self.origin, self._policy, self._now = origin, policy(limits), datetime.now(UTC)
        self._made: dict[str, list[dict]] = {"samples": [], "decisions": []}
        self._pictures: dict[str, dict] = {}
        self._pieces: dict[tuple[str, str], set[str]] = {}
        self.bytes = 0
        """Of the pictures that are held."""

    def add(self, raw: dict, picture: media.Picture | None, reason: str | None, detail: str | None) -> None:
        """Takes one row: its picture, or the reason why there is none."""
        if picture is not None and picture.image_id not in self._pictures:
            self._pictures[picture.image_id] = _image_row(picture)
            self.bytes += len(picture.image)
        text, text_reason = clean(raw["text"])
        prompt, prompt_reason = clean(_bytes(raw["prompt"]))
        if prompt_reason and not reason and not text_reason:  # an answer without its question is none
            reason, detail = prompt_reason, "the prompt"
        reason = reason or text_reason or _nothing(picture, text)
        if picture is not None and reason is None:
            detail = _place(picture)
        row = _sample_row(self.origin, raw, picture, prompt, text, self._now)
        self._made["samples"].append(row)
        self._made["decisions"].append(
            {
                "sample_id": row["sample_id"],
                "source": self.origin.name,
                "stage": STAGE,
                "kept": reason is None,
                "reason": reason,
                "detail": detail,
                "policy": self._policy,
            }
        )
        if picture is not None and reason is None:
            self._add_pieces(raw, picture)

    def _add_pieces(self, raw: dict, picture: media.Picture) -> None:
        """A row for each piece of a picture, without text: that tells of the whole. A document has them once, however many of
        its rows show the picture."""
        first = FIRST_PIECE + panels.MOST * (raw["position"] or 0)
        of = (raw["document"] or raw["origin"], picture.image_id)
        if (
            not picture.panels
            or of in self._pieces
            or not FIRST_PIECE <= first < 2 * FIRST_PIECE - panels.MOST
        ):
            return
        bare = raw | dict.fromkeys(("text", "prompt", "label", "lang"))
        self._pieces[of] = {
            sample_id(self.origin.name, raw["origin"], first + n) for n in range(len(picture.panels))
        }
        for place, piece in enumerate(picture.panels):
            self.add({**bare, "document": of[0], "position": first + place}, piece, None, None)

    def tables(self) -> dict[str, pa.Table]:
        """The rows by table.

        Raises:
            SourceIdentityError: two rows have the same (origin, position).
        """
        out = {name: _table(name, rows) for name, rows in self._made.items()}
        if self._pieces:  # a changed origin takes its former pieces back: not those that were made anew
            anew = pa.array(set().union(*self._pieces.values()), pa.string())
            old = pc.and_(
                pc.equal(out["decisions"]["reason"], WITHDRAWN), pc.is_in(out["decisions"]["sample_id"], anew)
            )
            keep = pc.invert(pc.fill_null(old, False))
            out = {name: rows.filter(keep) for name, rows in out.items()}  # the same rows, in the same order
        out["images"] = _table("images", list(self._pictures.values()))
        _check_unique(out["samples"])
        return out


def collect(origin: Origin, shard: Shard, limits: Limits, decoders: Decoders) -> dict[str, pa.Table]:
    """Reads a shard into the rows of `images`, `samples` and `decisions`.

    Raw bytes live no longer than their batch, so memory is bounded by the batch and the *stored* pictures.
    """
    rows = Rows(origin, limits)
    assert isinstance(origin.source, Source)
    for batch in origin.source.read(shard):
        raws = list(_rows(batch))
        # Several rows of a batch may share one picture, which is decoded once.
        raw_pictures = {_digest(raw): raw["image"] for raw in raws if _shows(raw)}
        found = dict(zip(raw_pictures, decoders.decode_all(raw_pictures.values()), strict=True))
        for raw in raws:
            rows.add(raw, *_picture(raw, found))
        del raws, raw_pictures, found  # before the next batch is read
    return rows.tables()


def _check_unique(samples: pa.Table) -> None:
    """Refuses a source that gives two rows one identity: nothing would then add up."""
    ids = samples["sample_id"]
    distinct = len(ids.unique())
    if distinct != len(ids):
        raise SourceIdentityError(
            f"{len(ids) - distinct} rows of this shard share (origin, position) with another; "
            "give each row its own origin or position"
        )


class SourceIdentityError(Exception):
    """Two rows of a source have the same (origin, position)."""


def _rows(batch: pa.Table | pa.RecordBatch) -> Iterator[dict]:
    if isinstance(batch, pa.RecordBatch):
        batch = pa.Table.from_batches([batch])
    names = set(batch.column_names)
    columns: Iterable[list] = [
        batch[name].to_pylist() if name in names else [None] * batch.num_rows for name in RAW.names
    ]
    for values in zip(*columns, strict=True):
        yield dict(zip(RAW.names, values, strict=True))


def _shows(raw: dict) -> bool:
    return raw["image"] is not None and not raw["error"]


def _digest(raw: dict) -> bytes:
    return hashlib.blake2b(raw["image"], digest_size=16).digest()


def _picture(
    raw: dict, found: Mapping[bytes, media.Picture | MediaError]
) -> tuple[media.Picture | None, str | None, str | None]:
    """(picture, reason, detail)."""
    if not _shows(raw):
        return None, raw["error"], raw["detail"]
    answer = found[_digest(raw)]
    if isinstance(answer, MediaError):
        return None, answer.reason, answer.detail
    return answer, None, None


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _nothing(picture: media.Picture | None, text: str | None) -> str | None:
    return "empty_row" if picture is None and not text else None


def _place(picture: media.Picture) -> str | None:
    """What was taken of the original, if that is not all."""
    if picture.box is None:
        return None
    return (
        "{}, {} to {}, {}".format(*picture.box) + f" of {picture.original_width} x {picture.original_height}"
    )


def _image_row(picture: media.Picture) -> dict:
    """A Picture is a row of `images`, without its part."""
    return {name: value for name, value in vars(picture).items() if name not in ("box", "panels")}


def _sample_row(
    origin: Origin,
    raw: dict,
    picture: media.Picture | None,
    prompt: str | None,
    text: str | None,
    now: datetime,
) -> dict:
    position = raw["position"] or 0
    document = raw["document"] or raw["origin"]
    return {
        "sample_id": sample_id(origin.name, raw["origin"], position),
        "document_id": sample_id(origin.name, document, -1),
        "position": position,
        "source": origin.name,
        "origin": raw["origin"],
        "version": raw["version"],
        "url": raw["url"],
        "page_url": raw["page_url"],
        "image_id": picture.image_id if picture else None,
        "prompt": prompt,
        "text": text,
        "text_bytes": len(raw["text"]) if raw["text"] is not None else None,
        "lang": raw["lang"],
        "task": raw["task"] or "caption",
        "label": raw["label"],
        "licence": raw["licence"],
        "author": raw["author"],
        "consent": raw["consent"] or "unknown",
        "held_out": origin.held_out,
        "fetched_at": raw["fetched_at"] or now,
        "http": raw["http"],
    }


def _table(name: str, rows: list[dict]) -> pa.Table:
    schema = tables.TABLES[name].schema
    return pa.Table.from_pylist(rows, schema=pa.schema([f for f in schema if f.name != "part"]))
