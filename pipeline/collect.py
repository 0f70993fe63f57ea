"""One shard of a source into rows: sample ids, decoded and re-encoded pictures, denoised text, first decisions.

What a text lost on the way is the `detail` of its decision ("markup 12, tail 31", in bytes), also where it is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.decoders import Decoders
from pipeline.denoise import Denoise
from pipeline.refused import FORGOTTEN, Refused, bare
from pipeline.segment import PASSAGE, Segment, cut_documents, passage_origin
from pipeline.step import RAW, Shard, Source, digest
from pipeline.web.source import WITHDRAWN, WebSource
from storage import media, panels, tables
from storage.limits import Limits
from storage.media import MediaError
from storage.store import Store

STAGE = "collect"
PROMPT = "prompt"
"""For denoising, a prompt is a task of its own."""
VERSION = 2
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
    denoise: Denoise = field(default_factory=Denoise)
    segment: Segment = field(default_factory=Segment)

    def fingerprint(self) -> str:
        """Of the source's settings and of what is done to its texts."""
        text = [self.denoise.model_dump(mode="json"), self.segment.fingerprint()]
        return digest([self.name, self.held_out, self.source.fingerprint(), text])


def policy(limits: Limits) -> str:
    """Fingerprint of all that decides here which rows are kept."""
    return digest(["collect", VERSION, limits.settings()])


def part_key(origin: Origin, shard: Shard, limits: Limits) -> str:
    """Key of the part that holds a shard: its content, the source's settings and the limits."""
    return digest([origin.fingerprint(), policy(limits), shard.key])


def sample_id(source: str, origin: str, position: int) -> str:
    """blake2b-128 of (source name, origin, position): the same wherever the store lies."""
    text = f"{source}\0{origin}\0{position}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Rows:
    """A part's rows of `images`, `samples` and `decisions`, as they come in."""

    def __init__(self, origin: Origin, limits: Limits, refused: Refused | None = None) -> None:
        self.origin, self._policy, self._now = origin, policy(limits), datetime.now(UTC)
        self._refused = refused or Refused.nothing()
        self._made: dict[str, list[dict]] = {"samples": [], "decisions": []}
        self._pictures: dict[str, dict] = {}
        self._pieces: dict[tuple[str, str], set[str]] = {}
        self.bytes = 0
        """Of the pictures that are held."""

    def add(self, raw: dict, picture: media.Picture | None, reason: str | None, detail: str | None) -> None:
        """Takes one row: its picture, or the reason why there is none."""
        raw["task"] = raw["task"] or "caption"
        denoise = self.origin.denoise
        text, text_reason, told = denoise.clean(raw["text"], raw["task"])
        prompt, prompt_reason, _ = denoise.clean(_bytes(raw["prompt"]), PROMPT)
        if prompt_reason and not reason and not text_reason:  # an answer without its question is none
            reason, detail = prompt_reason, "the prompt"
        reason = reason or text_reason or _nothing(picture, text)
        if reason is None:
            detail = "; ".join(filter(None, [_place(picture) if picture else None, told])) or None
        row = _sample_row(self.origin, raw, picture, prompt, text, self._now)
        if reason == FORGOTTEN or self._refused.row(row, picture):
            self._put(bare(row), FORGOTTEN, None)
            return
        if picture is not None and picture.image_id not in self._pictures:
            self._pictures[picture.image_id] = _image_row(picture)
            self.bytes += len(picture.image)
        passages = self.origin.segment.passages(text, raw) if reason is None else []
        for one in _in_passages(row, passages) if len(passages) > 1 else (row,):
            if one is not row and self._refused.row(one, None):
                self._put(bare(one), FORGOTTEN, None)
            else:
                self._put(one, reason, detail if one is row else None)
        if picture is not None and reason is None:
            self._add_pieces(raw, picture)

    def _put(self, row: dict, reason: str | None, detail: str | None) -> None:
        """A row of `samples` with its decision."""
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
        kept = [decision["kept"] for decision in self._made["decisions"]]
        cut_documents(self._made["samples"], kept, self.origin.segment, _whole)
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


