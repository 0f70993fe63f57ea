-- Which labels and words stand with each group of people, and how much more often than by chance? Pointwise mutual information in bits, where enough texts have both.
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
    SELECT sample_id, text, label, split_part(coalesce(*COLUMNS(lambda c: c IN ('lang', 'language_lang'))), '-', 1) AS lang
    FROM signals WHERE text IS NOT NULL),
texts AS (
    SELECT sample_id, lang, label,
           string_split(trim(regexp_replace(regexp_replace(lower(nfc_normalize(text)), '(\p{Han})', ' \1 ', 'g'), '[^\p{L}\p{N}\p{M}]+', ' ', 'g')), ' ') AS w
    FROM spoken SEMI JOIN chosen USING (sample_id)
    WHERE lang IN (SELECT lang FROM people)),
runs AS (
    SELECT sample_id, lang, unnest(flatten([list_transform(range(1, len(w) - n + 2), lambda i: array_to_string(w[i : i + n - 1], ' '))
                                           for n in [1, 2, 3, 4, 5] if n <= len(w)])) AS term
    FROM texts),
mentions AS (SELECT DISTINCT sample_id, kind, group_name FROM runs JOIN people USING (lang, term)),
things AS (
    SELECT DISTINCT sample_id, 'word' AS what, word FROM (SELECT sample_id, lang, unnest(w) AS word FROM texts)
    ANTI JOIN (SELECT lang, unnest(string_split(term, ' ')) AS word FROM listed) USING (lang, word)
    WHERE length(word) > 2
    UNION ALL
    SELECT sample_id, 'label', label FROM texts WHERE label IS NOT NULL),
with_thing AS (SELECT what, word, count(*) AS texts FROM things GROUP BY ALL),
with_group AS (SELECT kind, group_name, count(*) AS texts FROM mentions GROUP BY ALL),
together AS (SELECT kind, group_name, what, word, count(*) AS texts FROM mentions JOIN things USING (sample_id) GROUP BY ALL HAVING count(*) >= $least)
SELECT t.kind, t.group_name, t.what, t.word, t.texts AS together, g.texts AS with_group, o.texts AS with_word, n.texts AS texts,
       log2(t.texts::DOUBLE * n.texts / (g.texts::DOUBLE * o.texts)) AS pmi
FROM together t JOIN with_group g USING (kind, group_name) JOIN with_thing o USING (what, word), (SELECT count(*) AS texts FROM texts) n
QUALIFY row_number() OVER (PARTITION BY t.kind, t.group_name, t.what ORDER BY pmi DESC, t.texts DESC, t.word) <= $n
ORDER BY t.kind, t.group_name, t.what, pmi DESC, together DESC, t.word
