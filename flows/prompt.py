"""The prompt of `millrace sql`: a question over one or several lines that ends with a semicolon, with completion.

Every question sees the store as it is then, under the same locks as on the command line. What is typed is kept while the
prompt lasts and written nowhere: a question may hold words of a row that is forgotten later.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import completion_is_selected
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer
from rich.console import Console
from rich.markup import escape

from flows.answers import answer, write
from flows.mistakes import message, user_errors
from flows.printing import SHOWN, print_rows
from storage import views
from storage.store import Store
from storage.tables import TABLES

HELP = """\
A question ends with ; and may have several lines. Tab completes; the arrow keys bring back what was asked.
  SHOW TABLES;        what there is to ask       .help NAME     what a table, view or macro tells, column by column
  FROM NAME LIMIT 5;  a look at it               .save FILE     the last answer as .csv, .parquet, .json or .jsonl
  .quit               or Ctrl-D"""
PLACES = re.compile(r"\b(from|join|describe|summarize|show)\s+\w*$", re.IGNORECASE)
"""Before a word that must be the name of a table or view."""
MOST = 200
"""Completions at once."""


@dataclass(frozen=True)
class Told:
    """Something to ask: its name as it is typed, what it tells, and its columns."""

    name: str
    call: str
    doc: str
    columns: dict[str, str]


def told(store: Store) -> dict[str, Told]:
    """Every table, view and macro of a store."""
    tables = (*TABLES.values(), *store.declared())
    found = [
        Told(table.name, table.name, table.doc, {one.name: views.described(one) for one in table.columns})
        for table in tables
    ]
    for view in (*views.derived(store.declared()), *views.OVERVIEW):
        found.append(Told(view.name, view.call, view.doc, dict(view.columns)))
    return {one.name: one for one in found}


class Completing(Completer):
    """Names of tables and views, their columns, and DuckDB's words and functions."""

    def __init__(self, known: dict[str, Told]) -> None:
        self.known = known
        with duckdb.connect() as con:
            words = con.sql("SELECT upper(keyword_name) FROM duckdb_keywords() ORDER BY 1")
            functions = con.sql("SELECT DISTINCT function_name FROM duckdb_functions() ORDER BY 1")
            self.words = [word for (word,) in words.fetchall()]
            self.functions = [name for (name,) in functions.fetchall() if name.isidentifier()]

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        before = document.text_before_cursor
        found = re.search(r"(?:(\w+)\.)?(\w*)$", before)
        table, word = (found[1], found[2]) if found else (None, "")
        if before.lstrip().startswith("."):
            yield from self.after_dot(before, word)
            return
        if not word and not table and not PLACES.search(before):
            return
        left = MOST
        for text, meaning in self.fitting(table, before):
            if text.lower().startswith(word.lower()) and left:
                left -= 1
                yield Completion(text, -len(word), display_meta=meaning[:80])

    def after_dot(self, before: str, word: str) -> Iterator[Completion]:
        """The prompt's own words, and names after .help."""
        if before.lstrip().startswith(".help "):
            yield from (Completion(name, -len(word)) for name in self.known if name.startswith(word))
        elif " " not in before.strip():
            yield from (
                Completion(one, -len(word)) for one in ("help", "save", "quit") if one.startswith(word)
            )

    def fitting(self, table: str | None, before: str) -> Iterator[tuple[str, str]]:
        """What may stand there, the likeliest first, with its meaning."""
        if table is not None:
            yield from (self.known[table].columns if table in self.known else self.mentioned(before)).items()
            return
        yield from ((one.name + ("('" if "(" in one.call else ""), one.doc) for one in self.known.values())
        if not PLACES.search(before):
            yield from self.mentioned(before).items()
            yield from ((word, "") for word in self.words)
            yield from ((f"{name}(", "function") for name in self.functions)

    def mentioned(self, text: str) -> dict[str, str]:
        """Columns of the tables that a question names already, or of all."""
        named = [self.known[word] for word in dict.fromkeys(re.findall(r"\w+", text)) if word in self.known]
        chosen: Sequence[Told] = named or list(self.known.values())
        return {name: f"{one.name}: {doc}" for one in chosen for name, doc in one.columns.items()}


def keys() -> KeyBindings:
    """Enter ends what is complete, and else begins a line."""
    made = KeyBindings()

    @made.add("enter", filter=~completion_is_selected)
    def _(event: KeyPressEvent) -> None:
        text = event.current_buffer.text.strip()
        if not text or text.endswith(";") or text.startswith("."):
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.insert_text("\n")

    return made


def prompt(store: Store) -> None:
    """Asks and answers until the end of the input."""
    known = told(store)
    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory(),
        completer=Completing(known),
        complete_while_typing=True,
        lexer=PygmentsLexer(SqlLexer),
        key_bindings=keys(),
        multiline=True,
        prompt_continuation=lambda width, line, wrapped: " " * (width - 2) + "· ",
    )
    print(f"{len(known)} tables, views and macros of {store.path}; .help tells how to ask")
    last = ""
    while True:
        try:
            text = session.prompt("sql> ").strip()
            if text in (".quit", ".exit"):
                return
            last = respond(store, known, text, last)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


def respond(store: Store, known: dict[str, Told], text: str, last: str) -> str:
    """Does what a line says, tells what went wrong in a line, and returns the question that was asked last."""
    console = Console()
    word, _, rest = text.partition(" ")
    question = text.rstrip(";").strip()
    try:
        if word == ".help":
            explain(known, rest.strip().rstrip(";"))
        elif word == ".save" and rest and last:
            print(f"wrote {write(store, last, Path(rest.strip()).expanduser()):,} rows to {rest.strip()}")
        elif word.startswith("."):
            console.print(
                f"{escape(word)}: ask something first, then .save FILE; .help tells the rest"
                if word == ".save"
                else HELP
            )
        elif question:
            rows, total = answer(store, question, min(SHOWN, max(20, shutil.get_terminal_size().lines * 2)))
            print_rows(rows, total=total)
            return question
    except Exception as error:
        if not isinstance(error, user_errors()):
            raise
        console.print(f"[bold red]error:[/] {escape(message(error))}", highlight=False, soft_wrap=True)
    return last


def explain(known: dict[str, Told], name: str) -> None:
    """What a table, view or macro tells; without a name, how to ask."""
    if not name:
        print(HELP)
    elif name in known:
        print(f"{known[name].call}: {known[name].doc}")
        print_rows([{"column": column, "what it tells": doc} for column, doc in known[name].columns.items()])
    else:
        print(f"there is no {name}: SHOW TABLES; lists what there is")
