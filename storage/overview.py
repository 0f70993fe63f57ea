"""What is in the corpus, where it came from and what became of it: one view for each question that people ask.

FROM source_quality      FROM fetch_health      FROM duplicates       FROM languages
FROM token_budget        FROM snapshot_diff('a', 'b')                 FROM sample('id')
"""

from __future__ import annotations

from storage.derived import View
from storage.tables import TABLES

SOURCE = "Name of the source."
LAST_TRIES = r"""
last AS (SELECT url, arg_max({'host': host, 'outcome': outcome, 'next_due': next_due}, (attempt, recorded_at)) AS said
         FROM attempts WHERE url NOT LIKE '%/robots.txt' AND url NOT LIKE '%/.well-known/tdmrep.json' GROUP BY url)"""
"""The last attempt of each URL of the corpus; requests for consent are none."""

SOURCE_QUALITY = View(
    "source_quality",
    "How much of each source is kept, and what it is worth: the least of it first.",
    {
        "source": SOURCE,
        "came_in": "Rows that came in. [rows]",
        "kept": "Rows that every stage kept. [rows]",
        "dropped": "Rows that a stage dropped. [rows]",
        "kept_share": "Kept rows of those that came in, from 0 to 1; null when none did.",
        "undecodable": "Rows that were dropped when they were read. [rows]",
        "copies": "Rows that were dropped as duplicates. [rows]",
        "main_reason": "The reason that dropped most rows; null when none was dropped.",
        "without_licence": "Rows whose licence is not stated. [rows]",
        "newest": "When the newest row was read. [UTC]",
    },
    """
WITH reasons AS (
    SELECT source, coalesce(reason, 'unstated') AS reason, stage, count(*) AS n FROM losses GROUP BY ALL),
lost AS (
    SELECT source, sum(n)::BIGINT AS dropped, coalesce(sum(n) FILTER (stage = 'collect'), 0)::BIGINT AS undecodable,
           coalesce(sum(n) FILTER (reason LIKE '%duplicate%'), 0)::BIGINT AS copies,
           arg_max(reason, (n, reason)) AS main_reason
    FROM reasons GROUP BY source),
judged AS (SELECT source, count(*) AS judged FROM decisions WHERE stage = 'collect' GROUP BY source),
entered AS (
    SELECT source, count(*) AS came_in,
           count(*) FILTER (licence IS NULL) AS without_licence, max(fetched_at) AS newest
    FROM samples GROUP BY source)
SELECT source, came_in, coalesce(judged, 0) - coalesce(dropped, 0) AS kept, coalesce(dropped, 0) AS dropped,
       kept / nullif(came_in, 0) AS kept_share,
       coalesce(undecodable, 0) AS undecodable, coalesce(copies, 0) AS copies, main_reason, without_licence, newest
FROM entered LEFT JOIN lost USING (source) LEFT JOIN judged USING (source)
ORDER BY kept_share, came_in DESC, source
""",
)

FETCH_HEALTH = View(
    "fetch_health",
    "How fetching goes, host by host: the last attempt of each URL counts, and requests for consent do not.",
    {
        "host": "Host of the URLs.",
        "urls": "Different URLs that were asked for.",
        "success": "Share of them that were fetched, from 0 to 1.",
        "refused": "URLs that the site does not let us take.",
        "due_again": "URLs that are to be tried again.",
        "requests": "Attempts at all of them, postponed ones left out.",
        "mb": "Bodies that came, after decompression. [MB]",
        "median_ms": "Median duration of an attempt. [ms]",
        "main_error": "The outcome other than ok that most URLs ended with; null when none did.",
        "next_due": "When the first retry is due. [UTC]",
    },
    f"""
WITH {LAST_TRIES.strip()},
tries AS (SELECT host, count(*) AS requests, sum(bytes) / 1e6 AS mb, median(milliseconds)::INTEGER AS median_ms
          FROM attempts WHERE outcome NOT IN ('postponed', 'run_deadline') GROUP BY host),
hosts AS (
    SELECT host, count(*) AS urls, round(avg((outcome = 'ok')::INTEGER), 3) AS success,
           count(*) FILTER (outcome = 'consent_refused') AS refused, count(*) FILTER (next_due IS NOT NULL) AS due_again,
           mode(outcome ORDER BY outcome) FILTER (outcome <> 'ok') AS main_error, min(next_due) AS next_due
    FROM (SELECT said.* FROM last) GROUP BY host)
SELECT coalesce(hosts.host, '(no host)') AS host, urls, success, refused, due_again, requests, round(mb, 1) AS mb,
       median_ms, main_error, next_due
FROM hosts LEFT JOIN tries ON tries.host IS NOT DISTINCT FROM hosts.host
ORDER BY urls DESC, 1
""",
)

