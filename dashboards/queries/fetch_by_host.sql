-- How does fetching go, host by host? The last attempt of each URL counts. Requests for consent are no URLs of the corpus.
SELECT host, urls, success, refused, due_again, requests, mb, median_ms FROM fetch_health ORDER BY urls DESC, host LIMIT 50
