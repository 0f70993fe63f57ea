"""Options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The TOML file that says what to do.", envvar="MILLRACE_CONFIG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
DEFAULT_CONFIG = Path("millrace.toml")