DUPLICATES = View(
    "duplicates",
    "Each group of two or more near-copies of one picture, the largest first.",
    {
        "group_id": "image_id of the group's first member.",
        "pictures": "Stored pictures in it. [pictures]",
        "samples": "Rows that refer to one of them. [rows]",
        "kept": "Those that every stage kept. [rows]",
        "sources": "Names of the sources that they came from.",
        "image_ids": "Its pictures, the first member first.",
    },
    """
WITH others AS (SELECT DISTINCT group_id FROM groups WHERE image_id <> group_id),
sized AS (
    SELECT group_id, image_id, count(*) OVER (PARTITION BY group_id) AS pictures
    FROM groups SEMI JOIN others USING (group_id) SEMI JOIN images USING (image_id)),
members AS (SELECT group_id, image_id FROM sized WHERE pictures > 1),
shown AS (SELECT group_id, s.sample_id, s.source FROM members JOIN samples s USING (image_id)),
lost AS (SELECT DISTINCT sample_id FROM decisions WHERE NOT kept AND sample_id IN (SELECT sample_id FROM shown)),
told AS (
    SELECT group_id, count(*) AS samples, count(*) FILTER (lost.sample_id IS NULL) AS kept,
           list(DISTINCT source ORDER BY source) AS sources
    FROM shown LEFT JOIN lost USING (sample_id) GROUP BY group_id),
listed AS (
    SELECT group_id, count(*) AS pictures, list(image_id ORDER BY image_id <> group_id, image_id) AS image_ids
    FROM members GROUP BY group_id)
SELECT group_id, pictures, coalesce(samples, 0) AS samples, coalesce(kept, 0) AS kept,
       coalesce(sources, []) AS sources, image_ids
FROM listed LEFT JOIN told USING (group_id)
ORDER BY pictures DESC, samples DESC, group_id
""",
)

LANGUAGES = View(
    "languages",
    "How much there is of each language, and how much of it is kept.",
    {
        "lang": "BCP 47 language of the text; (none) where none is known.",
        "came_in": "Rows that came in. [rows]",
        "kept": "Those that every stage kept. [rows]",
        "share": "Kept rows of this language among all that are kept, from 0 to 1.",
        "tasks": "Tasks to rows that came in.",
        "characters": "Mean length of a text. [characters]",
    },
    """
WITH lost AS (SELECT sample_id FROM losses),
counted AS (
    SELECT coalesce(lang, '(none)') AS lang, coalesce(task, '(none)') AS task, count(*) AS n,
           count(*) FILTER (lost.sample_id IS NULL) AS kept, sum(length(text)) AS characters, count(text) AS texts
    FROM samples LEFT JOIN lost USING (sample_id) GROUP BY 1, 2)
SELECT lang, sum(n)::BIGINT AS came_in, sum(kept)::BIGINT AS kept,
       sum(kept) / nullif(sum(sum(kept)) OVER (), 0) AS share,
       map_from_entries(list((task, n) ORDER BY n DESC, task)) AS tasks,
       round(sum(characters) / nullif(sum(texts), 0), 1) AS characters
FROM counted GROUP BY lang
ORDER BY came_in DESC, lang
""",
)

