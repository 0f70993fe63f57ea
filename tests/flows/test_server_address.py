"""A server that is started for a command reaches whoever imported Prefect before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import prefect
from flows import server
from prefect.client.orchestration import get_client
with server.api() as url, get_client(sync_client=True) as client:
    print(url, client.api_url)
"""


def test_prefect_that_was_imported_before_uses_the_server_too(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env=env | {"PREFECT_HOME": str(tmp_path)},
        timeout=120,
    )
    url, used = told.stdout.split()[-2:]
    assert used.rstrip("/") == url.rstrip("/"), told.stderr
