"""A view or table macro over the tables: its SELECT, and a sentence for it and for each of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class View:
    """What SQL may ask beside the tables. With `takes`, names of arguments, it is a macro: `FROM run_curve('run')`."""

    name: str
    doc: str
    columns: Mapping[str, str]
    select: str
    takes: tuple[str, ...] = ()

    @property
    def statement(self) -> str:
        """The SQL that makes it."""
        if self.takes:
            return f"CREATE MACRO {self.name}({', '.join(self.takes)}) AS TABLE {self.select}"
        return f"CREATE VIEW {self.name} AS {self.select}"

    @property
    def call(self) -> str:
        """How it is asked: its name, or with its arguments."""
        return f"{self.name}({', '.join(self.takes)})" if self.takes else self.name
