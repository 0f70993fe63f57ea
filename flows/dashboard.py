"""`millrace dashboard`: the live pages over a configuration's store, and where a threshold is written down."""

from __future__ import annotations

import os
import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any

import tomlkit
import typer

from flows.config import ConfigError, parse, read, resolve
from flows.options import DEFAULT_CONFIG, ConfigOption
from flows.server import LOOPBACK, ServerError
from pipeline.step import StepError


def dashboard(
    config: ConfigOption = DEFAULT_CONFIG,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the pages.")] = 4300,
) -> None:
    """Shows the store in a browser, for this machine alone, while flows write: corpus, thresholds, training, lineage …

    Example: millrace dashboard --port 4300
    """
    import uvicorn

    from dashboards.app import create_app

    app = create_app(mill(config))
    with listening(port) as listener:
        typer.echo(f"http://{LOOPBACK}:{port}  (Ctrl-C ends it)")
        uvicorn.Server(uvicorn.Config(app, log_level="error", server_header=False)).run([listener])


def listening(port: int) -> socket.socket:
    """A socket on this machine's own address.

    Raises:
        ServerError: something else listens there.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise ServerError(
            f"port {port} cannot be listened on ({error.strerror}): name another with --port"
        ) from error
    return listener


def mill(config: Path) -> Any:
    """What the pages look at.

    Raises:
        ConfigError: there is no such configuration, or it cannot be used.
        StoreNotFound: it has no store yet.
    """
    from dashboards.page import Mill

    settings = read(config)
    return Mill(
        store=settings.open_store(),
        filters=lambda: read(config).filter_steps,
        save=lambda at, use, setting, value: save(config, at, use, setting, value),
        drift_limit=settings.drift.limit,
        config=config,
        errors=(ConfigError, StepError),
    )


def save(config: Path, at: int, use: str, setting: str, value: float) -> None:
    """Writes one number of the filter at a place into the configuration, which keeps its comments and its order.

    Raises:
        ConfigError: the filter is not there any more, or the file would not be a configuration with it.
    """
    document = tomlkit.parse(config.read_text(encoding="utf-8"))
    filters = document.get("filters", [])
    if at >= len(filters) or filters[at].get("use") != use:
        raise ConfigError(
            f"{config} has changed: {use} is no longer its filter number {at + 1}; load the page anew"
        )
    filters[at][setting] = value
    text = tomlkit.dumps(document)
    _ = parse(resolve(tomllib.loads(text), config.resolve().parent), str(config)).filter_steps
    scratch = config.with_name(f".{config.name}.{os.getpid()}")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.chmod(config.stat().st_mode & 0o777)
        scratch.replace(config)
    finally:
        scratch.unlink(missing_ok=True)
