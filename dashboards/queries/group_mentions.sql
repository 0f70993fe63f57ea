-- How many texts speak of each group of people, as they came in and in the snapshot? Terms of the text's own language, whole words (`texts_left_out`: in a language without a list, or in none that is known).
WITH chosen AS (
    SELECT sample_id FROM members WHERE snapshot = $snapshot
    UNION ALL
    SELECT sample_id FROM verdicts WHERE kept AND $snapshot IS NULL),
listed AS (
    SELECT split_part(entry, '|', 1) AS kind, split_part(entry, '|', 2) AS group_name, split_part(entry, '|', 3) AS lang,
           trim(regexp_replace(regexp_replace(lower(nfc_normalize(split_part(entry, '|', 4))), '(\p{Han})', ' \1 ', 'g'), '[^\p{L}\p{N}\p{M}]+', ' ', 'g')) AS term
    FROM (SELECT unnest($terms) AS entry)),
people AS (SELECT * FROM listed WHERE kind <> 'stop'),
spoken AS (  -- in the stated language, else in the one that annotators.language found, where it ran
    SELECT sample_id, text, split_part(coalesce(*COLUMNS(lambda c: c IN ('lang', 'language_lang'))), '-', 1) AS lang
    FROM signals WHERE text IS NOT NULL),
texts AS (
    SELECT sample_id, lang, sample_id IN (SELECT sample_id FROM chosen) AS held,
           string_split(trim(regexp_replace(regexp_replace(lower(nfc_normalize(text)), '(\p{Han})', ' \1 ', 'g'), '[^\p{L}\p{N}\p{M}]+', ' ', 'g')), ' ') AS w
    FROM spoken
    WHERE lang IN (SELECT lang FROM people)),
runs AS (
    SELECT sample_id, lang, held, unnest(flatten([list_transform(range(1, len(w) - n + 2), lambda i: array_to_string(w[i : i + n - 1], ' '))
                                                 for n in [1, 2, 3, 4, 5] if n <= len(w)])) AS term
    FROM texts),
mentions AS (SELECT DISTINCT sample_id, held, kind, group_name FROM runs JOIN people USING (lang, term)),
totals AS (SELECT count(*) AS all_texts, count(*) FILTER (held) AS held_texts,
                  (SELECT count(*) FROM spoken) AS all_spoken FROM texts)
SELECT kind, group_name, count(m.sample_id) AS came_in,
       CASE WHEN any_value(all_texts) > 0 THEN count(m.sample_id) / any_value(all_texts) END AS share_came_in,
       count(m.sample_id) FILTER (m.held) AS kept,
       CASE WHEN any_value(held_texts) > 0 THEN count(m.sample_id) FILTER (m.held) / any_value(held_texts) END AS share_kept,
       any_value(all_texts) AS texts, any_value(held_texts) AS texts_kept,
       any_value(all_spoken) - any_value(all_texts) AS texts_left_out
FROM (SELECT DISTINCT kind, group_name FROM people) JOIN totals ON all_spoken > 0 LEFT JOIN mentions m USING (kind, group_name)
GROUP BY ALL
ORDER BY kind, came_in DESC, group_name
