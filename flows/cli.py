"""The `millrace` command: every flow by hand, and the store's contents by SQL.

Prefect and torch are imported by the commands that need them, so that `millrace sql` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows import asking, evaluating, forgetting, promoting, server
from flows import dashboard as dashboards
from flows import export as exporting
from flows import lineage as lineages
from flows import reconstruct as reconstructing
from flows import serve as serving
from flows import sql as sql_command
from flows import steps as listing
from flows.mistakes import F, guarded
from flows.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from flows.printing import print_rows, show, tell
from flows.quiet import checked, quiet_prefect

app = typer.Typer(
    help="Millrace: collect, clean, dedupe, filter and tokenize image-text corpora; train, evaluate and serve on them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
ContaminatedOption = Annotated[
    bool,
    typer.Option(
        "--allow-contaminated", help="Take training rows that are held-out ones, too; `runs` says so then."
    ),
]


def command(function: F) -> F:
    """Registers a command whose user errors end in a message and exit status 1."""
    made = guarded(function)
    app.command()(made)
    return made


def group(name: str, commands: typer.Typer) -> typer.Typer:
    """Registers commands under a name of their own."""
    app.add_typer(commands, name=name)
    return commands


@command
def demo(
    full: Annotated[
        bool,
        typer.Option("--full", help="50,000 pictures and four times the training: 55 minutes."),
    ] = False,
    path: Annotated[
        Path | None, typer.Option(help="Folder to work in; demo, or demo-full with --full.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=200, help="Pictures to make.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="Seconds of training.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Runs the whole mill on the embedded demo corpus: ingest, train, evaluate, report.

    Example: millrace demo
    """
    quiet_prefect(Path())
    from flows import demo as demonstration

    folder = path or Path("demo-full" if full else "demo")
    done = demonstration.run(folder, full=full, size=size, seconds=seconds)
    if as_json:
        show(done, True)


