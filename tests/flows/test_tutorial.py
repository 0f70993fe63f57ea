"""The tutorial and the README do as they stand: every block is run, on a small folder of drawn pictures."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.flows.test_first_corpus import clone

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ELSEWHERE = {
    "make setup": "it makes a virtual environment of 8 GB",
    ". .venv/bin/activate": "this interpreter stands for it",
    "millrace up": "it does not end: tests/flows/test_up.py",
    "millrace serve": "it does not end: tests/flows/test_serve.py",
}
"""Lines of the tutorial that are not run here, and why."""
SHORT = (
    ("steps = 1000", "steps = 20"),
    ("least_psnr = 16\nleast_usage = 0.1", "least_psnr = 0\nleast_usage = 0"),
    ("seconds = 180", "steps = 10"),
)
"""What is changed in birds.toml, so that fitting and training take seconds."""


def blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / name).read_text("utf-8"))


def commands(block: str) -> list[str]:
    return [line.partition("   #")[0].strip() for line in block.splitlines() if line.strip()]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_tutorial_holds_on_a_small_folder(
    tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = clone(tmp_path)
    birds, config = home / "Pictures/birds", home / "birds.toml"
    first = min(birds.glob("*.png"))
    for suffix in (".png", ".txt"):
        first.with_suffix(suffix).rename(birds / f"owl{suffix}")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    for kind, text in blocks("docs/tutorial.md"):
        if kind == "toml":
            configure(config, text)
            continue
        assert kind == "sh", kind
        for line in commands(text):
            run(line, monkeypatch)
            if line.startswith("millrace init"):
                for old, new in SHORT:
                    assert config.read_text().count(old) == 1, old
                    config.write_text(config.read_text().replace(old, new))
    assert (home / "birds.csv").read_text().startswith("sample_id,")
    assert (home / "drawn.png").stat().st_size > 0
    assert (home / "my-model/model.safetensors").is_file()


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a shell would do with a line of the tutorial."""
    if line in ELSEWHERE:
        return
    words = [str(Path(word).expanduser()) if word.startswith("~") else word for word in shlex.split(line)]
    if words[0] == "export":
        monkeypatch.setenv(*words[1].split("="))
        return
    assert words[0] == "millrace", line
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, f"{line}\n{done.output}"


def configure(config: Path, block: str) -> None:
    """Puts a block of TOML where the tutorial says: a filter in the place of the same one, anything else at the end."""
    text, (use,) = config.read_text(), set(re.findall(r'use = "filters\.\w+"', block))
    assert tomllib.loads(block)
    old = f"[[filters]]\n{use}\n"
    config.write_text(text.replace(old, block) if old in text else f"{text}\n{block}")


def test_the_blocks_of_the_readme_are_those_that_tests_run() -> None:
    """The commands for one's own folder: tests/flows/test_first_corpus.py; make's are asked what they would do; curl's
    are run by tests/flows/test_serve.py."""
    diagram, make, own, served = blocks("README.md")
    assert (diagram[0], make[0], own[0], served[0]) == ("", "sh", "sh", "sh")
    assert served[1].startswith("curl ")
    assert all(line.startswith("make ") for line in commands(make[1]))
    for line in commands(make[1]):
        told = subprocess.run(
            [*line.split(), "--dry-run", "VENV=."], cwd=ROOT, capture_output=True, text=True
        )
        assert told.returncode == 0, told.stderr
    assert "millrace init" in own[1]
