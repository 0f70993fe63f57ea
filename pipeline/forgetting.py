"""Which rows and pictures are meant when something is to be forgotten, and whether a row that comes in is one of them.

Asked are all rows that the store ever had and that are still in a file: also former ones, which snapshots pin, and staged ones.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline import likeness
from pipeline.annotators.perceptual_hash import PerceptualHash
from pipeline.collect import FIRST_PIECE, PASSAGE
from pipeline.errors import SourceError
from pipeline.gathers.near_duplicates import NearDuplicates
from pipeline.likeness import Looks
from pipeline.lookalikes import TURNS
from pipeline.signatures import GRID, SIDE, colour_hash, grey_hash, is_coloured
from pipeline.vectors import cells
from pipeline.web.urls import absolute, redacted
from storage import blocklist, media, panels, purge
from storage.blocklist import HOST, Entry
from storage.contamination import LEAST_CHARACTERS, folded
from storage.errors import NothingNamed
from storage.limits import Limits
from storage.media import MediaError, Picture
from storage.settings import Settings
from storage.store import Store
from storage.takedown import Takedown, weighed
from storage.views import literal

BATCH = 512
"""Pictures without stored hashes that are hashed at once."""


class Named(Settings):
    """What is to be forgotten; whatever is named here goes, and nothing has to be."""

    samples: tuple[str, ...] = Field((), description="Ids of rows.")
    pictures: tuple[str, ...] = Field((), description="Ids of stored pictures: every row that shows one.")
    files: tuple[str, ...] = Field(
        (), description="Picture files on this machine: every row that shows the picture or a near-copy."
    )
    urls: tuple[str, ...] = Field((), description="Addresses of pictures or of their pages.")
    hosts: tuple[str, ...] = Field((), description='Hosts, as "example.org": not those below them.')
    sources: tuple[str, ...] = Field((), description="Sources by their names in the configuration.")
    licences: tuple[str, ...] = Field((), description="Licences as the rows state them.")
    texts: tuple[str, ...] = Field(
        (), description="Texts or prompts; case, white space and the full stop at the end do not count."
    )

    def things(self) -> list[tuple[str, str]]:
        """Kind and name of everything but picture files, as rows are asked for it."""
        named = [
            *(("sample", one.strip()) for one in self.samples),
            *(("picture", one.strip()) for one in self.pictures),
            *(("url", redacted(one.strip())) for one in self.urls),
            *(("host", blocklist.host(one.strip()) or one.strip().lower().rstrip(".")) for one in self.hosts),
            *(("source", one.strip()) for one in self.sources),
            *(("licence", one.strip()) for one in self.licences),
            *(("text", one) for one in _folded(self.texts)),
        ]
        return [(kind, one) for kind, one in named if one]


ROWS = """
CREATE TEMP TABLE doomed AS SELECT DISTINCT r.sample_id FROM rows r JOIN named n ON
     (n.kind = 'sample' AND r.sample_id = n.value)
  OR (n.kind = 'picture' AND r.image_id = n.value)
  OR (n.kind = 'url' AND n.value IN (r.url, r.page_url, r.location))
  OR (n.kind = 'host' AND n.value IN (r.host, r.page_host, r.origin_host))
  OR (n.kind = 'source' AND r.source = n.value)
  OR (n.kind = 'licence' AND r.licence = n.value)
  OR (n.kind = 'text' AND n.value IN (r.text, r.prompt))
