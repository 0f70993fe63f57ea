"""Gallery corpora on disk, and the demo's configuration over them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rig.contract import Bench
from flows.demo import QUICK, configuration
from pipeline.gallery import corpus, writer

SEED = 0
READ = corpus.SOURCES["folder"] + corpus.SOURCES["tars"]
"""Share of the gallery's pictures that are read: those behind URLs need a server, and time the network."""
HELD_OUT = 0.05
FITTED_CHEAPLY = {"steps": "10", "least_psnr": "0.0", "least_usage": "0.0"}
"""Fitting is not what is measured here: a few steps, and no gate. Codes are applied as ever."""


def gallery(bench: Bench, pictures: int, seed: int = SEED) -> writer.Written:
    """A gallery of which an ingest reads `pictures`, held-out ones among them; written only once."""
    held_out = max(2, round(pictures * HELD_OUT))
    size = max(1, round((pictures - held_out) / READ))
    path = bench.folder("corpora") / f"gallery-v{corpus.VERSION}-{seed}-{size}-{held_out}"
    return writer.write(path, seed, size, held_out)


PREPARATION = (
    "annotators.language",
    "annotators.caption_complexity",
    "annotators.personal_numbers",
    "annotators.picture_quality",
    "annotators.text_overlay",
    "annotators.text_minhash",
    "filters.personal_numbers",
    "gathers.text_duplicates",
)
"""What prepares a corpus beside the demo's steps, and needs no weights."""


def configure(folder: Path, sources: Path | str, steps: Sequence[str] = ()) -> Path:
    """Writes the demo's configuration, with its store in `folder`, over a gallery's files, or with these sources instead of the
    demo's; with more steps."""
    text = configuration(QUICK, "", 1)
    dropped = '"sources.url_list"' if isinstance(sources, Path) else "[[sources]]"
    text = "\n\n".join(block for block in text.split("\n\n") if dropped not in block)
    text = overridden(text, "[tokens.image]", FITTED_CHEAPLY)
    if isinstance(sources, Path):
        text = text.replace('"data/', f'"{sources.absolute().as_posix()}/')
    else:
        text += sources
    text += "".join(f'\n[[{step.partition(".")[0]}]]\nuse = "{step}"\n' for step in steps)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "millrace.toml"
    config.write_text(text, encoding="utf-8")
    return config


def overridden(text: str, table: str, settings: dict[str, str]) -> str:
    """A TOML text in which a table has some settings, whatever it said of them before."""
    before, _, after = text.partition(f"{table}\n")
    own, border, rest = after.partition("\n[")
    lines = [line for line in own.splitlines() if line.split("=")[0].strip() not in settings]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    return f"{before}\n{table}\n" + "\n".join(lines) + f"\n{border}{rest}"


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
