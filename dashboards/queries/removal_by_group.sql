-- How often does each stage drop texts that speak of a group of people, beside the other texts that it saw in those languages?
WITH listed AS (
    SELECT split_part(entry, '|', 1) AS kind, split_part(entry, '|', 2) AS group_name, split_part(entry, '|', 3) AS lang,
           trim(regexp_replace(regexp_replace(lower(nfc_normalize(split_part(entry, '|', 4))), '(\p{Han})', ' \1 ', 'g'), '[^\p{L}\p{N}\p{M}]+', ' ', 'g')) AS term
    FROM (SELECT unnest($terms) AS entry)),
people AS (SELECT * FROM listed WHERE kind <> 'stop'),
spoken AS (  -- in the stated language, else in the one that annotators.language found, where it ran
    SELECT sample_id, text, split_part(coalesce(*COLUMNS(lambda c: c IN ('lang', 'language_lang'))), '-', 1) AS lang
    FROM signals WHERE text IS NOT NULL),
texts AS (
    SELECT sample_id, lang,
           string_split(trim(regexp_replace(regexp_replace(lower(nfc_normalize(text)), '(\p{Han})', ' \1 ', 'g'), '[^\p{L}\p{N}\p{M}]+', ' ', 'g')), ' ') AS w
    FROM spoken
    WHERE lang IN (SELECT lang FROM people)),
runs AS (
    SELECT sample_id, lang, unnest(flatten([list_transform(range(1, len(w) - n + 2), lambda i: array_to_string(w[i : i + n - 1], ' '))
                                           for n in [1, 2, 3, 4, 5] if n <= len(w)])) AS term
    FROM texts),
mentions AS (SELECT DISTINCT sample_id, kind, group_name FROM runs JOIN people USING (lang, term)),
judged AS (SELECT sample_id, stage, kept, reason FROM decisions SEMI JOIN texts USING (sample_id)),
saw AS (SELECT stage, count(*) AS seen FROM judged GROUP BY stage),
lost AS (SELECT stage, coalesce(reason, 'unstated') AS reason, count(*) AS dropped FROM judged WHERE NOT kept GROUP BY ALL),
group_saw AS (SELECT kind, group_name, stage, count(*) AS seen FROM judged JOIN mentions USING (sample_id) GROUP BY ALL),
group_lost AS (
    SELECT kind, group_name, stage, coalesce(reason, 'unstated') AS reason, count(*) AS dropped
    FROM judged JOIN mentions USING (sample_id) WHERE NOT kept GROUP BY ALL)
SELECT s.kind, s.group_name, s.stage, lost.reason, s.seen, coalesce(g.dropped, 0) AS dropped,
       saw.seen - s.seen AS rest_seen, lost.dropped - coalesce(g.dropped, 0) AS rest_dropped
FROM group_saw s JOIN saw USING (stage) JOIN lost USING (stage)
LEFT JOIN group_lost g ON g.kind = s.kind AND g.group_name = s.group_name AND g.stage = s.stage AND g.reason = lost.reason
ORDER BY s.kind, s.group_name, s.stage <> 'collect', s.stage <> 'filter', s.stage, lost.reason