TOKEN_BUDGET = View(
    "token_budget",
    "Tokens of each snapshot under the tokenizers that it pins, by split, source and language.",
    {
        "snapshot": "Name of the snapshot; data snapshots, which pin no tokenizer, are not told of.",
        "split": "train, validation or test.",
        "source": SOURCE,
        "lang": "Language of the texts; (none) where none is known.",
        "samples": "Rows. [rows]",
        "pictures": "Different pictures among them: one of two languages counts in both. [pictures]",
        "prompt_tokens": "Tokens of prompts. [tokens]",
        "text_tokens": "Tokens of texts. [tokens]",
        "image_tokens": "Codes of the different pictures. [tokens]",
        "tokens": "All three. [tokens]",
    },
    """
WITH pinned AS (
    SELECT snapshot, text_tokenizer, image_tokenizer FROM snapshots WHERE text_tokenizer IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY snapshot ORDER BY recorded_at DESC) = 1),
held AS (
    SELECT m.snapshot, m.split, s.source, coalesce(s.lang, '(none)') AS lang, m.sample_id, s.image_id,
           p.text_tokenizer, p.image_tokenizer
    FROM snapshot_members m JOIN pinned p USING (snapshot) JOIN samples s USING (sample_id)),
texts AS (
    SELECT snapshot, split, source, lang, count(*) AS samples, coalesce(sum(len(prompt_ids)), 0)::BIGINT AS prompt_tokens,
           coalesce(sum(len(ids)), 0)::BIGINT AS text_tokens
    FROM held h LEFT JOIN text_tokens t ON t.sample_id = h.sample_id AND t.tokenizer_id = h.text_tokenizer
    GROUP BY ALL),
shown AS (
    SELECT DISTINCT snapshot, split, source, lang, image_id, image_tokenizer FROM held WHERE image_id IS NOT NULL),
codes AS (
    SELECT snapshot, split, source, lang, count(*) AS pictures, coalesce(sum(len(codes)), 0)::BIGINT AS image_tokens
    FROM shown s LEFT JOIN image_tokens i ON i.image_id = s.image_id AND i.tokenizer_id = s.image_tokenizer
    GROUP BY ALL)
SELECT texts.snapshot, texts.split, texts.source, texts.lang, samples, coalesce(pictures, 0) AS pictures, prompt_tokens,
       text_tokens, coalesce(image_tokens, 0) AS image_tokens,
       prompt_tokens + text_tokens + coalesce(image_tokens, 0) AS tokens
FROM texts LEFT JOIN codes USING (snapshot, split, source, lang)
ORDER BY texts.snapshot, texts.split <> 'train', texts.split, tokens DESC, texts.source, texts.lang
""",
)

SNAPSHOT_DIFF = View(
    "snapshot_diff",
    "What differs between two snapshots, by source: rows that only one of them holds, and rows in another split.",
    {
        "source": "Name of the source; (gone) for rows that are no longer in the store.",
        "in_both": "Rows that both hold. [rows]",
        "only_a": "Rows that the first alone holds. [rows]",
        "only_b": "Rows that the second alone holds. [rows]",
        "other_split": "Rows of both that stand in another split. [rows]",
    },
    """
WITH first AS (SELECT sample_id, any_value(split) AS split FROM snapshot_members WHERE snapshot = a GROUP BY sample_id),
second AS (SELECT sample_id, any_value(split) AS split FROM snapshot_members WHERE snapshot = b GROUP BY sample_id),
united AS (
    SELECT coalesce(first.sample_id, second.sample_id) AS sample_id, first.split AS before, second.split AS after
    FROM first FULL JOIN second ON first.sample_id = second.sample_id)
SELECT coalesce(s.source, '(gone)') AS source, count(*) FILTER (before IS NOT NULL AND after IS NOT NULL) AS in_both,
       count(*) FILTER (after IS NULL) AS only_a, count(*) FILTER (before IS NULL) AS only_b,
       count(*) FILTER (before <> after) AS other_split
FROM united LEFT JOIN samples s USING (sample_id) GROUP BY ALL ORDER BY only_a + only_b + other_split DESC, 1
""",
    takes=("a", "b"),
)

SAMPLE = View(
    "sample",
    "All that is known of one row, as one row: what came in, what became of it, and where it went.",
    {
        **{column.name: column.doc for column in TABLES["samples"].columns if column.name != "part"},
        "width": "Stored width of its picture. [pixels]",
        "height": "Stored height of its picture. [pixels]",
        "group_id": "image_id of the first member of its picture's group of near-copies.",
        "kept": "Whether every stage kept it; null when nothing has decided yet.",
        "dropped_by": "The stage that dropped it; null when kept.",
        "reason": "Why it was dropped; null when kept.",
        "split": "train, validation or test; null when it is in none.",
        "snapshots": "Names of the snapshots that hold it, the oldest first.",
        "steps": "Training steps of all runs that read it.",
    },
    """
SELECT s.* EXCLUDE (part), i.width, i.height, g.group_id, v.kept, v.stage AS dropped_by, v.reason, p.split,
       coalesce((SELECT list(snapshot ORDER BY snapshot_at) FROM snapshot_members WHERE sample_id = id), []) AS snapshots,
       (SELECT count(*) FROM trained_on WHERE sample_id = id) AS steps
FROM samples s LEFT JOIN images i USING (image_id) LEFT JOIN groups g USING (image_id)
     LEFT JOIN (SELECT * FROM verdicts WHERE sample_id = id) v USING (sample_id)
     LEFT JOIN (SELECT sample_id, split FROM splits WHERE sample_id = id) p USING (sample_id)
WHERE s.sample_id = id
""",
    takes=("id",),
)

VIEWS = (SOURCE_QUALITY, FETCH_HEALTH, DUPLICATES, LANGUAGES, TOKEN_BUDGET, SNAPSHOT_DIFF, SAMPLE)