"""
DERIVED = f"""
INSERT INTO doomed
SELECT DISTINCT p.sample_id FROM rows p JOIN (SELECT * FROM rows SEMI JOIN doomed USING (sample_id)) s
ON s.source = p.source AND (
     (s.position = p.position AND p.origin <> s.origin
      AND s.origin = regexp_replace(p.origin, '{PASSAGE.pattern}', ''))
  OR (p.position >= {FIRST_PIECE} AND p.origin = s.origin
      AND s.position = (p.position - {FIRST_PIECE}) // {panels.MOST}))
WHERE p.sample_id NOT IN (SELECT sample_id FROM doomed)
"""
"""Passages of a text and pieces of a picture, by the identity that `pipeline.collect` gives them."""
LEFT = """
SELECT DISTINCT {column} AS value FROM rows SEMI JOIN doomed USING (sample_id) WHERE {column} IS NOT NULL
EXCEPT SELECT {column} FROM rows ANTI JOIN doomed USING (sample_id)
ORDER BY 1
"""
"""What only doomed rows have."""


def planned(
    store: Store,
    named: Named,
    by: str,
    limits: Limits,
    alike: NearDuplicates | None = None,
    bases: Mapping[str, str | None] | None = None,
) -> Takedown:
    """What goes if these things are forgotten, and all that it touches; changes nothing. `bases` maps a source's name to
    what its relative URLs are relative to.

    Raises:
        NothingNamed: nothing was named, or a row, picture, source or licence that there is not and never was.
        SourceError: a picture file cannot be read.
    """
    shown = [_picture(file, limits) for file in named.files]
    things = named.things()
    if not things and not shown:
        raise NothingNamed("name what is to be forgotten: a sample, a URL, a host, a picture file, a text …")
    alike = alike or NearDuplicates()
    looks = [_looks(one) for one in shown]
    for picture, one in zip(shown, looks, strict=True):
        copies = {picture.image_id, *(_near(store, one, alike) if one else ())}
        things += [("picture", name) for name in sorted(copies)]
    key = blocklist.key_of(store.path, create=True)
    assert key is not None
    with store.cursor() as db:
        _find(db, store, things, bases or {})
        _refuse_unknown(db, store, key, named.things())
        ids = _column(db, "SELECT sample_id FROM doomed ORDER BY 1")
        pictures = _column(db, LEFT.format(column="image_id"))
        texts = [one for name in ("text", "prompt") for one in _column(db, LEFT.format(column=name))]
        urls = _urls(db, store, [value for kind, value in things if kind == "host"])
    told = [{"kind": kind, "digest": blocklist.digest(key, kind, value)} for kind, value in things]
    held = [Entry(one["kind"], one["digest"]) for one in told]
    held += [Entry("sample", blocklist.digest(key, "sample", one)) for one in ids]
    held += [Entry("picture", blocklist.digest(key, "picture", one)) for one in pictures]
    held += [Entry("looks", blocklist.masked(key, _hashes(one)), alike.radius) for one in looks if one]
    return weighed(
        store,
        Takedown(
            request_id=uuid.uuid4().hex[:12],
            requested_by=by,
            named=told,
            entries=list(dict.fromkeys(held)),
            samples=ids,
            pictures=pictures,
            urls=sorted({*urls, *(value for kind, value in things if kind == "url")}),
            texts=sorted({one for one in texts if len(one) > LEAST_CHARACTERS}),
        ),
    )


def _find(
    db: duckdb.DuckDBPyConnection,
    store: Store,
    things: Sequence[tuple[str, str]],
    bases: Mapping[str, str | None],
) -> None:
    """Makes `rows`, and `doomed(sample_id)`: the rows that are meant and those that derive from them."""
    every = purge.everything(store, "samples")
    db.register("whole_urls", _absolute(db, every, bases))
    where = {"url": "host", "page_url": "page_host", "location": "origin_host"}
    hosts = ", ".join(
        f"lower(regexp_extract({url}, {literal(HOST)}, 1)) AS {host}" for url, host in where.items()
    )
    db.execute(
        f"CREATE TEMP TABLE rows AS SELECT *, {hosts} FROM (SELECT DISTINCT sample_id, s.source, origin, position, image_id, "
        f"licence, {folded('text')} AS text, {folded('prompt')} AS prompt, coalesce(u.absolute, s.url) AS url, "
        f"coalesce(p.absolute, s.page_url) AS page_url, coalesce(o.absolute, s.origin) AS location FROM ({every}) s "
        + " ".join(
            f"LEFT JOIN whole_urls {name} ON {name}.source = s.source AND {name}.url = s.{column}"
            for name, column in (("u", "url"), ("p", "page_url"), ("o", "origin"))
        )
        + ")"
    )
    kinds, values = zip(*things, strict=True)
    db.register("named", pa.table({"kind": pa.array(kinds), "value": pa.array(values)}))
    db.execute(ROWS)
    db.execute(DERIVED)


def _refuse_unknown(
    db: duckdb.DuckDBPyConnection, store: Store, key: bytes, things: Sequence[tuple[str, str]]
) -> None:
    """A slip of the pen must not pass for a takedown. Addresses and texts may be kept out before any row has them."""
    held = {(row["kind"], row["digest"]) for row in store.read("blocklist", ["kind", "digest"]).to_pylist()}
    columns = {"sample": "sample_id", "picture": "image_id", "source": "source", "licence": "licence"}
    for kind, value in things:
        if kind not in columns or (kind, blocklist.digest(key, kind, value)) in held:
            continue
        if not db.execute(f"SELECT 1 FROM rows WHERE {columns[kind]} = ? LIMIT 1", [value]).fetchall():
            raise NothingNamed(f'no row has the {kind} "{value}", and none was forgotten: nothing was done')


def _absolute(db: duckdb.DuckDBPyConnection, every: str, bases: Mapping[str, str | None]) -> pa.Table:
    """What the relative URLs of sources stand for: source, url, absolute."""
    db.register(
        "based", pa.table({"source": pa.array([name for name, base in bases.items() if base], pa.string())})
    )
    found = db.sql(
        f"SELECT DISTINCT source, unnest([url, page_url, origin]) AS url FROM ({every}) SEMI JOIN based USING (source)"
    ).to_arrow_table().to_pylist()  # fmt: skip
    rows = [
        {**one, "absolute": redacted(absolute(one["url"], bases[one["source"]]))}
        for one in found
        if one["url"]
    ]
    return pa.Table.from_pylist(
        rows, pa.schema([(name, pa.string()) for name in ("source", "url", "absolute")])
    )


def _urls(db: duckdb.DuckDBPyConnection, store: Store, hosts: Sequence[str]) -> list[str]:
    """Addresses that only doomed rows have, and all of the named hosts."""
    found = [one for name in ("url", "page_url", "origin") for one in _column(db, LEFT.format(column=name))]
    db.register("named_hosts", pa.table({"host": pa.array(hosts, pa.string())}))
    for table in ("attempts", "consents"):
        of = f"lower(regexp_extract(url, {literal(HOST)}, 1))"
        found += _column(
            db,
            f"SELECT DISTINCT url FROM ({purge.everything(store, table)}) WHERE {of} IN (SELECT host FROM named_hosts)",
        )
    return [one for one in found if "://" in one]


def _column(db: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    return [one for (one,) in db.sql(query).fetchall()]


def _folded(texts: Sequence[str]) -> list[str]:
    with closing(blocklist.scratch()) as db:
        return blocklist.fold(db, texts) if texts else []


# --- pictures ---------------------------------------------------------------------------------------------


def _picture(file: str, limits: Limits) -> Picture:
    """A picture file as it would be stored."""
    try:
        return media.normalise(Path(file).expanduser().read_bytes(), limits)
    except OSError as error:
        raise SourceError(f"{file}: {error.strerror}") from None
    except MediaError as error:
        raise SourceError(f"{file} is no picture that can be looked for: {error.reason}") from None


def _signed(pictures: pa.Table) -> pa.Table:
    """The hashes and cells of pictures (image_id, image, width, height)."""
    return PerceptualHash().annotate(pictures, {})


def _as_table(picture: Picture) -> pa.Table:
    one = {name: [getattr(picture, name)] for name in ("image_id", "image", "width", "height")}
    return pa.table(one)


def _looks(picture: Picture) -> pa.Table | None:
    """What a picture looks like; None if it is one colour all over, which nothing can be near to."""
    signed = _signed(_as_table(picture))
    return None if signed["flat"][0].as_py() else signed


def _hashes(looks: pa.Table) -> tuple[int, int | None]:
    return looks["hash"][0].as_py(), looks["colour_hash"][0].as_py()


def _near(store: Store, looks: pa.Table, alike: NearDuplicates) -> list[str]:
    """Ids of the stored pictures that `near_duplicates` would take for the same as this one."""
    found: set[str] = set()
    own = Looks(cells(looks["layout"], GRID, GRID), cells(looks["thumbnail"], SIDE, SIDE, 3))
    for known in _known(store):
        for turn in TURNS[alike.orientations]:
            asked = own.turned(turn)
            grey = int(grey_hash(asked.layouts)[0])
            near = _close(known["hash"], grey, alike.radius)
            if is_coloured(asked.thumbnails)[0]:
                near |= _close(known["colour_hash"], int(colour_hash(asked.thumbnails)[0]), alike.radius)
            few = known.filter(pa.array(near & ~known["flat"].to_numpy(zero_copy_only=False)))
            if not few.num_rows:
                continue
            others = Looks(cells(few["layout"], GRID, GRID), cells(few["thumbnail"], SIDE, SIDE, 3))
            same = likeness.same(
                asked.take(np.zeros(few.num_rows, np.int64)), others, alike.tolerance, alike.lines, alike.relabelled
            )  # fmt: skip
            found |= set(few.filter(pa.array(same))["image_id"].to_pylist())
    return sorted(found)


def _close(hashes: pa.ChunkedArray, asked: int, radius: int) -> np.ndarray:
    """Which of some hashes differ from one in few bits: bool [n]; null differs."""
    there = hashes.is_valid().to_numpy(zero_copy_only=False)
    values = hashes.fill_null(0).to_numpy(zero_copy_only=False)
    return there & (np.bitwise_count(values ^ np.int64(asked)) <= radius)


def _known(store: Store) -> Iterator[pa.Table]:
    """What all stored pictures look like, some at a time: as the annotator stored it, or made here where it has not."""
    table = PerceptualHash.table()
    declared = table in {one.name for one in store.declared()}
    signed = purge.everything(store, table) if declared else None
    images = purge.everything(store, "images")
    with store.cursor() as db:
        if signed:
            columns = "image_id, hash, colour_hash, flat, thumbnail, layout"
            reader = db.sql(f"SELECT DISTINCT {columns} FROM ({signed}) WHERE hash IS NOT NULL")
            yield from map(_one, reader.to_arrow_reader(16 * BATCH))
        rest = f"SELECT image_id, image, width, height FROM ({images}) " + (
            f"WHERE image_id NOT IN (SELECT image_id FROM ({signed}))" if signed else ""
        )
        for batch in db.sql(rest).to_arrow_reader(BATCH):
            yield _signed(_one(batch))


def _one(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])
