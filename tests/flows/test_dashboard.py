"""`millrace dashboard`: what it writes into a configuration, and how it starts."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from flows import dashboard
from flows.config import ConfigError, read
from storage.store import Store
from tests.flows.serving import until

CONFIG = """\
# pictures of mine
[store]
path = "store"

[[filters]]
use = "filters.size"   # not the small ones
width = 64             # pixels
[[filters]]
use = "filters.aspect_ratio"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "millrace.toml"
    file.write_text(CONFIG)
    Store.open(tmp_path / "store")
    return file


def test_a_threshold_is_written_and_nothing_else_changes(config: Path) -> None:
    config.chmod(0o640)
    dashboard.save(config, 0, "filters.size", "width", 80)
    assert config.read_text() == CONFIG.replace("width = 64 ", "width = 80 ")
    dashboard.save(config, 1, "filters.aspect_ratio", "most", 2.5)
    assert config.read_text() == CONFIG.replace("width = 64 ", "width = 80 ") + "most = 2.5\n"
    assert config.stat().st_mode & 0o777 == 0o640
    assert [step.model_dump() for step in read(config).filter_steps] == [
        {"width": 80, "height": 32},
        {"most": 2.5},
    ]
    assert [file.name for file in config.parent.iterdir() if file.is_file()] == ["millrace.toml"]


@pytest.mark.parametrize(
    ("at", "use"), [(1, "filters.size"), (2, "filters.size"), (0, "filters.aspect_ratio")]
)
def test_a_filter_that_has_moved_is_not_written_to(at: int, use: str, config: Path) -> None:
    with pytest.raises(ConfigError, match="load the page anew"):
        dashboard.save(config, at, use, "width", 80)
    assert config.read_text() == CONFIG


def test_a_value_that_the_filter_refuses_is_not_written(config: Path) -> None:
    with pytest.raises(ConfigError, match="width"):
        dashboard.save(config, 0, "filters.size", "width", -1)
    assert config.read_text() == CONFIG


def start(config: Path, port: int) -> subprocess.Popen:
    line = [sys.executable, "-m", "flows.cli", "dashboard", "-c", str(config), "--port", str(port)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_it_serves_on_loopback_and_saves(config: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(config, port)
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, follow_redirects=True) as client:
            assert until(lambda: answers(client), 60)
            form = {"filter": "filters.size", "setting": "width", "value": "96"}
            assert "the next ingest judges by it" in client.post("/thresholds/save", data=form).text
        assert "width = 96 " in config.read_text()
        config.write_text("[store")
        assert "is not valid TOML" in httpx.get(f"{url}/thresholds").text  # told on the page
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=30)
    assert url in said and "Traceback" not in said


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code == 200
    except httpx.TransportError:
        return False


def test_a_port_that_is_taken_is_told_in_a_line(config: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(config, taken.getsockname()[1])
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--port" in said and "Traceback" not in said


def test_without_a_store_it_says_what_to_do(config: Path) -> None:
    config.write_text(CONFIG.replace('"store"', '"elsewhere"'))
    process = start(config, 1)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "elsewhere" in said and "Traceback" not in said