def collect(
    origin: Origin, shard: Shard, limits: Limits, decoders: Decoders, refused: Refused | None = None
) -> dict[str, pa.Table]:
    """Reads a shard into the rows of `images`, `samples` and `decisions`.

    Raw bytes live no longer than their batch, so memory is bounded by the batch and the *stored* pictures.
    """
    rows = Rows(origin, limits, refused)
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


PASSAGES = f"""
SELECT p.sample_id FROM samples p JOIN samples s
ON s.source = p.source AND s.position = p.position AND s.origin = regexp_replace(p.origin, '{PASSAGE.pattern}', '')
AND (s.text IS NULL OR left(s.document_id, 32) = left(p.document_id, 32))
WHERE p.source = ? AND regexp_matches(p.origin, '{PASSAGE.pattern}')
"""
"""A source's own origins may end like a passage's: then no row of their document has what stands before the mark."""
OUTDATED = f"""
{PASSAGES} AND p.part <> s.part AND p.text IS NOT NULL
UNION ALL SELECT p.sample_id FROM samples p JOIN samples s
ON s.source = p.source AND s.origin = p.origin AND s.position = (p.position - {FIRST_PIECE}) // {panels.MOST}
WHERE p.source = ? AND p.position >= {FIRST_PIECE} AND p.part <> s.part AND p.image_id IS NOT NULL
"""
"""Passages and pieces come in the part of their row; what lies in another part is of an earlier text or picture. Those that
were withdrawn alone stay, as every withdrawn row does."""
CUT = f"source = ? AND (position >= {FIRST_PIECE} OR regexp_matches(origin, '{PASSAGE.pattern}'))"


def forget_former(store: Store, source: str) -> int:
    """Removes passages and pieces left of texts and pictures that were replaced since, or are cut otherwise now; returns how
    many. It hangs on what is stored alone: after a kill the next run does it.

    They go as a replaced row goes: from the present version of all tables, not from snapshots that pin others.
    """
    with store.over("samples") as db:
        if not db.execute(f"SELECT 1 FROM samples WHERE {CUT} LIMIT 1", [source]).fetchone():
            return 0
    with store.lock():
        with store.over("samples") as db:
            found = db.sql(OUTDATED, params=[source, source]).to_arrow_table()["sample_id"]
        beside = [t.name for t in (*tables.TABLES.values(), *store.declared()) if t.key[0] == "sample_id"]
        for name in sorted(beside, key=lambda name: name == "samples") if len(found) else ():
            store.delete(name, found)  # `samples` last: a kill before it begins anew
    return len(found)


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


def _whole(position: int) -> int:
    """Position of the row whose picture a piece is of; of any other row its own."""
    return position if position < FIRST_PIECE else (position - FIRST_PIECE) // panels.MOST


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
        "task": raw["task"],
        "label": raw["label"],
        "licence": raw["licence"],
        "author": raw["author"],
        "consent": raw["consent"] or "unknown",
        "held_out": origin.held_out,
        "fetched_at": raw["fetched_at"] or now,
        "http": raw["http"],
    }


def _in_passages(row: dict, passages: list[str]) -> Iterator[dict]:
    """A row for each passage of a row's text. Their `text_bytes` add up to those of the text as it came: the first row's
    hold what was cut away."""
    lengths = [len(passage.encode()) for passage in passages]
    came = row["text_bytes"]
    for number, (passage, length) in enumerate(zip(passages, lengths, strict=True)):
        origin = passage_origin(row["origin"], number)
        one = row if not number else dict(row)
        one |= {"origin": origin, "text": passage, "text_bytes": length}
        if number:
            one |= {"sample_id": sample_id(row["source"], origin, row["position"]), "image_id": None}
        else:
            one["text_bytes"] = came - sum(lengths[1:])
        yield one


def _table(name: str, rows: list[dict]) -> pa.Table:
    schema = tables.TABLES[name].schema
    return pa.Table.from_pylist(rows, schema=pa.schema([f for f in schema if f.name != "part"]))
