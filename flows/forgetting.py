"""`millrace forget`: what goes is shown first, and goes when a person says yes."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import server
from flows.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from flows.printing import print_rows, show
from flows.quiet import checked

if TYPE_CHECKING:
    from pipeline.forgetting import Named
    from storage.takedown import Takedown

Names = list[str]


def forget(
    sample: Annotated[Names, typer.Option(help="Id of a row.")] = [],  # noqa: B006
    url: Annotated[Names, typer.Option(help="Address of a picture or of its page.")] = [],  # noqa: B006
    host: Annotated[Names, typer.Option(help="Host: all rows from there.")] = [],  # noqa: B006
    source: Annotated[Names, typer.Option(help="Source, by its name in the configuration.")] = [],  # noqa: B006
    licence: Annotated[Names, typer.Option(help="Licence, as the rows state it.")] = [],  # noqa: B006
    like: Annotated[Names, typer.Option(help="Picture file: all rows with the picture or a near-copy.")] = [],  # noqa: B006
    picture: Annotated[Names, typer.Option(help="Id of a stored picture: all rows with it.")] = [],  # noqa: B006
    text: Annotated[Names, typer.Option(help="Text or prompt, whatever its case and white space.")] = [],  # noqa: B006
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: Annotated[str, typer.Option(help="Who answers for it; enters the record.")] = "",
    retrain: Annotated[bool, typer.Option("--retrain", help="Run the retrain flow afterwards.")] = False,
    records: Annotated[bool, typer.Option("--records", help="Only list what was forgotten so far.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Removes rows and pictures for good: from tables, files, snapshots and reports; and lets none come in again.

    Each option may be given several times. Without any, it completes what was stopped or killed.

    Examples: millrace forget --url https://example.org/a.jpg --dry-run
              millrace forget --like ~/face.png --by "privacy desk" --yes
    """
    from flows.config import read
    from pipeline.forgetting import Named
    from storage import takedown
    from storage.errors import NothingNamed

    settings = read(config)
    store = settings.open_store()
    if records:
        show(takedown.records(store), as_json)
        if waiting := takedown.waiting(store):
            print(
                f"{len(waiting):,} more are not complete: `millrace forget` completes them", file=sys.stderr
            )
        return
    named = Named(
        samples=sample, pictures=picture, files=like, urls=url, hosts=host, sources=source,
        licences=licence, texts=text,
    )  # fmt: skip
    wished, left = any(named.model_dump().values()), bool(takedown.waiting(store))
    if not wished and not left:
        raise NothingNamed("nothing was named, and nothing waits to be completed: see millrace forget --help")
    checked(config, store=True)
    by = by or getpass.getuser()
    if dry_run:
        told = [planned(config, named, by)] if wished else takedown.waiting(store)
        show_planned([one.summary() for one in told], as_json)
        return
    # what was stopped goes first: planned beside it, its rows would be counted twice
    done = carried_out(config, retrain and not wished, as_json) if left else []
    if wished and prepared(config, named, by, yes=yes, as_json=as_json):
        done += carried_out(config, retrain, as_json)
    if as_json:
        show(done, True)
    elif any(one["checkpoints"] for one in done) and not retrain:
        print(f"models that saw them still exist; next: millrace retrain --config {config}")


def planned(config: Path, named: Named, by: str) -> Takedown:
    """What would go."""
    from flows import forget as flow
    from flows.config import read

    return flow.planned(read(config), named, by)


def show_planned(would: list[dict[str, Any]], as_json: bool) -> None:
    """Says what would go."""
    from flows import forget as flow

    if as_json:
        show(would[0] if len(would) == 1 else would, True)
        return
    for one in would:
        print(flow.sentence(one, gone=False))
        if not one["rows"] and not one["pictures"]:
            print("nothing in the store is meant by it: it would only be kept out from now on")
        print_rows(flow.rows(one))


def prepared(config: Path, named: Named, by: str, *, yes: bool, as_json: bool) -> bool:
    """Shows what goes, asks, and writes it down; whether there is anything to do."""
    from flows import forget as flow
    from flows.config import read

    if not as_json:
        show_planned([planned(config, named, by).summary()], False)
    if not yes and not (sys.stdin.isatty() and typer.confirm("Forget all of it? Nothing brings it back")):
        raise typer.BadParameter("nothing was done: look at it with --dry-run, then say --yes")
    if flow.asked(read(config), named, by) is None:
        if not as_json:
            print("all of it was forgotten before")
        return False
    return True


def carried_out(config: Path, retrain: bool, as_json: bool) -> list[dict[str, Any]]:
    """Does all that is written down, and says what it was."""
    with server.api():
        from flows import forget as flow

        done: list[dict[str, Any]] = flow.start(str(config), retrain)["done"]
    for one in () if as_json else done:
        print_rows(flow.rows(one))
    return done
