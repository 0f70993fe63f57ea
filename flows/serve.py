"""`millrace serve`: the champion behind an OpenAI-compatible API, and its successor as soon as there is one."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from flows import server
from flows.options import DEFAULT_CONFIG, ConfigOption

KEYS = "MILLRACE_API_KEYS"
"""The environment variable that holds the API keys, commas between them."""
FOLLOW = ""


def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    checkpoint: Annotated[
        str,
        typer.Option(help="Id of a checkpoint, which then stays; usually the champion, and every later one."),
    ] = FOLLOW,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help=f"Address to listen on; others than this machine's own need {KEYS}.")
    ] = server.LOOPBACK,
) -> None:
    """Answers questions, draws, translates and embeds over an OpenAI-compatible API, with a page to try it.

    SIGTERM or Ctrl-C ends it when what it has begun is finished. Example: millrace serve --port 8000
    """
    run(config, checkpoint, port, host)


def run(config: Path, checkpoint: str, port: int, host: str) -> None:
    """Serves until it is told to stop.

    Raises:
        ConfigError: no such checkpoint, or a key is wanted and there is none.
        ServerError: the port is taken.
    """
    from flows.config import ConfigError, read
    from flows.progress import say
    from flows.up import Asked, address, asked_to_stop, open_to_all
    from model.serving.app import create_app
    from model.serving.engine import Engine
    from model.serving.run import run as answer

    settings = read(config)
    keys = [key.strip() for key in os.environ.get(KEYS, "").split(",") if key.strip()]
    if not keys and open_to_all(host, None):
        raise ConfigError(
            f"{host} is reached from other machines, and whoever reaches it could ask: set {KEYS}=key,key, or leave "
            "--host out"
        )
    listening = bind(host, port)
    store = settings.open_store()
    who = answering(store, checkpoint or newest(store))
    with listening, asked_to_stop(), fetcher(settings, store) as fetch:
        try:
            engine = Engine(who, settings.serve)
            with following(store, engine, settings.serve.look if checkpoint == FOLLOW else None):
                app = create_app(engine, settings.serve, media=settings.media, keys=keys, fetch=fetch)
                url = address(host, listening.getsockname()[1])
                say(
                    f"[bold]checkpoint {who.id}[/] answers at {escape(url)}/v1; a page to try it: {escape(url)}"
                )
                say(
                    f"{len(keys)} API keys; Ctrl-C stops it"
                    if keys
                    else "no API key is asked for; Ctrl-C stops it"
                )
                answer(app, engine, settings.serve, listening)
        except Asked:
            say("stopped")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ServerError: the address cannot be had.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise server.ServerError(
            f"{host}, port {port}: {error.strerror}; choose another with --port or --host"
        ) from error
    return made


def newest(store: Any) -> str:
    """The champion, or the newest checkpoint while there is none."""
    from storage import champions

    return champions.CHAMPION if champions.champion(store) else "latest"


def answering(store: Any, checkpoint: str) -> Any:
    """A checkpoint with its card.

    Raises:
        ConfigError, CheckpointError: it cannot be had.
    """
    from flows import card, checkpoints
    from model.serving.answering import Answering
    from storage.errors import SnapshotNotFound

    loaded = checkpoints.load(store, checkpoint)
    assert loaded.model.saved is not None
    try:
        told = card.write(store, loaded.model.saved.meta, f"checkpoint {loaded.id}")
    except SnapshotNotFound as error:
        told = f"There is no card: {error}"
    about = {"run": loaded.run_id, "snapshot": loaded.snapshot, "step": loaded.model.saved.step}
    return Answering(loaded.id, loaded.model, loaded.tokenizers, told, about)


@contextmanager
def following(store: Any, engine: Any, seconds: float | None) -> Iterator[None]:
    """Looks for a new champion every so many seconds, and loads it beside the one that answers. One that cannot be loaded is
    told of, and not tried again."""
    from flows.progress import say
    from storage import champions

    over, failed = threading.Event(), ""

    def look(every: float) -> None:
        nonlocal failed
        while not over.wait(every):
            try:
                champion = champions.champion(store)
            except Exception as error:  # the tables may be anywhere: another look may see them
                say(f"[yellow]the table of promotions could not be read: {escape(str(error))}[/]")
                continue
            if champion in (None, engine.who.id, failed):
                continue
            try:
                engine.switch(answering(store, champion))
                say(f"[bold]checkpoint {champion}[/] answers from now on")
            except Exception as error:
                failed = champion
                say(f"[red]champion {champion} cannot answer, {engine.who.id} stays:[/] {escape(str(error))}")

    looking = threading.Thread(target=look, args=(seconds,), name="champion", daemon=True)
    if seconds is not None:
        looking.start()
    try:
        yield
    finally:
        over.set()
        if (
            looking.is_alive()
        ):  # a thread that is within a library when Python ends takes the process down with it
            looking.join()


@contextmanager
def fetcher(settings: Any, store: Any) -> Iterator[Any]:
    """Gets pictures by the rules of [fetch], consent and addresses among them; None where that is not allowed."""
    if not settings.serve.remote_images:
        yield None
        return
    from model.serving.pictures import FetchRefused
    from pipeline.refused import Refused
    from pipeline.web.client import Web
    from pipeline.web.fetcher import IMAGES

    limits: dict[str, Any] = {"deadline": min(settings.fetch.deadline, settings.serve.patience), "retries": 0}
    limits["run_deadline"] = None  # of an ingest: a server has no end
    limits["max_bytes"] = min(settings.fetch.max_bytes, settings.serve.max_body)
    with Web(settings.fetch.model_copy(update=limits), Refused.of(store)) as web:

        def fetch(url: str) -> bytes:
            try:  # also for its host's turn there is no longer wait
                found = web.ask(url, IMAGES).result(settings.serve.patience)
            except TimeoutError:
                raise FetchRefused("deadline") from None
            web.asides()  # of consent and attempts nothing is stored here
            if found.body is None:
                raise FetchRefused(found.error or "nothing came")
            return found.body

        yield fetch
