"""Where Prefect keeps what it knows of runs: a file of SQLite, or a Postgres, which several flows at once need."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from flows.server import ServerError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

ASKED = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
"""Prefect's own variables, of now and of before: what they say holds, whatever the configuration says."""
DRIVER = "postgresql+asyncpg"
ANSWERS_S = 10.0


def choose(configured: str) -> str:
    """Has the server that is started next use the database of the environment or the configuration; says which, in words
    without a password.

    Raises:
        ServerError: it does not answer, or refuses the user.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    given = next((os.environ[name] for name in ASKED if os.environ.get(name)), configured)
    if not given:
        return "SQLite, in Prefect's own folder"
    if "${" in given:  # Prefect puts its own PREFECT_SERVER_DATABASE_PASSWORD there
        return given
    try:
        url = make_url(given)
    except ArgumentError:
        raise ServerError(f"{ASKED[0]} is no URL of a database: {DRIVER}://user@host/name") from None
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername=DRIVER)
        asyncio.run(refuse_dead(url))
        os.environ[ASKED[0]] = url.render_as_string(hide_password=False)
    return url.render_as_string(hide_password=True)


async def refuse_dead(url: URL) -> None:
    """Finds out at once what the server would end with, after half a minute and in its log only."""
    if url.query:  # settings of TLS and sockets, which are the server's to read
        return
    import asyncpg

    where = f"Postgres at {url.host or 'localhost'}:{url.port or 5432}"
    try:
        found = await asyncpg.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            password=url.password,  # without one, PGPASSWORD or PGPASSFILE, as the server will do
            database=url.database,
            timeout=ANSWERS_S,
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ServerError(f"{where}: {error}; PGPASSWORD is where the password is looked for") from error
    except (OSError, TimeoutError, OverflowError) as error:
        why = getattr(error, "strerror", None) or "no answer"
        raise ServerError(f"{where}: {why}; start it, or leave [prefect] database out for SQLite") from error
    await found.close()
