"""What every test shares: a quiet environment, and one Prefect API for the whole session."""

from __future__ import annotations

import logging
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.refusing import Refusing
from tests.serving import running

settings.register_profile(
    "same", deadline=None, derandomize=True
)  # a busy machine or another day fails no test
settings.register_profile("search", deadline=None, max_examples=1000)  # new examples each time: make fuzz
settings.load_profile(os.environ.get("MILLRACE_HYPOTHESIS", "same"))

# Before any test module is imported: Prefect and torch read these once.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_CLI_PROMPT": "false",
    "NO_COLOR": "1",
    "COLUMNS": "160",
}
for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "MILLRACE_CONFIG", "FORCE_COLOR"):
    os.environ.pop(name, None)  # a developer's own settings must not reach the tests


@pytest.fixture(scope="session", autouse=True)
def prefect_home() -> Iterator[Path]:
    """Prefect's files in a folder that goes with the session."""
    with tempfile.TemporaryDirectory(prefix="millrace-prefect-") as folder:
        os.environ["PREFECT_HOME"] = folder
        yield Path(folder)
        os.environ.pop("PREFECT_HOME", None)


@pytest.fixture(scope="session")
def prefect_api(prefect_home: Path) -> Iterator[str]:
    """URL of one Prefect API, started when a test first asks for it; commands that tests start use it too."""
    from flows import server

    with server.api() as url:
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        # a test module may have imported Prefect before the address was known
        with temporary_settings({PREFECT_API_URL: url, PREFECT_HOME: prefect_home}):
            yield url


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """URL of an S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_user(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Credentials in the environment, beside nothing else that a client would take from there; they must not be seen."""
    key, secret = "AKIDNOTTOBESEEN", "secret+not/to/be/seen"
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return key, secret


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    """A server in a bucket's place that refuses everybody, unless it is told to answer otherwise."""
    server = Refusing()
    with running(server):
        yield server


@pytest.fixture
def new_bucket(s3_server: str, s3_user: tuple[str, str]) -> str:
    """Name of an empty bucket of the test's own."""
    from pyarrow import fs

    name = f"b{uuid.uuid4().hex}"
    client = fs.S3FileSystem(region="us-east-1", endpoint_override=s3_server, allow_bucket_creation=True)
    client.create_dir(name)
    return name
