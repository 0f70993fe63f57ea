"""`millrace promote`, `rollback` and `drift`: which checkpoint answers, and whether its rows are still those that come in."""

from __future__ import annotations

from typing import Annotated

import typer

from flows import server
from flows.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from flows.printing import print_rows, show
from flows.quiet import checked


def promote(
    checkpoint: Annotated[
        str, typer.Argument(help="Id of a checkpoint, name of its run, or latest.")
    ] = "latest",
    force: Annotated[
        bool, typer.Option("--force", help="Whatever the scores say; the decision says so.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Holds a checkpoint against the champion on the same held-out rows; the better one answers from now on.

    The table promote of the configuration says how much better it must be, and how far no task, language or source may fall.

    Examples: millrace promote
              millrace generate --checkpoint champion "a red bird"
    """
    checked(config, store=True)
    with server.api():
        from flows import promote as flow

        show(flow.start(str(config), checkpoint, force), as_json)


def rollback(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Makes the champion before this one answer again.

    Example: millrace rollback
    """
    checked(config, store=True)
    from flows import promote as flow
    from flows.config import read

    show(flow.rollback(read(config)), as_json)


def drift(
    snapshot: Annotated[str, typer.Argument(help="The snapshot to look at.")] = "latest",
    against: Annotated[
        str, typer.Option(help="Another one to hold it against; usually the champion's.")
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Says how far a snapshot's rows lie from those that the champion was trained on, column by column.

    Example: millrace drift --against 3f2a9c
    """
    checked(config, store=True)
    with server.api():
        from flows import drift as flow

        done = flow.start(str(config), snapshot, against)
    if as_json:
        show(done, True)
        return
    print_rows(done["columns"])
