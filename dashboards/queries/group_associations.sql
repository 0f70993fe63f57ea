-- Which labels and words stand with each group of people, and how much more often than by chance? Pointwise mutual information in bits, where enough texts have both.
WITH chosen AS (
    SELECT sample_id FROM members WHERE snapshot = $snapshot
    UNION ALL
    SELECT sample_id FROM verdicts WHERE kept AND $snapshot IS NULL),
texts AS (SELECT * FROM worded SEMI JOIN chosen USING (sample_id)),
spoken_of AS (SELECT * FROM mentions SEMI JOIN chosen USING (sample_id)),
things AS (
    SELECT DISTINCT sample_id, 'word' AS what, word FROM (SELECT sample_id, lang, unnest(w) AS word FROM texts)
    ANTI JOIN (SELECT lang, unnest(string_split(term, ' ')) AS word FROM terms) USING (lang, word)
    WHERE length(word) > 2
    UNION ALL
    SELECT sample_id, 'label', label FROM texts WHERE label IS NOT NULL),
with_thing AS (SELECT what, word, count(*) AS texts FROM things GROUP BY ALL),
with_group AS (SELECT kind, group_name, count(*) AS texts FROM spoken_of GROUP BY ALL),
together AS (SELECT kind, group_name, what, word, count(*) AS texts FROM spoken_of JOIN things USING (sample_id) GROUP BY ALL HAVING count(*) >= $least)
SELECT t.kind, t.group_name, t.what, t.word, t.texts AS together, g.texts AS with_group, o.texts AS with_word, n.texts AS texts,
       log2(t.texts::DOUBLE * n.texts / (g.texts::DOUBLE * o.texts)) AS pmi
FROM together t JOIN with_group g USING (kind, group_name) JOIN with_thing o USING (what, word), (SELECT count(*) AS texts FROM texts) n
QUALIFY row_number() OVER (PARTITION BY t.kind, t.group_name, t.what ORDER BY pmi DESC, t.texts DESC, t.word) <= $n
ORDER BY t.kind, t.group_name, t.what, pmi DESC, together DESC, t.word
