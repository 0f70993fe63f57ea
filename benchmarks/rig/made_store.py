"""A store of generated rows, all from their numbers: what a corpus of millions of captioned pictures looks like to SQL.

Two captions a picture, a dozen sources, thirteen languages, three deciding stages, three annotators; no pixels, for no
question reads any. The pictures' ids and the rows' are digests, as in a real store; rows lie in their order, as after
`maintain`.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from storage.store import Store
from storage.tables import signal_table

VERSION = 3
"""Raised when other rows are made: a store on disk is then made anew."""
SNAPSHOT, EARLIER = "made", "earlier"
CONTENT = "0123456789abcdef" * 4
RUN, CHECKPOINT, EVALUATION = "run", "fedcba9876543210", "evaluation"
SIGNALS = (
    signal_table("perceptual_hash", "image_id", pa.schema([("hash", pa.int64()), ("flat", pa.bool_())])),
    signal_table(
        "language",
        "sample_id",
        pa.schema([("lang", pa.string()), ("confidence", pa.float32()), ("agrees", pa.bool_())]),
    ),
    signal_table("image_text_score", "sample_id", pa.schema([("score", pa.float32())])),
)
PICTURE = "md5('p' || {}) || md5('q' || {})"
"""The 64 hexadecimal digits of a picture's id, from its number."""
WORDS = "string_split('red blue small large bird house woman man tree river on near a the old boat', ' ')"
TEXT = " || ' ' || ".join(f"{WORDS}[1 + (hash(n * 8 + {at}) % 16)::INTEGER]" for at in range(8))
LANGS = "['en', 'en', 'en', 'en', 'en', 'fr', 'de', 'es', 'zh', 'pt', 'it', 'nl', 'pl', 'sv', 'tr', NULL]"
LICENCES = "['CC0-1.0', 'CC-BY-4.0', 'CC-BY-SA-4.0', 'CC-BY-2.0', NULL]"
ROWS = """
SELECT n, md5('s' || n) AS sample_id, 'source-' || (sqrt(hash(n // 1000) % 144))::INTEGER AS source, n // 2 AS picture,
       CASE WHEN hash(n + 1) % 100 < 1 THEN 'collect' WHEN hash(n + 1) % 100 < 6 THEN 'filter'
            WHEN hash(n + 1) % 100 < 14 THEN 'near_duplicates' END AS dropped_by,
       ['train', 'train', 'train', 'train', 'validation', 'test'][1 + (hash(n // 2) % 6)::INTEGER] AS split
FROM range(?) r(n)
"""
TABLES = {
    "images": f"""
SELECT {PICTURE.format("n", "n")} AS image_id, NULL::BLOB AS image, 128 + (hash(n) % 128)::INTEGER AS width,
       128 + (hash(n + 1) % 128)::INTEGER AS height, 'jpeg' AS format, 1 AS frames, 'JPEG' AS original_format,
       (640 + hash(n) % 640)::INTEGER AS original_width, (480 + hash(n + 1) % 480)::INTEGER AS original_height,
       (20000 + hash(n) % 200000)::BIGINT AS original_bytes
FROM range((SELECT count(*) // 2 FROM made)) r(n)""",
    "decisions": """
SELECT sample_id, source, stage, dropped_by IS DISTINCT FROM stage AS kept,
       CASE WHEN dropped_by = stage THEN CASE stage WHEN 'near_duplicates' THEN 'duplicate' WHEN 'collect' THEN 'truncated'
            ELSE ['caption_too_short', 'too_small', 'language', 'contact_details'][1 + (n % 4)] END END AS reason,
       NULL AS detail, 'made' AS policy
FROM made, (VALUES ('collect', 1), ('filter', 2), ('near_duplicates', 3)) s(stage, place)
WHERE place <= coalesce(list_position(['collect', 'filter', 'near_duplicates'], dropped_by), 3)""",
    "groups": f"""
SELECT {PICTURE.format("n", "n")} AS image_id,
       {PICTURE.format("(n - (n % 12 = 0)::INT)", "(n - (n % 12 = 0)::INT)")} AS group_id
FROM range((SELECT count(*) // 2 FROM made)) r(n)""",
    "perceptual_hash": f"""
SELECT {PICTURE.format("n", "n")} AS image_id, (hash(n) >> 1)::BIGINT AS hash, n % 100 = 0 AS flat
FROM range((SELECT count(*) // 2 FROM made)) r(n)""",
    "language": f"""
SELECT sample_id, {LANGS}[1 + (hash(n) % 16)::INTEGER] AS lang, ((hash(n) % 1000) / 1000)::FLOAT AS confidence,
       hash(n) % 20 > 0 AS agrees
FROM made""",
    "image_text_score": "SELECT sample_id, ((hash(n + 7) % 10000) / 10000)::FLOAT AS score FROM made",
    "splits": "SELECT sample_id, md5('p' || picture) AS cluster_id, split FROM made WHERE dropped_by IS NULL",
    "members": f"""
SELECT name AS snapshot, sample_id, split, name || '@{CONTENT[:16]}' AS part
FROM made, (VALUES ('{SNAPSHOT}', 1), ('{EARLIER}', 2)) s(name, nth) WHERE dropped_by IS NULL AND n % nth = 0""",
    "snapshots": f"""
SELECT name AS snapshot, '{CONTENT}' AS content_hash, '{{}}' AS versions,
       (SELECT count(*) FROM made WHERE dropped_by IS NULL AND n % nth = 0) AS rows, '{{}}' AS licences,
       '2026-01-03 00:00:00+00'::TIMESTAMPTZ - to_days(nth) AS recorded_at
FROM (VALUES ('{SNAPSHOT}', 1), ('{EARLIER}', 2)) s(name, nth)""",
    "consents": """
SELECT 'https://host-' || (hash(n) % 500) || '.example/' || n || '.jpg' AS url, hash(n) % 20 > 0 AS allowed,
       ['robots', 'meta', 'none'][1 + (hash(n + 5) % 3)::INTEGER] AS basis, 'what it says' AS evidence,
       '2026-01-01 00:00:00+00'::TIMESTAMPTZ + to_seconds(n // 100) AS recorded_at
FROM range((SELECT count(*) // 10 FROM made)) r(n)""",
    "runs": f"""
SELECT '{RUN}' AS run_id, 'train' AS kind, state, '{SNAPSHOT}' AS snapshot, '{{}}' AS config, 'made' AS code_version,
       recorded_at
FROM (VALUES ('started', '2026-01-03 00:00:00+00'::TIMESTAMPTZ), ('finished', '2026-01-04 00:00:00+00'::TIMESTAMPTZ))
     s(state, recorded_at)""",
    "checkpoints": f"""
SELECT '{CHECKPOINT}' AS checkpoint_id, '{RUN}' AS run_id, 100000 AS step, '{SNAPSHOT}' AS snapshot, 12000000 AS parameters,
       '2026-01-04 00:00:00+00'::TIMESTAMPTZ AS recorded_at""",
    "batch_plan": f"""
SELECT '{RUN}' AS run_id, n AS step, 0 AS slot,
       list_transform(range(64), lambda i: md5('s' || (hash(n * 64 + i) % 10000))) AS sample_ids
FROM range(10000) r(n)""",
    "evaluations": f"""
SELECT '{EVALUATION}' AS evaluation_id, '{CHECKPOINT}' AS checkpoint_id, '{SNAPSHOT}' AS snapshot, task, metric,
       'all' AS subset, 0.5 AS value, 0.4 AS low, 0.6 AS high, 500 AS n, '2026-01-04 00:00:00+00'::TIMESTAMPTZ AS recorded_at
FROM (VALUES ('caption'), ('vqa')) t(task), (VALUES ('exact'), ('chrf')) m(metric)""",
    "answers": f"""
SELECT '{EVALUATION}' AS evaluation_id, sample_id, '' AS part_of, 'caption' AS task, {TEXT} AS expected, {TEXT} AS output,
       hash(n) % 2 = 0 AS correct FROM made WHERE n < 1000""",
    "attempts": """
SELECT 'https://host-' || (hash(n) % 500) || '.example/' || n || '.jpg' AS url, 1 AS attempt,
       'host-' || (hash(n) % 500) || '.example' AS host,
       coalesce(['http_404', 'timeout', 'consent_refused'][1 + (hash(n + 3) % 10)::INTEGER], 'ok') AS outcome,
       (hash(n) % 200000)::BIGINT AS bytes, (hash(n) % 2000)::INTEGER AS milliseconds,
       '2026-01-01 00:00:00+00'::TIMESTAMPTZ + to_seconds(n // 100) AS recorded_at
FROM range((SELECT count(*) // 10 FROM made)) r(n)""",
    "metrics": """
SELECT 'run' AS run_id, step, name, 5 / (1 + ln(step)) AS value,
       '2026-01-03 00:00:00+00'::TIMESTAMPTZ + to_seconds(step) AS recorded_at
FROM range(10, 100001, 10) r(step), (VALUES ('loss_text'), ('loss_image'), ('tokens_per_second')) t(name)""",
    "samples": f"""
SELECT sample_id, md5('d' || picture) AS document_id, 0 AS position, source, source || '/' || n || '.jpg' AS origin,
       'https://host-' || (hash(picture) % 500) || '.example/' || picture || '.jpg' AS url,
       CASE WHEN dropped_by IS DISTINCT FROM 'collect' THEN {PICTURE.format("picture", "picture")} END AS image_id,
       {TEXT} AS text, {LANGS}[1 + (hash(n) % 16)::INTEGER] AS lang,
       ['caption', 'caption', 'caption', 'vqa'][1 + (hash(n + 2) % 4)::INTEGER] AS task,
       CASE WHEN hash(n) % 50 = 0 THEN 'class-' || (hash(n + 4) % 10) END AS label,
       {LICENCES}[1 + (hash(n // 1000) % 5)::INTEGER] AS licence, 'author ' || (hash(picture) % 10000) AS author,
       'unknown' AS consent, false AS held_out, '2026-01-01 00:00:00+00'::TIMESTAMPTZ + to_seconds(n // 100) AS fetched_at
FROM made""",
}
"""The SELECT of each table's rows over `made`; samples last, as an ingest commits them."""


def write(path: Path, size: int) -> Store:
    """A store with so many samples, made only once."""
    store = Store.open(path)
    for table in SIGNALS:
        store.declare(table)
    with duckdb.connect(
        config={"threads": 2, "memory_limit": "4GB", "temp_directory": str(path / ".tmp")}
    ) as con:
        con.execute("LOAD icu; SET TimeZone = 'UTC'")
        con.execute(f"CREATE TABLE made AS {ROWS}", [size])
        for name, rows in TABLES.items():
            part = f"made {VERSION}"
            if not store.has(name, part):
                order = ", ".join(store.table(name).key)  # as `maintain` leaves them
                store.append(
                    name, con.sql(f"FROM ({rows}) ORDER BY {order}").to_arrow_reader(65_536), parts=[part]
                )
                print(f"made {name}", flush=True)
    return store