@command
def ingest(
    config: ConfigOption = DEFAULT_CONFIG,
    allow_contaminated: ContaminatedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Brings in what is new from every source and commits a snapshot.

    Example: millrace ingest --config millrace.toml
    """
    checked(config, sources=True)
    with server.api():
        from flows import ingest as flow

        show(flow.start(str(config), allow_contaminated), as_json)


@command
def fit_tokenizers(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Fits text and image tokenizer anew on the training rows; the next ingest applies them.

    Example: millrace fit-tokenizers --config millrace.toml
    """
    from flows import tokenizers
    from flows.config import read

    settings = read(config)
    fitted = tokenizers.ready(settings.open_store(), settings, refit=True)
    show({name: tokenizer.id for name, tokenizer in fitted.items()}, as_json)


@command
def fit_filter(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Fits the filtering network anew on the trusted training rows; the next ingest scores every row with it.

    Example: millrace fit-filter --config millrace.toml
    """
    checked(config, store=True)
    with server.api():
        from flows import filtering_network as flow

        show(flow.start(str(config)), as_json)


@command
def train(
    config: ConfigOption = DEFAULT_CONFIG,
    snapshot: Annotated[str, typer.Option(help="Which snapshot to read.")] = "latest",
    run: Annotated[
        str, typer.Option(help="Name of the run; an unfinished one goes on where it stopped.")
    ] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes that train together, one a GPU.")] = 1,
    allow_contaminated: ContaminatedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Trains on a snapshot; after a kill, the same command goes on with equal weights, bit by bit.

    Example: millrace train --snapshot latest
    """
    checked(config, store=True)
    with server.api():
        from flows import train as flow

        show(flow.start(str(config), snapshot, run, allow_contaminated, workers), as_json)


@command
def retrain(
    config: ConfigOption = DEFAULT_CONFIG,
    least_new: Annotated[
        int,
        typer.Option(
            min=0, help="Training rows that the champion never saw; with fewer, nothing is trained."
        ),
    ] = 0,
    promote: Annotated[bool, typer.Option(help="Whether the gate may promote the new checkpoint.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Brings in what is new, trains on it, scores the result, promotes it if it is better, and writes the report.

    Example: millrace retrain --least-new 1000
    """
    checked(config, store=True)
    with server.api():
        from flows import retrain as flow

        show(flow.start(str(config), least_new, promote), as_json)


@command
def ablate(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Asks whether each step pays: the same small model on the corpus as it came, as prepared, and without each step.

    Works on a copy beside the store; after a kill, the same command goes on. [ablate] says how long and how often.

    Example: millrace ablate -c examples/it_pays.toml
    """
    checked(config, store=True)
    with server.api():
        from flows import ablate as flow

        done = flow.start(str(config))
    if as_json:
        show(done["rows"], True)
        return
    print_rows(done["table"])


evaluate = command(evaluating.evaluate)
compare = command(evaluating.compare)
promote = command(promoting.promote)
rollback = command(promoting.rollback)
drift = command(promoting.drift)
forget = command(forgetting.forget)
generate = command(asking.generate)
reconstruct = command(reconstructing.reconstruct)
sql = command(sql_command.sql)


@command
def stats(
    topic: Annotated[
        str, typer.Argument(help="corpus, fetch (hosts, outcomes, consents), contamination, or bias.")
    ] = "corpus",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Shows what came in, what was kept, and why the rest was dropped; or how fetching went, what evaluation sets
    took out of training, or whom the texts speak of and which stage drops whom.

    Examples: millrace stats --json
              millrace stats fetch
              millrace stats bias --json
    """
    from flows import store_admin

    report = store_admin.stats(config, topic)
    if as_json:
        show(report, True)
        return
    for title, rows in report.items():
        Console().print(f"\n[bold]{title}")
        print_rows(rows)


@command
def recheck(
    days: Annotated[int, typer.Option(min=0, help="Consents younger than this are not asked again.")] = 30,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Asks sites again whether their rows may stay; drops text and picture of those that now refuse.

    Example: millrace recheck --days 7
    """
    checked(config, store=True)
    with server.api():
        from flows import recheck as flow

        show(flow.start(str(config), days), as_json)


@command
def maintain(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Puts small files together, and removes what nothing needs: old files, orphaned pictures, checkpoints beyond the newest.

    Works beside flows and readers; [maintain] says what is kept. Example: millrace maintain --json
    """
    checked(config, store=True)
    with server.api():
        from flows import maintain as flow

        done = flow.start(str(config))
    if as_json:
        show(done, True)
        return
    print_rows(flow.rows(done))


@command
def snapshots(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Lists the snapshots, newest first.

    Example: millrace snapshots
    """
    from flows import store_admin

    show(
        store_admin.query(
            config,
            "SELECT snapshot, rows, licences, recorded_at, content_hash, amended_by FROM snapshots ORDER BY recorded_at DESC",
        ),
        as_json,
    )


@command
def report(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Writes the report of the store as one HTML file, and beside it a data card of the newest snapshot and a model card
    of the newest checkpoint.

    Example: millrace report
    """
    from flows import store_admin

    path = store_admin.report(config)
    tell(str(path), {"report": path}, as_json)


@command
def catalog(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Writes catalog.duckdb anew, for the duckdb command line, pandas or a BI tool.

    Example: millrace catalog
    """
    from flows import store_admin

    path = store_admin.catalog(config)
    tell(str(path), {"catalog": path}, as_json)


@command
def backup(
    target: Annotated[Path, typer.Argument(help="An empty or new folder.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Copies the store, consistently, while flows may write.

    Example: millrace backup /mnt/backup/2026-11-23
    """
    from flows import store_admin

    path = store_admin.backup(config, target)
    tell(f"backed up to {path}", {"backup": path}, as_json)


@command
def restore(
    source: Annotated[Path, typer.Argument(help="What `millrace backup` wrote.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Puts a backup back into the configuration's (empty) store.

    Example: millrace restore /mnt/backup/2026-11-23
    """
    from flows import store_admin

    path = store_admin.restore(config, source)
    tell(f"restored into {path}", {"store": path}, as_json)


@command
def migrate(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Brings a store of an older schema version up to this one.

    Example: millrace migrate
    """
    from flows import store_admin

    version = store_admin.migrate(config)
    tell(f"store is at schema version {version}", {"schema_version": version}, as_json)


@command
def init(
    pictures: Annotated[Path, typer.Argument(help="A folder of pictures.")],
    config: Annotated[
        Path, typer.Option("--config", "-c", help="File to write.", envvar="MILLRACE_CONFIG")
    ] = DEFAULT_CONFIG,
    licence: Annotated[str, typer.Option(help="SPDX id of the pictures' licence.")] = "",
    lang: Annotated[str, typer.Option(help="Language of the captions.")] = "en",
    as_json: JsonOption = False,
) -> None:
    """Writes a first configuration for a folder of pictures.

    Example: millrace init ~/Pictures/birds --config birds.toml --licence CC-BY-4.0
    """
    from flows import store_admin

    store_admin.init(pictures, config, licence, lang)
    tell(f"wrote {config}; next: millrace ingest --config {config}", {"config": config}, as_json)


@command
def up(
    config: ConfigOption = DEFAULT_CONFIG,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect server.")] = 4200,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine's own need a password.")
    ] = server.LOOPBACK,
) -> None:
    """Starts the Prefect server and serves every deployment until Ctrl-C.

    Example: millrace up --port 4200
    """
    checked(config)
    from flows import up as everything

    everything.run(config, port, host)


dashboard = command(dashboards.dashboard)
serve = command(serving.serve)
export = command(exporting.export)
steps = command(listing.steps)
lineage = group("lineage", lineages.app)


def main() -> None:
    """Entry point of the `millrace` command."""
    app()


if __name__ == "__main__":
    main()
