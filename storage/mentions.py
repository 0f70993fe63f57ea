"""Which texts speak of which group of people, as SQL: `FROM bias_by_group`.

A term counts as whole words, in texts of its own language only. A text's language is the stated one, else the one that
annotators.language found, where it ran. The reports ask more of the same three SELECTs (dashboards.bias).
"""

from __future__ import annotations

from storage.derived import View
from storage.groups_of_people import listed

LONGEST_TERM = 5
"""Words."""


def words(text: str) -> str:
    """SQL of a text's words between single spaces: lower case, without punctuation, each Han character by itself."""
    apart = f"regexp_replace(lower(nfc_normalize({text})), '(\\p{{Han}})', ' \\1 ', 'g')"
    return f"trim(regexp_replace({apart}, '[^\\p{{L}}\\p{{N}}\\p{{M}}]+', ' ', 'g'))"


def terms() -> str:
    """SELECT of kind, group_name, lang, term: what is listed; function words are of the kind "stop"."""
    entries, term = ";".join(listed()).replace("'", "''"), words("split_part(entry, '|', 4)")
    return (
        "SELECT split_part(entry, '|', 1) AS kind, split_part(entry, '|', 2) AS group_name, "
        f"split_part(entry, '|', 3) AS lang, {term} AS term "
        f"FROM (SELECT unnest(string_split('{entries}', ';')) AS entry)"
    )


WORDED = (
    f"SELECT sample_id, lang, label, string_split({words('text')}, ' ') AS w "
    "FROM (SELECT sample_id, text, label, "
    "split_part(coalesce(*COLUMNS(lambda c: c IN ('lang', 'language_lang'))), '-', 1) AS lang "
    "FROM signals WHERE text IS NOT NULL) WHERE lang IN (SELECT lang FROM terms WHERE kind <> 'stop')"
)
"""SELECT of sample_id, lang, label, w: the words of each text in a language that `terms` has words of."""

_RUN = "list_transform(range(1, len(w) - n + 2), lambda i: array_to_string(w[i : i + n - 1], ' '))"
MENTIONS = (
    "SELECT DISTINCT sample_id, kind, group_name FROM (SELECT sample_id, lang, "
    f"unnest(flatten([{_RUN} for n in {list(range(1, LONGEST_TERM + 1))} if n <= len(w)])) AS term FROM worded) "
    "JOIN terms USING (lang, term) WHERE kind <> 'stop'"
)
"""SELECT of sample_id, kind, group_name over `worded` and `terms`: each group that a text speaks of, once."""

BIAS_BY_GROUP = View(
    "bias_by_group",
    "How many texts speak of each group of people, and how often those are dropped, beside the other texts of those languages.",
    {
        "kind": "gender or region.",
        "group_name": "The group.",
        "texts": "Texts that speak of it. [rows]",
        "share": "Of all texts in languages that have a list of terms, from 0 to 1.",
        "kept": "Those that every stage kept. [rows]",
        "dropped": "Those that a stage dropped. [rows]",
        "drop_rate": "Dropped of those that speak of it, from 0 to 1.",
        "rest_drop_rate": "Dropped of the other texts, from 0 to 1; null when there are none.",
        "times_as_often": "The first rate over the second; null when nothing of the rest was dropped.",
    },
    f"""
WITH terms AS MATERIALIZED ({terms()}),
worded AS MATERIALIZED ({WORDED}),
mentions AS ({MENTIONS}),
lost AS (SELECT DISTINCT sample_id FROM decisions WHERE NOT kept),
spoken_of AS (
    SELECT kind, group_name, count(*) AS texts, count(lost.sample_id) AS dropped
    FROM mentions LEFT JOIN lost USING (sample_id) GROUP BY ALL),
every AS (
    SELECT count(*) AS texts, count(lost.sample_id) AS dropped FROM worded LEFT JOIN lost USING (sample_id))
SELECT kind, group_name, s.texts, s.texts / every.texts AS share, s.texts - s.dropped AS kept, s.dropped,
       s.dropped / s.texts AS drop_rate,
       (every.dropped - s.dropped) / nullif(every.texts - s.texts, 0) AS rest_drop_rate,
       drop_rate / nullif(rest_drop_rate, 0) AS times_as_often
FROM spoken_of s, every
ORDER BY kind, s.texts DESC, group_name
""",
)

VIEWS = (BIAS_BY_GROUP,)
