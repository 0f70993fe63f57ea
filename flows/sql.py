"""`millrace sql`: one question on the command line or from standard input, or a prompt for many."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from flows.printing import SHOWN, print_rows, show


def sql(
    query: Annotated[
        str | None,
        typer.Argument(
            help="A DuckDB query over the store's tables and views; left out: a prompt, or stdin."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write instead: .csv, .parquet, .json or .jsonl."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Asks DuckDB one question; works while a flow writes, reads the tables alone, and changes nothing.

    Examples: millrace sql "SELECT source, reason, count(*) FROM decisions GROUP BY ALL ORDER BY 3 DESC"
              millrace sql "FROM source_quality" -o sources.csv
              millrace sql < question.sql
              millrace sql
    """
    from flows import answers, store_admin

    if output is not None:
        answers.form(output)  # before a long question is asked
    store = store_admin.opened(config)
    if query is None and sys.stdin.isatty():
        from flows.prompt import prompt

        prompt(store)
        return
    text = sys.stdin.read() if query is None else query
    if output is not None:
        print(f"wrote {answers.write(store, text, output):,} rows to {output}")
    elif as_json:
        show(answers.answer(store, text)[0], True)
    else:
        rows, total = answers.answer(store, text, SHOWN)
        print_rows(rows, total=total)
