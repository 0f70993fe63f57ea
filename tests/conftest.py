"""What every test shares: a quiet environment, and one Prefect API for the whole session."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

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
