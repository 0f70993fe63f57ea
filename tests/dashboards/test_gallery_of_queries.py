"""Every query and every line of Python in docs/queries.md is answered, about a filled store and an empty one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from storage import catalog, question, views
from storage.store import Store

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/queries.md").read_text("utf-8")
QUERIES = re.findall(r"^```sql\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_there_is_a_query_of_every_view_that_people_ask() -> None:
    assert [view.name for view in views.OVERVIEW if not any(view.name in query for query in QUERIES)] == []


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_a_query_is_answered(query: str, filled: Store) -> None:
    assert question.ask(filled, query).num_columns > 0


def test_an_empty_store_answers_all_of_them(empty: Store) -> None:
    with empty.connect(overview=True) as db:
        assert all(db.sql(query).fetchall() is not None for query in QUERIES)


def test_the_python_runs_as_it_stands(filled: Store) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    catalog.rebuild(filled)
    ran = subprocess.run(
        [sys.executable, "-c", f"{block}\nprint(len(frame), table.height, arrow.num_rows, len(about))"],
        cwd=filled.path.parent, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert (ran.stderr, ran.stdout.split()) == ("", ["3", "2", "10", "6"])
